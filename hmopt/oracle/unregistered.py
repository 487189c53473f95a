"""The unregistered baseline: how alike the pairs of a cohort are before registration."""

from collections.abc import Sequence

from torch import Tensor

from hmopt.files import content_hash
from hmopt.metrics import Originals
from hmopt.oracle.registered import RegisteringOracle
from hmopt.records import Pair
from hmopt.space import Index, Space


class UnregisteredOracle(RegisteringOracle):
    """Measures pairs of a cohort as they are, at the one setting `()` of a space without axes.

    Parameters
    ----------
    cohort
        Holds the images of pairs.
    device
        Where to compute.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.
    """

    @property
    def space(self) -> Space:
        """No hyperparameters."""
        return Space(hyperparameters=())

    @property
    def identity(self) -> str:
        """Hash of the prepared cohort."""
        return content_hash("unregistered", self.cohort.identity)

    def register(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Return displacements of zero."""
        moving = images.moving
        count, _, *shape = moving.shape
        return moving.new_zeros(count, len(shape), *shape)
