"""`hmopt.publish`: a trained model in a folder that is ready for a hub, with its card and nothing personal."""

import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

from hmopt.analysis.scope_result import optima_table
from hmopt.catalogue import REGULARIZERS, SIMILARITIES
from hmopt.csv_tables import write_table
from hmopt.data.facts import FACTS, CohortFacts, check_facts
from hmopt.declaration import (
    CohortOptions,
    RefineOptions,
    ReportOptions,
    SplitOptions,
    Study,
)
from hmopt.declaration.cohort import NOT_PUBLISHED
from hmopt.declaration.document import write_document
from hmopt.declaration.model import network_file
from hmopt.errors import DeclarationError, sides_text
from hmopt.files import appearing, check_folder, check_outputs, give_usual_permissions
from hmopt.model_file import model_identity
from hmopt.progress import Track, silent
from hmopt.report.material import Material, read_material
from hmopt.report.origin import OPTIMA, ModelOptima, ScopeOptimum, optima_of, write_optima
from hmopt.report.words import (
    MISSING,
    duration,
    estimate_text,
    gain_text,
    kind_name,
    metric_name,
    plural,
    scope_title,
    setting_text,
    setting_value,
    symbol,
)
from hmopt.space import Setting, value_text
from hmopt.study_folder import StudyFolder

CARD = "README.md"
OPTIMA_TABLE = "optima.csv"
TEMPLATE = "model_card.md.jinja"

LICENCES = frozenset(
    {
        "apache-2.0",
        "cc",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nd-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "cdla-sharing-1.0",
        "mit",
        "odbl",
        "odc-by",
        "pddl",
        "unknown",
        "unlicense",
    }
)
"""Licences of data that the hub of Hugging Face knows by these identifiers; others are `other` with a name."""

_ANSWERS = {
    "evidence": "yes",
    "no evidence": "no evidence",
    "negligible": "negligible",
    "too few": "too few subjects",
    "flat": "flat",
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """A folder that is ready for a hub.

    Parameters
    ----------
    folder
        The folder.
    card, model
        Its `README.md` and `model.safetensors`.
    remarks
        What a user should know of it, one sentence each.
    """

    folder: Path
    card: Path
    model: Path
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a line for a person."""
        return f"Published: {self.folder}. Read {self.card} before you upload it."


def publish(
    folder: Path | str,
    to: Path | str,
    *,
    data_license: str | None = None,
    citation: str | None = None,
    track: Track = silent,
) -> Published:
    """Write model card, weights, declaration and best settings of a study into one folder, ready for a hub.

    The Python file of a network of one's own is copied. Nothing personal is written: no path, no name of a file,
    subject or image, no database, no plugin. Scopes of single subjects are left out of the best settings. The header of
    the weights keeps hashes of the training files, by which `hmopt new --model` finds out whether a new cohort holds
    images that the model was trained on.

    Parameters
    ----------
    folder
        The study folder that trained the model.
    to
        The folder to make.
    data_license
        Licence of the training images, as `cc-by-4.0`; None: as `cohort.license` declares.
    citation
        How the images are to be cited; None: as `cohort.citation` declares.
    track
        Shows progress.

    Returns
    -------
    Published
        The folder and its files.

    Raises
    ------
    DeclarationError
        If the licence is not told, the folder to make is there already, or the model was not trained in `folder` or
        is published already.
    CheckpointError
        If there is no trained model.
    LedgerError
        If what was searched is another model.

    References
    ----------
    Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. The card follows the template of the hub of Hugging
    Face: https://huggingface.co/docs/hub/model-cards.

    Examples
    --------
    >>> import hmopt
    >>> made = hmopt.publish("studies/mine", "published/mine", data_license="cc-by-4.0")  # doctest: +SKIP
    >>> made.card.as_posix()  # doctest: +SKIP
    'published/mine/README.md'
    """
    files = StudyFolder(folder)
    destination = Path(to)
    _check_destination(destination)
    study = files.study
    _check_trained_here(study)
    licence = _told_licence(study, data_license)
    cited = citation or study.cohort.citation
    header = _read_header(files)

    material = _material(files, track)
    optima = None if material is None else optima_of(material)
    with appearing(destination) as beside:
        _write_model(files.model_file(), beside / "model.safetensors", header, study)
        remarks = _copy_network(files.path, study, beside)
        declaration = harmless(study)
        if declaration is None:
            remarks.append(
                "study.toml is not published because the study uses plugins; the header of the weights contains "
                "all options."
            )
        else:
            (beside / "study.toml").write_text(_document(declaration), encoding="utf-8")
        if study.preprocessing.placement == "affine":
            remarks.append(
                "The template that images are aligned to is an image of the cohort and is not published: register "
                "images that are aligned with --placement header or --placement centre."
            )
        if material is not None and optima is not None:
            write_optima(beside / OPTIMA, optima)
            table = optima_table(material.findings, material.searched.loss_scale)
            write_table(_without_subjects(table), beside / OPTIMA_TABLE, float_format="%.6g")
        else:
            remarks.append("The model was not searched, so the card contains no best setting.")
        identity = model_identity(files.model_file(), list(study.hyperparameters))
        minutes = _minutes(files, header)
        card = Card(
            study=study,
            header=header,
            minutes=minutes,
            optima=optima,
            licence=licence,
            citation=cited,
        )
        text = card.text(destination.name, identity)
        (beside / CARD).write_text(text, encoding="utf-8")
        if destination.is_dir():
            destination.rmdir()
    return Published(
        folder=destination,
        card=destination / CARD,
        model=destination / "model.safetensors",
        remarks=tuple(remarks),
    )


def _check_destination(destination: Path) -> None:
    # in place of a link no folder can be put
    is_folder = destination.is_dir() and not destination.is_symlink()
    is_free = not os.path.lexists(destination) or (is_folder and not any(destination.iterdir()))
    if not is_free:
        raise DeclarationError(
            "--to",
            expected="a new or empty folder",
            got=str(destination),
            advice="Choose another folder, or move it away.",
        )
    check_outputs({"--to": destination / CARD}, {})
    check_folder("--to", destination.parent)


def _check_trained_here(study: Study) -> None:
    source, path = study.model.source, study.model.path
    if source == "trained" and not study.is_published:
        return
    if study.is_published:
        got, advice = "a folder that was published", "Copy the folder."
    elif path is not None:
        got, advice = f"{source!r} ({path})", "Publish that folder."
    else:
        got = repr(source)
        advice = "Engines and registrations without a model have no weights to publish."
    raise DeclarationError(
        "model.source",
        expected='"trained": a model is published from the study folder that trained it',
        got=got,
        advice=advice,
    )


def _told_licence(study: Study, given: str | None) -> str:
    licence = (given or study.cohort.license or "").strip()
    if not licence:
        raise DeclarationError(
            "cohort.license",
            expected="the licence of the training images",
            got="none",
            advice="Use --data-license, such as cc-by-4.0, or declare cohort.license.",
        )
    return licence


def _read_header(files: StudyFolder) -> dict[str, Any]:
    """Return the header of the model, with the facts of its training images where they can still be had."""
    from hmopt.networks import read_header
    from hmopt.workflow.new_model import read_trained

    header = read_header(files.model_file())
    if FACTS in header:
        return header
    # the folder itself declares the network
    facts = read_trained(files.path, trust_code=True).facts
    if facts is None:
        return header
    return {**header, FACTS: facts.model_dump()}


def _minutes(files: StudyFolder, header: Mapping[str, Any]) -> float:
    """Return how long the model was trained; 0 where that is not known."""
    from hmopt.training.state import minutes_of_model

    return minutes_of_model(files.model_file(), header)


def _material(files: StudyFolder, track: Track) -> Material | None:
    """Return the analysed search; None where nothing was searched."""
    if not files.readable_search_file.is_file():
        return None
    files.check_together()
    return read_material(files, track)


def harmless(study: Study) -> Study | None:
    """Return a declaration without paths and names; None where it needs plugins, which are not published.

    Parameters
    ----------
    study
        As it is declared.
    """
    if study.plugins:
        return None
    cohort = CohortOptions(
        manifest=Path(NOT_PUBLISHED),
        **study.cohort.model_dump(
            include={"structures", "minimum_voxels", "spacing_known", "license", "citation"}
        ),
    )
    counts = {}
    for side in ("train", "tune", "search"):
        value = getattr(study.split, side)
        counts[side] = value if isinstance(value, int) else len(value)
    split = SplitOptions(**counts, seed=study.split.seed)
    preprocessing = study.preprocessing.model_copy(update={"template": None})
    pairs = study.pairs.model_copy(update={"csv": None})
    if pairs.atlas is not None:
        tasks = [task for task in pairs.tasks if task != "atlas"] or ["cross"]
        pairs = pairs.model_copy(update={"atlas": None, "tasks": tasks})
    search = study.search.model_copy(update={"storage": None, "sampler_options": {}})
    return study.model_copy(
        update={
            "cohort": cohort,
            "split": split,
            "preprocessing": preprocessing,
            "pairs": pairs,
            "search": search,
            "report": ReportOptions(),
        }
    )


def _document(study: Study) -> str:
    remarks = {
        "cohort.manifest": "The images are not published with the model.",
        "split.train": "Numbers of subjects; their names are not published.",
    }
    return write_document(study, remarks)


def _write_model(source: Path, destination: Path, header: Mapping[str, Any], study: Study) -> None:
    """Write the weights with a header that names no image; the identity of the model stays."""
    from hmopt.networks import load_hypermorph, save_hypermorph

    hypermorph, _ = load_hypermorph(
        source,
        declared_order=list(study.hyperparameters),
        trust_code=study.network.callable is not None,
    )
    preprocessing = {**header["preprocessing"], "template": None}
    cleaned = {**header, "preprocessing": preprocessing}
    if study.refine.iterations:
        # for folders without study.toml; settings were searched with refined registrations
        cleaned["refine"] = study.refine.model_dump(mode="json")
    tensors = {**hypermorph.hypernetwork.state_dict(), **hypermorph.constants()}
    save_hypermorph(destination, tensors, cleaned)
    give_usual_permissions(destination)


def _copy_network(folder: Path, study: Study, destination: Path) -> list[str]:
    """Copy the Python file that makes the network, where there is one; return what its user must do."""
    declared = study.network.callable
    if declared is None:
        return []
    file = network_file(declared)
    if file is None:
        module = declared.rsplit(":", 1)[0]
        return [
            f"The network is defined in the module {module}, which users of the model must install."
        ]
    copied = destination / file
    copied.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / file, copied)
    return [
        f"{file.as_posix()} defines the network and is published with the model; users must trust the file "
        "(--trust-code)."
    ]


def _without_subjects(table: pd.DataFrame) -> pd.DataFrame:
    of_subjects = table["scope"].str.split(" × ").map(lambda kinds: "subject" in kinds)
    return table[~of_subjects]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model card tells.

    Parameters
    ----------
    study
        The declaration.
    header
        Of the model.
    minutes
        How long it was trained; 0 where that is not known.
    optima
        Its best settings; None where nothing was searched.
    licence, citation
        Of the training images.
    """

    study: Study
    header: Mapping[str, Any]
    minutes: float
    optima: ModelOptima | None
    licence: str
    citation: str | None

    def text(self, folder: str, identity: str) -> str:
        """Return the card as Markdown with YAML in front.

        Parameters
        ----------
        folder
            Name of the published folder.
        identity
            Of the model.
        """
        environment = Environment(
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
        )
        environment.filters["as_yaml"] = _as_yaml
        source = package_files("hmopt.workflow") / TEMPLATE
        template = environment.from_string(source.read_text(encoding="utf-8"))
        facts = self._facts()
        subjects = "subjects" if facts is None else plural(facts.subjects, "subject")
        return template.render(
            front=self.front(),
            title=f"{_no_html(self.study.name)}: a hypermorph of {self._dimensions()} images",
            images_are=self._images(facts),
            symbols=", ".join(symbol(name) for name in self.study.space.names),
            meaning=self._meaning(),
            version=self.header.get("version", "of an unknown version"),
            folder=folder,
            typed_folder=shlex.quote(folder),
            values=self._values(),
            structure=self._structure(),
            placement=" --placement centre"
            if self.study.preprocessing.placement == "affine"
            else "",
            setting=self._setting(),
            subjects=subjects,
            training=self._training(facts),
            rows=self._rows(),
            header=self._columns(),
            rule=["---"] * len(self._columns()),
            searched_on=self._searched_on(),
            metric=metric_name(self.study.search.metric, full=True),
            default=setting_text(self.study.space.default),
            data_license=_one_cell(self.licence),
            citation=self.citation,
            hashes=""
            if facts is None
            else "; the header of the weights holds hashes of the training files",
            identity=identity,
        )

    def front(self) -> dict[str, Any]:
        """Return what stands in front of the card for the hub, ready for YAML."""
        known = licence_identifier(self.licence)
        front: dict[str, Any] = {"license": known or "other"}
        if known is None:
            front["license_name"] = _slug(self.licence)
        front["library_name"] = "hmopt"
        front["pipeline_tag"] = "image-to-image"
        front["tags"] = [
            "hmopt",
            "hypermorph",
            "image-registration",
            "deformable-registration",
            "medical-imaging",
            self._dimensions().lower(),
        ]
        metric = self.study.search.metric
        front["metrics"] = [metric]
        held_out = self._held_out()
        if held_out is not None:
            result = {
                "task": {"type": "image-to-image", "name": "Deformable image registration"},
                "dataset": {"type": _slug(self.study.name), "name": self.study.name},
                "metrics": [
                    {
                        "type": metric,
                        "value": round(held_out, 4),
                        "name": f"{metric_name(metric)} on held-out subjects",
                    }
                ],
            }
            front["model-index"] = [{"name": self.study.name, "results": [result]}]
        return front

    def _facts(self) -> CohortFacts | None:
        return check_facts(Path("model.safetensors"), self.header)

    def _dimensions(self) -> str:
        return f"{len(self.header['architecture']['shape'])}-D"

    def _images(self, facts: CohortFacts | None) -> str:
        modalities = [] if facts is None else facts.modalities
        kind = f"{self._dimensions()} images"
        return f"{', '.join(modalities)} {kind}" if modalities else kind

    def _meaning(self) -> str:
        if "regularization" not in self.study.hyperparameters:
            return ""
        return "λ is in [0, 1]: 0 is no regularization, 1 is regularization only."

    def _setting(self) -> Setting:
        overall = None if self.optima is None else self._overall()
        return dict(self.study.space.default) if overall is None else dict(overall.recommended)

    def _values(self) -> str:
        values = []
        for name, value in self._setting().items():
            values.append(f"--set {name}={value_text(value)}")
        return " ".join(values)

    def _structure(self) -> str:
        """Return the option that names the first structure with a best setting of its own; none where none has."""
        optima = [] if self.optima is None else self.optima.scopes
        for optimum in optima:
            if [kind for kind, _ in optimum.criteria] == ["label"]:
                return f"--label {shlex.quote(optimum.criteria[0][1])}"
        return ""

    def _overall(self) -> ScopeOptimum | None:
        if self.optima is None:
            return None
        for optimum in self.optima.scopes:
            if not optimum.criteria:
                return optimum
        return None

    def _held_out(self) -> float | None:
        overall = self._overall()
        if overall is None or overall.score_held_out is None:
            return None
        return overall.score_held_out.value

    def _training(self, facts: CohortFacts | None) -> list[tuple[str, str]]:
        """Return the rows of the table on the training."""
        header = self.header
        loss = header.get("loss", {})
        preprocessing = header.get("preprocessing", {})
        spacing = header.get("spacing_mm")
        training = header.get("training", {})
        rows = [
            ("subjects", "not stored in the model" if facts is None else _people(facts)),
            ("modality", ", ".join(facts.modalities) if facts and facts.modalities else "unknown"),
            ("structures", ", ".join(header.get("labels", [])) or "unknown"),
            ("grid", f"{sides_text(header['architecture']['shape'])} voxels"),
            (
                "spacing",
                f"{sides_text(spacing)} mm" if spacing else "unknown; native voxels",
            ),
            ("normalization", str(preprocessing.get("normalization", "unknown"))),
            ("placement", str(preprocessing.get("placement", "unknown"))),
            ("pairs", ", ".join(self.study.pairs.tasks)),
            ("similarity", _title(SIMILARITIES, loss.get("similarity"))),
            ("regularizer", _title(REGULARIZERS, loss.get("regularizer"))),
            ("steps", f"{header.get('steps', 'unknown')} of {training.get('batch', '?')} pairs"),
            (
                "time",
                f"{duration(self.minutes) if self.minutes else 'not known'} on {header.get('device', 'cpu')}",
            ),
        ]
        is_declared = "window" in loss and "window" not in self.study.space.names
        if is_declared and loss.get("similarity") == "lncc":
            rows.insert(9, ("window of the similarity", f"{loss['window']} voxels"))
        if "features" in loss:
            rows.insert(9, ("features compared", ", ".join(loss["features"])))
        if "second_similarity" in loss:
            second = _title(SIMILARITIES, loss["second_similarity"])
            rows.insert(9, ("second similarity", second))
        if self.study.refine.iterations:
            rows.append(("refinement", _refinement(self.study.refine)))
        if facts is not None:
            rows += _overlap_rows(facts)
        return [(name, _one_cell(value)) for name, value in rows]

    def _searched_on(self) -> str:
        overall = self._overall()
        if overall is None:
            return "subjects"
        return f"{plural(overall.subjects, 'subject')} ({plural(overall.pairs, 'pair')})"

    def _columns(self) -> list[str]:
        stars = [f"{symbol(name)}\\*" for name in self.study.space.names]
        to_use = [f"{symbol(name)} to use" for name in self.study.space.names]
        return [
            "for",
            *stars,
            *to_use,
            "held-out score",
            "gain over the default",
            "sure?",
            "doubts",
        ]

    def _rows(self) -> list[list[str]]:
        if self.optima is None:
            return []
        rows = []
        for optimum in self.optima.scopes:
            cells = _row(optimum)
            rows.append([_one_cell(cell) for cell in cells])
        return rows


def _row(optimum: ScopeOptimum) -> list[str]:
    kinds = [kind for kind, _ in optimum.criteria]
    title = scope_title(optimum.scope)
    if kinds and kinds not in (["label"], ["task"]):
        title = f"{title} ({kind_name(kinds)})"
    stars = []
    for name, value in optimum.setting.items():
        low, high = optimum.interval(name)
        between = ""
        if low == low:
            # ends of an integer are whole, though intervals are floats
            ends = (int(low), int(high)) if isinstance(value, int) else (low, high)
            between = f" ({setting_value(ends[0])} to {setting_value(ends[1])})"
        stars.append(f"{setting_value(value)}{between}")
    to_use = [setting_value(value) for value in optimum.recommended.values()]
    held_out = optimum.score_held_out
    score = MISSING
    if held_out is not None:
        score = estimate_text(held_out.estimate)
    gain = optimum.gain_over_default
    gained = MISSING if gain is None else gain_text(gain.estimate)
    sure = _ANSWERS.get(optimum.verdict or "", "not tested")
    return [title, *stars, *to_use, score, gained, sure, ", ".join(optimum.flags) or MISSING]


def _refinement(refine: RefineOptions) -> str:
    """Return how registrations of the study are refined."""
    compared = "" if refine.features is None else f", comparing {', '.join(refine.features)}"
    further = ""
    if refine.full_resolution_iterations:
        further = f" and {refine.full_resolution_iterations} at full resolution"
    return f"{refine.iterations} iterations{further} on each pair{compared}"


def _overlap_rows(facts: CohortFacts) -> list[tuple[str, str]]:
    rows = []
    for task, overlaps in facts.overlaps.items():
        means = [found.mean for found in overlaps.values()]
        mean = sum(means) / len(means)
        rows.append((f"overlap before registration, {task} pairs", f"{mean:.2f} (mean Dice)"))
    return rows


def _people(facts: CohortFacts) -> str:
    return f"{facts.subjects} ({plural(facts.images, 'image')})"


def _title(records: Mapping[str, Any], name: str | None) -> str:
    if name is None:
        return "unknown"
    return records[name].title if name in records else name


def licence_identifier(licence: str) -> str | None:
    """Return the identifier by which the hub of Hugging Face knows a licence; None where it knows none.

    Examples
    --------
    >>> licence_identifier("CC BY-NC-SA 4.0"), licence_identifier("Public Domain")
    ('cc-by-nc-sa-4.0', None)
    """
    identifier = _slug(licence)
    return identifier if identifier in LICENCES else None


def _slug(text: str) -> str:
    lowered = re.sub(r"[^a-z0-9.]+", "-", text.lower())
    return lowered.strip("-") or "unnamed"


def _as_yaml(value: Any) -> str:
    """Return a value as YAML in one line: JSON is a part of it."""
    return json.dumps(value, ensure_ascii=False)


def _one_cell(text: str) -> str:
    r"""Return a text that stays in one cell of a Markdown table, and is no HTML there.

    Examples
    --------
    >>> _one_cell("<img src=x> left|right")
    '&lt;img src=x> left\\|right'
    """
    return _no_html(" ".join(text.split())).replace("|", "\\|")


def _no_html(text: str) -> str:
    """Return a text in which nothing begins an element of HTML, as Markdown would take it."""
    return text.replace("<", "&lt;")
