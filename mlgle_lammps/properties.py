"""``python -m mlgle_lammps.properties RUN``: viscosity, moduli, scattering and motion from modes and stress."""

from __future__ import annotations

import sys

from mlgle_lammps.commands.properties import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
