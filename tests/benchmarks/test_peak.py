"""The peak of a processor follows from what Linux tells of it."""

import pytest

from benchmarks.peak import (
    Processor,
    cuda_operations_per_second,
    find_peak,
    measured_clock_hz,
    operations_per_cycle,
    parse_processor,
    peak_of,
)

AVX_512 = "fpu sse2 avx fma avx2 avx512f avx512bw"
AVX_2 = "fpu sse2 avx fma avx2"


def cpuinfo(cores: list[int], flags: str = AVX_2, vendor: str = "GenuineIntel") -> str:
    """Return a file with a logical processor for each number of a core."""
    blocks = [
        f"processor\t: {number}\nvendor_id\t: {vendor}\ncpu family\t: 6\nmodel\t\t: 85\n"
        f"cpu MHz\t\t: {2000 + number}.5\nphysical id\t: 0\ncore id\t\t: {core}\nflags\t\t: {flags}"
        for number, core in enumerate(cores)
    ]
    return "\n\n".join(blocks) + "\n\n"


def processor(
    flags: str, vendor: str = "GenuineIntel", family: int = 6, model: int = 85
) -> Processor:
    return Processor(
        vendor=vendor,
        family=family,
        model=model,
        flags=frozenset(flags.split()),
        cores=4,
        clock_hz=2e9,
    )


def test_threads_of_one_core_count_once_and_forbidden_ones_not_at_all() -> None:
    text = cpuinfo(cores=[0, 1, 0, 1])
    found = parse_processor(text, allowed={0, 1, 2, 3})
    assert found is not None
    assert found.cores == 2
    assert found.clock_hz == 2003.5e6
    assert (found.vendor, found.family, found.model) == ("GenuineIntel", 6, 85)
    assert "avx2" in found.flags
    one_core = parse_processor(text, allowed={0, 2})
    assert one_core is not None
    assert one_core.cores == 1
    assert one_core.clock_hz == 2002.5e6


def test_without_numbers_of_cores_each_processor_is_one() -> None:
    lines = [f"processor : {number}\nflags : sse2 avx" for number in range(3)]
    found = parse_processor("\n\n".join(lines), allowed={0, 1, 2})
    assert found is not None
    assert found.cores == 3
    assert found.clock_hz is None


def test_a_processor_of_another_kind_is_not_known() -> None:
    arm = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd sve\nCPU implementer\t: 0x41\n"
    assert parse_processor(arm, allowed={0}) is None


@pytest.mark.parametrize(
    ("described", "operations"),
    [
        (processor(AVX_512), 64),
        (processor(AVX_512, "AuthenticAMD", 0x19, 0x11), 32),
        (processor(AVX_512, "AuthenticAMD", 0x1A, 0x02), 64),
        (processor(AVX_2), 32),
        (processor(AVX_2, "AuthenticAMD", 0x17, 0x31), 32),
        (processor(AVX_2, "AuthenticAMD", 0x17, 0x01), 16),
        (processor("sse2 avx"), 16),
    ],
    ids=["AVX-512", "Zen 4", "Zen 5", "AVX2", "Zen 2", "Zen 1", "AVX"],
)
def test_operations_of_a_cycle_follow_from_width_and_units(
    described: Processor, operations: int
) -> None:
    found = operations_per_cycle(described)
    assert found is not None
    assert found[0] == operations


def test_a_peak_tells_what_it_is_made_of() -> None:
    measured = peak_of(processor(AVX_2), cores=2, measured_hz=3.5e9)
    assert measured is not None
    assert measured.operations_per_second == 2 * 3.5e9 * 32
    assert "3.50 GHz (measured)" in str(measured)
    told = peak_of(processor(AVX_2), cores=1, measured_hz=None)
    assert told is not None
    assert told.operations_per_second == 2e9 * 32
    assert "2.00 GHz (as /proc/cpuinfo has it)" in str(told)
    assert peak_of(processor("sse2"), cores=1, measured_hz=3e9) is None


def test_the_measured_clock_is_that_of_a_processor() -> None:
    clock = measured_clock_hz(1)
    if clock is None:
        pytest.skip("no machine code on this processor")
    assert 0.3e9 < clock < 8e9
    peak = find_peak(threads=1)
    assert peak is None or peak.cores == 1


def test_a_cuda_device_begins_a_multiply_add_on_every_lane_in_a_cycle() -> None:
    """An H100 SXM is sold with 67 TFLOP/s of float32, an A100 with 19.5."""
    h100 = cuda_operations_per_second(132, 1.98e9, (9, 0))
    a100 = cuda_operations_per_second(108, 1.41e9, (8, 0))
    assert h100 == pytest.approx(67e12, rel=0.01)
    assert a100 == pytest.approx(19.5e12, rel=0.01)
    assert cuda_operations_per_second(1, 1e9, (3, 0)) is None
