"""``mlgle COMMAND``: the commands of ``python -m mlgle_lammps.COMMAND`` under one name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "run": "run a LAMMPS deck and learn its chains' diffusion while it runs (under mpirun)",
    "replay": "do the same on a recorded stream or a trajectory",
    "generate": "generate long trajectories from a run's model",
    "reconstruct": "write bead positions of generated trajectories",
    "compare": "compare a run with full MD, or runs at several temperatures",
    "properties": "viscosity, moduli, scattering and motion of chains from a run's modes and stress",
    "build": "write a start structure",
    "sets": "run a set of decks, train models on them, and hold these against long MD",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command named first; return its exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given and given[0] == "--version":
        from mlgle_lammps.commands import versions

        sys.stdout.write("\n".join(versions.lines()) + "\n")
        return 0
    if given and given[0] == "--completion":
        from mlgle_lammps.commands import completion

        return completion.main(given[1:], COMMANDS)
    if not given or given[0] in ("-h", "--help"):
        lines = [f"  {name:12s}{meaning}" for name, meaning in COMMANDS.items()]
        usage = "usage: mlgle COMMAND [OPTIONS]; mlgle COMMAND --help; mlgle --version; mlgle --completion SHELL\n\n"
        sys.stdout.write(usage + "\n".join(lines) + "\n")
        return 0
    if given[0] not in COMMANDS:
        sys.stderr.write(f"mlgle: error: no command {given[0]!r}; there are {', '.join(COMMANDS)}\n")
        return 2
    status: int = importlib.import_module(f"mlgle_lammps.{given[0]}").main(given[1:])
    return status


if __name__ == "__main__":
    sys.exit(main())
