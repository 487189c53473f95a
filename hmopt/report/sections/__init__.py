"""The questions that a report answers beside which setting is best: each section a file."""

from collections.abc import Callable

from hmopt.report.material import Material
from hmopt.report.section import Section
from hmopt.report.sections.agreement import agreement_section
from hmopt.report.sections.anatomy import anatomy_section
from hmopt.report.sections.cost import cost_section
from hmopt.report.sections.drift import drift_section
from hmopt.report.sections.granularity import granularity_section
from hmopt.report.sections.labels import labels_section
from hmopt.report.sections.regret import regret_section
from hmopt.report.sections.robustness import robustness_section
from hmopt.report.sections.sensitivity import sensitivity_section

SECTIONS: tuple[Callable[[Material], Section | None], ...] = (
    granularity_section,
    labels_section,
    anatomy_section,
    drift_section,
    agreement_section,
    regret_section,
    robustness_section,
    cost_section,
    sensitivity_section,
)
"""In the order of the page; each gives None where nothing was measured that could answer its question."""


def make_sections(material: Material) -> list[Section]:
    """Give the sections of a report; to be called in the figures' `style`."""
    made = [make(material) for make in SECTIONS]
    return [section for section in made if section is not None]
