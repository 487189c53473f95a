"""What choosing gains, as a report tells it."""

from typing import Any

from hmopt.analysis.cross_validation import SEPARATOR
from hmopt.analysis.gain import Gain
from hmopt.report import words
from hmopt.report.words import kind_name, probability, signed


def verdict(gain: Gain) -> str:
    """Give whether a choice improves held-out scores, as a table says it."""
    if gain.improves:
        return "yes"
    return "no, it loses" if gain.harms else gain.evidence.answer


def granularity_name(gain: Gain) -> str:
    """Give how a granularity is called."""
    return kind_name(gain.name.split(SEPARATOR))


def gain_cells(gain: Gain) -> dict[str, str]:
    """Give the cells of a table that tell a gain, by the heads of their columns."""
    return {
        "mean gain, 95 % interval": words.gain_text(gain.gain),
        "without pooling": signed(gain.unpooled.value),
        "subjects": str(gain.subjects),
        "p": probability(gain.p_value),
        "p, Holm": probability(gain.p_adjusted),
        "improves?": verdict(gain),
    }


def gain_numbers(gain: Gain) -> dict[str, Any]:
    """Give the numbers of a gain, ready for JSON but for NaN."""
    return {
        "over": gain.over,
        "gain": gain.gain.value,
        "interval": [gain.gain.low, gain.gain.high],
        "gain_unpooled": gain.unpooled.value,
        "interval_unpooled": [*gain.unpooled.interval],
        "p_value": gain.p_value,
        "p_adjusted": gain.p_adjusted,
        "subjects": gain.subjects,
        "choosing": gain.choosing,
        "evidence": gain.evidence.value,
    }
