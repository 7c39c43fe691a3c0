"""``python -m mlgle_lammps.generate RUN``: long trajectories from a run's model; no LAMMPS, no MPI."""

from __future__ import annotations

import sys

from mlgle_lammps.commands.generate import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
