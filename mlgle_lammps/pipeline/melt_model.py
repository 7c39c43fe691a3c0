"""From production and constrained runs to a model of the centres, its motion on disk, and how that compares with MD."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.errors import RunFailure
from mlgle_lammps.options.generate import GenerateOptions
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Frames, System
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.store.constrained_file import ConstrainedSet
from mlgle_lammps.store.writer import FramesWriter

if TYPE_CHECKING:
    from mlgle_lammps.evaluate.melts_against_md import MeltComparison
    from mlgle_lammps.surrogates.nm_mb.model import NmMbModel, NmMbMotion

logger = logging.getLogger("mlgle")
LEARNED_SHARE = 0.7
"""Of production that is learned from; the rest is what the model is held against."""


@dataclass(frozen=True)
class Learned:
    """What was learned.

    Attributes:
        model: of the surrogate.
        seconds: it took.
        notes: one line each.
        held_out: how it explains constrained runs that it was not learned from; None where all were learned from.
    """

    model: NmMbModel
    seconds: float
    notes: tuple[str, ...]
    held_out: JsonObject | None = None


def learn_model(
    held: ConstrainedSet, frames: Frames, system: System, options: LearnOptions, path: Path,
    should_stop: Callable[[], bool],
) -> Learned:  # fmt: skip
    """Return the model learned from the first part of production and of constrained runs, judged by the other runs.

    It is saved to ``path`` before it is judged, unless learning was asked to stop.

    Raises:
        UserError: frames or runs that it cannot be learned from.
    """
    from mlgle_lammps.surrogates.nm_mb import held_out, trainer  # loads torch
    from mlgle_lammps.surrogates.nm_mb.constrained_data import configuration_of

    started = time.monotonic()
    settings = trainer.TrainSettings(preset=options.preset, seed=options.seed)
    n_learned = len(held.runs) - len(held.runs) // held_out.SHARE
    learned_from = replace(held, runs=held.runs[:n_learned])
    model = trainer.train(learned_from, frames[: round(LEARNED_SHARE * len(frames))], system, settings, should_stop)
    if not should_stop():
        model.save(path)
    judged = [configuration_of(run) for run in held.runs[n_learned:]]
    shares = held_out.shares(model.kernel, model.potential.forces, judged) if judged else None
    return Learned(model, time.monotonic() - started, tuple(model.notes), shares)


def begin_motion(model: NmMbModel, recorded: Frames, options: GenerateOptions) -> tuple[NmMbMotion, int]:
    """Return a motion of the run's box, or of one with other molecules, and how many molecules a box has.

    Args:
        model: of the surrogate.
        recorded: frames up to the one that it was learned up to; several boxes start from as far apart as can be.
        options: of generating.

    Raises:
        UserError: a box too small for the model.
    """
    boxes, size = options.boxes, recorded.com.shape[1]
    if options.molecules is None:
        how = {"n_trajectories": boxes * size, "device": options.device, "threads": options.threads}
        return model.start(recorded, options.seed, **how), size
    made = model.start_box(options.seed, molecules=options.molecules, boxes=boxes, device=options.device)
    return made, options.molecules


def generate_centres(
    motion: NmMbMotion, system: System, path: Path, *, steps: int, save_every: int, n_molecules: int,
    start_step: int | None, seed: int, boxes: int = 1, should_stop: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Write centres and momenta of a motion to a file with the layout of modes.h5.

    Args:
        motion: of the model, just begun; it has a ``box``.
        system: of the frames that the model was learned from.
        path: the file, written under a temporary name.
        steps: frames to make.
        save_every: keep every so many-th.
        n_molecules: of a box.
        start_step: of the frame that it starts from; None where it starts from none.
        seed: of the motion.
        boxes: that move side by side.
        should_stop: asked between blocks; True gives up.

    Raises:
        RunFailure: disk full, a motion that ran away, or should_stop.
    """
    generated = replace(
        system, n_chains=boxes * n_molecules, boxes=boxes, dt=system.dt * save_every, every=save_every, notes=(),
        others=(), source=f"generated from {system.source}", box=(*(float(edge) for edge in motion.box), 0.0, 0.0, 0.0),
        masses=system.masses[:1], mode_variances=None,
    )  # fmt: skip
    told = {"save_every": save_every, "integrator_dt": system.dt, "start_step": start_step, "seed": seed}
    with FramesWriter(path, generated, np.float32, told) as writer, Progress("generate", steps, "frames") as progress:
        for block in motion.advance(steps):
            if should_stop():
                raise RunFailure("the run was interrupted")
            kept = block.thinned(save_every)
            if len(kept):
                writer.append(kept)
            progress.advance(len(block))


def compare_with_production(
    model: NmMbModel, frames: Frames, system: System, generated: Sequence[Frames], save_every: int = 1
) -> MeltComparison:
    """Return how a model's motion compares with the part of production that it was not learned from.

    Args:
        model: of the surrogate.
        frames: all of production.
        system: of the frames.
        generated: by the model, in boxes like that of production.
        save_every: frames of production to one of these.

    Raises:
        UserError: what is left of production, or was generated, is too short to compare.
    """
    from mlgle_lammps.evaluate import centre_models, melts_against_md

    seen = replace(system, dt=system.dt * save_every)
    plan = replace(melts_against_md.plan_of(frames, system, model.kT), dt=seen.dt)
    held_out = frames[round(LEARNED_SHARE * len(frames)) :: save_every]
    models, md = melts_against_md.look({model.preset: generated}, [held_out], plan, system.source)
    return melts_against_md.MeltComparison(
        md, models, centre_models.scores(models, md), seen, "the part of production that it was not learned from"
    )
