"""Numbers and names as a report writes them."""

import math
from collections.abc import Sequence
from datetime import timedelta

import humanize

from hmopt.analysis.baselines import BaselineComparison, Budget, Replicates
from hmopt.analysis.cross_validation import SEPARATOR
from hmopt.analysis.gain import Gain
from hmopt.analysis.optimum import Optimum
from hmopt.analysis.resampling import Estimate, Interval
from hmopt.catalogue import METRICS, find_metric, known_hyperparameter
from hmopt.declaration.search import SearchOptions
from hmopt.search.scopes import WHOLE_COHORT, Scope
from hmopt.space import Setting, Space, Value, choice_text

KINDS = {"cohort": "whole cohort", "label": "structure", "task": "task", "subject": "subject"}
MOST_DIGITS = 6
"""Digits that the ends of a narrow interval are given with, at most."""
TASKS = {"within": "within subjects", "cross": "between subjects"}
MOST_MINUTES = 120
"""From this duration on, hours are given."""
MISSING = "–"
"""What stands where a number is not known."""


def symbol(hyperparameter: str) -> str:
    """Return the symbol of a hyperparameter in text and plots.

    Examples
    --------
    >>> symbol("regularization"), symbol("bending_weight")
    ('λ', 'bending weight')
    """
    known = known_hyperparameter(hyperparameter)
    return hyperparameter.replace("_", " ") if known is None else known.symbol


def sentence(clause: str) -> str:
    """Return a clause as a sentence; symbols such as λ stay as they are.

    Examples
    --------
    >>> sentence("no setting is better"), sentence("λ = 0.5 is best")
    ('No setting is better.', 'λ = 0.5 is best.')
    """
    first = clause[0]
    if first.isascii():
        first = first.upper()
    return f"{first}{clause[1:]}."


def value_name(space: Space) -> str:
    """Return the name of what is chosen: the symbol of one hyperparameter, or a setting of several.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> value_name(Space(hyperparameters=(Hyperparameter(name="regularization"),)))
    'λ'
    """
    if len(space.names) > 1:
        return "a setting"
    return symbol(space.names[0])


def best_name(space: Space) -> str:
    """Return the symbol of the best setting.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> best_name(Space(hyperparameters=(Hyperparameter(name="regularization"),)))
    'λ*'
    """
    return ", ".join(f"{symbol(name)}*" for name in space.names)


def metric_name(metric: str, full: bool = False) -> str:
    """Return the name of a metric in text and plots, or its full name, which a page says once.

    Examples
    --------
    >>> metric_name("dice"), metric_name("dice", full=True)
    ('Dice', 'Dice of partial-volume labels')
    """
    if metric not in METRICS:
        return metric
    known = METRICS[metric]
    return known.full_title if full and known.full_title else known.title


def under_limits(search: SearchOptions) -> str:
    """Return how a page calls the limits that a best setting obeys.

    Examples
    --------
    >>> under_limits(SearchOptions()), under_limits(SearchOptions(limits={"hd95_mm": 2.0}))
    ('under the folding limit', 'under the limits')
    """
    return "under the limits" if search.limits else "under the folding limit"


def limit_text(metric: str, limit: float) -> str:
    """Return a limit as a page writes it.

    Examples
    --------
    >>> limit_text("hd95_mm", 2.0), limit_text("similarity", 0.5)
    ('95 % surface distance (mm) at most 2', 'image similarity at least 0.5')
    """
    rises = METRICS[metric].direction == "maximize"
    bound = "at least" if rises else "at most"
    return f"{metric_name(metric)} {bound} {limit:g}"


def kind_name(kinds: Sequence[str]) -> str:
    """Return the name of a family of scopes.

    Examples
    --------
    >>> kind_name(("label", "task"))
    'structure × task'
    """
    names = [KINDS.get(kind, kind.replace("_", " ")) for kind in kinds]
    if not names:
        return KINDS["cohort"]
    return " × ".join(names)


def scope_title(scope: Scope) -> str:
    """Return the name of a scope, as a row of a table has it.

    Examples
    --------
    >>> scope_title(Scope(criteria=(("label", "thalamus"), ("task", "within"))))
    'thalamus, within subjects'
    >>> scope_title(Scope(criteria=()))
    'whole cohort'
    """
    names: list[str] = []
    for kind, value in scope.criteria:
        if value:
            names.append(criterion_name(kind, value))
    return ", ".join(names) or KINDS["cohort"]


def scope_phrase(scope: Scope) -> str:
    """Return the name of a scope inside a sentence.

    Examples
    --------
    >>> scope_phrase(Scope(criteria=()))
    'the whole cohort'
    """
    title = scope_title(scope)
    return title if scope.criteria else f"the {title}"


def criterion_name(kind: str, value: str) -> str:
    """Return the value of a criterion as a page names it.

    Examples
    --------
    >>> criterion_name("task", "cross"), criterion_name("label", "thalamus")
    ('between subjects', 'thalamus')
    """
    if kind == "task":
        return TASKS.get(value, value)
    return value


def shorten(text: str, most: int = 28) -> str:
    """Return a text of at most `most` characters, with an ellipsis where it was cut.

    Examples
    --------
    >>> shorten("left accumbens area", most=12)
    'left accumb…'
    """
    if len(text) <= most:
        return text
    return text[: most - 1] + "…"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits, or a dash where there is none.

    Examples
    --------
    >>> number(0.70049), number(-0.001), number(-0.0001), number(float("nan"))
    ('0.700', '−0.001', '0.000', '–')
    """
    if value == math.inf:
        return "∞"
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:z.{digits}f}"
    return text.replace("-", "−")


def setting_value(value: Value | None) -> str:
    """Return a value of a hyperparameter: a float with the digits it needs, at least two; others as they are.

    Examples
    --------
    >>> setting_value(0.3), setting_value(0.035), setting_value(None)
    ('0.30', '0.035', '–')
    >>> setting_value(12), setting_value("CC")
    ('12', 'CC')
    """
    if isinstance(value, int | str):
        return choice_text(value)
    if value is None or not math.isfinite(value):
        return MISSING
    short = f"{value:.2f}"
    exact = math.isclose(float(short), value, rel_tol=1e-9, abs_tol=1e-12)
    return short if exact else f"{value:.4g}"


def signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign.

    Examples
    --------
    >>> signed(0.0121), signed(-0.004), signed(0.0001)
    ('+0.012', '−0.004', '0.000')
    """
    text = number(value, digits)
    rounds_to_zero = not text.strip("0.")
    positive = value is not None and value > 0
    return f"+{text}" if positive and not rounds_to_zero else text


def digits_of(low: float, high: float, digits: int = 3) -> int:
    """Return with how many digits an interval and its estimate are written: more where its ends would look equal.

    Examples
    --------
    >>> digits_of(0.001, 0.02), digits_of(0.0001, 0.0002), digits_of(math.nan, math.nan)
    (3, 4, 3)
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return digits
    while number(low, digits) == number(high, digits) and digits < MOST_DIGITS:
        digits += 1
    return digits


def spread(low: float, high: float, digits: int = 3) -> str:
    """Return an interval, with more digits where its ends would look equal.

    Examples
    --------
    >>> spread(0.001, 0.02), spread(-0.0002, 0.0001)
    ('0.001 to 0.020', '−0.0002 to 0.0001')
    """
    needed = digits_of(low, high, digits)
    return f"{number(low, needed)} to {number(high, needed)}"


def estimate_value(found: Estimate, digits: int = 3) -> str:
    """Return an estimate with as many digits as its interval has, which stands elsewhere.

    Examples
    --------
    >>> estimate_value(Estimate(0.7, 0.68, 0.72)), estimate_value(Estimate(0.00015, 0.0001, 0.0002))
    ('0.700', '0.0001')
    """
    return number(found.value, digits_of(found.low, found.high, digits))


def signed_value(found: Estimate, digits: int = 3) -> str:
    """Return the same of a difference, with its sign.

    Examples
    --------
    >>> signed_value(Estimate(0.0121, 0.004, 0.02)), signed_value(Estimate(-0.00002, -0.00004, -0.00001))
    ('+0.012', '−0.00002')
    """
    return signed(found.value, digits_of(found.low, found.high, digits))


def estimate_text(found: Estimate, digits: int = 3) -> str:
    """Return an estimate with its interval, where there is one, all with the same digits.

    Examples
    --------
    >>> estimate_text(Estimate(0.7, 0.68, 0.72)), estimate_text(Estimate(0.7, math.nan, math.nan))
    ('0.700 (0.680 to 0.720)', '0.700')
    >>> estimate_text(Estimate(0.00016, 0.00011, 0.00021))
    '0.0002 (0.0001 to 0.0002)'
    """
    value = estimate_value(found, digits)
    if math.isnan(found.low):
        return value
    return f"{value} ({spread(found.low, found.high, digits)})"


def percent(share: float | None) -> str:
    """Return a share as a percentage with two significant digits.

    Examples
    --------
    >>> percent(0.00012), percent(0.0), percent(0.0312), percent(3e-7)
    ('0.012 %', '0 %', '3.1 %', '< 0.001 %')
    >>> percent(0.9951), percent(1.0)
    ('100 %', '100 %')
    """
    if share is None or not math.isfinite(share):
        return MISSING
    if 0 < share < 1e-5:
        return "< 0.001 %"
    if share >= 0.995:  # 1e+02 otherwise
        return whole_percent(share)
    return f"{100 * share:.2g} %"


def whole_percent(share: float) -> str:
    """Return a share in whole percent.

    Examples
    --------
    >>> whole_percent(0.884)
    '88 %'
    """
    return f"{round(100 * share)} %"


def duration(minutes: float) -> str:
    """Return how long something took, to the minute; less than a minute in seconds.

    Examples
    --------
    >>> duration(0.52), duration(1), duration(44.7), duration(125)
    ('31 seconds', '1 minute', '45 minutes', '2 hours and 5 minutes')
    >>> duration(71)
    '71 minutes'
    """
    if minutes < 1:
        length = timedelta(seconds=round(60 * minutes))
        return humanize.precisedelta(length, format="%d")
    if minutes < MOST_MINUTES:
        return plural(round(minutes), "minute")
    length = timedelta(minutes=round(minutes))
    return humanize.precisedelta(
        length,
        minimum_unit="minutes",
        suppress=["days"],
        format="%d",
    )


def setting_interval(found: Interval) -> str:
    """Return the interval of a best value, as a remark below it.

    Examples
    --------
    >>> setting_interval(Interval(0.3, 0.7)), setting_interval(Interval(math.nan, math.nan))
    ('95 % interval 0.30 to 0.70', 'too few subjects for an interval')
    """
    if math.isnan(found.low):
        return "too few subjects for an interval"
    return f"95 % interval {setting_value(found.low)} to {setting_value(found.high)}"


def value_and_interval(value: Value | None, found: Interval) -> str:
    """Return a best value with its interval, where there is one.

    Examples
    --------
    >>> value_and_interval(0.35, Interval(0.3, 0.7)), value_and_interval(0.35, Interval(math.nan, math.nan))
    ('0.35 (0.30 to 0.70)', '0.35')
    """
    text = setting_value(value)
    if math.isnan(found.low):
        return text
    return f"{text} ({setting_value(found.low)} to {setting_value(found.high)})"


def best_interval(optimum: Optimum, name: str) -> str:
    """Return the interval of a best value, or of a categorical one the choices that may be best, as a remark."""
    if name not in optimum.choices:
        return setting_interval(optimum.intervals[name])
    choices = optimum.choices[name]
    if not choices:
        return "too few subjects for a confidence set"
    return f"95 % confidence set: {choices_text(choices)}"


def choices_text(choices: Sequence[Value]) -> str:
    """Return choices of a categorical hyperparameter.

    Examples
    --------
    >>> choices_text(["CC", "MI", True])
    'CC, MI or true'
    """
    return listed([choice_text(choice) for choice in choices], "or")


def interval_remark(estimate: Estimate) -> str:
    """Return the interval of a score, as a remark below it."""
    if math.isnan(estimate.low):
        return "too few subjects for an interval"
    return f"95 % interval {spread(estimate.low, estimate.high)}"


def gain_text(estimate: Estimate, digits: int = 3) -> str:
    """Return a gain with its interval, where there is one, all with the same digits.

    Examples
    --------
    >>> gain_text(Estimate(0.009, 0.007, 0.011)), gain_text(Estimate(0.009, math.nan, math.nan))
    ('+0.009 (0.007 to 0.011)', '+0.009')
    >>> gain_text(Estimate(-0.00002, -0.00004, -0.00001))
    '−0.00002 (−0.00004 to −0.00001)'
    """
    value = signed_value(estimate, digits)
    if math.isnan(estimate.low):
        return value
    return f"{value} ({spread(estimate.low, estimate.high, digits)})"


def changes(metric: str) -> str:
    """Return the verb for a gain in a metric, whose sign is positive for the better.

    Examples
    --------
    >>> f"Dice {changes('dice')} by +0.010", f"distance {changes('hd95_mm')} by +0.5"
    ('Dice changes by +0.010', 'distance improves by +0.5')
    """
    return "changes" if find_metric(metric).direction == "maximize" else "improves"


def setting_text(setting: Setting | None) -> str:
    """Return a setting, each value with its symbol.

    Examples
    --------
    >>> setting_text({"regularization": 0.3, "label_weight": 0.1})
    'λ = 0.30, γ = 0.10'
    """
    if setting is None:
        return "none"
    values: list[str] = []
    for name, value in setting.items():
        text = setting_value(value)
        values.append(f"{symbol(name)} = {text}")
    return ", ".join(values)


def probability(value: float) -> str:
    """Return a p-value.

    Examples
    --------
    >>> probability(0.0156), probability(0.0004), probability(float("nan"))
    ('0.016', '< 0.001', '–')
    """
    return "< 0.001" if value < 0.001 else number(value)


def p_text(value: float) -> str:
    """Return a p-value in a sentence.

    Examples
    --------
    >>> p_text(0.0156), p_text(0.0004)
    ('p = 0.016', 'p < 0.001')
    """
    text = probability(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Return names as a list in a sentence.

    Examples
    --------
    >>> listed(["structure", "task", "subject"], "or"), listed(["task"])
    ('structure, task or subject', 'task')
    """
    *others, final = names
    if not others:
        return final
    first = ", ".join(others)
    return f"{first} {last} {final}"


FEATURES = {
    "intensity": "intensities",
    "gradient": "gradient magnitudes",
    "laplacian": "Laplacians",
}
"""What similarities compare, by the name in `study.toml`."""


def full_resolution_text(iterations: int) -> str:
    """Name the iterations of a refinement at full resolution, in a sentence that has named the others.

    Examples
    --------
    >>> full_resolution_text(5)
    ', and up to 5 more at the resolution of the images, where the regularizer counts in voxels of these'
    >>> full_resolution_text(0)
    ''
    """
    if not iterations:
        return ""
    where = "at the resolution of the images, where the regularizer counts in voxels of these"
    return f", and up to {iterations:,} more {where}"


def features_text(features: Sequence[str]) -> str:
    """Return what a similarity compares, to follow its name.

    Examples
    --------
    >>> features_text(["intensity", "laplacian"])
    'averaged over intensities and Laplacians of the images'
    >>> features_text(["gradient"])
    'computed on gradient magnitudes of the images'
    """
    names = [FEATURES.get(name, name) for name in features]
    kind = "averaged over" if len(names) > 1 else "computed on"
    return f"{kind} {listed(names)} of the images"


def spread_values(low: float, high: float) -> str:
    """Return a range of a hyperparameter's values.

    Examples
    --------
    >>> spread_values(0.35, 0.7)
    '0.35–0.70'
    """
    return f"{setting_value(low)}–{setting_value(high)}"


def verdict(gain: Gain) -> str:
    """Return whether a choice of settings improves held-out scores, as a table says it."""
    if gain.improves:
        return "yes"
    return "no, worse" if gain.harms else gain.evidence.answer


def granularity_name(gain: Gain) -> str:
    """Return the name of a granularity: `label × task` as `structure × task`."""
    return kind_name(gain.name.split(SEPARATOR))


def gain_cells(gain: Gain) -> dict[str, str]:
    """Return the cells of a table's row on a gain, by the heads of their columns."""
    return {
        "mean gain (95 % interval)": gain_text(gain.gain),
        "without pooling": signed(gain.unpooled.value),
        "subjects": str(gain.subjects),
        "p": probability(gain.p_value),
        "p, Holm": probability(gain.p_adjusted),
        "improves?": verdict(gain),
    }


def plural(count: int, noun: str) -> str:
    """Return a noun after its count.

    Examples
    --------
    >>> plural(1, "start"), plural(3, "start")
    ('1 start', '3 starts')
    """
    ending = "" if count == 1 else "s"
    return f"{count} {noun}{ending}"


def family_name(family: Replicates, count: int = 2) -> str:
    """Return the name of trainings of one kind, which differ in their seed alone."""
    kind = "hypermorph" if family.role == "hypermorph" else "separate network"
    ending = "" if count == 1 else "s"
    return f"{kind}{ending} ({family.steps} steps)"


def counted(family: Replicates) -> str:
    """Return how many trainings of one kind were measured at every setting of the grid."""
    count = family.along[WHOLE_COHORT].models
    return f"{count} {family_name(family, count)}"


def interval_text(estimate: Estimate) -> str:
    """Return an interval in brackets after a value.

    Examples
    --------
    >>> interval_text(Estimate(0.002, -0.001, 0.005))
    '95 % interval −0.001 to 0.005'
    """
    if math.isnan(estimate.low):
        return "no interval"
    return f"95 % interval {spread(estimate.low, estimate.high)}"


def budget_text(compared: BaselineComparison, budget: Budget) -> str:
    """Return both sides of a comparison: how many trainings, their steps and the cost of one.

    A comparison says nothing without these, so that they stand in its sentence.
    """
    separate = compared.separate
    starts = plural(separate.along[WHOLE_COHORT].models, "start")
    cost = ""
    if math.isfinite(budget.cost_ratio):
        cost = f", each with {number(budget.cost_ratio, 1)} times the training time of one separate network,"
    rates = ""
    if compared.chosen_rates is not None:
        rates = f", each at its best learning rate among {rates_text(compared.chosen_rates.rates)}"
    return (
        f"{counted(budget.hypermorphs)}{cost} and separate networks with {separate.steps} steps ({starts} per "
        f"setting{rates})"
    )


def rates_text(rates: Sequence[float]) -> str:
    """Return learning rates as a list in words.

    Examples
    --------
    >>> rates_text([0.001, 0.002, 0.004]), rates_text([0.001])
    ('0.001, 0.002 and 0.004', '0.001')
    """
    *others, last = [f"{rate:g}" for rate in rates]
    if not others:
        return last
    return f"{', '.join(others)} and {last}"
