"""The oracle of doing nothing: how alike the pairs of a cohort are before registration."""

from torch import Tensor

from hmopt.files import content_hash
from hmopt.oracle.registered import Register, RegisteringOracle
from hmopt.space import Index, Space


class UnregisteredOracle(RegisteringOracle):
    """Measures pairs of a cohort as they are; its space has no hyperparameter, so that `()` is the one setting.

    Parameters
    ----------
    cohort
        Where the images of pairs are.
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

    def register(self, index: Index) -> Register:
        """Give what moves nothing."""
        return _zero_displacement


def _zero_displacement(moving: Tensor, fixed: Tensor) -> Tensor:
    return moving.new_zeros(len(moving), moving.dim() - 2, *moving.shape[2:])
