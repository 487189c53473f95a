"""Settings chosen for the scopes of families, and their cross-validated scores.

Scopes of the same kinds, as all labels, are a family: they divide the pairs or the labels between
them, and their curves are pooled.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from hmopt.analysis.held_out import (
    Chosen,
    HeldOut,
    Sums,
    choose,
    evaluate,
    split_subjects,
    sums_between,
)
from hmopt.analysis.optimum import ModelAnalysis, shared_settings, subject_of
from hmopt.analysis.pooling import FEWEST_SCOPES, Member, pooled_places
from hmopt.analysis.resampling import Places
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curve
from hmopt.search.scopes import WHOLE_COHORT, Scope
from hmopt.space import Index, Setting

SEPARATOR = " × "
"""Between the kinds in the name of a family."""

FEWEST_POOLED_SETTINGS = 3
"""Settings that the scopes of a family must share for their curves to be pooled."""


class Scoped(Protocol):
    """Anything that is about a scope, such as a curve or a result."""

    @property
    def scope(self) -> Scope:
        """Whom or what the setting is chosen for."""


class CrossValidated(Scoped, Protocol):
    """A scope with its held-out scores: a result, or any record with these three."""

    @property
    def held_out(self) -> HeldOut | None:
        """With the setting of its pooled curve."""

    @property
    def held_out_unpooled(self) -> HeldOut | None:
        """With the setting of its own curve alone."""


S = TypeVar("S", bound=Scoped)


def kinds_of(scoped: Scoped) -> tuple[str, ...]:
    """Return the kinds of a scope's criteria, which are those of its family."""
    criteria = scoped.scope.criteria
    return tuple(kind for kind, _ in criteria)


def by_kinds(scoped: Iterable[S]) -> dict[tuple[str, ...], list[S]]:
    """Group records into families, by the kinds of their scopes, in the order of their first."""
    families: dict[tuple[str, ...], list[S]] = {}
    for record in scoped:
        kinds = kinds_of(record)
        families.setdefault(kinds, []).append(record)
    return families


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The setting chosen for a scope on all subjects, and its held-out scores.

    Parameters
    ----------
    scope
        Whom or what it is chosen for.
    recommended
        The best setting of the pooled curve.
    held_out, held_out_unpooled
        As of a `ScopeResult`.
    """

    scope: Scope
    recommended: Index
    held_out: HeldOut | None
    held_out_unpooled: HeldOut | None


class CrossValidation:
    """Cross-validation of many scopes over the same splits of the subjects.

    Parameters
    ----------
    analysis
        The measurements.
    options
        Number of random splits, and their seed.

    Attributes
    ----------
    common
        The best single setting for all pairs and labels; None where none was measured for all.
    """

    def __init__(self, analysis: ModelAnalysis, options: SearchOptions) -> None:
        self.analysis = analysis
        subjects = sorted({*analysis.moving, *analysis.fixed})
        self.splits = split_subjects(subjects, options.splits, options.seed)
        self.common: Index | None = None
        # the best single setting of each split, as a place among those of the cohort's curve
        self._common_places = np.full(len(self.splits.selection), -1)
        self._common_settings: Sequence[Index] = ()
        cohort = analysis.curves.of(WHOLE_COHORT)
        if cohort is not None:
            self.common = cohort.settings[cohort.best()]
            sums = self._sums(cohort)
            self._common_places = choose(sums, self.splits.selection)
            self._common_settings = cohort.settings

    def recommended(self, responses: Sequence[Curve]) -> list[Index]:
        """Choose a setting for each scope of one family on all subjects.

        Parameters
        ----------
        responses
            Curves of the family's scopes.
        """
        sums = [self._sums(response) for response in responses]
        shared = shared_settings(responses)
        members = self._members(responses, sums, shared)
        return self._recommended(responses, members, shared)

    def choices(self, responses: Sequence[Curve]) -> list[Choice]:
        """Choose settings for the scopes of one family, and cross-validate them.

        Parameters
        ----------
        responses
            Curves of the family's scopes.
        """
        sums = [self._sums(response) for response in responses]
        shared = shared_settings(responses)
        members = self._members(responses, sums, shared)
        recommended = self._recommended(responses, members, shared)
        own = [choose(of_scope, self.splits.selection) for of_scope in sums]
        pooled = self._pooled(responses, members, shared) if members else own
        found = zip(responses, recommended, pooled, own, strict=True)
        return [self._choice(*of_scope) for of_scope in found]

    def places(self, responses: Sequence[Curve]) -> list[Places]:
        """Choose a setting for each scope of one family in each split, by pooled curves.

        Parameters
        ----------
        responses
            Curves of the family's scopes.

        Returns
        -------
        list of array
            For each scope, places among the settings of its curve, shape (r,); -1: none.
        """
        sums = [self._sums(response) for response in responses]
        shared = shared_settings(responses)
        members = self._members(responses, sums, shared)
        if members:
            return self._pooled(responses, members, shared)
        return [choose(of_scope, self.splits.selection) for of_scope in sums]

    def _pooled(
        self, responses: Sequence[Curve], members: Sequence[Member], shared: Sequence[Index]
    ) -> list[Places]:
        """Return the places that pooled curves choose in each split, among each curve's own settings."""
        of_shared = pooled_places(members, self.splits.selection)
        return [
            places_in(response, shared, places)
            for response, places in zip(responses, of_shared, strict=True)
        ]

    def _members(
        self, responses: Sequence[Curve], sums: Sequence[Sums], shared: Sequence[Index]
    ) -> list[Member]:
        """Return a family's scopes at the shared settings; none where nothing is pooled."""
        if len(responses) < FEWEST_SCOPES or len(shared) < FEWEST_POOLED_SETTINGS:
            return []
        members = []
        for response, of_scope in zip(responses, sums, strict=True):
            if list(response.settings) != list(shared):
                places = [response.place(index) for index in shared]
                of_scope = of_scope.at(places)
            group = self._group(response.scope)
            member = Member(sums=of_scope, group=group)
            members.append(member)
        return members

    def _recommended(
        self, responses: Sequence[Curve], members: Sequence[Member], shared: Sequence[Index]
    ) -> list[Index]:
        if not members:
            return [response.settings[response.best()] for response in responses]
        groups = self.splits.selection.shape[1]
        everyone = np.ones((1, groups), dtype=bool)
        places = pooled_places(members, everyone)[:, 0]
        return [shared[place] for place in places]

    def _choice(self, response: Curve, recommended: Index, pooled: Places, own: Places) -> Choice:
        held_out = self._held_out(response, pooled)
        unpooled = held_out
        if not np.array_equal(pooled, own):
            unpooled = self._held_out(response, own)
        return Choice(
            scope=response.scope,
            recommended=recommended,
            held_out=held_out,
            held_out_unpooled=unpooled,
        )

    def _held_out(self, response: Curve, places: Places) -> HeldOut | None:
        """Score the settings chosen for a scope on its held-out pairs."""
        common = places_in(response, self._common_settings, self._common_places)
        space = response.space
        default = response.place(space.index(space.default))
        chosen = Chosen(
            own=places,
            common=common,
            default=np.full(len(places), default),
        )
        return self.held_out(response, chosen)

    def held_out(self, response: Curve, chosen: Chosen) -> HeldOut | None:
        """Score settings of each split on the held-out pairs of a scope; None where no pair is held out.

        Parameters
        ----------
        response
            The scope's curve, which need not be the one that settings were chosen by.
        chosen
            Places among its settings.
        """
        sides = self.analysis.sides(response)
        held_out = self.splits.held_out_pairs(*sides)
        group = self._group(response.scope)
        if group is not None:
            # the subject of the scope is in all its pairs: it must be in the selection set
            held_out = held_out & self.splits.selection[:, [group]]
        return evaluate(response, held_out, chosen, sides, self.splits)

    def _group(self, scope: Scope) -> int | None:
        subject = subject_of(scope)
        if subject is None:
            return None
        names = np.array([subject], dtype=object)
        (group,) = self.splits.groups_of(names)
        return int(group)

    def _sums(self, response: Curve) -> Sums:
        moving, fixed = self.analysis.sides(response)
        return sums_between(response, self.splits, moving, fixed)


def places_in(response: Curve, settings: Sequence[Index], places: Places) -> Places:
    """Return the places among a curve's settings of places among others; -1: not there."""
    of_curve = [response.place(index) for index in settings]
    # -1, no setting, is the last place of this table
    table = np.array([*of_curve, -1])
    return table[places]


def choose_for_all(
    validation: CrossValidation, responses: Mapping[Scope, Curve]
) -> dict[Scope, Choice]:
    """Choose and cross-validate settings for scopes of any families."""
    chosen = {}
    for members in by_kinds(responses.values()).values():
        for choice in validation.choices(members):
            chosen[choice.scope] = choice
    return chosen


def choose_with_seeds(
    measurements: Measurements,
    scopes: Sequence[Scope],
    options: SearchOptions,
    seeds: Sequence[int],
) -> Iterator[list[Choice]]:
    """Choose and cross-validate with other random splits; yield one list of choices a seed."""
    analysis = ModelAnalysis(measurements, options)
    curves = _curves_of(analysis, scopes)
    for seed in seeds:
        validation = CrossValidation(analysis, options.model_copy(update={"seed": seed}))
        yield list(choose_for_all(validation, curves).values())


def recommend(
    measurements: Measurements, scopes: Sequence[Scope], options: SearchOptions
) -> dict[Scope, Setting]:
    """Choose a setting for each scope of one family by its pooled curve, without scoring it.

    Parameters
    ----------
    measurements
        Of the model.
    scopes
        All scopes of the family, as all labels; those without measurements are left out.
    options
        The metric.
    """
    analysis = ModelAnalysis(measurements, options)
    curves = _curves_of(analysis, scopes)
    chosen = CrossValidation(analysis, options).recommended(list(curves.values()))
    return {
        scope: measurements.space.setting(index)
        for scope, index in zip(curves, chosen, strict=True)
    }


def _curves_of(analysis: ModelAnalysis, scopes: Sequence[Scope]) -> dict[Scope, Curve]:
    """Return the curves of the scopes for which something was measured."""
    curves = {}
    for scope in scopes:
        curve = analysis.curves.of(scope)
        if curve is not None:
            curves[scope] = curve
    return curves
