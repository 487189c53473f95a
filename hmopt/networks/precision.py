"""In which precision convolutions run."""

from contextlib import AbstractContextManager, nullcontext

import torch


def fast_precision(device: torch.device) -> AbstractContextManager[object]:
    """Give the context in which convolutions on a device are fast enough and exact enough for features.

    bfloat16 where a CUDA device computes in it; float32 everywhere else.

    Examples
    --------
    >>> with fast_precision(torch.device("cpu")):
    ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
    torch.float32
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
