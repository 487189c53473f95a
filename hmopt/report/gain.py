"""What choosing gains, as a report tells it."""

from typing import Any

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.family import SEPARATOR
from hmopt.analysis.gain import Gain
from hmopt.analysis.optimum import TOLERANCE
from hmopt.metric import find_metric
from hmopt.report.material import Material
from hmopt.report.words import kind_name, probability, signed, spread


def worth(material: Material) -> float:
    """Give the smallest gain that is worth a setting of one's own."""
    return TOLERANCE[find_metric(material.searched.search.metric).unit]


def pays(gain: Gain) -> bool:
    """Give whether there is evidence for a gain; a mean below 0 is none, whatever most subjects gain."""
    return gain.evidence is Evidence.FOUND and gain.gain.value > 0


def verdict(gain: Gain, worth: float) -> str:
    """Give whether a setting of one's own matters, as a table says it.

    Parameters
    ----------
    gain
        Tested.
    worth
        The smallest gain that is worth it.
    """
    if pays(gain):
        if gain.gain.low <= 0:
            return "probably"
        return "yes" if gain.gain.value >= worth else "a little"
    if gain.evidence is Evidence.TOO_FEW:
        return "too few subjects"
    if gain.gain.high < 0:
        return "no, it harms"
    return "no" if max(-gain.gain.low, gain.gain.high) <= worth else "no evidence"


def granularity_name(gain: Gain) -> str:
    """Give how a granularity is called."""
    return kind_name(gain.name.split(SEPARATOR))


def gain_cells(gain: Gain, worth: float) -> dict[str, str]:
    """Give the cells of a table that tell a gain, by the heads of their columns."""
    return {
        "mean gain, 95 % interval": f"{signed(gain.gain.value)} ({spread(gain.gain.low, gain.gain.high)})",
        "subjects": str(gain.subjects),
        "p": probability(gain.p_value),
        "p, Holm": probability(gain.p_adjusted),
        "pays?": verdict(gain, worth),
    }


def gain_numbers(gain: Gain) -> dict[str, Any]:
    """Give the numbers of a gain, ready for JSON but for NaN."""
    return {
        "gain": gain.gain.value,
        "interval": [gain.gain.low, gain.gain.high],
        "p_value": gain.p_value,
        "p_adjusted": gain.p_adjusted,
        "subjects": gain.subjects,
        "evidence": gain.evidence.value,
    }
