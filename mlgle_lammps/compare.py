"""``python -m mlgle_lammps.compare RUN [FULL_RUN]``: against full MD, or over temperatures."""

from __future__ import annotations

import sys

from mlgle_lammps.commands.compare import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
