"""READMEs whose numbers are computed from committed files: `python -m studies.readme` writes all of them.

Beside each `README.md` stands its template, `README.md.jinja`. A template takes every number from the `results/` and
the `study.toml` of a study, and says with `require` what must hold for its sentences to be true: where new measurements
change a verdict, the README cannot be written until its text has changed too.
"""

import csv
import json
import math
import re
import statistics
import textwrap
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from hmopt.analysis import (
    COVERAGE,
    FEWEST_SUBJECTS,
    HALF_FROM,
    LEVEL,
    MOST_GROUPS,
    Estimate,
    Evidence,
    jackknife,
    negligible_gap,
)
from hmopt.catalogue import find_metric
from hmopt.declaration import SearchOptions, TrainingOptions
from hmopt.files import replacing
from hmopt.ledger import Comparison, Role
from hmopt.losses import SMALLEST_SHARE
from hmopt.report import (
    CLOSE,
    OTHER_SEEDS,
    words,
)
from hmopt.search import Curves, Scope
from hmopt.study_folder import StudyFolder, read_folder
from studies.synthetic import calibration

ROOT = Path(__file__).parents[1]
SUFFIX = ".jinja"
WIDTH = 100
TOGETHER = re.compile(r"`[^`]*`|[λγp]\*? [=<] [\d−.]+|\d %|\d × \d")
"""What a line break may not part: code, λ = 0.5, p = 0.01, 95 %, 80 × 96."""
NO_BREAK = "\N{NO-BREAK SPACE}"


class Study:
    """The committed files of one study, each read when a template asks for it.

    Parameters
    ----------
    name
        Of its folder below `studies/`.
    root
        Of the project.
    """

    def __init__(self, name: str, root: Path = ROOT) -> None:
        self.folder = root / "studies" / name

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The numbers of its report, and how long it took; in results of earlier versions one file holds both."""
        times = self.folder / "results" / "times.json"
        return {**self.json("summary"), **(self.json("times") if times.is_file() else {})}

    @property
    def has_results(self) -> bool:
        """Whether results are committed: a study that is declared only has none."""
        return (self.folder / "results" / "summary.json").is_file()

    @cached_property
    def declared(self) -> dict[str, Any]:
        """Its `study.toml`."""
        return tomllib.loads((self.folder / "study.toml").read_text(encoding="utf-8"))

    def json(self, name: str) -> Any:
        """Return the content of `results/<name>.json`."""
        return json.loads((self.folder / "results" / f"{name}.json").read_text(encoding="utf-8"))

    def table(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of `results/<name>.csv`, with numbers where there are numbers."""
        with (self.folder / "results" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return [
                {key: _number_or_text(cell) for key, cell in row.items()}
                for row in csv.DictReader(file)
            ]

    def means(self, metric: str, **scope: str) -> dict[float, float]:
        """Return the mean of a metric over the pairs of a scope at each measured λ."""
        curve = Curves(read_folder(self.folder), metric).of(Scope(criteria=tuple(scope.items())))
        assert curve is not None
        return {
            float(value): float(mean)
            for value, mean in zip(curve.values[:, 0], curve.means, strict=True)
        }

    def largest(self, metric: str) -> float:
        """Return the largest value of a metric over all pairs, at any λ."""
        curve = Curves(read_folder(self.folder), metric).of(Scope(criteria=()))
        assert curve is not None
        return float(curve.scores.max())

    def worst_pair(self, metric: str) -> tuple[str, float, float]:
        """Return the pair with the lowest score at the default setting, its score, and the next lowest score."""
        rows = self.at_default(metric).sort_values("score")
        worst, next_worst, *_ = rows["score"].tolist()
        first = rows.iloc[0]
        return f"{first['moving']} to {first['fixed']}", worst, next_worst

    def difference_at_default(
        self, other: "Study", metric: str, again: "Study | None" = None
    ) -> tuple[Estimate, int]:
        """Return how much better it is than another study, and on how many pairs.

        Both at their default settings, for which nothing was chosen, on the pairs that both have. Pairs
        of the other study that were run again take their new scores.
        """
        ours, theirs = self.at_default(metric), other.at_default(metric)
        if again is not None:
            theirs.update(again.at_default(metric)[["score"]])
        shared = theirs.index.intersection(ours.index)
        subjects = theirs.loc[shared]
        difference = jackknife(
            (ours["score"][shared] - theirs["score"][shared]).to_numpy(),
            subjects["moving_subject"].to_numpy(),
            subjects["fixed_subject"].to_numpy(),
        )
        return difference.estimate, len(shared)

    def at_default(self, metric: str) -> pd.DataFrame:
        """Return the score of every pair at the default setting, with its subjects, by the name of the pair."""
        measurements = read_folder(self.folder)
        default = measurements.space.index(measurements.space.default)
        scores = measurements.score(metric)[measurements.settings.index(default)]
        return measurements.pairs.assign(score=scores).set_index("pair")

    @cached_property
    def beside(self) -> dict[str, Any]:
        """The methods that its report sets side by side, from its summary."""
        return dict(self.summary["beside"])

    def beside_table(self) -> str:
        """Return these methods as a table in Markdown: score, difference to the first, time and what tuning took."""
        found = self.beside
        first, *_ = found["entries"]
        title = words.metric_name(found["metric"])
        lines = [
            f"| | pairs | {title} | difference to {first} | verdict | seconds | folded | registrations to tune |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name, entry in found["entries"].items():
            against = beside_difference(found, name, first)
            difference, verdict = words.MISSING, words.MISSING
            if against is not None:
                difference = words.gain_text(against.estimate)
                verdict = against.verdict
            score = entry["score"]
            cells = [
                name,
                str(entry["pairs"]),
                words.MISSING if score is None else words.number(score[0]),
                difference,
                verdict,
                _seconds(entry["seconds"]),
                words.percent(entry["folding"]),
                f"{entry['evaluations']:,}" if entry["evaluations"] else words.MISSING,
            ]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def without_labels_table(self) -> str:
        """Return what is lost where the cohort's λ is chosen by a metric without labels, as a table in Markdown."""
        lines = [
            "| λ chosen by | λ | loss of held-out Dice (95 % interval) | verdict |",
            "| --- | --- | --- | --- |",
        ]
        found = self.summary["regret_without_labels"]
        for name, one in found.items():
            cells = [
                words.metric_name(name),
                words.setting_value(one["setting"]["regularization"]),
                _loss(one["regret"], one["interval"]),
                _lost(one),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        one = next(iter(found.values()))
        default = self.declared["hyperparameters"]["regularization"]["default"]
        loss = _loss(one["regret_at_default"], one["regret_at_default_interval"])
        lines.append(
            f"| nothing: the default | {words.setting_value(default)} | {loss} | {words.MISSING} |"
        )
        return "\n".join(lines)

    @cached_property
    def comparison(self) -> Comparison:
        """Who was compared with its model."""
        found = StudyFolder(self.folder).comparison
        assert found is not None
        return found

    def networks(self, role: str) -> int:
        """Return how many networks of a role a comparison trained; ensembles average the same ones."""
        return sum(
            one.networks
            for one in self.comparison.baselines
            if one.role == role and len(one.seeds) == 1
        )

    def trained_networks(self, role: str) -> int:
        """Return the same with those at learning rates that were tried and not chosen."""
        trials = [len(one["tune_dice"]) for one in self.summary["separate_rates"]]
        not_chosen = sum(trials) - len(trials) if role == "separate" else 0
        return self.networks(role) + not_chosen

    def best_of_starts(self, role: Role, steps: int) -> list[float]:
        """Return the best λ of each random start that was measured at every λ of the grid."""
        best = []
        for one in self.comparison.singles(role, steps):
            curve = Curves(StudyFolder(self.folder).baseline_measurements(one), "dice").of(
                Scope(criteria=())
            )
            assert curve is not None
            if len(curve.settings) == len(self.comparison.grid):
                best.append(float(curve.values[curve.best(), 0]))
        return best


@dataclass(frozen=True, kw_only=True)
class BesideDifference:
    """How much better one method is than another, from a summary.

    Parameters
    ----------
    estimate
        The mean difference with its interval.
    verdict
        `better`, `worse`, `negligible`, `no evidence` or `too few subjects`.
    pairs
        Number of pairs.
    """

    estimate: Estimate
    verdict: str
    pairs: int


SHORT_S = 0.1
"""Seconds below which hundredths are too coarse."""


def beside_difference(
    found: dict[str, Any], one: str, other: str, label: str | None = None
) -> BesideDifference | None:
    """Return how much better one method is than another, over all structures or for one; None where it is not known.

    Parameters
    ----------
    found
        `beside` of a summary.
    one, other
        Titles of the methods, as `"ANTs, tuned"`.
    label
        A structure; None: mean over all.
    """
    turned = {"better": "worse", "worse": "better"}
    for known in found["differences"]:
        if known["label"] != label:
            continue
        low, high = [math.nan if end is None else end for end in known["interval"]]
        value = known["difference"]
        verdict = known["verdict"]
        if (known["first"], known["second"]) == (one, other):
            return BesideDifference(
                estimate=Estimate(value, low, high), verdict=verdict, pairs=known["pairs"]
            )
        if (known["first"], known["second"]) == (other, one):
            return BesideDifference(
                estimate=Estimate(-value, -high, -low),
                verdict=turned.get(verdict, verdict),
                pairs=known["pairs"],
            )
    return None


def _loss(value: float, interval: Sequence[float | None]) -> str:
    """Return a loss with its interval, without where all subjects lose the same."""
    low, high = interval
    if low is None or high is None:
        return words.number(value, 4)
    return words.estimate_text(Estimate(value, low, high), 4)


def _lost(found: dict[str, Any]) -> str:
    """Return a verdict on a loss in words."""
    if found["evidence"] != Evidence.FOUND.value:
        return str(found["evidence"])
    return "loses" if found["regret"] > 0 else "gains"


def _number_or_text(cell: str) -> float | int | str | None:
    if cell == "":
        return None
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def require(condition: object) -> None:
    """Check what a sentence rests on.

    Raises
    ------
    AssertionError
        If it does not hold: the text must change.
    """
    if not condition:
        raise AssertionError("a sentence of this template does not hold any more: change its words")


def _known(value: float | None) -> float:
    if value is None:
        raise AssertionError("a number that the template cites is not known: change its words")
    return value


CARRIES_OVER = {
    "yes": "λ* carries over",
    "no": "λ* does not carry over",
    "inconclusive": "it is inconclusive whether λ* carries over",
    "too few subjects": "too few subjects to say whether λ* carries over",
}
"""What a sentence says of a best setting of elsewhere, by the verdict of `carries_over`."""


def carries_over(found: dict[str, Any]) -> str:
    """Return whether a best setting of elsewhere would do: a key of `CARRIES_OVER`.

    Parameters
    ----------
    found
        A scope of `other_cohort` in a summary.

    Examples
    --------
    >>> carries_over({"would_do": False, "says": "no evidence"})
    'inconclusive'
    """
    if found["would_do"]:
        return "yes"
    says = found["says"]
    if says == Evidence.FOUND.value:
        return "no"
    if says is None or says == Evidence.TOO_FEW.value:
        return "too few subjects"
    return "inconclusive"


def by_verdict(scopes: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Return the names of scopes by the verdict of `carries_over`, the verdicts in the order of `CARRIES_OVER`."""
    named: dict[str, list[str]] = {}
    for verdict in CARRIES_OVER:
        names = [name for name, found in scopes.items() if carries_over(found) == verdict]
        if names:
            named[verdict] = names
    return named


def score_on_shared_pairs(found: dict[str, Any], one: str, other: str) -> float:
    """Return the score of a method on the pairs that it shares with another one that was measured on fewer.

    It is the score of the other one plus their mean difference, over all structures.

    Parameters
    ----------
    found
        `beside` of a summary.
    one, other
        Titles of the methods; every pair of the other is one of the first.

    Raises
    ------
    AssertionError
        If their difference is not known, or not of all pairs of the other.
    """
    difference = beside_difference(found, one, other)
    entry = found["entries"][other]
    if difference is None or difference.pairs != entry["pairs"]:
        raise AssertionError(f"{one} was not measured on all pairs of {other}")
    return float(entry["score"][0] + difference.estimate.value)


def _seconds(value: float | None) -> str:
    """Return the seconds of a pair in a table, with two significant digits at least.

    Examples
    --------
    >>> _seconds(0.00081), _seconds(14.405)
    ('0.00081', '14.41')
    """
    if value is None or not 0 < value < SHORT_S:
        return words.number(value, 2)
    return f"{value:.2g}"


def seconds_text(value: float) -> str:
    """Return seconds with as many digits as they need beside others.

    Examples
    --------
    >>> seconds_text(0.0227), seconds_text(1.028), seconds_text(265.33)
    ('0.023 s', '1.03 s', '265.3 s')
    """
    count = 3
    if value >= 0.1:
        count = 2
    if value >= 10:
        count = 1
    return f"{words.number(_known(value), count)} s"


def with_evidence(gains: dict[str, dict[str, Any]], better: bool = True) -> list[str]:
    """Return the names for which there is evidence of a gain, or of a loss."""
    return [
        name
        for name, found in gains.items()
        if found["evidence"] == Evidence.FOUND.value and (found["gain"] > 0) == better
    ]


def digits(count: int) -> Any:
    """Return a filter that writes a number with so many digits after the point."""
    return lambda value: words.number(_known(value), count)


def gain_with_interval(found: Any, count: int = 3) -> str:
    """Return a difference with its sign and its interval, from a list of three or a table of a summary."""
    value, low, high = _estimate(found)
    return words.gain_text(Estimate(value, _known(low), _known(high)), count)


def estimate_with_interval(found: Any, count: int = 3) -> str:
    """Return the same without the sign."""
    value, low, high = _estimate(found)
    return words.estimate_text(Estimate(value, _known(low), _known(high)), count)


def _estimate(found: Any) -> Sequence[float]:
    if isinstance(found, dict):
        return [found["gain"], *found["interval"]]
    return list(found)


def carried_over(found: dict[str, Any], margin: float) -> str:
    """Return whether a best setting of elsewhere would do, and why, from a scope of `other_cohort`."""
    if found["would_do"]:
        return f"it carries over, as it loses less than {margin:g} with confidence"
    if found["says"] == Evidence.FOUND.value:
        return "it does not carry over, as there is evidence of a loss"
    if found["says"] == Evidence.TOO_FEW.value:
        return "there are too few subjects to tell"
    return (
        "inconclusive, as it is neither a significant loss nor shown to be a loss of less than "
        f"{margin:g}"
    )


def setting_with_interval(scope: dict[str, Any], name: str = "regularization") -> str:
    """Return the best value of a hyperparameter with its interval, from a scope of a summary."""
    return f"{words.setting_value(scope[name])} ({settings_interval(scope[f'{name}_interval'])})"


def settings_interval(ends: Sequence[float | None]) -> str:
    """Return an interval of a hyperparameter."""
    low, high = ends
    return f"{words.setting_value(_known(low))} to {words.setting_value(_known(high))}"


def listed_settings(values: Sequence[float]) -> str:
    """Return values of a hyperparameter as a sentence lists them."""
    *others, last = [words.setting_value(value) for value in values]
    return f"{', '.join(others)} and {last}" if others else last


def share(value: float | None) -> str:
    """Return a share as a percentage with at most one digit after the point."""
    return f"{words.number(100 * _known(value), 1).removesuffix('.0')} %"


def simulated_gain() -> dict[str, float]:
    """Return the true gains of the simulated cohorts that tests must find: `cohort` and `label`, for an outer label.

    They are of the best single setting over the default, and of a label's own setting over the best single one.
    """
    curves = calibration.GAIN
    default = len(curves[0]) // 2
    best = int(curves.mean(axis=0).argmax())
    return {
        "cohort": float(curves[:, best].mean() - curves[:, default].mean()),
        "label": float(curves[0].max() - curves[0][best]),
    }


FILTERS = {
    "d0": digits(0),
    "d1": digits(1),
    "d2": digits(2),
    "d3": digits(3),
    "d4": digits(4),
    "signed": lambda value, count=3: words.signed(_known(value), count),
    "gain": gain_with_interval,
    "estimate": estimate_with_interval,
    "carried_over": carried_over,
    "interval": lambda ends, count=3: words.spread(_known(ends[0]), _known(ends[1]), count),
    "setting": lambda value: words.setting_value(_known(value)),
    "settings": listed_settings,
    "best": setting_with_interval,
    "settings_interval": settings_interval,
    "equivalent": lambda ends: words.spread_values(_known(ends[0]), _known(ends[1])),
    "percent": lambda value: words.percent(_known(value)),
    "share": share,
    "p": lambda value: words.p_text(_known(value)),
    "seconds": seconds_text,
    "minutes": lambda value: f"{round(_known(value))} minutes",
    "listed": words.listed,
    "middle": statistics.median,
    "thousands": lambda value: f"{value:,}",
}

DEFINED = {
    "margin": find_metric("dice").tolerance,
    "gap_margin": negligible_gap("dice"),
    "level": LEVEL,
    "least": FEWEST_SUBJECTS,
    "half_from": HALF_FROM,
    "most_groups": MOST_GROUPS,
    "coverage": COVERAGE,
    "close": CLOSE,
    "other_seeds": OTHER_SEEDS,
    "cohorts_with_gain": calibration.COHORTS_WITH_GAIN,
    "labels_simulated": calibration.LABELS,
    "simulated_gain": simulated_gain(),
    "settings_per_step": TrainingOptions.model_fields["settings_per_step"].default,
    "divisor": f"max(1 − λ, {SMALLEST_SHARE:g})",
    "splits": SearchOptions.model_fields["splits"].default,
}
"""Numbers of the method, from the code that uses them."""


def faults(root: Path = ROOT) -> list[dict[str, Any]]:
    """Return what came of disturbing commands: the rows that `make faults` has written."""
    path = root / "tests" / "faults" / "results.json"
    return list(json.loads(path.read_text(encoding="utf-8")))


def templates(root: Path = ROOT) -> list[Path]:
    """Return all templates of the project."""
    found = [
        root.glob(f"*.md{SUFFIX}"),
        (root / "studies").glob(f"*/*.md{SUFFIX}"),
        (root / "docs").rglob(f"*.md{SUFFIX}"),
    ]
    return sorted(path for paths in found for path in paths)


def render(template: Path, root: Path = ROOT) -> str:
    """Return the text of a template with the numbers of the committed files."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters.update(FILTERS)
    source = environment.from_string(template.read_text(encoding="utf-8"))
    return wrap(
        source.render(
            study=lambda name: Study(name, root),
            faults=lambda: faults(root),
            require=require,
            with_evidence=with_evidence,
            beside_difference=beside_difference,
            carries_over=carries_over,
            carries_over_text=CARRIES_OVER,
            by_verdict=by_verdict,
            score_on_shared_pairs=score_on_shared_pairs,
            **DEFINED,
        )
    )


def wrap(text: str) -> str:
    """Return Markdown whose paragraphs and list items fill lines of at most `WIDTH` characters.

    Code blocks, tables, headings and pictures stay as they are.
    """
    lines: list[str] = []
    paragraph: list[str] = []
    in_code = False

    def flush() -> None:
        if not paragraph:
            return
        indent = "  " if paragraph[0].startswith("- ") else ""
        joined = " ".join(line.strip() for line in paragraph)
        together = TOGETHER.sub(lambda match: match.group().replace(" ", NO_BREAK), joined)
        filled = textwrap.wrap(
            together,
            WIDTH,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines.extend(line.replace(NO_BREAK, " ") for line in filled)
        paragraph.clear()

    for line in text.splitlines():
        fence = line.startswith("```")
        if fence or in_code or not line.strip() or line.startswith(("|", "#", "![")):
            flush()
            lines.append(line if in_code else line.rstrip())
            in_code = in_code != fence
            continue
        if line.startswith("- "):
            flush()
        paragraph.append(line)
    flush()
    return "\n".join(lines).strip("\n") + "\n"


def write_all(root: Path = ROOT) -> list[Path]:
    """Write every README beside its template; return the paths."""
    written = []
    for template in templates(root):
        with replacing(template.with_suffix("")) as path:
            path.write_text(render(template, root), encoding="utf-8")
        written.append(template.with_suffix(""))
    return written


if __name__ == "__main__":
    for readme in write_all():
        print(readme.relative_to(ROOT))
