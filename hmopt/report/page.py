"""The page: what stands on it, and its rendering from the template."""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hmopt.analysis.cross_validation import by_kinds, kinds_of
from hmopt.analysis.held_out import HeldOut
from hmopt.analysis.optimum import Optimum
from hmopt.analysis.resampling import FEWEST_SUBJECTS, Estimate
from hmopt.analysis.scope_result import Reported, ScopeResult
from hmopt.analysis.warnings import OptimumWarning
from hmopt.catalogue import REGULARIZERS, SIMILARITIES, find_metric
from hmopt.catalogue.metrics import FOLDING
from hmopt.data.structures import WHOLE_IMAGE
from hmopt.declaration.study import Study
from hmopt.files import slug
from hmopt.report import words
from hmopt.report.changes import Changes
from hmopt.report.headline import REGISTER, Advice, advise, caveats, fact, headline_sentences
from hmopt.report.material import Material, held_out_score
from hmopt.report.methods import WRITTEN_OUT, Methods, further_term, title_of
from hmopt.report.outlines import Example, read_examples
from hmopt.report.overview import on_front, sorted_for_reading
from hmopt.report.part import Place, ReportPart, Section
from hmopt.space import Space, as_number

TEMPLATE = "index.html.jinja"
NEAREST = "dice_nearest"
MOST_COLUMNS = 2
"""Hyperparameters with a column each in the table of best settings; of more, a setting is one column."""
PLACEMENTS = {
    "affine": "affinely aligned",
    "header": "positioned by their headers",
    "centre": "positioned by their centres",
}
ELSEWHERE = {
    "study": "Trained in another study folder; not trained here.",
    "file": "Read from a file; not trained here.",
    "optimize": "None. Each pair was registered by minimizing its loss over a stationary velocity field.",
}
"""By source: what is said of a model that was not trained in the folder."""
Answers = Mapping[ReportPart, Section]
Entries = list[tuple[str, str]]
"""Terms and what they are."""


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """The figures of a page, as elements of it.

    Parameters
    ----------
    overview
        By hyperparameter: best values and gains of the scopes on the first page.
    subjects
        By kinds of the family: subjects' best values.
    curves
        By scope name: its response.
    training
        The training curve; None without a log.
    sections
        By name: figures of the sections.
    """

    overview: Mapping[str, Markup]
    subjects: Mapping[tuple[str, ...], Markup]
    curves: Mapping[str, Markup]
    training: Markup | None
    sections: Mapping[str, Markup]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One scope, in the table and in the details.

    Parameters
    ----------
    title, anchor, finding
        The scope.
    score
        Held-out score; None where there are too few subjects.
    advice
        The recommendation.
    command
        Its command; empty where an earlier row shows it.
    flags
        Warnings, without those that the page gives once for all scopes.
    examples
        Pictures of a typical and of the worst pair; empty where there are none.
    """

    title: str
    anchor: str
    finding: ScopeResult
    score: Estimate | None
    advice: Advice
    command: str
    flags: Sequence[OptimumWarning]
    examples: Sequence[Example]

    @property
    def optimum(self) -> Optimum:
        """The best setting."""
        return self.finding.full.optimum

    @property
    def held(self) -> HeldOut | None:
        """Held-out scores and gains with the pooled setting."""
        return self.finding.held_out

    @property
    def nearest(self) -> Optimum | None:
        """The best setting by nearest-neighbour Dice; None where it was not measured."""
        reported = self.finding.reported.get(NEAREST)
        return None if reported is None else reported.optimum

    @property
    def warnings(self) -> str:
        """The names of the warnings."""
        return ", ".join(flag.title for flag in self.flags)

    @property
    def is_cohort(self) -> bool:
        """Whether the scope is the whole cohort."""
        return not self.finding.scope.criteria

    @property
    def loss_weight(self) -> float | None:
        """λ / (1 − λ) at the best setting; None where λ is not searched."""
        regularization = as_number(self.optimum.setting.get("regularization"))
        if math.isnan(regularization):
            return None
        if regularization == 1:
            return math.inf
        return regularization / (1 - regularization)

    @property
    def beyond_folding(self) -> Entries:
        """Means of further metrics that have a limit, at the best setting and under the limits."""
        optimum = self.optimum
        entries = []
        for name, value in optimum.limited.items():
            if name == FOLDING:
                continue
            text = f"{words.number(value)} at the best setting"
            if name in optimum.limited_constrained:
                text += f", {words.number(optimum.limited_constrained[name])} under the limits"
            entries.append((words.metric_name(name, full=True), text))
        return entries

    @property
    def reported(self) -> Entries:
        """Other metrics at the best setting, by their full names."""
        return [
            (words.metric_name(name, full=True), _reported_text(reported))
            for name, reported in self.finding.reported.items()
            if name != FOLDING
        ]


@dataclass(frozen=True, kw_only=True)
class Group:
    """A family of scopes.

    Parameters
    ----------
    title, anchor
        The heading.
    kinds
        Kinds of the family.
    figure
        The figure of a family of subjects; None of others.
    rows
        The scopes.
    """

    title: str
    anchor: str
    kinds: tuple[str, ...]
    figure: Markup | None
    rows: Sequence[Row]

    @property
    def front(self) -> bool:
        """Whether the family stands in the first table."""
        return on_front(self.kinds)

    @property
    def compact(self) -> bool:
        """Whether the family is shown as a table only."""
        return "subject" in self.kinds


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file that the page holds, to be saved from it.

    Parameters
    ----------
    name, address
        Its name, and its content as a `data:` URI.
    """

    name: str
    address: str


def render(
    material: Material,
    drawings: Drawings,
    answers: Answers,
    methods: Methods,
    changes: Changes | None = None,
    downloads: Sequence[Download] = (),
) -> str:
    """Return the page as HTML: one file, which asks for no other.

    Parameters
    ----------
    material
        The analysed study.
    drawings
        Its figures.
    answers
        Its sections, by their part.
    methods
        Its methods.
    changes
        How it differs from the report before; None where there was none.
    downloads
        Files that the page holds.
    """
    environment = Environment(
        loader=PackageLoader("hmopt.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = material.searched.space.names
    search = material.searched.search
    few = few_everywhere(material)
    groups = _groups(material, drawings, told=(OptimumWarning.FEW_SUBJECTS,) if few else ())
    rows = [row for group in groups for row in group.rows]
    front = [group for group in groups if group.front]
    detailed = [row for group in groups if not group.compact for row in group.rows]
    first, *others = headline_sentences(material)
    by_place: dict[Place, dict[str, Section]] = {place: {} for place in Place}
    for part, section in answers.items():
        by_place[part.place][part.anchor] = section
    return environment.get_template(TEMPLATE).render(
        w=words,
        name=material.searched.name,
        headline=first,
        others=others,
        tiles=tiles(material),
        metric=words.metric_name(search.metric),
        full_metric=words.metric_name(search.metric, full=True),
        names=names,
        symbols={name: words.symbol(name) for name in names},
        optimum=words.listed([f"{words.symbol(name)}*" for name in names]),
        values=words.listed([words.symbol(name) for name in names]),
        groups=groups,
        front=front,
        warnings=_warnings(rows),
        results=by_place[Place.RESULTS],
        checks=by_place[Place.CHECKS],
        checks_title=Place.CHECKS.value,
        drawings=drawings,
        default=material.searched.space.default,
        scale=material.searched.loss_scale,
        has_loss=material.searched.loss_scale is not None,
        has_half=material.half is not None or material.searched.source == "trained",
        training=training_facts(material),
        declared=declared(material),
        methods=methods,
        changes=changes,
        downloads=downloads,
        steps=steps(material),
        caveats=caveats(material),
        folding_limit=words.percent(search.folding_limit),
        limits=[words.limit_text(name, limit) for name, limit in search.limits.items()],
        under_limits=words.under_limits(search),
        margin=f"{material.margin:g}",
        least=FEWEST_SUBJECTS,
        few=few,
        many=is_long(material.searched.space),
        nearest=any(row.nearest is not None for row in rows)
        and not is_long(material.searched.space),
        differing=_differing(front),
        pictured=any(row.examples for row in rows),
        unpictured=not all(row.examples for row in detailed),
        unmeasured=_unmeasured(material),
        overview_title=_overview_title(material),
        is_per_label=find_metric(search.metric).per_label,
    )


def _warnings(rows: Sequence[Row]) -> list[OptimumWarning]:
    """Return the warnings on the page, each once."""
    raised: set[OptimumWarning] = set()
    for row in rows:
        raised.update(row.flags)
    return [flag for flag in OptimumWarning if flag in raised]


def _differing(groups: Sequence[Group]) -> list[str]:
    """Return the scopes whose best setting by nearest-neighbour Dice differs from that by partial-volume Dice."""
    titles: list[str] = []
    for group in groups:
        differing = [row for row in group.rows if nearest_differs(row.finding)]
        titles += [row.title for row in differing]
    return titles


def _spent(material: Material) -> str:
    """Return how many pairs were measured, where not all were at every setting; else nothing."""
    spent = material.searched.spent
    if spent is None or not (spent.partial or spent.failed):
        return ""
    sentences = [
        f"{spent.evaluations:,} registrations were measured; a grid of {material.searched.search.coarse} values "
        f"per numeric hyperparameter would require {spent.grid:,}."
    ]
    if spent.partial:
        sentences.append(
            f"{spent.partial} of {spent.settings} settings were stopped early because others performed better on "
            "the same pairs; they are excluded from all analyses. The remaining settings were selected using all "
            "subjects, so held-out scores may be slightly optimistic."
        )
    if spent.failed:
        sentences.append(
            f"{spent.failed:,} registrations failed; settings with a failed pair are excluded, as are pairs that "
            "fail at the default."
        )
    return " " + " ".join(sentences)


def _overview_title(material: Material) -> str:
    """Return the title of the first table."""
    symbols = [words.symbol(name) for name in material.searched.space.names]
    is_per_label = find_metric(material.searched.search.metric).per_label
    of_what = "structure" if is_per_label else "scope"
    return f"Best {words.listed(symbols)} for each {of_what}"


def _unmeasured(material: Material) -> list[str]:
    """Return the metrics of interest that were not measured, by the name that `study.toml` has for them."""
    wanted = ["log_jacobian_sd"]
    if find_metric(material.searched.search.metric).per_label:
        wanted.insert(0, NEAREST)
        if material.searched.spacing_mm is not None:
            wanted.append("hd95_mm")
    measured = {*material.searched.search.reported, material.searched.search.metric}
    return [name for name in wanted if name not in measured]


def few_everywhere(material: Material) -> str:
    """Return one sentence where all scopes have few subjects, so that no row need say it; else nothing."""
    for finding in material.findings:
        of_subject = "subject" in kinds_of(finding)
        if not of_subject and OptimumWarning.FEW_SUBJECTS not in finding.warnings:
            return ""
    subjects = material.cohort.subjects
    return f"{OptimumWarning.FEW_SUBJECTS.message} This applies to all scopes: the search used {subjects} subjects."


def tiles(material: Material) -> list[tuple[str, str, str]]:
    """Return the numbers below the headline: name, value, and a remark; those that are not known are left out."""
    cohort = material.cohort
    optimum = cohort.full.optimum
    search = material.searched.search
    metric = words.metric_name(search.metric)
    before = fact(cohort.score_unregistered)
    score = held_out_score(cohort)
    held_out = None
    remark = ""
    if score is not None:
        held_out = fact(score.value, words.digits_of(score.low, score.high))
        remark = words.interval_remark(score)
    folding = words.percent(optimum.folding)
    limit = f"folding limit {words.percent(search.folding_limit)}"
    pairs = len(cohort.full.response.pairs)
    steps_done = _steps_done(material)
    training = None if steps_done is None else f"{steps_done:,} steps"
    space = material.searched.space
    best = "the best setting" if is_long(space) else words.best_name(space)
    found = [
        (f"{metric} before registration", before, _mean_over(search.metric)),
        (f"held-out {metric}", held_out, remark),
        *_best_tiles(optimum, f"for {words.scope_phrase(cohort.scope)}"),
        (f"folded voxels at {best}", folding, limit),
        ("pairs", str(pairs), f"of {words.plural(cohort.subjects, 'subject')}"),
        *([] if is_long(space) else _nearest_tiles(cohort)),
        ("training", training, "one training for all settings"),
    ]
    return [(name, value, remark) for name, value, remark in found if value is not None]


def _mean_over(metric: str) -> str:
    """Return what a score of the cohort is a mean over."""
    return "mean over structures" if find_metric(metric).per_label else "mean over pairs"


def is_long(space: Space) -> bool:
    """Tell whether a setting has too many values for a column of the table each."""
    return len(space.hyperparameters) > MOST_COLUMNS


def _best_tiles(optimum: Optimum, whose: str) -> list[tuple[str, str | None, str]]:
    """Return the best value of each hyperparameter with its interval."""
    found: list[tuple[str, str | None, str]] = []
    for name, value in optimum.setting.items():
        title = f"{words.symbol(name)}* {whose}"
        best = words.setting_value(value)
        interval = words.best_interval(optimum, name)
        found.append((title, best, interval))
    return found


def _nearest_tiles(finding: ScopeResult) -> list[tuple[str, str | None, str]]:
    """Return the best setting by nearest-neighbour Dice, where the search is by partial-volume Dice."""
    nearest = finding.reported.get(NEAREST)
    if nearest is None or nearest.optimum is None:
        return []
    return _best_tiles(nearest.optimum, "by nearest-neighbour Dice")


def _groups(material: Material, drawings: Drawings, told: Sequence[OptimumWarning]) -> list[Group]:
    """Return all families of scopes; `told` are the warnings that the page gives once for all."""
    groups: list[Group] = []
    commands: set[str] = set()
    for kinds, findings in by_kinds(material.findings).items():
        name = words.kind_name(kinds)
        title = f"For each {name}" if kinds else name.capitalize()
        rows: list[Row] = []
        for finding in sorted_for_reading(kinds, findings):
            row = _row(material, finding, told, commands)
            rows.append(row)
            commands.add(row.command)
        group = Group(
            title=title,
            anchor=f"details-{slug('-'.join(kinds) or 'cohort')}",
            kinds=kinds,
            figure=drawings.subjects.get(kinds),
            rows=rows,
        )
        groups.append(group)
    return groups


def _row(
    material: Material,
    finding: ScopeResult,
    told: Sequence[OptimumWarning],
    commands: Container[str],
) -> Row:
    advice = advise(material, finding)
    return Row(
        title=words.scope_title(finding.scope),
        anchor=f"scope-{slug(finding.scope.name)}",
        finding=finding,
        score=held_out_score(finding),
        advice=advice,
        command="" if advice.command in commands else advice.command,
        flags=[flag for flag in finding.warnings if flag not in told],
        examples=_examples(material, finding),
    )


def _reported_text(reported: Reported) -> str:
    text = words.number(reported.at_optimum)
    own = reported.optimum
    if own is None:
        return text
    best = words.setting_text(own.setting)
    return f"{text}; best {words.number(own.score.value)} at {best}"


def nearest_differs(finding: ScopeResult) -> bool:
    """Return whether nearest-neighbour Dice is best at a setting outside the interval of the best one.

    False without an interval, as of too few subjects.
    """
    nearest = finding.reported.get(NEAREST)
    if nearest is None or nearest.optimum is None:
        return False
    best = nearest.optimum.setting
    intervals = finding.full.optimum.intervals
    for name, interval in intervals.items():
        is_known = not math.isnan(interval.low)
        if is_known and name in best and best[name] not in interval:
            return True
    for name, choices in finding.full.optimum.choices.items():
        if choices and name in best and best[name] not in choices:
            return True
    return False


def _examples(material: Material, finding: ScopeResult) -> list[Example]:
    label = finding.scope.label
    code = None
    if label is not None:
        code = material.measurements.labels.index(label) + 1
    path = material.files.readable_example_file(finding.scope.name)
    return read_examples(path, code, material.searched.search.metric)


def training_facts(material: Material) -> str:
    """Return the steps of the training as a sentence; empty without a log."""
    steps_done = _steps_done(material)
    return "" if steps_done is None else f"{steps_done:,} steps."


def _steps_done(material: Material) -> int | None:
    """Return the steps of the training; None without a log."""
    log = material.training
    if log is None or log.empty or "step" not in log:
        return None
    return int(log["step"].iloc[-1])


def _failed(material: Material) -> str:
    """Return how many registrations failed, as a sentence; empty where none did."""
    failed = material.measurements.failed
    count = int(failed.sum())
    if not count:
        return ""
    pairs = int(failed.any(axis=0).sum())
    settings = int(failed.any(axis=1).sum())
    return (
        f" {count:,} of {failed.size:,} registrations failed ({words.plural(pairs, 'pair')} at "
        f"{words.plural(settings, 'setting')}); for each scope, settings with a failed pair are excluded."
    )


def declared(material: Material) -> Entries:
    """Return the methods: data, preprocessing, network, loss, search and commands; what is not known is left out."""
    study = material.study
    engine = material.searched.engine
    entries = [("Data", _data(material))]
    if study is not None:
        entries.append(("Preprocessing", _preprocessing(study)))
    if engine is not None:
        entries.append(("Engine", f"{engine}; nothing was trained.{_failed(material)}"))
    elif study is not None and study.model.source == "trained":
        entries.append(("Network", _network(study)))
    elif material.searched.source in ELSEWHERE:
        entries.append(("Model", ELSEWHERE[material.searched.source]))
    if engine is None and material.searched.loss:
        entries.append(("Loss", _loss(material)))
    if material.searched.refine.iterations:
        entries.append(("Refinement", _refinement(material)))
    entries.append(("Search", _search(material)))
    if material.commands:
        # the page is the same for the same numbers: durations stand in a file of their own
        given = ", ".join(command.command for command in material.commands)
        entries.append(("Commands", f"{given}. Their run times are in commands.csv."))
    return entries


def steps(material: Material) -> Entries:
    """Return the commands in a study folder, and what each does."""
    best = words.value_name(material.searched.space).removeprefix("a ")
    commands = [
        ("hmopt search .", "measure all settings and find the best ones"),
        ("hmopt report . --results", "write this report and the results to commit"),
        (f"{REGISTER} --label NAME", f"register with the best {best} of a structure"),
    ]
    if material.searched.source == "trained":
        commands.insert(0, ("hmopt train .", "train the hypermorph"))
    return commands


def _data(material: Material) -> str:
    pairs = material.measurements.pairs
    counts = pairs["task"].value_counts()
    tasks = ", ".join(f"{count} {task}-subject" for task, count in counts.items())
    subjects = len(material.subjects)
    sentences = [
        f"Settings were chosen and evaluated on {words.plural(len(pairs), 'pair')} ({tasks}) of "
        f"{words.plural(subjects, 'subject')}."
    ]
    if material.study is not None:
        split = material.study.split
        train = split.train if isinstance(split.train, int) else len(split.train)
        tune = split.tune if isinstance(split.tune, int) else len(split.tune)
        if train or tune:
            sentences.append(f"Other subjects: {train} for training, {tune} for tuning.")
    labels = material.measurements.labels
    if labels != (WHOLE_IMAGE,):
        sentences.append(f"{words.plural(len(labels), 'structure')}.")
    return " ".join(sentences)


def _preprocessing(study: Study) -> str:
    options = study.preprocessing
    grid = " × ".join(map(str, options.shape))
    parts = [f"{grid} voxels"]
    if options.spacing_mm is not None:
        spacing = " × ".join(f"{side:g}" for side in options.spacing_mm)
        parts[0] += f" of {spacing} mm"
    if options.slices is not None:
        parts.append(f"slices {options.slices.indices} perpendicular to axis {options.slices.axis}")
    parts.append(PLACEMENTS[options.placement])
    return f"{', '.join(parts)}; intensities normalized per image ({options.normalization})."


def _network(study: Study) -> str:
    network = study.network
    training = study.training
    hypernetwork = study.hypernetwork
    features = "-".join(map(str, network.encoder))
    units = "-".join(map(str, hypernetwork.widths))
    kind = f"U-Net {features}, first stride {network.stride}"
    if network.callable is not None:
        kind = f"{network.callable}, output at stride {network.stride}"
    return (
        f"{kind}; stationary velocity, "
        f"{network.integration_steps} scaling-and-squaring steps; hypernetwork {units}. "
        f"{training.steps:,} optimizer steps of {training.batch} pairs, "
        f"Adam, learning rate {training.learning_rate:g}, seed {training.seed}."
    )


def _loss(material: Material) -> str:
    loss = material.searched.loss
    kind = str(loss.get("regularizer"))
    similarity = title_of(SIMILARITIES, str(loss.get("similarity")), "similarity")
    if "features" in loss:
        similarity = f"{similarity} {words.features_text(loss['features'])}"
    regularizer = f"{title_of(REGULARIZERS, kind, 'regularizer')} of the velocity"
    scale = words.number(material.searched.loss_scale)
    names = material.searched.space.names
    further = "".join(f" {further_term(name, loss)}" for name in names if name not in WRITTEN_OUT)
    if loss.get("regions"):
        data = f"{scale} · {similarity}"
        if "label_weight" in names:
            data = f"(1 − γ) · {data} + γ · overlap loss"
        return (
            f"{data} + Σ ρ(λ_k) · {regularizer} in region k, ρ(λ) = λ / max(1 − λ, 0.05); λ without a subscript "
            f"applies outside the regions.{further}"
        )
    if "label_weight" in names:
        overlap = "(1 − λ) γ · overlap loss"
        return f"(1 − λ)(1 − γ) · {scale} · {similarity} + {overlap} + λ · {regularizer}.{further}"
    return (
        f"(1 − λ) · {scale} · {similarity} + λ · {regularizer}. With a similarity of weight 1, the weight of the "
        f"regularizer is λ / ((1 − λ) · {scale}).{further}"
    )


def _refinement(material: Material) -> str:
    iterations = material.searched.refine.iterations
    further = words.full_resolution_text(material.searched.refine.full_resolution_iterations)
    if material.searched.source == "optimize":
        return (
            f"Up to {iterations:,} iterations of L-BFGS at each of ten evenly spaced values of λ, from the "
            f"strongest regularization down to that of the setting{further}. Each step starts from the velocity of "
            "the previous one, the first from zero."
        )
    without = ""
    if "label_weight" in material.searched.space.names:
        without = ", without its overlap loss"
    features = material.searched.refine.features
    other = "" if features is None else f", with the similarity {words.features_text(features)}"
    return (
        f"Each registration was refined by up to {iterations:,} iterations of L-BFGS on its velocity{further}, "
        f"starting from the velocity predicted by the model and minimizing this loss{without}{other}."
    )


def _search(material: Material) -> str:
    search = material.searched.search
    hyperparameters = material.searched.space.hyperparameters
    divisions = material.divisions
    ranges = ", ".join(f"{words.symbol(h.name)} {h.range_text}" for h in hyperparameters)
    settings = len(material.measurements.settings)
    metric = words.metric_name(search.metric)
    limit = words.percent(search.folding_limit)
    further = [words.limit_text(name, value) for name, value in search.limits.items()]
    limits = "; ".join([f"folding limit {limit}", *further])
    return (
        f"{settings} settings ({ranges}); metric: {metric}; {limits}.{_spent(material)} Held-out scores: settings "
        f"chosen on {divisions.choosing} of {len(divisions.subjects)} subjects and scored on the others, "
        f"{len(divisions.selection)} splits, seed {search.seed}."
    )
