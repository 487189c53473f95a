"""Numbers and names as a report writes them."""

import math
from collections.abc import Sequence

from hmopt.analysis.resampling import Estimate, Interval
from hmopt.catalogue import HYPERPARAMETERS, METRICS
from hmopt.search.scopes import Scope
from hmopt.space import Space

MOST_DIGITS = 7
"""Digits with which the ends of an interval are told apart, at most."""

KINDS = {"cohort": "all together", "label": "structure", "task": "task", "subject": "subject"}
MOST_DIGITS = 6
"""Digits that the ends of a narrow interval are given with, at most."""
TASKS = {"within": "within subjects", "cross": "between subjects"}


def symbol(hyperparameter: str) -> str:
    """Give how a hyperparameter is called in text and plots.

    Examples
    --------
    >>> symbol("regularization"), symbol("bending_weight")
    ('λ', 'bending weight')
    """
    known = HYPERPARAMETERS.get(hyperparameter)
    return hyperparameter.replace("_", " ") if known is None else known.symbol


def value_name(space: Space) -> str:
    """Give what one chooses, without an article.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> value_name(Space(hyperparameters=(Hyperparameter(name="regularization"),)))
    'λ'
    """
    return symbol(space.names[0]) if len(space.names) == 1 else "a setting"


def metric_name(metric: str, full: bool = False) -> str:
    """Give how a metric is called in text and plots, or by its full name, which a page says once.

    Examples
    --------
    >>> metric_name("dice"), metric_name("dice", full=True)
    ('Dice', 'Dice of partial-volume labels')
    """
    if metric not in METRICS:
        return metric
    known = METRICS[metric]
    return known.full_title if full and known.full_title else known.title


def kind_name(kinds: Sequence[str]) -> str:
    """Give how a family of scopes is called.

    Examples
    --------
    >>> kind_name(("label", "task"))
    'structure × task'
    """
    return " × ".join(KINDS.get(kind, kind.replace("_", " ")) for kind in kinds) or KINDS["cohort"]


def scope_title(scope: Scope) -> str:
    """Give how a scope is called."""
    values = [
        TASKS.get(value, value) if kind == "task" else value for kind, value in scope.criteria
    ]
    return ", ".join(value for value in values if value) or KINDS["cohort"]


def shorten(text: str, most: int = 28) -> str:
    """Give a text of at most `most` characters, with dots where something is left out.

    Examples
    --------
    >>> shorten("left accumbens area", most=12)
    'left accumb…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def number(value: float | None, digits: int = 3) -> str:
    """Give a number with fixed digits, or a dash where there is none.

    Examples
    --------
    >>> number(0.70049), number(-0.001), number(-0.0001), number(float("nan"))
    ('0.700', '−0.001', '0.000', '–')
    """
    if value is None or not math.isfinite(value):
        return "∞" if value == math.inf else "–"
    return f"{value:z.{digits}f}".replace("-", "−")


def setting_value(value: float | None) -> str:
    """Give a hyperparameter's value, with the digits it needs and at least two.

    Examples
    --------
    >>> setting_value(0.3), setting_value(0.035), setting_value(None)
    ('0.30', '0.035', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    short = f"{value:.2f}"
    return (
        short if math.isclose(float(short), value, rel_tol=1e-9, abs_tol=1e-12) else f"{value:.4g}"
    )


def signed(value: float | None, digits: int = 3) -> str:
    """Give a difference with its sign.

    Examples
    --------
    >>> signed(0.0121), signed(-0.004), signed(0.0001)
    ('+0.012', '−0.004', '0.000')
    """
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and text.strip("0.") else text


def spread(low: float, high: float, digits: int = 3) -> str:
    """Give an interval, with more digits where its ends would read as one number.

    Examples
    --------
    >>> spread(0.001, 0.02), spread(-0.0002, 0.0001)
    ('0.001 to 0.020', '−0.0002 to 0.0001')
    """
    while digits < MOST_DIGITS and number(low, digits) == number(high, digits):
        digits += 1
    return f"{number(low, digits)} to {number(high, digits)}"


def percent(share: float | None) -> str:
    """Give a share as a percentage, with the digits that small shares need.

    Examples
    --------
    >>> percent(0.00012), percent(0.0), percent(0.0312), percent(3e-7)
    ('0.012 %', '0 %', '3.1 %', '< 0.001 %')
    """
    if share is None or not math.isfinite(share):
        return "–"
    return "< 0.001 %" if 0 < share < 1e-5 else f"{100 * share:.2g} %"


def setting_interval(found: Interval) -> str:
    """Give the interval of a best value, as the remark below it.

    Examples
    --------
    >>> setting_interval(Interval(0.3, 0.7)), setting_interval(Interval(math.nan, math.nan))
    ('95 % interval 0.30 to 0.70', 'too few subjects for an interval')
    """
    if math.isnan(found.low):
        return "too few subjects for an interval"
    return f"95 % interval {setting_value(found.low)} to {setting_value(found.high)}"


def interval_remark(estimate: Estimate) -> str:
    """Give the interval of a score, as the remark below it."""
    if math.isnan(estimate.low):
        return "too few subjects for an interval"
    return f"95 % interval {spread(estimate.low, estimate.high)}"


def gain_text(estimate: Estimate) -> str:
    """Give a gain with its interval, where there is one.

    Examples
    --------
    >>> gain_text(Estimate(0.009, 0.007, 0.011)), gain_text(Estimate(0.009, math.nan, math.nan))
    ('+0.009 (0.007 to 0.011)', '+0.009')
    """
    known = "" if math.isnan(estimate.low) else f" ({spread(estimate.low, estimate.high)})"
    return f"{signed(estimate.value)}{known}"


def setting_text(setting: dict[str, float] | None) -> str:
    """Give a setting, each value with its symbol.

    Examples
    --------
    >>> setting_text({"regularization": 0.3, "label_weight": 0.1})
    'λ = 0.30, γ = 0.10'
    """
    if setting is None:
        return "none"
    return ", ".join(f"{symbol(name)} = {setting_value(value)}" for name, value in setting.items())


def probability(value: float) -> str:
    """Give a p-value.

    Examples
    --------
    >>> probability(0.0156), probability(0.0004), probability(float("nan"))
    ('0.016', '< 0.001', '–')
    """
    return "< 0.001" if value < 0.001 else number(value)


def p_text(value: float) -> str:
    """Give a p-value in a sentence.

    Examples
    --------
    >>> p_text(0.0156), p_text(0.0004)
    ('p = 0.016', 'p < 0.001')
    """
    text = probability(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Give names as a sentence lists them.

    Examples
    --------
    >>> listed(["structure", "task", "subject"], "or"), listed(["task"])
    ('structure, task or subject', 'task')
    """
    return f" {last} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def spread_values(low: float, high: float) -> str:
    """Give a range of a hyperparameter's values.

    Examples
    --------
    >>> spread_values(0.35, 0.7)
    '0.35–0.70'
    """
    return f"{setting_value(low)}–{setting_value(high)}"
