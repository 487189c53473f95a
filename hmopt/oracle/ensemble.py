"""Networks of several random initializations as one oracle: their mean velocity is integrated."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hmopt.errors import DeclarationError
from hmopt.files import content_hash
from hmopt.metrics import Originals
from hmopt.oracle.registered import NetworkOracle, TrainingFacts, VelocityOracle
from hmopt.records import Pair
from hmopt.space import Index, Space


class EnsembleOracle(VelocityOracle):
    """Measures settings with the mean of its members' velocities, integrated once.

    Of velocities v₁, …, v_m at a setting the displacement is that of exp((v₁ + … + v_m) / m): a
    mean of velocities is a velocity, where a mean of displacements need not be invertible.

    Parameters
    ----------
    members
        Oracles of the same cohort, space and network, on the same device, as hypermorphs of several
        seeds, or separate networks of several seeds. Their order does not matter.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.

    Raises
    ------
    DeclarationError
        If there is no member, or members are of different cohorts, spaces or devices.
    """

    def __init__(self, members: Sequence[NetworkOracle], batch: int | None = None) -> None:
        if not members:
            raise DeclarationError(
                "members", expected="at least one", got="none", advice="Name some."
            )
        counts = {
            "cohort": len({member.cohort.measured_identity for member in members}),
            "space": len({member.space for member in members}),
            "device": len({member.device for member in members}),
        }
        for what, count in counts.items():
            if count > 1:
                expected = f"the same {what}"
                raise DeclarationError(
                    "members", expected=expected, got=f"{count}", advice="Measure them separately."
                )
        super().__init__(members[0].cohort, members[0].device, batch)
        self._members = sorted(members, key=lambda member: member.identity)

    @property
    def space(self) -> Space:
        """The members' hyperparameters."""
        return self._members[0].space

    @property
    def identity(self) -> str:
        """Hash of the members' identities."""
        identities = [member.identity for member in self._members]
        return content_hash("ensemble", identities)

    @property
    def facts(self) -> TrainingFacts:
        """How its members were trained, where all were trained under one loss of one scale."""
        first, *others = [member.facts for member in self._members]
        if any(_trained_under(facts) != _trained_under(first) for facts in others):
            return TrainingFacts()
        return first

    def velocity(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Return the mean of the velocities of all members' networks."""
        velocities = [member.velocity(index, pairs, images) for member in self._members]
        return torch.stack(velocities).mean(dim=0)

    def integrated(self, index: Index, velocity: Tensor, stride: int | None = None) -> Tensor:
        """Return the displacements of velocities, as every member integrates them."""
        return self._members[0].integrated(index, velocity, stride)


def _trained_under(facts: TrainingFacts) -> tuple[Any, ...]:
    """Return what a loss is known by; a declared scale, which a table may leave out, is that of the training."""
    loss = None
    if facts.loss is not None:
        loss = {key: value for key, value in facts.loss.items() if key != "scale"}
    return loss, facts.loss_scale, facts.spacing_mm
