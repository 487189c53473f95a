"""How the process takes memory from the system."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
KEPT_BYTES, STEP_BYTES = 2**31 - 1, 2**27


def keep_freed_memory() -> None:
    """Have glibc keep the memory of freed tensors for the next ones.

    By default every large tensor is given back to the system when it is freed, and the next one of its size is zeroed
    and mapped anew, page by page: a third of a training step. Where there is no glibc, nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(M_TOP_PAD, STEP_BYTES)
