"""``python -m mlgle_lammps.reconstruct RUN``: beads from generated modes."""

from __future__ import annotations

import sys

from mlgle_lammps.commands.reconstruct import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
