"""What the cases of `gpu.py` share: how they are measured, timing on a device, its memory, graphs switched off."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from unittest import mock

import torch
from speed_records import Measurement, seconds_of

from mlgle_lammps.surrogates.ml_gle import batch, captured

Size = TypeVar("Size")


@dataclass(frozen=True)
class Plan:
    """How the cases are measured.

    Attributes:
        device: "cuda" or "cpu".
        quick: least sizes: shows that a case runs.
        repeats: of each timing.
        deadline: time.time() from which on nothing new is begun.
        out: folder of the results.
    """

    device: str
    quick: bool
    repeats: int
    deadline: float
    out: Path

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU."""
        return self.device == "cuda"

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.deadline - time.time()

    def size(self, on_gpu: Size, on_cpu: Size, quick: Size) -> Size:
        """Return the size that goes with the device."""
        if self.quick:
            return quick
        return on_gpu if self.on_gpu else on_cpu


def times_of(work: Callable[[], object], repeats: int) -> list[float]:
    """Return wall seconds of ``work``, a GPU's part of it included, after one warm-up."""
    work()
    wait()
    return [seconds_of(work) for _ in range(repeats)]


def wait() -> None:
    """Wait for a GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gpu_seconds(work: Callable[[], object]) -> float:
    """Return seconds between two events on the GPU's stream around ``work``."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    wait()
    first.record()
    work()
    last.record()
    wait()
    return float(first.elapsed_time(last)) / 1e3


@contextlib.contextmanager
def graphs(on: bool) -> Iterator[None]:
    """Let generation and training capture CUDA graphs, or not."""
    if on:
        yield
        return
    with (
        mock.patch.object(batch, "captured", lambda work, changed: work),
        mock.patch.object(captured, "captured", lambda work, changed, capture=None: work),
    ):
        yield


@contextlib.contextmanager
def peak_memory(plan: Plan, case: str, found: list[Measurement]) -> Iterator[None]:
    """Add the most memory that was taken on the GPU meanwhile to ``found``; nothing on a CPU."""
    if not plan.on_gpu:
        yield
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield
    mib = 2**20
    used, reserved = torch.cuda.max_memory_allocated() / mib, torch.cuda.max_memory_reserved() / mib
    note = f"{reserved:.0f} MiB reserved, graphs' own pools included"
    found.append(Measurement(case, "peak memory on the GPU", "MiB", (used,), note=note))
