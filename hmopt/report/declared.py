"""What was done, in words: data, split, network, loss, search, and the commands to do it again."""

from collections.abc import Mapping

from hmopt.catalogue import HYPERPARAMETERS, REGULARIZERS, SIMILARITIES, Record
from hmopt.declaration.study import Study
from hmopt.report.material import Material
from hmopt.report.words import metric_name, number, percent, symbol


def declared(material: Material) -> list[tuple[str, str]]:
    """Give what was done, as names and sentences; what is not known is left out."""
    engine = material.searched.engine
    entries = [("Data", _data(material))]
    if material.study is not None:
        entries.append(("Preprocessing", _preprocessing(material.study)))
    if engine is not None:
        entries.append(("Engine", f"{engine}; nothing was trained."))
    elif material.study is not None and material.study.model.source == "trained":
        entries.append(("Network", _network(material.study)))
    if engine is None:
        entries.append(("Loss", _loss(material)))
    entries.append(("Search", _search(material)))
    if material.commands:
        took = [
            f"{command.command} {number(command.minutes, 0)} min" for command in material.commands
        ]
        entries.append(("Time", f"{', '.join(took)}."))
    return entries


def steps(material: Material) -> list[tuple[str, str]]:
    """Return the commands that made all this, and what each does."""
    trained_here = material.searched.source == "trained"
    return [
        *([("hmopt train .", "trains the one network")] if trained_here else []),
        ("hmopt search .", "measures settings on pairs, and finds the best ones"),
        ("hmopt report . --results", "writes this page and the results to keep"),
        (
            "hmopt register . moving.nii.gz fixed.nii.gz --moved moved.nii.gz --label NAME",
            "uses a structure's best λ",
        ),
    ]


def _data(material: Material) -> str:
    pairs, split = material.measurements.pairs, material.facts.get("split")
    subjects = len({*pairs["moving_subject"], *pairs["fixed_subject"]})
    tasks = ", ".join(
        f"{count} {task}-subject" for task, count in pairs["task"].value_counts().items()
    )
    text = f"Settings were chosen and judged on {len(pairs)} pairs ({tasks}) of {subjects} subjects"
    if isinstance(split, dict) and {"train", "tune"} <= set(split):
        text += f"; {split['train']} other subjects trained the network, and {split['tune']} others tuned it"
    return f"{text}. {len(material.measurements.labels)} structures."


def _preprocessing(study: Study) -> str:
    section = study.preprocessing
    grid = " × ".join(str(side) for side in section.shape)
    spacing = (
        ""
        if section.spacing_mm is None
        else f" of {' × '.join(f'{s:g}' for s in section.spacing_mm)} mm"
    )
    placements = {
        "affine": "after an affine alignment",
        "header": "where headers put them",
        "centre": "centre on centre",
    }
    aligned = placements[section.placement]
    slices = (
        ""
        if section.slices is None
        else f", slices {section.slices.indices} across axis {section.slices.axis}"
    )
    return f"{grid} voxels{spacing}{slices}, {aligned}; intensities normalized by {section.normalization} per image."


def _network(study: Study) -> str:
    network, hyper, training = study.network, study.hypernetwork, study.training
    features = "-".join(str(count) for count in network.encoder)
    units = "-".join(str(count) for count in hyper.widths)
    return (
        f"U-Net {features} from stride {network.stride}, stationary velocity integrated in {network.integration_steps} "
        f"squarings; hypernetwork {units}. {training.steps} steps of {training.batch} pairs, Adam from "
        f"{training.learning_rate:g}, seed {training.seed}."
    )


def _loss(material: Material) -> str:
    loss, names = material.searched.loss, material.searched.space.names
    similarity = _title(SIMILARITIES, loss.get("similarity"), "similarity")
    regularization = _title(REGULARIZERS, loss.get("regularizer"), "regularization")
    others = "".join(f" {_further_term(name)}" for name in names if name not in _WRITTEN_OUT)
    scale = number(material.searched.loss_scale, 3)
    if "label_weight" in names:
        terms = f"(1 − λ)(1 − γ) · {scale} · {similarity} + (1 − λ) γ · overlap loss"
        return f"{terms} + λ · {regularization} of the velocity.{others}"
    return (
        f"(1 − λ) · {scale} · {similarity} + λ · {regularization} of the velocity. Elsewhere, weigh the regularization "
        f"with λ / ((1 − λ) · {scale}) against a similarity of weight 1.{others}"
    )


_WRITTEN_OUT = ("regularization", "label_weight")


def _title(records: Mapping[str, Record], name: object, otherwise: str) -> str:
    return records[str(name)].title if str(name) in records else otherwise


def _further_term(name: str) -> str:
    """Say what a hyperparameter other than λ and γ does to the loss."""
    if name not in HYPERPARAMETERS:
        return f"{symbol(name)} weighs a further term."
    record = HYPERPARAMETERS[name]
    if record.effect == "added":
        return f"{record.symbol} · {record.title} is added."
    return f"{record.symbol} is the {record.effect} that is {record.title}."


def _search(material: Material) -> str:
    search, space, divisions = material.searched.search, material.searched.space, material.divisions
    ranges = ", ".join(
        f"{symbol(h.name)} in [{h.low:g}, {h.high:g}]" for h in space.hyperparameters
    )
    return (
        f"{len(material.measurements.settings)} settings ({ranges}), by {metric_name(search.metric)}; folding limit "
        f"{percent(search.folding_limit)}. Held-out scores: {divisions.choosing} of {len(divisions.subjects)} subjects "
        f"choose, the others judge, in {len(divisions.selection)} rounds; seed {search.seed}."
    )
