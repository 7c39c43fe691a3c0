"""``python -m mlgle_lammps.generate RUN``: long trajectories from a run's model; no LAMMPS, no MPI.

With ``--temperature`` and a comparison of several temperatures: at one that nobody ran.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mlgle_lammps.api.runs import recorded_frames
from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.commands.parsers import parse_generate
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.generate import GenerateOptions
from mlgle_lammps.records import joined
from mlgle_lammps.store.recorded import RecordedSource
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.surrogates.catalogue import find_surrogate, load_model
from mlgle_lammps.surrogates.shifted import shift_to, shifted_model, shifted_system

if TYPE_CHECKING:
    from mlgle_lammps.surrogates.nm_mb.model import NmMbModel

logger = logging.getLogger("mlgle")


def _generate(arguments: Sequence[str]) -> int:
    options = parse_generate(arguments)
    if options.start:
        from mlgle_lammps.pipeline.molecules import generate_molecules

        return generate_molecules(options)
    from mlgle_lammps.diffusion.slope import normal_diffusion
    from mlgle_lammps.pipeline.generation import generate_to_file
    from mlgle_lammps.statistics.correlation import relaxation_times

    shift = None if options.temperature is None else shift_to(options.run, options.temperature)
    folder = RunFolder.open(options.run if shift is None else shift.run)
    path = options.out or (folder.generated if shift is None else shift.default_out(options.run))
    if (shift is not None or path != folder.generated) and path.exists():
        raise UserError(f"--out {path} exists; generate overwrites nothing but a run's own generated.h5")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}")
    model = load_model(folder.find_model(), options.surrogate)
    surrogate = find_surrogate(model.surrogate)
    if surrogate.learn_runs is not None:
        raise UserError(f"{folder.find_model()} is of many molecules: name runs to move on from with --start")
    if surrogate.constrained:
        return _generate_melt(cast("NmMbModel", model), folder, options, path)
    if options.molecules is not None:
        raise UserError(f"--molecules: trajectories of {model.surrogate} do not see one another; give --ensemble")
    system, frames = recorded_frames(folder, model)
    if not math.isclose(system.dt, model.dt, rel_tol=1e-6):
        raise UserError(
            f"{folder.find_model()} is of frames each {model.dt:g}, {folder.modes} of frames each {system.dt:g}"
        )
    if shift is not None:
        if len(shift.lengths) != model.n_modes:
            raise UserError(
                f"{options.run} pools {len(shift.lengths)} modes, the model of {shift.run} has {model.n_modes}"
            )
        model, system = shifted_model(model, shift), shifted_system(system, shift)
        logger.info("%s", shift.sentence())
    summary = generate_to_file(
        model, frames, system, path, steps=options.steps, ensemble=options.trajectories,
        save_every=options.save_every, seed=options.seed, device=options.device, threads=options.threads,
    )  # fmt: skip
    slowest = relaxation_times(summary.correlation.nacf[:, :1], 1.0)[0]
    D = None if slowest is None else normal_diffusion(summary.moments, system.dt, slowest)
    shown = "too few steps for a D" if D is None else f"D = {D.value:.4g} ± {D.se:.1g} (generation noise only)"
    logger.info("%s; wrote %s", shown, path)
    return 0


def _generate_melt(model: NmMbModel, folder: RunFolder, options: GenerateOptions, path: Path) -> int:
    """Write centres and momenta of a box of molecules that move together."""
    from mlgle_lammps.pipeline.melt_model import begin_motion, generate_centres
    from mlgle_lammps.resources.compute import use_threads

    if options.temperature is not None:
        raise UserError(f"--temperature: a model of {model.surrogate} is of its own temperature alone")
    if not folder.modes.is_file():
        raise UserError(f"{folder.modes} is missing: generate starts from its frames")
    source = RecordedSource([folder.path])
    boxes = options.boxes
    recorded = [frame for frame in source if boxes > 1 or model.learned_up_to(frame)]
    ends = [number for number, frame in enumerate(recorded) if model.learned_up_to(frame)]
    if not ends:
        raise UserError(
            f"{folder.modes} does not hold the frames that {folder.find_model()} was learned from; put the two of one "
            "run together"
        )
    first = 0 if boxes > 1 else ends[-1]
    until = joined(recorded[first : ends[-1] + 1])
    if options.threads:
        use_threads(options.threads)
    motion, n_molecules = begin_motion(model, until, options)
    started = time.monotonic()
    generate_centres(
        motion, source.system, path, steps=options.steps, save_every=options.save_every, n_molecules=n_molecules,
        start_step=None if options.molecules else until.last_step, seed=options.seed, boxes=boxes,
    )  # fmt: skip
    speed = options.steps / max(time.monotonic() - started, 1e-9)
    logger.info("%d box(es) of %d molecules, %.3g frames/s; wrote %s", boxes, n_molecules, speed, path)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("generate", _generate, arguments)
