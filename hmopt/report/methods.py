"""The methods of a study as prose for a paper: what was done, with its numbers, and what is to be cited.

Every sentence is about something that the study did: a part that was not run, or that is not known, has none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import hmopt
from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.optimum import DRAWS
from hmopt.analysis.resampling import FEWEST_SUBJECTS
from hmopt.catalogue import (
    ENGINES,
    REGULARIZERS,
    SIMILARITIES,
    Record,
    Reference,
    RegionalWeight,
    TermParameter,
    WeightedTerm,
    find_metric,
    known_hyperparameter,
    references,
)
from hmopt.catalogue.metrics import FOLDING
from hmopt.catalogue.references import cited
from hmopt.data.structures import WHOLE_IMAGE
from hmopt.declaration import Study
from hmopt.ledger import Searched
from hmopt.report.beside import declared_beside
from hmopt.report.material import Material
from hmopt.report.part import Section
from hmopt.report.words import (
    budget_text,
    features_text,
    full_resolution_text,
    kind_name,
    limit_text,
    listed,
    metric_name,
    number,
    percent,
    plural,
    sentence,
    symbol,
    value_name,
)
from hmopt.space import Hyperparameter, choice_text
from hmopt.study_folder import StudyFolder

WRITTEN_OUT = ("regularization", "label_weight")
"""Hyperparameters whose terms stand in the formula of the loss."""

PLACED = {
    "affine": "after an affine alignment to a template",
    "header": "at the positions given by their headers",
    "centre": "with their centres aligned",
}
"""By placement: how images lay on the common grid."""

NORMALIZED = {
    "percentile": "its 0.5th and 99.5th percentiles mapped to 0 and 1",
    "minmax": "its minimum and maximum mapped to 0 and 1",
    "zscore": "mean 0 and standard deviation 1",
}
"""By normalization: what became of the intensities of an image."""

TITLES = {"hmopt": "hmopt", "torch": "PyTorch", "optuna": "Optuna"}
"""By distribution: what a text calls it."""

OF_SOFTWARE = {"torch": references.PYTORCH, "optuna": references.OPTUNA}


@dataclass(frozen=True, kw_only=True)
class Methods:
    """The methods of a study.

    Parameters
    ----------
    paragraphs
        Of text.
    references
        What they cite, each once, in the order of its first citation.
    """

    paragraphs: tuple[str, ...]
    references: tuple[Reference, ...]

    @property
    def bibtex(self) -> str:
        """The publications as a file of BibTeX."""
        return references.bibtex(self.references)


@dataclass(kw_only=True)
class _Citations:
    """What was cited so far."""

    found: list[Reference] = field(default_factory=list)

    def of(self, *cited_here: Reference) -> str:
        """Note some publications, and return how a sentence cites them."""
        for reference in cited_here:
            if reference not in self.found:
                self.found.append(reference)
        return cited(*cited_here)


def methods_of(material: Material, sections: Mapping[str, Section]) -> Methods:
    """Return the methods of a study.

    Parameters
    ----------
    material
        The analysed study.
    sections
        The sections of its report, by anchor.
    """
    citations = _Citations()
    parts = [
        _data(material),
        _model(material, citations),
        _search(material, citations),
        _statistics(material, citations),
        _comparisons(material, sections, citations),
        _software(material, citations),
    ]
    paragraphs = [" ".join(sentences) for sentences in parts if sentences]
    return Methods(paragraphs=tuple(paragraphs), references=tuple(citations.found))


# --- data


def _data(material: Material) -> list[str]:
    pairs = material.measurements.pairs
    counts = pairs["task"].value_counts()
    tasks = [f"{count} {_task_name(str(task))}" for task, count in counts.items()]
    of_tasks = f" ({listed(tasks)})"
    if len(tasks) == 1:
        of_tasks = f", {_task_name(str(counts.index[0]))}"
    sentences = [
        f"Hyperparameters were chosen and evaluated on {plural(len(pairs), 'pair')} of images of "
        f"{plural(len(material.subjects), 'subject')}{of_tasks}."
    ]
    study = material.study
    if study is not None:
        sentences += _split(study)
    labels = material.measurements.labels
    if labels != (WHOLE_IMAGE,):
        sentences.append(f"Labels of {plural(len(labels), 'structure')} were evaluated.")
    if study is not None:
        sentences += _preprocessing(study)
    return sentences


def _task_name(task: str) -> str:
    names = {"cross": "between subjects", "within": "within subjects", "atlas": "to an atlas"}
    return names.get(task, f"of task {task}")


def _split(study: Study) -> list[str]:
    split = study.split
    if study.model.source != "trained":
        return []
    train, tune = _count(split.train), _count(split.tune)
    clauses = []
    if train:
        clauses.append(f"the network was trained on {plural(train, 'other subject')}")
    if tune:
        clauses.append(
            f"decisions about its training were made on {plural(tune, 'further subject')}"
        )
    if not clauses:
        return []
    return [sentence(f"{listed(clauses)}; all images of a subject belonged to one of these sets")]


def _count(subjects: int | Sequence[str]) -> int:
    return subjects if isinstance(subjects, int) else len(subjects)


def _preprocessing(study: Study) -> list[str]:
    options = study.preprocessing
    shape = " × ".join(map(str, options.shape))
    grid = f"a grid of {shape} voxels"
    if options.spacing_mm is not None:
        spacing = " × ".join(f"{side:g}" for side in options.spacing_mm)
        grid += f" of {spacing} mm"
    sentences = []
    if options.slices is not None:
        indices = options.slices.search_indices or options.slices.indices
        chosen = "slice" if len(indices) == 1 else "slices"
        names = listed([str(index) for index in indices])
        sentences.append(
            f"Of each volume, {chosen} {names} across axis {options.slices.axis} was taken."
        )
        if len(indices) > 1:
            sentences[-1] = sentences[-1].replace(" was taken.", " were taken.")
    scaled = NORMALIZED[options.normalization]
    if options.normalization == "zscore":
        normalized = f"the intensities of each image were scaled to {scaled}"
    else:
        normalized = f"the intensities of each image were scaled linearly so that {scaled}"
    sentences.append(f"Images were resampled to {grid}, {PLACED[options.placement]}; {normalized}.")
    return sentences


# --- model and loss


def _model(material: Material, citations: _Citations) -> list[str]:
    searched = material.searched
    study = material.study
    further = full_resolution_text(searched.refine.full_resolution_iterations)
    sentences: list[str] = []
    if searched.source == "trained":
        sentences += _trained(material, citations)
    elif searched.source == "study":
        hypermorph = citations.of(references.HYPERMORPH)
        sentences.append(
            f"Images were registered with a hypermorph{hypermorph} that had been trained previously on images of "
            "another study; it was not trained further on these images."
        )
    elif searched.source == "file":
        sentences.append(
            "Images were registered with a published network that is conditioned on its hyperparameters; it was "
            "not trained further on these images."
        )
    elif searched.source == "optimize":
        lbfgs = citations.of(references.LBFGS)
        velocity = citations.of(references.STATIONARY_VELOCITY)
        sentences.append(
            "No network was trained: each pair was registered by minimizing its loss over a stationary velocity "
            f"field{velocity}, with up to {searched.refine.iterations:,} iterations of L-BFGS{lbfgs} at each of "
            "ten evenly spaced values of λ, from the strongest regularization down to that of the setting"
            f"{further}."
        )
    else:
        sentences += _engine(material, citations)
    if searched.engine is None and searched.loss:
        sentences += _loss(material, citations)
    refined = searched.refine.iterations and searched.source != "optimize"
    if refined and study is not None:
        lbfgs = citations.of(references.LBFGS)
        without = ""
        if "label_weight" in searched.space.names:
            without = " without its overlap term"
        sentences.append(
            f"Each registration was refined by up to {searched.refine.iterations:,} iterations of L-BFGS{lbfgs} on "
            f"its velocity{further}, minimizing the same loss{without}{_refined_features(searched)}."
        )
    return sentences


def _refined_features(searched: Searched) -> str:
    """Return what the similarity of a refinement compared, where that was not what training compared."""
    features = searched.refine.features
    return "" if features is None else f", with the similarity {features_text(features)}"


def _trained(material: Material, citations: _Citations) -> list[str]:
    study = material.study
    names = listed([symbol(name) for name in material.searched.space.names])
    hypermorph = citations.of(references.HYPERMORPH)
    begin = f"A hypermorph{hypermorph} was trained: a hypernetwork that predicts the weights of a registration network "
    if study is None or study.model.source != "trained":
        return [f"{begin}from {names}."]
    network, training = study.network, study.training
    widths = listed([str(width) for width in study.hypernetwork.widths])
    sentences = [f"{begin}from {names}, with dense layers of {widths} units."]
    velocity = citations.of(references.STATIONARY_VELOCITY) if network.integration_steps else ""
    output = "whose output is the displacement"
    if network.integration_steps:
        steps = plural(network.integration_steps, "step")
        integrated = f"{steps} of scaling and squaring{velocity}"
        output = f"whose output, a stationary velocity field, was integrated by {integrated}"
    if network.callable is None:
        unet = citations.of(references.UNET)
        encoder = ", ".join(map(str, network.encoder))
        sentences.append(
            f"The registration network was a U-Net{unet} with {encoder} channels in its encoder and a first "
            f"convolution of stride {network.stride}, {output}."
        )
    else:
        name = network.callable.rsplit(":", 1)[1]
        sentences.append(f"The registration network was a custom network ({name}), {output}.")
    adam = citations.of(references.ADAM)
    steps_done = material.searched.steps or training.steps
    averaged = ""
    if training.averaging:
        averaged = f"; the final weights are their exponential moving average (decay {training.averaging:g})"
    sentences.append(
        f"It was trained for {steps_done:,} steps of Adam{adam}, each on {plural(training.batch, 'pair')} with "
        f"values of {names} drawn at random, at a learning rate of {training.learning_rate:g} that decayed to zero "
        f"on a cosine schedule{averaged}."
    )
    augmented = _augmented(study)
    if augmented:
        sentences.append(f"Training images were augmented by random {listed(augmented)}.")
    return sentences


def _augmented(study: Study) -> list[str]:
    options = study.training.augmentation
    names = {
        "rotation": options.rotation_degrees,
        "scaling": options.scaling,
        "translation": options.translation,
        "smooth deformation": options.deformation,
        "intensity changes": options.intensity,
    }
    found = [name for name, amount in names.items() if amount]
    if options.flip_axis is not None:
        found.append("flips")
    return found


def _engine(material: Material, citations: _Citations) -> list[str]:
    searched = material.searched
    declared = searched.declared.get("model", {})
    program = ENGINES.get(str(searched.engine))
    if program is None:
        name = f"the program {searched.engine}"
    else:
        release = searched.versions.get(program.package)
        version = f" ({program.package} {release})" if release else ""
        name = f"{program.title}{citations.of(*program.references)}{version}"
    options = declared.get("options") or {}
    settings = [f"{key} = {_option_text(value)}" for key, value in options.items()]
    fixed = f" with {listed(settings)}" if settings else ""
    sentences = [f"Images were registered with {name}{fixed}; nothing was trained."]
    failed = int(material.measurements.failed.sum())
    if failed:
        sentences.append(
            f"{failed:,} of {material.measurements.failed.size:,} registrations failed; a setting with a failed "
            "pair was excluded for the scopes that contain this pair."
        )
    return sentences


def _option_text(value: object) -> str:
    if isinstance(value, list | tuple):
        return " × ".join(str(one) for one in value)
    return choice_text(value) if isinstance(value, bool | int | float | str) else str(value)


def _loss(material: Material, citations: _Citations) -> list[str]:
    """Return the loss as a formula whose terms are explained, and what each further hyperparameter does to it."""
    loss = material.searched.loss
    names = material.searched.space.names
    has_labels = "label_weight" in names
    similarity = _term(
        SIMILARITIES, str(loss.get("similarity")), "an image dissimilarity", citations
    )
    regularizer = _term(REGULARIZERS, str(loss.get("regularizer")), "a regularizer", citations)
    window = f" in windows of {loss['window']} voxels" if _has_window(loss, names) else ""
    compared = f", {features_text(loss['features'])}" if "features" in loss else ""
    data, overlap = "(1 − λ) s D", ""
    if has_labels:
        data, overlap = "(1 − λ)(1 − γ) s D", " + (1 − λ) γ O"
    formula = f"{data}{overlap} + λ R"
    if loss.get("regions"):
        data = "(1 − γ) s D + γ O" if has_labels else "s D"
        formula = f"{data} + Σ ρ(λ_k) R_k with ρ(λ) = λ / max(1 − λ, 0.05)"
    terms = [f"D is {similarity}{window}{compared}", f"R is {regularizer} of the velocity"]
    if loss.get("regions"):
        terms[1] = f"R_k is {regularizer} of the velocity in region k"
    if has_labels:
        labels = citations.of(references.VOXELMORPH)
        terms.append(f"O is one minus the mean soft Dice overlap of labels{labels}")
    scale = material.searched.loss_scale
    if scale is not None:
        declared = loss.get("scale") is not None
        estimated = "" if declared else ", estimated on images"
        terms.append(f"s = {number(scale)} scales D{estimated}")
    sentences = [f"The loss was {formula}, where {listed(terms)}."]
    sentences += [further_term(name, loss) for name in names if name not in WRITTEN_OUT]
    return sentences


def _has_window(loss: Mapping[str, object], names: Sequence[str]) -> bool:
    return loss.get("similarity") == "lncc" and bool(loss.get("window")) and "window" not in names


def _term(records: Mapping[str, Record], name: str, otherwise: str, citations: _Citations) -> str:
    """Return what a term of the loss is, with its citation; a general word for one that is not known here."""
    if name not in records:
        return otherwise
    record = records[name]
    article = "the negative" if name in ("lncc", "mutual_information") else "the"
    return f"{article} {record.title}{citations.of(*record.references)}"


def title_of(records: Mapping[str, Record], name: str, otherwise: str) -> str:
    """Return the title of a record, or a general word for one that this version does not know."""
    return records[name].title if name in records else otherwise


def further_term(name: str, loss: Mapping[str, object]) -> str:
    """Return what a hyperparameter other than λ and γ does to the loss, as a sentence.

    Parameters
    ----------
    name
        The hyperparameter.
    loss
        `[loss]` as declared.
    """
    record = known_hyperparameter(name)
    if record is None:
        return f"{symbol(name)} weighs a further term."
    regions = loss.get("regions")
    if isinstance(record, RegionalWeight) and isinstance(regions, dict):
        structures = regions.get(record.region, [])
        return f"{record.meaning[:-1]} ({', '.join(structures)}) of the fixed image."
    if isinstance(record, WeightedTerm) and record.effect == "share of the similarity":
        second = title_of(SIMILARITIES, str(loss.get("second_similarity")), record.title)
        return f"{record.symbol} is the {record.effect} that is {second}, at its own scale."
    if isinstance(record, TermParameter) and name in loss:
        return f"{record.meaning[:-1]}; the scale is that of {loss[name]}, and follows it."
    return record.meaning


# --- search


def _search(material: Material, citations: _Citations) -> list[str]:
    search = material.searched.search
    space = material.searched.space
    metric = find_metric(search.metric)
    measured = len(material.measurements.settings)
    ranges = listed([_range(one) for one in space.hyperparameters])
    optuna = citations.of(references.OPTUNA)
    several = len(space.names) > 1
    over, were = ("setting", "were") if several else ("value", "was")
    sentences = [
        sentence(
            f"{ranges} {were} searched: all pairs were registered at {plural(measured, over)}{_how(material)}, "
            f"which became trials of Optuna{optuna}"
        )
    ]
    if material.searched.registrations is not None:
        sentences.append(
            f"Settings were evaluated adaptively: {material.searched.registrations:,} registrations were measured, "
            "and the remaining pairs of a setting were skipped once it was worse than another setting."
        )
    of_metric = citations.of(*metric.references)
    name = metric_name(search.metric, full=True)
    has_several = metric.per_label and len(material.measurements.labels) > 1
    over = "pairs and structures" if has_several else "pairs"
    best = "largest" if metric.direction == "maximize" else "smallest"
    which = "setting" if several else "value"
    sentences.append(
        f"The best {which} of a scope is the one with the {best} {name}{of_metric}, averaged over its {over}."
    )
    families = [kind_name(kinds) for kinds in by_kinds(material.findings) if kinds]
    if families:
        sentences.append(f"It was chosen for the whole cohort and for each {listed(families)}.")
    if FOLDING in material.measurements.values:
        further = [limit_text(name, value) for name, value in search.limits.items()]
        limits = listed([f"at most {percent(search.folding_limit)} of the voxels folded", *further])
        sentences.append(f"Under the limits, it is the best of those with {limits} on average.")
    return sentences


def _range(one: Hyperparameter) -> str:
    if one.is_continuous:
        return f"{symbol(one.name)} {one.range_text}"
    return f"{symbol(one.name)} ({one.range_text})"


def _how(material: Material) -> str:
    """Return how settings were chosen."""
    search = material.searched.search
    if search.sampler != "plan":
        sampler = search.sampler.rsplit(".", 1)[-1]
        return f", chosen by {sampler} with {search.trials} trials for each scope"
    dimensions = len(material.searched.space.hyperparameters)
    grid = f"a regular grid of {search.coarse} values of each"
    if dimensions == 1:
        grid = f"a regular grid of {search.coarse}"
    elif dimensions > 2:
        grid = "space-filling settings"
    refined = ""
    if search.refinements:
        refined = ", refined where the expected improvement was largest"
    return f" ({grid}{refined})"


# --- statistics


def _statistics(material: Material, citations: _Citations) -> list[str]:
    cohort = material.cohort
    if cohort.subjects < FEWEST_SUBJECTS:
        return []
    sentences = []
    value = value_name(material.searched.space)
    metric = metric_name(material.searched.search.metric)
    if any(_has_interval(material, name) for name in material.searched.space.names):
        bootstrap = citations.of(references.BOOTSTRAP)
        sentences.append(
            f"95 % intervals of the best {value.removeprefix('a ')} were computed from {DRAWS:,} bootstrap samples "
            f"of the subjects{bootstrap}, since pairs that share a subject are not independent."
        )
    if cohort.held_out is not None:
        sentences.append(_held_out(material))
    if any(len(members) > 1 for members in by_kinds(material.findings).values()):
        sentences.append(
            "For each kind of scopes, each curve was pooled with the family's mean curve by empirical Bayes "
            "before a setting was chosen."
        )
    if material.granularities:
        jackknife = citations.of(references.JACKKNIFE)
        holm = citations.of(references.HOLM)
        equivalence = citations.of(references.EQUIVALENCE)
        count = len(material.granularities)
        families = ", and over the scopes of each kind" if material.gains else ""
        corrected = f" were corrected by Holm’s method{holm} over {count} comparisons{families}"
        if count == 1:
            corrected = f" were corrected by Holm’s method{holm} over the scopes of each kind"
        tests = f"two-sided; p-values{corrected}" if count > 1 or material.gains else "two-sided"
        sentences.append(
            f"Differences in held-out {metric} were tested with t statistics with standard errors from the "
            f"delete-one-subject jackknife{jackknife}, {tests}."
        )
        sentences.append(
            "A difference was considered significant if the test rejected zero at the 0.05 level and the 95 % "
            f"interval excluded zero, and negligible if two one-sided tests{equivalence} placed it within "
            f"±{material.margin:g}."
        )
    return sentences


def _has_interval(material: Material, name: str) -> bool:
    optimum = material.cohort.full.optimum
    if name in optimum.choices:
        return bool(optimum.choices[name])
    interval = optimum.intervals[name]
    return interval.low == interval.low


def _held_out(material: Material) -> str:
    divisions = material.divisions
    count = len(divisions.selection)
    ways = f"all {count:,}" if divisions.exhaustive else f"{count:,} random"
    return (
        f"Scores and gains were computed on held-out subjects: settings were chosen on {divisions.choosing} of the "
        f"{len(divisions.subjects)} subjects and scored on pairs of the others, over {ways} splits."
    )


# --- comparisons


def _comparisons(
    material: Material, sections: Mapping[str, Section], citations: _Citations
) -> list[str]:
    sentences = []
    if material.compared is not None and "agreement" in sections:
        sides = budget_text(material.compared, material.compared.main)
        sentences.append(
            f"Hypermorphs were compared with networks that were trained for one setting each: {sides}."
        )
    if material.composed:
        sentences.append(
            "Fields with a setting for each structure were made by blending velocities around the structures and "
            "integrating them once."
        )
    if material.gap is not None:
        record = material.gap.record
        last = record.stages[-1].iterations
        lbfgs = citations.of(references.LBFGS)
        sentences.append(
            f"The amortization gap was measured on {plural(len(record.pairs), 'pair')}, by refining registrations with "
            f"up to {last} iterations of L-BFGS{lbfgs}."
        )
    if material.gradient is not None:
        gradient = material.gradient.record
        starts = plural(gradient.starts, "start")
        sentences.append(
            sentence(
                f"{value_name(material.searched.space)} was also tuned by gradient, with L-BFGS-B from {starts}, "
                "through displacement, registration network and hypernetwork"
            )
        )
    if material.uncertainty is not None:
        settings = len(material.uncertainty.record.settings)
        sentences.append(
            f"The uncertainty of the displacement at a landmark was its standard deviation over {settings} "
            "settings of the confidence set. The interval of its rank correlation with the target registration "
            "error was computed over subjects."
        )
    if "programs" in sections:
        sentences += _beside(material, sections["programs"], citations)
    return sentences


def _beside(material: Material, section: Section, citations: _Citations) -> list[str]:
    """Name the compared methods; a program with an adaptor is cited where a study folder tells of it."""
    assert section.table is not None
    titles = [str(title) for title in section.table[""]]
    of_programs: list[Reference] = []
    for one in declared_beside(material.files).beside:
        other = StudyFolder(one.path)
        engine = other.searched.engine if other.readable_search_file.is_file() else None
        if engine in ENGINES:
            of_programs += ENGINES[engine].references
    different = dict.fromkeys(of_programs)
    return [
        f"The following methods were compared on the same pairs: {'; '.join(titles)}{citations.of(*different)}."
    ]


# --- software


def _software(material: Material, citations: _Citations) -> list[str]:
    """Return the versions: those that searched, and the one that analysed where that is another."""
    versions = material.searched.versions
    named = [
        f"{title} {versions[distribution]}{_software_citation(distribution, citations)}"
        for distribution, title in TITLES.items()
        if distribution in versions
    ]
    own = f"hmopt {hmopt.__version__}"
    if not named:
        return [f"The analysis was made with {own}."]
    searched = f"The search was made with {listed(named)}"
    if versions.get("hmopt") == hmopt.__version__:
        return [f"{searched}."]
    return [f"{searched}, and the analysis with {own}."]


def _software_citation(distribution: str, citations: _Citations) -> str:
    reference = OF_SOFTWARE.get(distribution)
    if reference is None or reference in citations.found:
        return ""
    return citations.of(reference)
