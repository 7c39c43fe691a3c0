"""``python -m mlgle_lammps.sets SET.toml``: MD of a set of decks, models of them, and how these fare on unseen ones."""

from __future__ import annotations

import sys

from mlgle_lammps.commands.sets import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
