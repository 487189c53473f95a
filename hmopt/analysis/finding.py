"""Everything that measurements say about each scope."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.family import families
from hmopt.analysis.flag import FEW, Flag, find_flags, response_flags
from hmopt.analysis.held_out import HeldOut, Sums, choose, divide, judge, sums_between
from hmopt.analysis.optimum import Optimum, find_optimum
from hmopt.analysis.pooling import FEWEST_SCOPES, Member, pooled_places
from hmopt.analysis.source import Source, View, subject_of
from hmopt.catalogue import find_metric
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.progress import Track, silent
from hmopt.search.curve import Curve, gain
from hmopt.search.scopes import Scope
from hmopt.space import Index, Setting

FEWEST_SETTINGS = 3
"""Settings that the scopes of a family must share for their curves to be pooled."""


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What another metric than the optimized one says about a scope.

    Parameters
    ----------
    at_optimum
        Its mean at the best setting by the optimized metric; NaN where it was not measured there.
    optimum
        Its own best setting, for a metric of labels; None for one of whole pairs, such as folding, whose best value is
        reached where nothing is registered.
    """

    at_optimum: float
    optimum: Optimum | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is known about one scope.

    Parameters
    ----------
    scope
        Whom or what the setting is chosen for.
    full, half
        At full and at half training; None where half training was not measured.
    recommended
        The setting to use for the scope: the best one of its curve, pooled with the curves of its family.
    held_out
        Scores of the recommended setting on held-out subjects; None where there are too few for that.
    held_out_unpooled
        The same of the best setting of the scope's own curve alone.
    common
        The best single setting for all pairs and labels; None where no setting was measured for all of them.
    reported
        What the other measured metrics say, by name.
    score_unregistered
        The scope's score before registration, over the same pairs; NaN where that was not measured.
    score_at_recommended, score_at_common, score_at_default, score_unregularized
        The scope's score at the recommended setting, at the best single setting for all, at the default, and with
        `regularization` at its lowest and the rest at the default; NaN where that was not measured.
    subjects
        How many subjects its pairs are of.
    flags
        Warnings.
    """

    scope: Scope
    full: View
    half: View | None
    recommended: Setting
    held_out: HeldOut | None
    held_out_unpooled: HeldOut | None
    common: Setting | None
    reported: Mapping[str, Reported]
    score_unregistered: float
    score_at_recommended: float
    score_at_common: float
    score_at_default: float
    score_unregularized: float
    subjects: int
    flags: tuple[Flag, ...]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The setting chosen for a scope on all subjects, and what it scores on held-out ones.

    Parameters
    ----------
    scope
        Whom or what it is chosen for.
    recommended
        With the curves of its family.
    held_out, held_out_unpooled
        As of a finding.
    """

    scope: Scope
    recommended: Index
    held_out: HeldOut | None
    held_out_unpooled: HeldOut | None


class CrossValidation:
    """Held-out scores of many scopes over the same divisions of the subjects.

    Parameters
    ----------
    source
        The measurements.
    section
        How many random divisions, and their seed.
    """

    def __init__(self, source: Source, section: SearchOptions) -> None:
        self.source = source
        subjects = sorted({*source.moving, *source.fixed})
        self.splits = divide(subjects, section.splits, section.seed)
        everything = source.curves.of(Scope(criteria=()))
        self.common: Index | None = None
        self._commons: list[Index | None] = [None] * len(self.splits.chooses)
        if everything is not None:
            self.common = everything.settings[everything.best()]
            places = choose(self._sums(everything), self.splits.chooses)
            self._commons = [None if place < 0 else everything.settings[place] for place in places]

    def recommended(self, responses: Sequence[Curve]) -> list[Index]:
        """Choose a setting for each scope of one family on all subjects.

        Parameters
        ----------
        responses
            Their curves.
        """
        shared = _shared_settings(responses)
        return self._recommended(responses, self._members(responses, shared), shared)

    def choices(self, responses: Sequence[Curve]) -> list[Choice]:
        """Choose settings for the scopes of one family, and judge them.

        Parameters
        ----------
        responses
            Their curves.
        """
        own = [choose(self._sums(response), self.splits.chooses) for response in responses]
        shared = _shared_settings(responses)
        members = self._members(responses, shared)
        recommended = self._recommended(responses, members, shared)
        pooled = own
        if members:
            rounds = pooled_places(members, self.splits.chooses)
            pooled = [
                _moved(places, shared, one) for places, one in zip(rounds, responses, strict=True)
            ]
        return [
            self._choice(*found) for found in zip(responses, recommended, pooled, own, strict=True)
        ]

    def _members(self, responses: Sequence[Curve], shared: Sequence[Index]) -> list[Member]:
        """Return the scopes of a family with their sums at the shared settings; none where nothing is pooled."""
        if len(responses) < FEWEST_SCOPES or len(shared) < FEWEST_SETTINGS:
            return []
        return [
            Member(sums=self._sums(response.at(shared)), group=self._group(response.scope))
            for response in responses
        ]

    def _recommended(
        self, responses: Sequence[Curve], members: Sequence[Member], shared: Sequence[Index]
    ) -> list[Index]:
        if not members:
            return [response.settings[response.best()] for response in responses]
        everyone = np.ones((1, self.splits.chooses.shape[1]), dtype=bool)
        return [shared[place] for place in pooled_places(members, everyone)[:, 0]]

    def _choice(
        self, response: Curve, recommended: Index, pooled: NDArray[np.intp], own: NDArray[np.intp]
    ) -> Choice:
        held_out = self._held_out(response, pooled)
        same = np.array_equal(pooled, own)
        return Choice(
            scope=response.scope,
            recommended=recommended,
            held_out=held_out,
            held_out_unpooled=held_out if same else self._held_out(response, own),
        )

    def _held_out(self, response: Curve, places: NDArray[np.intp]) -> HeldOut | None:
        moving, fixed = self._sides(response)
        judging = self.splits.judges(moving, fixed)
        group = self._group(response.scope)
        if group is not None:
            # the subject that a scope is about serves all its pairs: it must be among those who choose
            judging = judging & self.splits.chooses[:, [group]]
        common = np.array(
            [-1 if index is None else response.place(index) for index in self._commons]
        )
        default = np.full(len(common), response.place(response.space.index(response.space.default)))
        chosen = (places, common, default)
        return judge(response, judging, chosen, (moving, fixed), self.splits.choosing)

    def _group(self, scope: Scope) -> int | None:
        subject = subject_of(scope)
        return (
            None
            if subject is None
            else int(self.splits.groups_of(np.array([subject], dtype=object))[0])
        )

    def _sides(self, response: Curve) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        moving, fixed = self.source.sides(response.scope)
        if moving is fixed:
            partner = moving[response.pairs]
            return partner, partner
        return moving[response.pairs], fixed[response.pairs]

    def _sums(self, response: Curve) -> Sums:
        return sums_between(response, self.splits, *self._sides(response))


def _shared_settings(responses: Sequence[Curve]) -> list[Index]:
    return sorted(set.intersection(*(set(response.settings) for response in responses)))


def _moved(places: NDArray[np.intp], shared: Sequence[Index], response: Curve) -> NDArray[np.intp]:
    """Return the places among a curve's own settings of places among those that its family shares."""
    own = np.array([*(response.place(index) for index in shared), -1])
    return np.asarray(own[places])


def find_all(
    measurements: Measurements,
    half: Measurements | None,
    scopes: Sequence[Scope],
    section: SearchOptions,
    track: Track = silent,
    before: Measurements | None = None,
) -> list[Finding]:
    """Give what is known about each scope that anything was measured for.

    Parameters
    ----------
    measurements, half
        Of the model at full and at half training.
    scopes
        Whom or what settings are chosen for. Those of the same kinds are a family, whose curves are pooled.
    section
        Metric, folding limit, margin, divisions of the subjects and seed.
    track
        Who listens to progress.
    before
        Of the same pairs before registration.
    """
    source = Source(measurements, section)
    halfway = None if half is None else Source(half, section)
    others = {
        name: Source(measurements, section.model_copy(update={"metric": name}))
        for name in section.reported
        if name in measurements.values and name != section.metric
    }
    validation = CrossValidation(source, section)
    views = {scope: view for scope in scopes if (view := source.view(scope)) is not None}
    choices = choose_for_all(validation, {scope: view.response for scope, view in views.items()})
    findings = []
    for scope, view in track(views.items(), "analysing", len(views)):
        finding = _finding(
            scope,
            view,
            halfway.view(scope) if halfway else None,
            source,
            choices[scope],
            validation.common,
            {name: _reported(other, scope, view, section) for name, other in others.items()},
            _score_before(before, scope, view),
        )
        findings.append(finding)
    return findings


def choose_for_all(
    validation: CrossValidation, responses: Mapping[Scope, Curve]
) -> dict[Scope, Choice]:
    """Choose and judge settings for scopes of any families."""
    judged = [validation.choices(members) for members in families(responses.values()).values()]
    return {choice.scope: choice for choices in judged for choice in choices}


def judge_again(
    measurements: Measurements,
    scopes: Sequence[Scope],
    section: SearchOptions,
    seeds: Sequence[int],
) -> Iterator[list[Choice]]:
    """Choose and judge with other random divisions of the subjects, one list of choices a seed."""
    source = Source(measurements, section)
    curves = {scope: curve for scope in scopes if (curve := source.curves.of(scope)) is not None}
    for seed in seeds:
        validation = CrossValidation(source, section.model_copy(update={"seed": seed}))
        yield list(choose_for_all(validation, curves).values())


def recommend(
    measurements: Measurements, scopes: Sequence[Scope], section: SearchOptions
) -> dict[Scope, Setting]:
    """Choose a setting for each scope of one family by its curve, pooled with the family's, without judging it.

    Parameters
    ----------
    measurements
        Of the model.
    scopes
        All scopes of the family, as all labels; those that nothing was measured for are left out.
    section
        The metric.
    """
    source = Source(measurements, section)
    curves = {scope: curve for scope in scopes if (curve := source.curves.of(scope)) is not None}
    chosen = CrossValidation(source, section).recommended(list(curves.values()))
    return {
        scope: measurements.space.setting(index)
        for scope, index in zip(curves, chosen, strict=True)
    }


def _reported(source: Source, scope: Scope, view: View, section: SearchOptions) -> Reported:
    nothing = Reported(at_optimum=np.nan, optimum=None)
    response = source.curves.of(scope)
    if response is None:
        return nothing
    place = response.place(view.optimum.index)
    at_optimum = float(response.means[place]) if place >= 0 else np.nan
    if not find_metric(response.metric.name).per_label:
        return Reported(at_optimum=at_optimum, optimum=None)
    optimum = find_optimum(response, source.samples(scope, response), section.folding_limit)
    return Reported(at_optimum=at_optimum, optimum=optimum)


def _score_before(before: Measurements | None, scope: Scope, view: View) -> float:
    if before is None:
        return np.nan
    return float(
        before.score(view.response.metric.name, scope.label)[0, view.response.pairs].mean()
    )


def _finding(
    scope: Scope,
    view: View,
    half: View | None,
    source: Source,
    choice: Choice,
    common: Index | None,
    reported: Mapping[str, Reported],
    unregistered: float,
) -> Finding:
    response, means = view.response, np.append(view.response.means, np.nan)
    space = response.space
    lowest = {h.name: h.low for h in space.hyperparameters if h.name == "regularization"}
    pairs = response.pairs
    subjects = len({*source.moving[pairs], *source.fixed[pairs]})
    return Finding(
        scope=scope,
        full=view,
        half=half,
        recommended=space.setting(choice.recommended),
        held_out=choice.held_out,
        held_out_unpooled=choice.held_out_unpooled,
        common=None if common is None else space.setting(common),
        reported=reported,
        score_unregistered=unregistered,
        score_at_recommended=float(means[response.place(choice.recommended)]),
        score_at_common=float(means[-1 if common is None else response.place(common)]),
        score_at_default=float(means[response.place(space.index(space.default))]),
        score_unregularized=float(means[response.place(space.index({**space.default, **lowest}))]),
        subjects=subjects,
        flags=(
            *response_flags(response),
            *find_flags(space, view.optimum, half.optimum if half else None),
            *((Flag.NO_BETTER,) if not _is_better(response, view, unregistered) else ()),
            *_few(scope, subjects),
        ),
    )


def _few(scope: Scope, subjects: int) -> tuple[Flag, ...]:
    if subject_of(scope) is None:
        return (Flag.FEW_SUBJECTS,) if subjects < FEW else ()
    return (Flag.FEW_PARTNERS,) if subjects - 1 < FEW else ()


def _is_better(response: Curve, view: View, unregistered: float) -> bool:
    improvement = gain(
        response.metric, np.array([view.optimum.score.value]), np.array([unregistered])
    )
    return bool(np.isnan(unregistered) or improvement[0] > 0)
