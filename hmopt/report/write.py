"""Writing a report beside a study, and the small results that are kept with it."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.scope_result import ScopeResult, optima_table
from hmopt.csv_tables import write_table
from hmopt.files import replacing, slug
from hmopt.ledger.baselines import write_comparison
from hmopt.ledger.composed import write_composed
from hmopt.ledger.gap import write_gap
from hmopt.ledger.gradient import write_gradient
from hmopt.ledger.table import write_measurements
from hmopt.ledger.uncertainty import write_uncertainty
from hmopt.progress import Track, silent
from hmopt.records import CHECKPOINTS
from hmopt.report.changes import Changes, changes_between, read_last, record_of, write_last
from hmopt.report.curves import response_figure, thinned, training_figure
from hmopt.report.figure import Drawn, data_uri, draw, inline, style, to_svg
from hmopt.report.markdown import summary_text
from hmopt.report.material import Material, read_material
from hmopt.report.methods import Methods, methods_of
from hmopt.report.origin import optima_of_origin, write_optima
from hmopt.report.overview import front_groups, optima_figure, overview_figure, subjects_figure
from hmopt.report.page import Download, Drawings, render
from hmopt.report.part import ReportPart, Section
from hmopt.report.parts import make_sections
from hmopt.report.summary import summary, times
from hmopt.report.words import scope_title
from hmopt.space import Hyperparameter
from hmopt.study_folder import ResultsFolder, StudyFolder


@dataclass(frozen=True, kw_only=True)
class Analysed:
    """What a report and the results of a study are both written of.

    Parameters
    ----------
    material
        The analysed study.
    answers
        What each part of the report says.
    kept
        The figures that are written as files, by name.
    """

    material: Material
    answers: Mapping[ReportPart, Section]
    kept: Mapping[str, Drawn]

    @property
    def sections(self) -> list[Section]:
        """What the parts say, in their order."""
        return list(self.answers.values())


@dataclass(frozen=True, kw_only=True)
class Written:
    """A report that was written.

    Parameters
    ----------
    page
        `report/index.html`.
    changes
        How it differs from the one that was there; None where there was none.
    analysed
        What it was written of.
    """

    page: Path
    changes: Changes | None
    analysed: Analysed


def analyse(files: StudyFolder, track: Track = silent) -> Analysed:
    """Analyse a study, and draw the figures that are kept."""
    material = read_material(files, track)
    with style():
        answers = make_sections(material)
        figures = _kept_figures(material, list(answers.values()))
        kept = {name: draw(figure) for name, figure in figures.items()}
    return Analysed(material=material, answers=answers, kept=kept)


def write_report(folder: Path | str | StudyFolder, track: Track = silent) -> Path:
    """Write `report/` of a study folder, and return its page.

    Parameters
    ----------
    folder
        A study folder that was searched, or one that holds the committed results alone.
    track
        Called with the progress.

    Returns
    -------
    page
        `report/index.html`; beside it are `optima.csv`, `summary.md`, `references.bib` and `figures/`.

    Raises
    ------
    LedgerError
        If nothing was searched or measured.
    HmoptError
        If the record of the report before was damaged.
    """
    return renew_report(folder, track).page


def renew_report(folder: Path | str | StudyFolder, track: Track = silent) -> Written:
    """Write `report/` as `write_report` does, and tell how it differs from the report that was there."""
    files = StudyFolder.of(folder)
    destination = files.report
    last = read_last(destination.record_file)
    analysed = analyse(files, track)
    material, answers = analysed.material, analysed.answers
    with style():
        drawings = _draw(analysed, destination.figures_folder, track)
    _write_optima(material, destination.optima_file)
    _write_files(analysed.sections, destination.path)
    by_anchor = _by_anchor(answers)
    methods = methods_of(material, by_anchor)
    _write_text(destination.summary_text_file, _summary_text(material, answers, methods))
    _write_text(destination.references_file, methods.bibtex)
    record = record_of(material, by_anchor)
    changes = None if last is None else changes_between(last, record)
    held = [destination.optima_file, destination.summary_text_file, destination.references_file]
    downloads = [_download(path) for path in held]
    page = render(material, drawings, answers, methods, changes, downloads)
    _write_text(destination.page_file, page)
    # last, so that an interrupted report is not taken for one that was read
    write_last(destination.record_file, record)
    return Written(page=destination.page_file, changes=changes, analysed=analysed)


def _by_anchor(answers: Mapping[ReportPart, Section]) -> dict[str, Section]:
    return {part.anchor: section for part, section in answers.items()}


def _summary_text(
    material: Material, answers: Mapping[ReportPart, Section], methods: Methods
) -> str:
    placed = {part.anchor: (part.place, section) for part, section in answers.items()}
    return summary_text(material, placed, methods)


_MEDIA = {".csv": "text/csv", ".md": "text/markdown", ".bib": "text/x-bibtex"}


def _download(path: Path) -> Download:
    media_type = f"{_MEDIA[path.suffix]};charset=utf-8"
    return Download(name=path.name, address=data_uri(path.read_bytes(), media_type))


def write_results(
    folder: Path | str | StudyFolder,
    track: Track = silent,
    *,
    pictures: bool = False,
    analysed: Analysed | None = None,
) -> Path:
    """Write `results/` of a study folder, small enough to be committed, and return it.

    Parameters
    ----------
    folder
        A study folder that was searched.
    track
        Called with the progress.
    pictures
        Whether to keep the pictures of pairs too. They show images of the cohort: set it only where these may be
        published.
    analysed
        What the report of the study was written of; None: it is analysed anew.

    Returns
    -------
    folder
        The measurements at every checkpoint of training, those of a dense sweep, of a comparison, of composed fields
        and of the amortization gap if there were any, pairs, `search.json`, commands, the thinned training log, the
        table of optima, `summary.json`, `summary.md`, the figures, and pictures of pairs where asked for. A report
        needs no model then.

    Raises
    ------
    LedgerError
        If nothing was searched or measured.
    """
    files = StudyFolder.of(folder)
    analysed = analysed or analyse(files, track)
    material, answers, sections = analysed.material, analysed.answers, analysed.sections
    destination = files.results
    _write_checkpoints(destination, material)
    if material.before is not None:
        write_measurements(material.before, destination.measurements_file("unregistered"))
    _write_dense(files)
    _write_comparison(files)
    _write_composed(files)
    _write_gap(files, material)
    _write_gradient(files, material)
    _write_uncertainty(files, material)
    write_table(material.measurements.pairs, destination.pairs_file)
    _write_text(destination.search_file, _json(material.facts))
    if files.commands_file.is_file():
        commands = files.commands_file.read_text(encoding="utf-8")
        _write_text(destination.commands_file, commands)
    _write_optima(material, destination.optima_file)
    _write_origin(files, material)
    if material.training is not None:
        rows = thinned(material.training)
        # logs of earlier versions hold the minutes, too
        numbers = rows.drop(columns="minutes", errors="ignore")
        write_table(numbers, destination.training_file, float_format="%.6g")
    if material.training_times is not None:
        rows = thinned(material.training_times)
        write_table(rows, destination.training_times_file, float_format="%.6g")
    if pictures:
        _copy_pictures(files)
    for name, drawn in analysed.kept.items():
        drawn.write(destination.figures_folder, name)
    _write_files(sections, destination.path)
    _write_text(destination.summary_file, _json(summary(material, sections)))
    _write_text(destination.times_file, _json(times(material)))
    methods = methods_of(material, _by_anchor(answers))
    _write_text(destination.summary_text_file, _summary_text(material, answers, methods))
    return destination.path


def _write_origin(files: StudyFolder, material: Material) -> None:
    """Write the optima of a model of elsewhere on its own cohort; those of an earlier model go."""
    study = material.study
    optima = None if study is None else optima_of_origin(study, files.path)
    path = files.results.origin_file
    if optima is None:
        path.unlink(missing_ok=True)
    else:
        write_optima(path, optima)


def _copy_pictures(files: StudyFolder) -> None:
    for path in sorted(files.examples_folder.glob("*.npz")):
        with replacing(files.results.examples_folder / path.name) as beside:
            shutil.copyfile(path, beside)


def _write_checkpoints(destination: ResultsFolder, material: Material) -> None:
    """Write the measurements at each checkpoint; those that an earlier model had at others go."""
    for checkpoint in CHECKPOINTS:
        path = destination.measurements_file(checkpoint)
        if checkpoint in material.checkpoints:
            write_measurements(material.checkpoints[checkpoint], path)
        else:
            path.unlink(missing_ok=True)


def _write_dense(files: StudyFolder) -> None:
    """Write the dense sweep; one of an earlier model goes."""
    dense = files.dense_measurements()
    path = files.results.dense_file
    if dense is None:
        path.unlink(missing_ok=True)
    else:
        write_measurements(dense, path)


def _write_comparison(files: StudyFolder) -> None:
    """Write who the model was compared with and their measurements; those of an earlier model go."""
    comparison = files.comparison
    results = files.results
    baselines = () if comparison is None else comparison.baselines
    kept = {results.baseline_file(one): files.baseline_measurements(one) for one in baselines}
    for path in results.baselines_folder.glob("*.parquet"):
        if path not in kept:
            path.unlink()
    for path, measurements in kept.items():
        write_measurements(measurements, path)
    if comparison is None:
        results.comparison_file.unlink(missing_ok=True)
    else:
        write_comparison(results.comparison_file, comparison, files.searched.space)


def _write_composed(files: StudyFolder) -> None:
    """Write which composed fields were measured, and their measurements; those of an earlier model go."""
    results = files.results
    kept = {}
    for fields in files.composed:
        kept[results.composed_measurements_file(fields)] = files.composed_measurements(fields)
    for path in results.path.glob("measurements-composed-*.parquet"):
        if path not in kept:
            path.unlink()
    for path, measurements in kept.items():
        write_measurements(measurements, path)
    if kept:
        searched = files.searched
        write_composed(results.composed_file, searched.identity, files.composed, searched.space)
    else:
        results.composed_file.unlink(missing_ok=True)


def _write_gap(files: StudyFolder, material: Material) -> None:
    """Write what was measured of the amortization gap; what was of an earlier model or search goes."""
    results = files.results
    kept = {}
    if material.gap is not None:
        record = material.gap.record
        measured = zip(record.stages, files.gap_measurements(record), strict=True)
        kept = {results.gap_measurements_file(stage): found for stage, found in measured}
        searched = files.searched
        write_gap(results.gap_file, searched.model_identity, record, searched.space)
    else:
        results.gap_file.unlink(missing_ok=True)
    for path in results.path.glob("measurements-gap-*.parquet"):
        if path not in kept:
            path.unlink()
    for path, measurements in kept.items():
        write_measurements(measurements, path)


def _write_gradient(files: StudyFolder, material: Material) -> None:
    """Write what was tuned by gradient; what was with an earlier model goes."""
    path = files.results.gradient_file
    if material.gradient is None:
        path.unlink(missing_ok=True)
    else:
        write_gradient(path, material.gradient.record)


def _write_uncertainty(files: StudyFolder, material: Material) -> None:
    """Write uncertainty and error at landmarks; those of an earlier model go."""
    path = files.results.uncertainty_file
    if material.uncertainty is None:
        path.unlink(missing_ok=True)
    else:
        write_uncertainty(path, material.uncertainty.record)


def _draw(analysed: Analysed, folder: Path, track: Track) -> Drawings:
    """Draw every figure, write it, and return it as an element of the page."""
    material, sections = analysed.material, analysed.sections
    every = dict(analysed.kept)
    for section in sections:
        for name, picture in section.pictures.items():
            every[name] = draw(picture)
    elements: dict[str, Markup] = {}
    for name, drawn in every.items():
        drawn.write(folder, name)
        elements[name] = inline(drawn.svg, name)
    detailed = [finding for finding in material.findings if _detailed(finding)]
    curves = {
        finding.scope.name: _curve(finding, material, folder)
        for finding in track(detailed, "Drawing figures", len(detailed))
    }
    overview = {name: f"overview-{name}" for name in material.searched.space.names}
    subjects = {kinds: _subjects_name(kinds) for kinds in by_kinds(material.findings)}
    in_sections = [name for one in sections for name in (*one.figures, *one.pictures)]
    return Drawings(
        overview={name: elements[key] for name, key in overview.items() if key in elements},
        subjects={kinds: elements[key] for kinds, key in subjects.items() if key in elements},
        curves=curves,
        training=elements.get("training"),
        sections={name: elements[name] for name in in_sections},
    )


def _detailed(finding: ScopeResult) -> bool:
    kinds = [kind for kind, _ in finding.scope.criteria]
    return "subject" not in kinds


def _curve(finding: ScopeResult, material: Material, folder: Path) -> Markup:
    figure = response_figure(finding, material.searched.search.folding_limit)
    svg = to_svg(figure)
    _write_text(folder / f"scope-{slug(finding.scope.name)}.svg", svg)
    return inline(svg, f"Response curve of {scope_title(finding.scope)}")


def _kept_figures(material: Material, sections: Sequence[Section]) -> dict[str, Figure]:
    """Return the figures that are written as files, by name: overview, subjects, those of sections, and training."""
    figures: dict[str, Figure] = {}
    if front_groups(material):
        first, *others = material.searched.space.hyperparameters
        figures[_overview_name(first)] = overview_figure(material, first)
        for hyperparameter in others:
            figures[_overview_name(hyperparameter)] = optima_figure(material, hyperparameter)
    for kinds, found in by_kinds(material.findings).items():
        if "subject" in kinds:
            figures[_subjects_name(kinds)] = subjects_figure(material, found)
    for section in sections:
        figures.update(section.figures)
    if material.training is not None:
        training = training_figure(material.training)
        if training is not None:
            figures["training"] = training
    return figures


def _overview_name(hyperparameter: Hyperparameter) -> str:
    return f"overview-{hyperparameter.name}"


def _subjects_name(kinds: tuple[str, ...]) -> str:
    return slug("-".join(kinds))


def _write_optima(material: Material, path: Path) -> None:
    table = optima_table(material.findings, material.searched.loss_scale)
    write_table(table, path, float_format="%.6g")


def _write_files(sections: Sequence[Section], folder: Path) -> None:
    for section in sections:
        for name, table in section.files.items():
            write_table(table, folder / name, float_format="%.6g")


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
