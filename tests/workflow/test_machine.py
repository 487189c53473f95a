"""Freed memory is kept: seen by the page faults of a process that allocates and frees again and again."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
{first}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**23)
before = faults()
for _ in range(20):
    np.ones(2**23)
print(faults() - before)
"""
FEW = 100


def page_faults(first: str) -> int:
    program = PROGRAM.format(first=first)
    return int(
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        ).stdout
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is only on Linux")
def test_memory_that_was_freed_is_not_mapped_anew() -> None:
    kept = page_faults("from hmopt.workflow.machine import keep_freed_memory; keep_freed_memory()")
    assert kept < FEW
