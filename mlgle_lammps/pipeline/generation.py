"""From a model to generated.h5 and its statistics; shared by the pipeline and `mlgle generate`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.evaluate.bead_judgement import judge_beads
from mlgle_lammps.evaluate.judgement import judge_against_window, judgement_warnings
from mlgle_lammps.evaluate.stream_statistics import LAGS, StreamStatistics, StreamSummary
from mlgle_lammps.observe.bead_motion import bead_motion_of
from mlgle_lammps.options.declaring import as_flags
from mlgle_lammps.pipeline.run import Run
from mlgle_lammps.records import Estimate, Frames, GleFit, System
from mlgle_lammps.report.stages import Generated, HandOff, Trained
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.resources.room import available_memory, readable_bytes
from mlgle_lammps.statistics.correlation import relaxation_times
from mlgle_lammps.statistics.errors import interval_factor
from mlgle_lammps.store.writer import GeneratedWriter
from mlgle_lammps.surrogates.catalogue import find_preset
from mlgle_lammps.surrogates.contract import Model

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
) -> StreamSummary:
    """Generate ``ensemble`` trajectories of ``steps`` steps, write every ``save_every``-th, return their statistics.

    Args:
        model: of any surrogate.
        frames: MD frames at whose end the trajectories start, one uninterrupted piece of ``model.memory`` or more, with
            the columns of ``model.directions``.
        system: of the MD; its dt is one step.
        path: the file, written under a temporary name.
        steps: per trajectory.
        ensemble: trajectories.
        save_every: thins the file, not the statistics.
        seed: of the noise.
        device: "auto", "cpu", "cuda", or several: "cuda:0,cuda:1".
        threads: torch threads, 0 for all.
        should_stop: asked between blocks; True gives up.

    Raises:
        RunFailure: disk full, a motion that ran away, or should_stop.
        UserError: no room on the disk or in memory, or frames that the model was not made for.
    """
    _require_memory(model, steps, ensemble)
    motion = model.start(frames, seed, n_trajectories=ensemble, device=device, threads=threads)
    statistics = StreamStatistics(ensemble, model.n_modes, steps, model.directions.n)
    system = replace(system, directions=model.directions, n_modes=model.n_modes)
    writer = GeneratedWriter(path, system, ensemble, steps // save_every, save_every, frames.last_step, {"seed": seed})
    logger.info("%s will take %.3g MB", path, writer.expected_bytes / 1e6)
    with writer, Progress("generate", steps, "steps") as progress:
        for block in motion.advance(steps):
            if should_stop():
                raise RunFailure("the run was interrupted")
            statistics.add(block)
            writer.append(block.thinned(save_every))
            progress.advance(len(block))
    return statistics.summary()


def _require_memory(model: Model, steps: int, ensemble: int) -> None:
    """Raise UserError where the least that `StreamStatistics` holds does not fit: modes of one, centres of all."""
    numbers = steps * model.n_modes * 4 + max(4, steps // 4) * ensemble * 8
    least, room = float(numbers * model.directions.n + steps * 8), available_memory()
    if least > room.free:
        raise UserError(
            f"{steps} steps of {ensemble} trajectories need {readable_bytes(least)} of memory or more, and "
            f"{readable_bytes(room.free)} are {room.limit}: lower `ensemble` or `steps` (of a run: `generate_steps`)"
        )


def generate_and_judge(run: Run, handoff: HandOff, trained: Trained) -> Generated | None:
    """Generate what the options ask for into generated.h5 and hold it against MD; None where that failed."""
    findings, options, system = run.findings, run.setup.options, run.setup.system
    started = time.monotonic()
    try:
        summary = generate_to_file(
            trained.model, trained.start, system, run.folder.generated, steps=options.generate_steps,
            ensemble=options.ensemble, save_every=options.save_every, seed=options.seed, device=options.device,
            threads=options.threads, should_stop=run.broken,
        )  # fmt: skip
    except (RunFailure, UserError, MemoryError, torch.cuda.OutOfMemoryError) as error:
        findings.warn(f"nothing was generated: {as_flags(one_line(error))}")
        return None
    finally:
        findings.generate_s = time.monotonic() - started
    remedy = find_preset(options).remedy
    check = judge_against_window(summary, handoff.window, handoff.correlation)
    beads = judge_beads(
        summary.motion, bead_motion_of(handoff.window, LAGS, system.center_held), system.n_beads, system.edges
    )
    for line in (*judgement_warnings(check, remedy), *(beads.warnings(remedy) if beads else ())):
        findings.warn(line)
    times = relaxation_times(summary.correlation.nacf, system.dt)
    D = generated_diffusion(summary, handoff.fit, system.dt, times)
    if D is None:
        findings.warn(
            f"{summary.n_frames} generated steps show no normal diffusion long enough to fit, so there is no "
            "D_generated: raise --generate-steps"
        )
    return Generated(summary, check, times, D, beads)


def generated_diffusion(
    summary: StreamSummary, fit: GleFit, dt: float, times: Sequence[float | None]
) -> Estimate | None:
    """Return D of the generated centres of mass, its interval widened by the uncertainty of α² that they inherit."""
    slowest = next(iter(times), None)
    own = normal_diffusion(summary.moments, dt, slowest / dt) if slowest is not None else None
    if own is None:
        return None
    se = float(np.hypot(own.se, fit.D.se))
    widen = max(interval_factor(own), interval_factor(fit.D))
    method = f"generated ensemble: {own.method}; the error of alpha^2 included"
    return Estimate(own.value, se, (own.value - widen * se, own.value + widen * se), method)
