"""``python -m mlgle_lammps.build FILE``: a start structure of a melt."""

from __future__ import annotations

import sys

from mlgle_lammps.commands.build import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
