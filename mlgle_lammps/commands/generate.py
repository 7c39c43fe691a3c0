"""``python -m mlgle_lammps.generate RUN``: long trajectories from a run's model; no LAMMPS, no MPI."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.commands.parsers import parse_generate
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Float32, System
from mlgle_lammps.store.recorded import RecordedSource
from mlgle_lammps.store.run_folder import RunFolder

logger = logging.getLogger("mlgle")


def _generate(arguments: Sequence[str]) -> int:
    options = parse_generate(arguments)
    from mlgle_lammps.diffusion.slope import normal_diffusion
    from mlgle_lammps.pipeline.generation import generate_to_file
    from mlgle_lammps.statistics.correlation import relaxation_times
    from mlgle_lammps.surrogates.ml_gle.surrogate import Surrogate

    folder = RunFolder.open(options.run)
    path = options.out or folder.generated
    if path != folder.generated and path.exists():
        raise UserError(f"--out {path} exists; generate overwrites nothing but a run's own generated.h5")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}")
    surrogate = Surrogate.load(folder.model)
    system, histories = recorded_histories(folder, surrogate.history)
    if not math.isclose(system.dt, surrogate.dt, rel_tol=1e-6):
        raise UserError(
            f"{folder.model} is of frames each {surrogate.dt:g}, {folder.modes} of frames each {system.dt:g}"
        )
    summary = generate_to_file(
        surrogate, histories, system, path, steps=options.steps, ensemble=options.ensemble,
        save_every=options.save_every, seed=options.seed, device=options.device, threads=options.threads,
    )  # fmt: skip
    slowest = relaxation_times(summary.correlation.nacf[:, :1], 1.0)[0]
    D = None if slowest is None else normal_diffusion(summary.moments, system.dt, slowest)
    shown = "too few steps for a D" if D is None else f"D = {D.value:.4g} ± {D.se:.1g} (generation noise only)"
    logger.info("%s; wrote %s", shown, path)
    return 0


def recorded_histories(folder: RunFolder, seed_history: Float32) -> tuple[System, Float32]:
    """Return the recorded system and its modes up to the hand-off, which ends with the model's seed history.

    Args:
        folder: with modes.h5.
        seed_history: the model's, (m, chain, mode, 3).

    Raises:
        UserError: no stream, or one that the model was not learned from.
    """
    from mlgle_lammps.pipeline.generation import uninterrupted_end

    if not folder.modes.is_file():
        raise UserError(f"{folder.modes} is missing: generate starts from its frames")
    n_modes = seed_history.shape[2]
    source = RecordedSource([folder.path], n_modes=n_modes)
    system = replace(source.system, source=str(folder.path))
    frames: list[Float32] = []
    segments: list[int] = []
    for frame in source:
        modes = frame.modes[0]
        frames.append(modes)
        segments.append(frame.last_segment)
        if modes.shape == seed_history.shape[1:] and np.array_equal(modes, seed_history[-1]):
            return system, uninterrupted_end(np.stack(frames), np.array(segments), len(seed_history))
    raise UserError(
        f"{folder.modes} does not hold the frames that {folder.model} was learned from; put the two of one run together"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("generate", _generate, arguments)
