"""``python -m mlgle_lammps.run DECK``: run a LAMMPS deck and learn its chains' diffusion while it runs.

With two or more MPI ranks the last one learns and the others do MD; in a single process a thread learns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, the same on all ranks."""
    # Two OpenMP runtimes that spin on one core slow MD a hundredfold; set before either is loaded.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["OMP_WAIT_POLICY"] = "passive"
    from mlgle_lammps.commands.run import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
