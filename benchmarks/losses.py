"""Local normalized cross-correlation, forward and backward, against MONAI's and neurite's.

Four pairs of volumes, a window of nine voxels, the gradient for the moved image alone, as training
needs it. VoxelMorph 0.3.4 recommends neurite's NCC. Both are used unchanged. They pad with zeros
where hmopt truncates the window, so values differ near the border (the tests compare them away from
it).
"""

from collections.abc import Callable
from functools import partial

import neurite as ne
import torch
from monai.losses.image_dissimilarity import LocalNormalizedCrossCorrelationLoss
from torch import Tensor

from benchmarks.cohorts import SHAPE
from benchmarks.rows import Measured, row
from benchmarks.timing import medians, milliseconds
from hmopt.losses import local_cross_correlation

BATCH, WINDOW, REPETITIONS = 4, 9, 7


def losses(d: int = 3) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return the loss of each program, a function of the moved and the fixed image."""
    monai = LocalNormalizedCrossCorrelationLoss(spatial_dims=d, kernel_size=WINDOW)
    neurite = ne.nn.modules.NCC(window_size=WINDOW)
    return {
        "hmopt": lambda moved, fixed: local_cross_correlation(moved, fixed, WINDOW),
        "MONAI": monai,
        "neurite": lambda moved, fixed: 1 - neurite(moved, fixed).mean(),
    }


def seconds_of_losses() -> dict[str, float]:
    """Return the median seconds of each loss, forward and backward."""
    fixed = torch.rand(BATCH, 1, *SHAPE)
    moved = (0.7 * fixed + 0.3 * torch.rand_like(fixed)).requires_grad_()

    def gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> object:
        return torch.autograd.grad(loss(moved, fixed), moved)

    sides = {name: partial(gradient, loss) for name, loss in losses().items()}
    return medians(sides, REPETITIONS)


def against(other: str) -> Measured:
    """Compare hmopt's loss with another."""
    seconds = seconds_of_losses()
    return Measured(seconds[other] / seconds["hmopt"], milliseconds(seconds))


@row(
    "local-ncc-monai",
    goal=5,
    better="higher",
    unit="×",
    against="MONAI's LocalNormalizedCrossCorrelationLoss",
    network="none: 4 × 48×64×48, window 9",
)
def against_monai() -> Measured:
    """Local NCC, forward and backward, against MONAI's."""
    return against("MONAI")


@row(
    "local-ncc-neurite",
    goal=5,
    better="higher",
    unit="×",
    against="neurite 0.3.4's NCC, which VoxelMorph uses",
    network="none: 4 × 48×64×48, window 9",
)
def against_neurite() -> Measured:
    """Local NCC, forward and backward, against neurite's."""
    return against("neurite")
