"""Work on tensors that stay where they are, captured once as a CUDA graph: one launch for thousands of kernels."""

from __future__ import annotations

import contextlib
import gc
import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

import torch

from mlgle_lammps.errors import one_line

logger = logging.getLogger("mlgle")

Work = Callable[[], object]
Data = TypeVar("Data")
_WARM_UPS = 2
_EAGER_STEPS = 12
"""Steps on the same data before they are captured; more than an online round makes, whose data never come again."""


def captured(work: Work, changed: Sequence[torch.Tensor], capture: Callable[[Work], Work] | None = None) -> Work:
    """Return what does ``work`` again, by replay where it could be captured; ``changed`` is left as it was.

    On a CPU, without ``capture``, it is ``work`` itself.

    Args:
        work: operations without host synchronisation, always on the same tensors.
        changed: tensors that it changes.
        capture: runs work and returns its replay; as a CUDA graph where the tensors are on a GPU.
    """
    if capture is None:
        if changed[0].device.type != "cuda":
            return work
        capture = cuda_graph
    before = [tensor.detach().clone() for tensor in changed]
    try:
        return capture(work)
    except RuntimeError as error:
        logger.warning("a CUDA graph could not be captured (%s); going on without, slower", one_line(error))
        return work
    finally:
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)


def cuda_graph(work: Work) -> Work:
    """Return the replay of ``work``, which first runs on a side stream, since libraries allocate when first used."""
    current = torch.cuda.current_stream()
    side = _side_stream(current.device)
    side.wait_stream(current)
    try:
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                work()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with _no_collection(), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
    finally:
        torch.cuda.set_stream(current)  # torch leaves the capture's own stream behind where a capture fails
    return graph.replay


@lru_cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return one stream for all warm-ups: cuBLAS keeps 32 MiB for every stream that it has seen."""
    return torch.cuda.Stream(device)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from collecting garbage, which may be graphs of before: their end would spoil a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class RepeatedStep(Generic[Data]):
    """A step on some data, taken with one index after another; captured once the same data have come often enough.

    Args:
        step: changes tensors by the data at an index; no host synchronisation where it is to be captured.
        changed: returns the tensors that it changes, after it was taken once.
        capture: see ``captured``.
    """

    def __init__(
        self,
        step: Callable[[Data, torch.Tensor], None],
        changed: Callable[[], Sequence[torch.Tensor]],
        capture: Callable[[Work], Work] | None = None,
    ) -> None:
        self._step, self._changed, self._capture = step, changed, capture
        self.release()

    def release(self) -> None:
        """Forget the data and what was captured."""
        self._data: weakref.ref[Data] | None = None
        self._index: torch.Tensor | None = None
        self._replay: Work | None = None
        self._taken = 0

    def __call__(self, data: Data, index: torch.Tensor) -> None:
        """Take the step; an index of another length than the captured one is taken as it is."""
        if self._capture is None and index.device.type != "cuda":
            self._step(data, index)
            return
        if self._data is None or self._data() is not data:
            self.release()
            self._data = weakref.ref(data)
        if self._taken == _EAGER_STEPS and self._replay is None:
            self._replay = self._captured(data, index)
        if self._replay is None or self._index is None or len(index) != len(self._index):
            self._taken = min(self._taken + 1, _EAGER_STEPS)
            self._step(data, index)
        else:
            self._index.copy_(index)
            self._replay()

    def _captured(self, data: Data, index: torch.Tensor) -> Work:
        own = index.clone()
        self._index = own
        return captured(lambda: self._step(data, own), self._changed(), self._capture)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Return the tensors of an optimizer's state, which are there after its first step."""
    states = optimizer.state.values()
    return [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """Take an optimizer's step; torch wants to be told that it is captured, and warns where it is told in vain."""
    on_gpu = optimizer.param_groups[0]["params"][0].device.type == "cuda"
    capturing = on_gpu and torch.cuda.is_current_stream_capturing()
    for group in optimizer.param_groups:
        group["capturable"] = capturing
    optimizer.step()
