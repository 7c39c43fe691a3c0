"""``python -m mlgle_lammps.generate RUN``: long trajectories from a run's model; no LAMMPS, no MPI."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import numpy as np

from mlgle_lammps.acquire.recorded import RecordedSource
from mlgle_lammps.command import run_command
from mlgle_lammps.config import GenerateOptions, parse_generate
from mlgle_lammps.records import Frame, System, Window
from mlgle_lammps.report.store import RunFolder

logger = logging.getLogger("mlgle")


def _generate(arguments: Sequence[str]) -> int:
    options = parse_generate(arguments)
    from mlgle_lammps.generation import generate_to_file
    from mlgle_lammps.model.surrogate import Surrogate

    folder = RunFolder.open(options.run)
    surrogate = Surrogate.load(folder.model)
    system, window = _histories(folder, surrogate)
    path = options.out or folder.generated
    summary = generate_to_file(
        surrogate, window, system, path, steps=options.steps, ensemble=options.ensemble,
        save_every=options.save_every, seed=options.seed, device=options.device, threads=options.threads,
    )  # fmt: skip
    _report(options, summary, system)
    logger.info("wrote %s", path)
    return 0
