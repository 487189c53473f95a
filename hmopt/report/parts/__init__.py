"""The parts of a report, each a class in a file of its own, and their registry."""

from hmopt.errors import DeclarationError
from hmopt.report.material import Material
from hmopt.report.part import ReportPart, Section
from hmopt.report.parts.agreement import AgreementPart
from hmopt.report.parts.anatomy import AnatomyPart
from hmopt.report.parts.beside import BesidePart
from hmopt.report.parts.composed import ComposedPart, RegionalPart
from hmopt.report.parts.cost import CostPart
from hmopt.report.parts.covariates import CovariatesPart
from hmopt.report.parts.drift import DriftPart
from hmopt.report.parts.evaluations import EvaluationsPart
from hmopt.report.parts.gap import AmortizationGapPart
from hmopt.report.parts.gradient import GradientPart
from hmopt.report.parts.granularity import GranularityPart, LabelsPart
from hmopt.report.parts.initialization import InitializationPart
from hmopt.report.parts.origin import DoubtsPart, OtherCohortPart
from hmopt.report.parts.regret import RegretPart
from hmopt.report.parts.subject_prediction import SubjectPredictionPart
from hmopt.report.parts.tradeoff import TradeOffPart
from hmopt.report.parts.uncertainty import UncertaintyPart
from hmopt.report.parts.without_labels import WithoutLabelsPart

PARTS: list[ReportPart] = [
    DoubtsPart(),
    OtherCohortPart(),
    GranularityPart(),
    LabelsPart(),
    TradeOffPart(),
    ComposedPart(),
    RegionalPart(),
    AnatomyPart(),
    CovariatesPart(),
    BesidePart(),
    DriftPart(),
    AgreementPart(),
    RegretPart(),
    AmortizationGapPart(),
    GradientPart(),
    InitializationPart(),
    WithoutLabelsPart(),
    SubjectPredictionPart(),
    UncertaintyPart(),
    EvaluationsPart(),
    CostPart(),
]
"""All parts, in the order in which they stand at their place of the page."""


def add_report_part(part: ReportPart) -> None:
    """Add a part to all reports that are written from now on, after those at the same place.

    Parameters
    ----------
    part
        An object of a subclass of `ReportPart`. A part of the same class that was added before is replaced.

    Raises
    ------
    DeclarationError
        If another part has the same anchor.

    Examples
    --------
    >>> add_report_part(CostPart())
    >>> [part.anchor for part in PARTS][-1]
    'cost'
    """
    for position, known in enumerate(PARTS):
        if known.anchor != part.anchor:
            continue
        if type(known).__qualname__ != type(part).__qualname__:
            raise DeclarationError(
                "report part",
                expected="an anchor that no other part has",
                got=repr(part.anchor),
                advice="Choose another anchor.",
            )
        PARTS[position] = part
        return
    PARTS.append(part)


def make_sections(material: Material) -> dict[ReportPart, Section]:
    """Return the sections of a report by their part; to be called in the figures' `style`."""
    made: dict[ReportPart, Section] = {}
    for part in PARTS:
        if not part.has_needed(material):
            continue
        section = part.section(material)
        if section is not None:
            made[part] = section
    return made
