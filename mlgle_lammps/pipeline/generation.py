"""From a saved model to generated.h5 and its statistics; shared by the pipeline and `mlgle generate`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.evaluate.stream_statistics import StreamStatistics, StreamSummary
from mlgle_lammps.records import Float32, Int64, System
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.store.writer import GeneratedWriter
from mlgle_lammps.surrogates.ml_gle.integrator import generate
from mlgle_lammps.surrogates.ml_gle.surrogate import Surrogate

logger = logging.getLogger("mlgle")


def uninterrupted_end(modes: Float32, segments: Int64, memory: int) -> Float32:
    """Return the modes of the last uninterrupted piece that holds a history, so that no history crosses a seam.

    Args:
        modes: (time, chain, mode, 3).
        segments: (time,), non-decreasing.
        memory: m, frames of history.

    Raises:
        UserError: no piece is so long.
    """
    for segment in np.unique(segments)[::-1]:
        first, after = np.searchsorted(segments, [segment, segment + 1])
        if after - first >= memory:
            return modes[first:after]
    raise UserError(f"no uninterrupted piece of the stream holds the {memory} frames of one history: lower --memory")


def generate_to_file(
    surrogate: Surrogate,
    histories: Float32,
    system: System,
    path: Path,
    *,
    steps: int,
    ensemble: int,
    save_every: int,
    seed: int,
    device: str,
    threads: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> StreamSummary:
    """Generate ``ensemble`` trajectories of ``steps`` steps, write every ``save_every``-th, return their statistics.

    Args:
        surrogate: the model.
        histories: MD frames that the trajectories start from, (time >= m, chain, mode, 3).
        system: of the MD; its dt is one step.
        path: the file, written under a temporary name.
        steps: per trajectory.
        ensemble: trajectories.
        save_every: thins the file, not the statistics.
        seed: of the noise.
        device: "auto", "cpu" or "cuda".
        threads: torch threads, 0 for all.
        should_stop: asked between chunks; True gives up.

    Raises:
        RunFailure: disk full, a mode that ran away, or should_stop.
        UserError: no room on the disk.
    """
    statistics = StreamStatistics(ensemble, surrogate.n_modes, steps)
    writer = GeneratedWriter(path, system, ensemble, steps // save_every, save_every, {"seed": seed})
    logger.info("%s will take %.3g MB", path, writer.expected_bytes / 1e6)
    with writer, Progress("generate", steps, "steps") as progress:
        for chunk in generate(surrogate, steps, ensemble, seed, device=device, history=histories, threads=threads):
            if should_stop():
                raise RunFailure("the run was interrupted")
            statistics.add(chunk)
            writer.append(chunk[-int(chunk.steps[0]) % save_every :: save_every])
            progress.advance(len(chunk))
    return statistics.summary()
