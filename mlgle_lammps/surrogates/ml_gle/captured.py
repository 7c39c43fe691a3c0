"""Work on tensors that stay where they are, captured once as a CUDA graph: one launch for thousands of kernels."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from mlgle_lammps.errors import one_line

logger = logging.getLogger("mlgle")

Work = Callable[[], None]
_WARM_UPS = 2


def captured(work: Work, changed: list[torch.Tensor], capture: Callable[[Work], Work] | None = None) -> Work:
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
    before = [tensor.clone() for tensor in changed]
    try:
        return capture(work)
    except RuntimeError as error:
        logger.warning("a CUDA graph could not be captured (%s); going on without, slower", one_line(error))
        return work
    finally:
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)


def cuda_graph(work: Work) -> Work:
    """Return the replay of ``work``, which first runs on a side stream, since libraries allocate when first used."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph.replay
