"""The report of a study: tables, figures and the page, and the small results that are kept."""

from hmopt.report import headline, words
from hmopt.report.baseline_curves import labels_figure
from hmopt.report.curves import response_figure
from hmopt.report.figure import MUTED, OTHER, OWN, new_figure, save, style
from hmopt.report.headline import improvements
from hmopt.report.material import OTHER_SEEDS, Material, read_material
from hmopt.report.overview import optima_figure, overview_figure
from hmopt.report.sections import make_sections
from hmopt.report.sections.agreement import CLOSE
from hmopt.report.sections.granularity import granularity_section
from hmopt.report.sections.labels import labels_section
from hmopt.report.subjects import subjects_figure
from hmopt.report.training import training_figure
from hmopt.report.words import scope_title
from hmopt.report.write import write_report, write_results

__all__ = [
    "CLOSE",
    "MUTED",
    "OTHER",
    "OTHER_SEEDS",
    "OWN",
    "Material",
    "granularity_section",
    "headline",
    "improvements",
    "labels_figure",
    "labels_section",
    "make_sections",
    "new_figure",
    "optima_figure",
    "overview_figure",
    "read_material",
    "response_figure",
    "save",
    "scope_title",
    "style",
    "subjects_figure",
    "training_figure",
    "words",
    "write_report",
    "write_results",
]
