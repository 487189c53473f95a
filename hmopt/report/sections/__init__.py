"""The questions that a report answers beside which setting is best: each section a file."""

from collections.abc import Callable

from hmopt.report.material import Material
from hmopt.report.section import Section

SECTIONS: tuple[Callable[[Material], Section | None], ...] = ()
"""In the order of the page; each gives None where nothing was measured that could answer its question."""


def make_sections(material: Material) -> list[Section]:
    """Give the sections of a report; to be called in the figures' `style`."""
    made = [make(material) for make in SECTIONS]
    return [section for section in made if section is not None]
