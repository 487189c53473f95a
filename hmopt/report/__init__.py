"""The report of a study: tables, figures and the page, and the small results that are kept."""

from hmopt.report.write import write_report, write_results

__all__ = ["write_report", "write_results"]
