"""What γ gains on structures that the loss saw, and on the others: `python studies/two_hyperparameters/unseen.py`.

Runs from the committed results; writes `seen_unseen.csv`, `structures.csv`, `profile.csv` and a figure beside them.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hmopt.analysis import (
    Chosen,
    HeldOut,
    Samples,
    choose,
    draw,
    evaluate,
    find_optimum,
    holm,
    jackknife,
    split_subjects,
    sums_between,
)
from hmopt.declaration import SearchOptions
from hmopt.files import replacing
from hmopt.ledger import Measurements
from hmopt.report import MUTED, OTHER, OWN, new_figure, save, style
from hmopt.search import Curve, Curves, Scope
from hmopt.space import Index, Value
from hmopt.study_folder import StudyFolder, read_folder

STUDY = Path(__file__).parent
DRAWS = 1000


def of_labels(measurements: Measurements, labels: Sequence[str]) -> Measurements:
    """Return the measurements of some of the labels."""
    places = [measurements.labels.index(label) for label in labels]
    values = {
        name: array[:, :, places] if array.ndim == 3 else array
        for name, array in measurements.values.items()
    }
    return replace(measurements, labels=tuple(labels), values=values)


def response(measurements: Measurements, metric: str) -> Curve:
    """Return the mean over labels of each pair at each setting."""
    curve = Curves(measurements, metric).of(Scope(criteria=()))
    assert curve is not None
    return curve


def with_images_alone(curve: Curve) -> Curve:
    """Return the part of a response in which γ is 0."""
    kept = curve.values[:, curve.space.names.index("label_weight")] == 0
    settings = tuple(index for index, keep in zip(curve.settings, kept, strict=True) if keep)
    return replace(curve, settings=settings, scores=curve.scores[kept], folding=curve.folding[kept])


class Question:
    """Held-out comparisons over the same divisions and samples of the subjects.

    Parameters
    ----------
    measurements
        The pairs that all responses have in common.
    section
        How subjects are divided.
    """

    def __init__(self, measurements: Measurements, section: SearchOptions) -> None:
        self.moving, self.fixed = (
            measurements.pairs[f"{side}_subject"].to_numpy(dtype=object)
            for side in ("moving", "fixed")
        )
        self.splits = split_subjects(
            sorted({*self.moving, *self.fixed}), section.splits, section.seed
        )
        self.samples: Samples = draw(self.moving, self.fixed, DRAWS, section.seed)
        self.limits = section.all_limits

    def ask(self, judged: Curve, choosing: Curve, over: Curve) -> HeldOut:
        """Judge on one response what another chooses, over what a third one chooses."""
        own, plain = (self._chosen(curve, judged) for curve in (choosing, over))
        default = np.full(len(own), judged.place(judged.space.index(judged.space.default)))
        sides = self.moving[judged.pairs], self.fixed[judged.pairs]
        chosen = Chosen(own=own, common=plain, default=default)
        held_out = self.splits.held_out_pairs(*sides)
        found = evaluate(judged, held_out, chosen, sides, self.splits)
        assert found is not None
        return found

    def _chosen(self, curve: Curve, judged: Curve) -> NDArray[np.intp]:
        """Return the places among the judged settings of what a response chooses in each round."""
        sides = self.moving[curve.pairs], self.fixed[curve.pairs]
        places = choose(sums_between(curve, self.splits, *sides), self.splits.selection)
        among_judged = np.array([*(judged.place(index) for index in curve.settings), -1])
        return np.asarray(among_judged[places])

    def best(self, curve: Curve) -> dict[str, Value]:
        """Return the best setting with its intervals."""
        optimum = find_optimum(curve, self.samples, self.limits)
        row: dict[str, Value] = {"dice": optimum.score.value, "folding": optimum.folding}
        for name, value in optimum.setting.items():
            interval, equal = optimum.intervals[name], optimum.equals[name]
            row |= {name: value, f"{name}_low": interval.low, f"{name}_high": interval.high}
            row |= {f"{name}_equal_low": equal.low, f"{name}_equal_high": equal.high}
        return row


def held_out_row(found: HeldOut) -> dict[str, float]:
    """Return the held-out score and gain as columns."""
    gain = found.over_common
    return {
        **found.score.estimate.columns("held_out"),
        "with_images_alone": found.score.value - gain.value,
        **gain.estimate.columns("gain"),
        "p_value": gain.p_value,
        "subjects": gain.subjects,
    }


def profile(curve: Curve, question: Question) -> pd.DataFrame:
    """Return for each γ of the coarse lattice the Dice at its best λ, and how much that is over γ = 0."""
    table = pd.DataFrame(curve.values, columns=list(curve.space.names)).assign(dice=curve.means)
    coarse = curve.values[:, list(curve.space.names).index("regularization")]
    # the two ends of λ were measured at each γ of the coarse lattice
    ends = table[table["regularization"].isin([coarse.min(), coarse.max()])]
    whole = ends.groupby("label_weight").filter(lambda rows: len(rows) == 2)["label_weight"]
    table = table[table["label_weight"].isin(whole)]
    best = table.loc[table.groupby("label_weight")["dice"].idxmax()]
    plain = curve.scores[best.index[0]]
    sides = question.moving[curve.pairs], question.fixed[curve.pairs]
    gains = [jackknife(curve.scores[place] - plain, *sides).within(0.975) for place in best.index]
    means = [float((curve.scores[place] - plain).mean()) for place in best.index]
    return pd.DataFrame(best).assign(
        gain=means, low=[gain.low for gain in gains], high=[gain.high for gain in gains]
    )


def of_structure(
    measurements: Measurements, metric: str, label: str, chosen: Sequence[Index]
) -> dict[str, object]:
    """Return what one structure gains by the second of two settings over the first, with its interval."""
    curve = response(of_labels(measurements, [label]), metric)
    before, after = (curve.scores[curve.place(setting)] for setting in chosen)
    moving, fixed = (
        measurements.pairs[f"{side}_subject"].to_numpy(dtype=object) for side in ("moving", "fixed")
    )
    gain = jackknife(after - before, moving[curve.pairs], fixed[curve.pairs]).estimate
    row = {
        "structure": label,
        "pairs": len(curve.pairs),
        "with_images_alone": before.mean(),
        "dice": after.mean(),
    }
    return row | gain.columns("gain")


def draw_profiles(profiles: dict[str, pd.DataFrame]) -> Figure:
    """Return the gain over γ = 0 against γ, of both groups of structures."""
    figure = new_figure(5.2, 3.2)
    axes = figure.subplots()
    looks = {"seen": ("s", "--", OTHER, "saw"), "unseen": ("o", "-", OWN, "did not see")}
    for name, table in profiles.items():
        marker, line, color, label = looks[name]
        axes.fill_between(
            table["label_weight"], table["low"], table["high"], color=color, alpha=0.15, lw=0
        )
        axes.plot(
            table["label_weight"], table["gain"], color=color, ls=line, marker=marker, label=label
        )
    axes.axhline(0, color=MUTED, lw=0.8)
    axes.set(xlabel="γ, each at its best λ", ylabel="Dice over γ = 0")
    axes.legend(title="structures that the loss")
    return figure


def main() -> None:
    """Write the tables and the figure."""
    searched, measurements = StudyFolder(STUDY).searched, read_folder(STUDY)
    metric = searched.search.metric
    known = [
        name
        for name in measurements.labels
        if np.isfinite(of_labels(measurements, [name]).array(metric)).any()
    ]
    seen = [name for name in known if name in searched.loss["overlap_labels"]]
    groups = {"seen": seen, "unseen": [name for name in known if name not in seen]}
    curves = {
        name: response(of_labels(measurements, labels), metric) for name, labels in groups.items()
    }
    question = Question(measurements, searched.search)
    rows = [
        {"judged": judged, "chosen_by": chooser, "structures": len(groups[judged])}
        | question.best(curves[chooser])
        | held_out_row(
            question.ask(curves[judged], curves[chooser], with_images_alone(curves[judged]))
        )
        for judged, chooser in (("seen", "seen"), ("unseen", "unseen"), ("unseen", "seen"))
    ]
    table = pd.DataFrame(rows)
    table["p_adjusted"] = holm(table["p_value"].tolist())
    profiles = {name: profile(curve, question) for name, curve in curves.items()}
    plain = with_images_alone(curves["unseen"])
    chosen = [plain.settings[plain.best()], curves["unseen"].settings[curves["unseen"].best()]]
    structures = [
        {"group": group} | of_structure(measurements, metric, label, chosen)
        for group, labels in groups.items()
        for label in labels
    ]
    _write(table, "seen_unseen.csv")
    _write(pd.DataFrame(structures), "structures.csv")
    _write(pd.concat(profiles, names=["structures"]).reset_index(level=0), "profile.csv")
    with style():
        save(draw_profiles(profiles), STUDY / "results" / "figures", "seen-unseen")


def _write(table: pd.DataFrame, name: str) -> None:
    with replacing(STUDY / "results" / name) as path:
        table.round(5).to_csv(path, index=False)
    print(table.T.to_string() if len(table) < 5 else table.to_string(), flush=True)


if __name__ == "__main__":
    main()
