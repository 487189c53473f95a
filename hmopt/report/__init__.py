"""The report of a study: tables, figures and the page, and the small results that are kept."""

from hmopt.report import words
from hmopt.report.curves import response_figure, training_figure
from hmopt.report.figure import MUTED, OTHER, OWN, new_figure, save, style
from hmopt.report.headline import headline, improvements
from hmopt.report.material import OTHER_SEEDS, Material, read_material
from hmopt.report.overview import optima_figure, overview_figure, subjects_figure
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.parts import add_report_part, make_sections
from hmopt.report.parts.agreement import CLOSE, labels_figure
from hmopt.report.parts.granularity import GranularityPart, LabelsPart
from hmopt.report.words import scope_title
from hmopt.report.write import write_report, write_results

__all__ = [
    "CLOSE",
    "MUTED",
    "OTHER",
    "OTHER_SEEDS",
    "OWN",
    "GranularityPart",
    "LabelsPart",
    "Material",
    "Place",
    "ReportPart",
    "Section",
    "add_report_part",
    "headline",
    "improvements",
    "labels_figure",
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
