import pytest
import torch

from benchmarks.rows import CannotMeasureError
from benchmarks.training import step_on_device, step_on_gpu


def test_a_step_is_timed_on_the_device_that_is_given() -> None:
    pytest.importorskip("neurite")
    found = step_on_device(
        torch.device("cpu"), "a processor", 1e30, shape=(32, 32), batch=2, repetitions=1
    )
    assert found.value > 0
    assert "a step of 2 pairs on a processor" in found.note
    assert "pairs a second" in found.note
    assert "0% of its float32 peak" in found.note


@pytest.mark.skipif(torch.cuda.is_available(), reason="it can be measured here")
def test_without_a_cuda_device_the_row_says_that_it_cannot_be_measured() -> None:
    with pytest.raises(CannotMeasureError, match="needs a CUDA device"):
        step_on_gpu()
