"""``python -m mlgle_lammps.replay STREAM``: do on a recorded stream or a trajectory what run does on a live one."""

from __future__ import annotations

import sys

from mlgle_lammps.commands.replay import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
