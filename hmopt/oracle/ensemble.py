"""Networks from several random initializations as one oracle: their velocities are averaged, then integrated."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hmopt.errors import DeclarationError
from hmopt.files import content_hash
from hmopt.oracle.networked import NetworkOracle
from hmopt.oracle.registered import Register, RegisteringOracle
from hmopt.space import Index, Space


class EnsembleOracle(RegisteringOracle):
    """Measures settings with the mean of the velocities that its members give, integrated once.

    Parameters
    ----------
    members
        Oracles of the same cohort, space and network, on the same device, as hypermorphs of several seeds, or separate
        networks of several seeds. Their order does not matter.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.

    Raises
    ------
    DeclarationError
        If there is no member, or members are of different cohorts or spaces.
    """

    def __init__(self, members: Sequence[NetworkOracle], batch: int | None = None) -> None:
        if not members:
            raise DeclarationError(
                "members", expected="at least one", got="none", advice="Give some."
            )
        kinds = {
            "cohort": len({member.cohort.identity for member in members}),
            "space": len({member.space for member in members}),
            "device": len({member.device for member in members}),
        }
        for what in (what for what, count in kinds.items() if count > 1):
            advice = "Measure them apart."
            raise DeclarationError(
                "members", expected=f"the same {what}", got=f"{kinds[what]}", advice=advice
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
        return content_hash("ensemble", [member.identity for member in self._members])

    def register(self, index: Index) -> Register:
        """Give what registers images at a setting with the networks of all members."""
        networks = [member.network(index) for member in self._members]

        def registered(moving: Tensor, fixed: Tensor) -> Tensor:
            velocity = torch.stack([network(moving, fixed) for network in networks]).mean(0)
            return networks[0].displacement(velocity)

        return registered
