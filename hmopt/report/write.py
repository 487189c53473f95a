"""Writing a report beside a study, and the small results that are kept with it."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from hmopt.analysis.family import families
from hmopt.analysis.finding import Finding
from hmopt.analysis.table import optima_table
from hmopt.commands import COMMANDS_FILE
from hmopt.files import replacing, slug
from hmopt.ledger.baselines import (
    COMPARED_FOLDER,
    COMPARISON_FILE,
    baseline_path,
    read_baseline,
    read_comparison,
    write_comparison,
)
from hmopt.ledger.folder import (
    PAIRS_FILE,
    RESULTS_FOLDER,
    SEARCH_FILE,
    dense_path,
    read_dense,
    results_path,
)
from hmopt.ledger.table import write_measurements
from hmopt.progress import Track, silent
from hmopt.records import CHECKPOINTS
from hmopt.report.curves import response_figure, thinned, training_figure
from hmopt.report.figure import inline, save, style, to_svg
from hmopt.report.material import TRAINING_FILE, Material, read_material
from hmopt.report.outlines import EXAMPLES_FOLDER
from hmopt.report.overview import front_groups, overview_figure, subjects_figure
from hmopt.report.page import Drawings, render
from hmopt.report.part import Section
from hmopt.report.parts import make_sections
from hmopt.report.summary import summary
from hmopt.report.words import scope_title
from hmopt.tables import write_table

REPORT_FOLDER, FIGURES_FOLDER = "report", "figures"


def write_report(folder: Path, track: Track = silent) -> Path:
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
        `report/index.html`; beside it are `optima.csv` and `figures/`.

    Raises
    ------
    LedgerError
        If nothing was searched or measured.
    """
    folder = Path(folder)
    material = read_material(folder, track)
    destination = folder / REPORT_FOLDER
    with style():
        answers = make_sections(material)
        sections = list(answers.values())
        drawings = _draw(material, sections, destination / FIGURES_FOLDER, track)
    _write_optima(material, destination)
    page = destination / "index.html"
    _write_text(page, render(material, drawings, answers))
    return page


def write_results(folder: Path, track: Track = silent, *, pictures: bool = False) -> Path:
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

    Returns
    -------
    folder
        The measurements at every checkpoint of training, those of a dense sweep and of a comparison if there was one,
        pairs, `search.json`, commands, the thinned training log, the table of optima, `summary.json`, the figures, and
        pictures of pairs where asked for. A report can be made from it without a model.

    Raises
    ------
    LedgerError
        If nothing was searched or measured.
    """
    folder = Path(folder)
    material = read_material(folder, track)
    destination = folder / RESULTS_FOLDER
    _write_checkpoints(folder, material)
    if material.before is not None:
        write_measurements(material.before, results_path(folder, "unregistered"))
    _write_dense(folder)
    _write_comparison(folder, material)
    write_table(material.measurements.pairs, destination / PAIRS_FILE)
    _write_text(destination / SEARCH_FILE, _json(material.facts))
    if (folder / COMMANDS_FILE).is_file():
        _write_text(
            destination / COMMANDS_FILE, (folder / COMMANDS_FILE).read_text(encoding="utf-8")
        )
    _write_optima(material, destination)
    if material.training is not None:
        write_table(thinned(material.training), destination / TRAINING_FILE, float_format="%.6g")
    if pictures:
        _copy_pictures(folder, destination)
    with style():
        sections = list(make_sections(material).values())
        for name, figure in _kept_figures(material, sections).items():
            save(figure, destination / FIGURES_FOLDER, name)
    _write_text(destination / "summary.json", _json(summary(material, sections)))
    return destination


def _copy_pictures(folder: Path, destination: Path) -> None:
    for path in sorted((folder / EXAMPLES_FOLDER).glob("*.npz")):
        with replacing(destination / EXAMPLES_FOLDER / path.name) as beside:
            shutil.copyfile(path, beside)


def _write_checkpoints(folder: Path, material: Material) -> None:
    """Write the measurements at each checkpoint; those that an earlier model had at others go."""
    for checkpoint in CHECKPOINTS:
        path = results_path(folder, checkpoint)
        if checkpoint in material.checkpoints:
            write_measurements(material.checkpoints[checkpoint], path)
        else:
            path.unlink(missing_ok=True)


def _write_dense(folder: Path) -> None:
    """Write the dense sweep; one of an earlier model goes."""
    dense = read_dense(folder)
    if dense is None:
        dense_path(folder).unlink(missing_ok=True)
    else:
        write_measurements(dense, dense_path(folder))


def _write_comparison(folder: Path, material: Material) -> None:
    """Write who the model was compared with and their measurements; those of an earlier model go."""
    comparison = read_comparison(folder)
    baselines = () if comparison is None else comparison.baselines
    kept = {baseline_path(folder, one): read_baseline(folder, one) for one in baselines}
    for path in (folder / RESULTS_FOLDER / COMPARED_FOLDER).glob("*.parquet"):
        if path not in kept:
            path.unlink()
    for path, measurements in kept.items():
        write_measurements(measurements, path)
    if comparison is None:
        (folder / RESULTS_FOLDER / COMPARISON_FILE).unlink(missing_ok=True)
    else:
        write_comparison(folder / RESULTS_FOLDER, comparison, material.searched.space)


def _draw(material: Material, sections: Sequence[Section], folder: Path, track: Track) -> Drawings:
    """Draw every figure, write it, and return it as an element of the page."""
    figures = _kept_figures(material, sections)
    for section in sections:
        figures.update(section.pictures)
    elements: dict[str, Markup] = {}
    for name, figure in figures.items():
        svg = save(figure, folder, name)
        elements[name] = inline(svg, name)
    detailed = [finding for finding in material.findings if _detailed(finding)]
    curves = {
        finding.scope.name: _curve(finding, material, folder)
        for finding in track(detailed, "drawing", len(detailed))
    }
    overview = {name: f"overview-{name}" for name in material.searched.space.names}
    subjects = {kinds: _subjects_name(kinds) for kinds in families(material.findings)}
    in_sections = [name for one in sections for name in (*one.figures, *one.pictures)]
    return Drawings(
        overview={name: elements[key] for name, key in overview.items() if key in elements},
        subjects={kinds: elements[key] for kinds, key in subjects.items() if key in elements},
        curves=curves,
        training=elements.get("training"),
        sections={name: elements[name] for name in in_sections},
    )


def _detailed(finding: Finding) -> bool:
    return all(kind != "subject" for kind, _ in finding.scope.criteria)


def _curve(finding: Finding, material: Material, folder: Path) -> Markup:
    figure = response_figure(finding, material.searched.search.folding_limit)
    svg = to_svg(figure)
    _write_text(folder / f"scope-{slug(finding.scope.name)}.svg", svg)
    return inline(svg, f"Response of {scope_title(finding.scope)}")


def _kept_figures(material: Material, sections: Sequence[Section]) -> dict[str, Figure]:
    """Return the figures that are written as files, by name: overview, subjects, those of sections, and training."""
    figures: dict[str, Figure] = {}
    if front_groups(material):
        for hyperparameter in material.searched.space.hyperparameters:
            name = f"overview-{hyperparameter.name}"
            figures[name] = overview_figure(material, hyperparameter)
    for kinds, found in families(material.findings).items():
        if "subject" in kinds:
            figures[_subjects_name(kinds)] = subjects_figure(material, found)
    for section in sections:
        figures.update(section.figures)
    if material.training is not None:
        training = training_figure(material.training)
        if training is not None:
            figures["training"] = training
    return figures


def _subjects_name(kinds: tuple[str, ...]) -> str:
    return slug("-".join(kinds))


def _write_optima(material: Material, folder: Path) -> None:
    table = optima_table(material.findings, material.searched.loss_scale)
    write_table(table, folder / "optima.csv", float_format="%.6g")


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
