"""From a model to generated.h5 and its statistics; shared by the pipeline and `mlgle generate`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from mlgle_lammps.errors import RunFailure
from mlgle_lammps.evaluate.generated import GeneratedStatistics, GeneratedSummary
from mlgle_lammps.records import Frames, System
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.store.writer import GeneratedWriter
from mlgle_lammps.surrogates.contract import Model
from mlgle_lammps.surrogates.recorded import uninterrupted_end

__all__ = ["generate_to_file", "uninterrupted_end"]

logger = logging.getLogger("mlgle")


def generate_to_file(
    model: Model,
    frames: Frames,
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
) -> GeneratedSummary:
    """Generate ``ensemble`` trajectories of ``steps`` steps, write every ``save_every``-th, return their statistics.

    Args:
        model: of any surrogate.
        frames: MD frames at whose end the trajectories start, one uninterrupted piece of ``model.memory`` or more.
        system: of the MD; its dt is one step.
        path: the file, written under a temporary name.
        steps: per trajectory.
        ensemble: trajectories.
        save_every: thins the file, not the statistics.
        seed: of the noise.
        device: "auto", "cpu" or "cuda".
        threads: torch threads, 0 for all.
        should_stop: asked between blocks; True gives up.

    Raises:
        RunFailure: disk full, a motion that ran away, or should_stop.
        UserError: no room on the disk, or frames that the model was not made for.
    """
    motion = model.start(frames, seed, n_trajectories=ensemble, device=device, threads=threads)
    statistics = GeneratedStatistics(ensemble, model.n_modes, steps)
    writer = GeneratedWriter(path, system, ensemble, steps // save_every, save_every, frames.last_step, {"seed": seed})
    logger.info("%s will take %.3g MB", path, writer.expected_bytes / 1e6)
    with writer, Progress("generate", steps, "steps") as progress:
        for block in motion.advance(steps):
            if should_stop():
                raise RunFailure("the run was interrupted")
            statistics.add(block)
            writer.append(block[-int(block.steps[0]) % save_every :: save_every])
            progress.advance(len(block))
    return statistics.summary()
