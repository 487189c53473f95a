"""Families of scopes: those of the same kinds, which divide the pairs or labels between them."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from hmopt.analysis.held_out import HeldOut
from hmopt.search.scopes import Scope

SEPARATOR = " × "
"""Between the kinds in the name of a family."""


class Scoped(Protocol):
    """Anything that is about a scope, such as a curve or a finding."""

    @property
    def scope(self) -> Scope:
        """Whom or what the setting is chosen for."""


class Judged(Scoped, Protocol):
    """A scope with its held-out scores: a finding, or any record with these three."""

    @property
    def held_out(self) -> HeldOut | None:
        """With the setting of its pooled curve."""

    @property
    def held_out_unpooled(self) -> HeldOut | None:
        """With the setting of its own curve alone."""


S = TypeVar("S", bound=Scoped)


def family(finding: Scoped) -> tuple[str, ...]:
    """Give the kinds of a scope's criteria: scopes of one family divide the pairs or labels between them."""
    return tuple(kind for kind, _ in finding.scope.criteria)


def families(findings: Iterable[S]) -> dict[tuple[str, ...], list[S]]:
    """Give findings by the kinds of their scopes, in the order in which those were declared."""
    gathered: dict[tuple[str, ...], list[S]] = {}
    for finding in findings:
        gathered.setdefault(family(finding), []).append(finding)
    return gathered
