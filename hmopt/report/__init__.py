"""The report of a study: tables, figures and the page, and the small results that are kept."""

from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.parts import add_report_part
from hmopt.report.write import write_report, write_results

__all__ = [
    "Place",
    "ReportPart",
    "Section",
    "add_report_part",
    "write_report",
    "write_results",
]
