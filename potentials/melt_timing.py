"""Steps per second of the two polybutadiene decks on one and two ranks, and where LAMMPS spends the time."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import RunFailure

BIN = Path(sys.executable).parent
PARTS = ("Pair", "Bond", "Neigh", "Comm")
LOOP = re.compile(r"^Loop time of (\S+) on \d+ procs for (\d+) steps", re.MULTILINE)


@dataclass(frozen=True)
class Timing:
    """Speed of a deck.

    Attributes:
        deck: its name.
        ranks: MPI ranks.
        beads: in the melt.
        steps_per_second: of production.
        shares: fraction of the time in each of `PARTS`.
    """

    deck: str
    ranks: int
    beads: int
    steps_per_second: float
    shares: dict[str, float]


def time_deck(deck: Path, ranks: int, variables: dict[str, object]) -> Timing:
    """Run a deck under plain LAMMPS and read the breakdown of its last run.

    Raises:
        RunFailure: LAMMPS failed, or its output has no breakdown.
    """
    command = [str(BIN / "mpirun"), "-n", str(ranks), str(BIN / "lmp"), "-in", str(deck), "-log", "none"]
    for name, value in {"deckdir": deck.parent, **variables}.items():
        command += ["-var", name, str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise RunFailure(f"{deck} on {ranks} ranks failed: {' '.join(last)}")
    return read_timing(done.stdout, deck.name, ranks)


def read_timing(output: str, deck: str, ranks: int) -> Timing:
    """Return what LAMMPS' output says of the speed of its last run."""
    loops = list(LOOP.finditer(output))
    beads = re.search(r"^\s+(\d+) atoms$", output, re.MULTILINE)
    if not loops or beads is None:
        raise RunFailure(f"{deck} on {ranks} ranks: no 'Loop time' in LAMMPS' output")
    rest = output[loops[-1].end() :]
    shares = {}
    for part in PARTS:
        # Section | min time | avg time | max time |%varavg| %total
        row = re.search(rf"^{part}\s*\|.*\|\s*(\S+)\s*$", rest, re.MULTILINE)
        shares[part] = float(row[1]) / 100 if row else float("nan")
    speed = int(loops[-1][2]) / float(loops[-1][1])
    return Timing(deck, ranks, int(beads[1]), speed, shares)
