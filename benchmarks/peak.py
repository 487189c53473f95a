"""The most float32 operations a second that the instructions of a processor allow.

    peak = cores × clock × operations a cycle

A fused multiplication and addition counts as two operations. How many fit into a cycle follows from
the vector instructions that Linux lists for the processor, and, where the same instructions run at
half the width, from its family. The clock is measured: the number in `/proc/cpuinfo` is often that
of the virtual machine, or of a processor that rests. What was assumed is told with the number.

References
----------
Fog, Instruction tables, agner.org/optimize: latencies and units of processors by AMD and Intel;
Software Optimization Guide for the AMD Zen4 Microarchitecture, 2023, section 2.11 (512-bit operations
take two cycles of a 256-bit unit).
"""

import ctypes
import mmap
import os
import platform
import sys
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
ZEN_1, ZEN_4 = 0x17, 0x19
"""Families of AMD: of Zen 1 and 2, and of Zen 3 and 4."""
FIRST_MODEL_OF_ZEN_2 = 0x30

MULTIPLY = bytes([0x0F, 0xAF, 0xC0])
"""`imul eax, eax`: takes the result of the one before, and three cycles, on processors since 2006."""
LATENCY_CYCLES = 3
CHAIN = 16
"""Multiplications in a pass of the loop."""
PASSES = 50_000
"""Passes of one timing: about a millisecond, so that most timings are not interrupted."""
TIMINGS = 50


@dataclass(frozen=True, kw_only=True)
class Processor:
    """What Linux tells of the processors that this process may use.

    Parameters
    ----------
    vendor
        As `AuthenticAMD`.
    family, model
        The vendor's numbers.
    flags
        Names of instruction sets.
    cores
        Physical ones: two threads of one core share its units.
    clock_hz
        The highest of the clocks that it tells; None: it tells none.
    """

    vendor: str
    family: int
    model: int
    flags: frozenset[str]
    cores: int
    clock_hz: float | None


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The highest rate of a number of cores, and what was assumed for it.

    Parameters
    ----------
    cores
        That compute.
    clock_hz
        Of each.
    clock_source
        `measured`, or `as /proc/cpuinfo has it`.
    operations_per_cycle
        Of each.
    instructions
        From which these follow.

    Examples
    --------
    >>> peak = Peak(
    ...     cores=2, clock_hz=3e9, clock_source="measured", operations_per_cycle=32,
    ...     instructions="AVX2 with two FMA units",
    ... )
    >>> peak.operations_per_second
    192000000000.0
    >>> str(peak)
    '192 GFLOP/s = 2 cores × 3.00 GHz (measured) × 32 a cycle (AVX2 with two FMA units)'
    """

    cores: int
    clock_hz: float
    clock_source: str
    operations_per_cycle: int
    instructions: str

    @property
    def operations_per_second(self) -> float:
        """Of all cores together."""
        return self.cores * self.clock_hz * self.operations_per_cycle

    def __str__(self) -> str:
        rate = self.operations_per_second / 1e9
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        clock = f"{self.clock_hz / 1e9:.2f} GHz ({self.clock_source})"
        each = f"{self.operations_per_cycle} a cycle ({self.instructions})"
        return f"{rate:.0f} GFLOP/s = {cores} × {clock} × {each}"


CUDA_LANES = {
    (7, 0): 64,
    (7, 5): 64,
    (8, 0): 64,
    (8, 6): 128,
    (8, 7): 128,
    (8, 9): 128,
    (9, 0): 128,
    (10, 0): 128,
    (12, 0): 128,
}
"""float32 multiply-adds that a multiprocessor begins in a cycle, by compute capability (CUDA C++ programming guide)."""


def cuda_operations_per_second(
    multiprocessors: int, clock_hz: float, capability: tuple[int, int]
) -> float | None:
    """Return the float32 operations a second of a CUDA device, outside tensor cores; None of an unknown capability."""
    lanes = CUDA_LANES.get(capability)
    if lanes is None:
        return None
    return multiprocessors * lanes * 2 * clock_hz


def find_peak(threads: int) -> Peak | None:
    """Return the peak of this machine on some threads; None where its instructions are not known."""
    if not CPUINFO.is_file():
        return None
    allowed = os.sched_getaffinity(0)
    processor = parse_processor(CPUINFO.read_text(encoding="utf-8"), allowed)
    if processor is None:
        return None
    cores = min(threads, processor.cores)
    return peak_of(processor, cores, measured_clock_hz(cores))


def peak_of(processor: Processor, cores: int, measured_hz: float | None) -> Peak | None:
    """Return the peak of some cores of a processor; None where it is not known.

    Parameters
    ----------
    processor
        Its instructions, and the clock where none was measured.
    cores
        That compute.
    measured_hz
        The measured clock; None: it could not be measured.
    """
    known = operations_per_cycle(processor)
    clock_hz = measured_hz or processor.clock_hz
    if known is None or clock_hz is None:
        return None
    operations, instructions = known
    return Peak(
        cores=cores,
        clock_hz=clock_hz,
        clock_source="measured" if measured_hz else f"as {CPUINFO} has it",
        operations_per_cycle=operations,
        instructions=instructions,
    )


def operations_per_cycle(processor: Processor) -> tuple[int, str] | None:
    """Return the float32 operations that a core starts in a cycle, and why; None: not known.

    Two units take a vector each. Of 512 bits it holds 16 numbers, of 256 bits 8, and a fused
    multiplication and addition does two operations on each: 2 · 16 · 2 = 64, or 2 · 8 · 2 = 32.
    """
    flags = processor.flags
    by_amd = processor.vendor == "AuthenticAMD"
    if "avx512f" in flags:
        if by_amd and processor.family == ZEN_4:
            return 32, "AVX-512 in halves of 256 bits, AMD Zen 4"
        return 64, "AVX-512, assuming two FMA units of 512 bits"
    if {"avx2", "fma"} <= flags:
        is_first_zen = processor.family == ZEN_1 and processor.model < FIRST_MODEL_OF_ZEN_2
        if by_amd and is_first_zen:
            return 16, "AVX2 in halves of 128 bits, AMD Zen 1"
        return 32, "AVX2 with two FMA units"
    if "avx" in flags:
        return 16, "AVX with one unit that adds and one that multiplies"
    return None


def parse_processor(cpuinfo: str, allowed: Collection[int]) -> Processor | None:
    """Return the processor that `/proc/cpuinfo` describes; None where it is none of x86.

    Parameters
    ----------
    cpuinfo
        The text of the file.
    allowed
        Numbers of the logical processors that count.
    """
    described = []
    for block in cpuinfo.strip().split("\n\n"):
        lines = [line.partition(":") for line in block.splitlines()]
        one = {key.strip(): value.strip() for key, _, value in lines}
        if one.get("processor", "").isdecimal() and int(one["processor"]) in allowed:
            described.append(one)
    if not described or "flags" not in described[0]:
        return None
    first = described[0]
    cores = set()
    clocks = []
    for one in described:
        # without these entries, as in some virtual machines, each is a core of its own
        cores.add((one.get("physical id"), one.get("core id", one["processor"])))
        if "cpu MHz" in one:
            clocks.append(float(one["cpu MHz"]) * 1e6)
    return Processor(
        vendor=first.get("vendor_id", ""),
        family=int(first.get("cpu family", 0)),
        model=int(first.get("model", 0)),
        flags=frozenset(first["flags"].split()),
        cores=len(cores),
        clock_hz=max(clocks, default=None),
    )


def measured_clock_hz(cores: int) -> float | None:
    """Measure the clock of cores that all compute, by a chain of multiplications.

    Each multiplication needs the result of the one before, so that nothing but the clock decides
    how long the chain takes: 3 cycles for each, the loop around them runs beside it. The chain is
    machine code, since neither Python nor NumPy promises one multiplication after the other.

    Parameters
    ----------
    cores
        How many run the chain at once; the slowest counts.

    Returns
    -------
    float or None
        In Hz; None on processors other than x86, and where no code may be made at run time.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    try:
        memory = mmap.mmap(
            -1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        )
    except OSError:
        return None
    memory.write(_chain_code())
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    run = ctypes.CFUNCTYPE(None, ctypes.c_uint32)(address)

    def clock_hz(_: int) -> float:
        fastest_s = min(_timed(run) for _ in range(TIMINGS))
        return PASSES * CHAIN * LATENCY_CYCLES / fastest_s

    with ThreadPoolExecutor(cores) as pool:
        return min(pool.map(clock_hz, range(cores)))


def _chain_code() -> bytes:
    """Return the loop, a function of the number of passes in `edi`."""
    body = MULTIPLY * CHAIN
    count_down = bytes([0xFF, 0xCF])  # dec edi
    # jnz: back by the body, the count and the two bytes of the jump itself
    back = -(len(body) + len(count_down) + 2)
    jump = bytes([0x75, back % 256])
    finish = bytes([0xC3])  # ret
    return body + count_down + jump + finish


def _timed(run: Callable[[int], None]) -> float:
    began = time.perf_counter()
    run(PASSES)
    return time.perf_counter() - began


if __name__ == "__main__":
    print(find_peak(len(os.sched_getaffinity(0))) or "unknown")
