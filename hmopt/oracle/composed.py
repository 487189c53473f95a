"""One field in which every structure has a setting of its own.

The velocities of several settings are blended by weights that say where each structure is, and
integrated once:

    v(x) = Σ_s w_s(x) v_s(x),    Σ_s w_s(x) = 1,    φ = exp(v),

v_s being the velocity at the setting of structure s; the rest of the weights belongs to the common
setting. Where φ folds and the field of the common setting does not, the weights of the structures
are lowered until it does not either (`hmopt.spatial.unfold`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from hmopt.errors import DeclarationError
from hmopt.files import content_hash
from hmopt.metrics import Originals
from hmopt.networks import RegistrationNetwork
from hmopt.oracle.registered import NetworkOracle, RegisteringOracle, TrainingFacts
from hmopt.oracle.structure_maps import Located, StructureMaps
from hmopt.records import Pair
from hmopt.space import Index, Space
from hmopt.spatial import blend, unfold


class ComposedOracle(RegisteringOracle):
    """Measures one field for all structures, some of which have a setting of their own.

    A setting of the oracle is the common one, of the background and of all other structures. So it
    is measured, recorded and searched as any other oracle.

    Parameters
    ----------
    oracle
        Gives the networks of all settings, as that of a hypermorph.
    structures
        By name of a structure: its setting. The order does not matter.
    maps
        Where the structures are.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.

    Raises
    ------
    DeclarationError
        If a structure is none of the cohort's, or a setting is not of the space.
    """

    def __init__(
        self,
        oracle: NetworkOracle,
        structures: Mapping[str, Index],
        maps: StructureMaps,
        batch: int | None = None,
    ) -> None:
        super().__init__(oracle.cohort, oracle.device, batch)
        check_structures(structures, maps.labels)
        for index in structures.values():
            oracle.space.setting(index)
        self._oracle = oracle
        self._maps = maps
        self.structures = dict(sorted(structures.items()))

    @property
    def space(self) -> Space:
        """The hyperparameters of the networks."""
        return self._oracle.space

    @property
    def identity(self) -> str:
        """Hash of the networks, the settings of the structures, and their maps.

        That of the networks alone where no structure has a setting of its own: values are the same.
        """
        if not self.structures:
            return self._oracle.identity
        settings = {name: list(index) for name, index in self.structures.items()}
        return content_hash(
            "composed, unfolded", self._oracle.identity, settings, self._maps.identity
        )

    @property
    def facts(self) -> TrainingFacts:
        """How the networks were trained."""
        return self._oracle.facts

    def register(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Register a batch of pairs with the blended velocity."""
        composition = Composition(
            network_of=self._oracle.network, structures=self.structures, maps=self._maps
        )
        velocity = composition.velocity(
            index,
            (images.moving, images.fixed),
            slices=self._slices(pairs),
            moving_labels=images.moving_labels,
            fixed_labels=images.fixed_labels,
        )
        displacement: Tensor = self._oracle.network(index).displacement(velocity)
        return displacement

    def _slices(self, pairs: Sequence[Pair]) -> list[int]:
        """Return which slice the fixed image of each pair is; -1: none."""
        names = [pair.fixed for pair in pairs]
        slices: list[int] = self.cohort.images["slice"].loc[names].astype(int).tolist()
        return slices


@dataclass(frozen=True, kw_only=True)
class Composition:
    """What a composed velocity is made of.

    Parameters
    ----------
    network_of
        Returns the registration network of a setting.
    structures
        By name of a structure: its setting.
    maps
        Where the structures are.
    """

    network_of: Callable[[Index], RegistrationNetwork]
    structures: Mapping[str, Index]
    maps: StructureMaps

    def velocity(
        self,
        common: Index,
        images: tuple[Tensor, Tensor],
        *,
        slices: Sequence[int],
        moving_labels: Tensor | None = None,
        fixed_labels: Tensor | None = None,
    ) -> Tensor:
        """Return the blended velocity of a batch of n pairs.

        Parameters
        ----------
        common
            The setting of the background and of all structures without one of their own.
        images
            Moving and fixed images, (n, 1, *shape) each.
        slices, moving_labels, fixed_labels
            As of `Located`.

        Returns
        -------
        Tensor
            (n, d, *shape / stride), in voxels of its own grid.

        Raises
        ------
        DeclarationError
            If the networks predict displacements.
        """
        network = self.network_of(common)
        check_velocity(network)
        velocity: Tensor = network(*images)
        groups = by_setting(self.structures, self.maps.labels, common)
        if not groups:
            return velocity
        located = Located(
            slices=tuple(slices),
            displacement=lambda: network.displacement(velocity),
            moving_labels=moving_labels,
            fixed_labels=fixed_labels,
        )
        # (n or 1, structures, *shape / stride)
        weights = self.maps.weights(located, network.velocity_stride).to(velocity.device)
        others = []
        for index, places in groups.items():
            other: Tensor = self.network_of(index)(*images)
            weight = weights[:, places].sum(dim=1, keepdim=True)
            others.append((weight, other))
        return unfold(velocity, blend(velocity, others), network.displacement)


def by_setting(
    structures: Mapping[str, Index], labels: Sequence[str], common: Index
) -> dict[Index, list[int]]:
    """Return the structures that share each setting, as places among the labels, in a fixed order.

    Those at the common setting are left out.

    Examples
    --------
    >>> by_setting({"b": (3,), "a": (3,), "c": (5,), "d": (1,)}, ["a", "b", "c", "d"], common=(5,))
    {(1,): [3], (3,): [0, 1]}
    """
    groups: dict[Index, list[int]] = {}
    for place, label in enumerate(labels):
        index = structures.get(label, common)
        if index != common:
            groups.setdefault(index, []).append(place)
    return dict(sorted(groups.items()))


def check_structures(structures: Mapping[str, object], labels: Sequence[str]) -> None:
    """Refuse a structure that there are no maps of.

    Raises
    ------
    DeclarationError
        If there is one.
    """
    for name in structures:
        if name not in labels:
            raise DeclarationError(
                "structures",
                expected=f"structures of the cohort ({', '.join(labels)})",
                got=repr(name),
                advice="Correct the name.",
            )


def check_velocity(network: RegistrationNetwork) -> None:
    """Refuse a network that predicts displacements: a blend of these need not be invertible.

    Raises
    ------
    DeclarationError
        If it does.
    """
    if network.options.integration_steps == 0:
        raise DeclarationError(
            "network.integration_steps",
            expected="a model that predicts velocities, which can be blended",
            got="0: a model that predicts displacements",
            advice="Register each structure separately.",
        )
