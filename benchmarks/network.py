"""Operations a second of the U-Net, as a share of what the processor can do.

The peak is that of the processor's instructions (`benchmarks.peak`), on as many cores as there are
threads. The U-Net's operations are counted by torch's `FlopCounterMode`: two for each
multiplication and addition of its convolutions. It runs as the sweep runs it: baked, without
gradients, in the sweep's batches. The note also has torch's own product of two float32 matrices of
2048 × 2048, in turn with the U-Net: what a good library gets.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cohorts import NETWORK_NAME, SHAPE, make_hypermorph
from benchmarks.peak import find_peak
from benchmarks.rows import CannotMeasureError, Measured, row
from benchmarks.timing import medians
from hmopt.oracle import fitting_batch

SIDE = 2048


@row(
    "unet-share-of-peak",
    goal=0.6,
    better="higher",
    unit="of the peak",
    against="cores × clock × float32 operations a cycle of the processor's instructions",
    network=NETWORK_NAME,
)
def share_of_peak() -> Measured:
    """The U-Net's operations a second against those that the processor's instructions allow."""
    peak = find_peak(torch.get_num_threads())
    if peak is None:
        raise CannotMeasureError("The instructions of this processor, or its clock, are not known.")
    batch = fitting_batch(SHAPE, torch.device("cpu"))
    network = make_hypermorph().bake({"regularization": 0.5}).eval()
    moving, fixed = torch.rand(2, batch, 1, *SHAPE)
    left, right = torch.rand(2, SIDE, SIDE)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            network(moving, fixed)
        operations = {"U-Net": counter.get_total_flops(), "sgemm": 2 * SIDE**3}
        seconds = medians(
            {"U-Net": lambda: network(moving, fixed), "sgemm": lambda: left @ right}, 9
        )
    rate = {name: operations[name] / seconds[name] / 1e9 for name in seconds}
    note = (
        f"U-Net {rate['U-Net']:.0f} GFLOP/s in batches of {batch}; peak {peak}; "
        f"torch.mm of {SIDE} × {SIDE} matrices {rate['sgemm']:.0f} GFLOP/s"
    )
    return Measured(1e9 * rate["U-Net"] / peak.operations_per_second, note)
