"""States of the whole melt that are kept during production, for constrained runs after it."""

from __future__ import annotations

import re
from pathlib import Path

from mlgle_lammps.acquire.lammps_handle import Lammps
from mlgle_lammps.acquire.melt_state import take_state, write_state
from mlgle_lammps.errors import RunFailure, one_line
from mlgle_lammps.stream.communicator import Communicator

FOLDER = "melts"


class KeptStates:
    """Keeps states evenly over the frames of a run; made on every MD rank.

    Args:
        folder: the run's checkpoint folder.
        lmp: the LAMMPS instance.
        comm: communicator of the MD ranks.
        n_states: to keep.
        n_frames: of the whole run.

    Attributes:
        spacing: frames between two states.
    """

    def __init__(self, folder: Path, lmp: Lammps, comm: Communicator, n_states: int, n_frames: int) -> None:
        self._folder, self._lmp, self._comm, self._n_states = folder / FOLDER, lmp, comm, n_states
        self.spacing = max(n_frames // n_states, 1)

    def visit(self, step: int, n_before: int) -> None:
        """Keep the state of a step where it is due, before the frame that ``n_before`` others came before."""
        number, left = divmod(n_before + 1, self.spacing)
        if left or not 1 <= number <= self._n_states:
            return
        state = take_state(self._lmp, self._comm, in_callback=True)
        if state is not None:
            try:
                self._folder.mkdir(exist_ok=True)
            except OSError as error:
                raise RunFailure(f"cannot make {self._folder}: {error.strerror or one_line(error)}") from None
            write_state(self._folder / f"melt-{number - 1:04d}.dump", state, self._lmp)


def kept_states(folder: Path) -> list[tuple[int, Path, int]]:
    """Return number, file and step of the states in a checkpoint folder, in order."""
    found = []
    for path in sorted((folder / FOLDER).glob("melt-*.dump")):
        name = re.fullmatch(r"melt-(\d+)", path.stem)
        with open(path, encoding="ascii", errors="replace") as lines:
            head = [next(lines, "").strip() for _ in range(2)]
        if name and head[0] == "ITEM: TIMESTEP" and head[1].isdigit():
            found.append((int(name[1]), path, int(head[1])))
    return found
