"""From production and constrained runs to a model of the centres, its motion on disk, and how that compares with MD."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.observe.pair_distribution import intermolecular_distribution
from mlgle_lammps.options.generate import GenerateOptions
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.records import CHAINS, Float64, Frames, System
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.store.constrained_file import ConstrainedSet
from mlgle_lammps.store.writer import FramesWriter

if TYPE_CHECKING:
    from mlgle_lammps.evaluate.centres import CentrePlan
    from mlgle_lammps.surrogates.nm_mb.model import NmMbModel, NmMbMotion

logger = logging.getLogger("mlgle")
LEARNED_SHARE = 0.7
"""Of production that is learned from; the rest is what the model is held against."""
PIECES = 4
"""Into which what is compared is cut, for errors."""


@dataclass(frozen=True)
class Learned:
    """What was learned.

    Attributes:
        model: of the surrogate.
        seconds: it took.
        notes: one line each.
    """

    model: NmMbModel
    seconds: float
    notes: tuple[str, ...]


def learn_model(
    held: ConstrainedSet, frames: Frames, system: System, options: LearnOptions, should_stop: Callable[[], bool]
) -> Learned:
    """Return the model learned from constrained runs and from the first part of production.

    Raises:
        UserError: frames or runs that it cannot be learned from.
    """
    from mlgle_lammps.surrogates.nm_mb import trainer  # loads torch

    started = time.monotonic()
    settings = trainer.TrainSettings(preset=options.preset, seed=options.seed)
    model = trainer.train(held, frames[: round(LEARNED_SHARE * len(frames))], system, settings, should_stop)
    return Learned(model, time.monotonic() - started, tuple(model.notes))


def begin_motion(model: NmMbModel, last: Frames, options: GenerateOptions) -> tuple[NmMbMotion, int]:
    """Return a motion of the run's box, or of one with other molecules, and how many molecules it has.

    Args:
        model: of the surrogate.
        last: the frame that it was learned up to.
        options: of generating.

    Raises:
        UserError: a box too small for the model.
    """
    if options.molecules is None:
        n_molecules = last.com.shape[1]
        how = {"n_trajectories": n_molecules, "device": options.device, "threads": options.threads}
        return model.start(last, options.seed, **how), n_molecules
    return model.start_box(options.seed, molecules=options.molecules, device=options.device), options.molecules


def generate_centres(
    motion: NmMbMotion, system: System, path: Path, *, steps: int, save_every: int, n_molecules: int,
    start_step: int | None, seed: int, should_stop: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Write centres and momenta of a motion to a file with the layout of modes.h5.

    Args:
        motion: of the model, just begun; it has a ``box``.
        system: of the frames that the model was learned from.
        path: the file, written under a temporary name.
        steps: frames to make.
        save_every: keep every so many-th.
        n_molecules: in a frame.
        start_step: of the frame that it starts from; None where it starts from none.
        seed: of the motion.
        should_stop: asked between blocks; True gives up.

    Raises:
        RunFailure: disk full, a motion that ran away, or should_stop.
    """
    generated = replace(
        system, n_chains=n_molecules, dt=system.dt * save_every, every=save_every, notes=(), others=(),
        source=f"generated from {system.source}", box=(*(float(edge) for edge in motion.box), 0.0, 0.0, 0.0),
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
    model: NmMbModel, frames: Frames, system: System, generated: Frames, save_every: int = 1
) -> JsonMapping:
    """Return how a model's motion compares with the part of production that it was not learned from.

    Args:
        model: of the surrogate.
        frames: all of production.
        system: of the frames.
        generated: by the model, in the box of production.
        save_every: frames of production to one of these.

    Raises:
        UserError: what is left of production, or was generated, is too short to compare.
    """
    from mlgle_lammps.evaluate import centre_models as scores
    from mlgle_lammps.evaluate import centres

    plan = _plan(centres, model, frames, system, save_every)
    needed = round(1.2 * plan.diffusion[1] / plan.dt)
    held_out = frames[round(LEARNED_SHARE * len(frames)) :: save_every]
    md, made = ([centres.CentrePiece(*piece) for piece in _pieces(own, needed)] for own in (held_out, generated))
    if not md or not made:
        raise UserError(
            f"{system.source}: models are compared over pieces of {needed} frames, and there are "
            f"{len(held_out)} of production that were not learned from and {len(generated)} that were generated: ask "
            "for more `frames` or `generate_steps`"
        )
    found: JsonMapping = scores.scores({model.preset: centres.look_at(made, plan)}, centres.look_at(md, plan))
    return found


def _plan(centres: ModuleType, model: NmMbModel, frames: Frames, system: System, save_every: int) -> CentrePlan:
    """Return what is looked at, in units of the melt's own: its first neighbours, and how long velocities last."""
    momenta = frames.channels[CHAINS]["momenta"]
    forget = _forgetting(momenta) * system.dt
    box = np.array((system.box or ())[:3])
    some = frames.com[:: max(len(frames) // 100, 1), :, None]
    peak, _ = intermolecular_distribution(some, box, 0.495 * float(box.min())).first_peak()
    masses = np.broadcast_to(np.array(system.masses), (system.n_chains,)).astype(np.float64)
    return centres.CentrePlan(
        system.dt * save_every, box, masses, model.kT, shells=((0.83 * peak, 0.91 * peak), (1.16 * peak, 1.24 * peak)),
        longest=28 * forget, diffusion=(28 * forget, 114 * forget),
        maps=tuple(share * 114 * forget for share in (0.0, 0.025, 0.06, 0.12, 0.25, 0.5, 1.0)),
    )  # fmt: skip


def _forgetting(momenta: Float64) -> float:
    """Return the frames after which velocities' autocorrelation has fallen to 1/e."""
    longest = min(400, len(momenta) - 1)
    products = np.array([np.mean(momenta[lag:] * momenta[: len(momenta) - lag]) for lag in range(longest)])
    below = products < products[0] / np.e
    return float(np.argmax(below)) if below.any() else float(longest)


def _pieces(frames: Frames, needed: int) -> Iterator[tuple[Float64, Float64]]:
    """Yield centres and momenta of up to four pieces without a seam, each of ``needed`` frames or more."""
    own = frames.channels[CHAINS]
    for segment in np.unique(frames.segments):
        first, after = np.searchsorted(frames.segments, [segment, segment + 1])
        n_pieces = min(PIECES, (after - first) // needed)
        for part in np.array_split(np.arange(first, after), n_pieces) if n_pieces else ():
            yield own["com"][part], own["momenta"][part]
