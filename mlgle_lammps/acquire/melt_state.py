"""The whole state of a melt at one step: taken while LAMMPS runs, kept as a dump file, and put back between runs.

A dump file is what LAMMPS itself puts back on any number of ranks (``read_dump``), wherever atoms have moved meanwhile.
Numbers are written to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.acquire.lammps_handle import Lammps
from mlgle_lammps.acquire.snapshot import image_flags, velocities_in_step
from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.store.atomic import written_atomically
from mlgle_lammps.stream.communicator import Communicator

COLUMNS = "id x y z ix iy iz vx vy vz"
_FORMAT = "%d %.17g %.17g %.17g %d %d %d %.17g %.17g %.17g"


@dataclass(frozen=True)
class MeltState:
    """All atoms at one step.

    Attributes:
        step: of MD.
        ids: (atom,) ascending.
        positions: (atom, 3) as LAMMPS has them, wrapped.
        images: (atom, 3) flags.
        velocities: (atom, 3) at the step itself.
    """

    step: int
    ids: Int64
    positions: Float64
    images: Int64
    velocities: Float64


def take_state(lmp: Lammps, comm: Communicator, *, in_callback: bool) -> MeltState | None:
    """Return the state now on the first MD rank, None on the others; collective over them.

    Args:
        lmp: the LAMMPS instance.
        comm: communicator of the MD ranks.
        in_callback: LAMMPS is in the middle of a step, with velocities half a step behind.
    """
    n_local = lmp.extract_setting("nlocal")
    if n_local:
        view = lmp.numpy
        here = (
            view.extract_atom("id")[:n_local].astype(np.int64),
            view.extract_atom("x")[:n_local].copy(),
            image_flags(lmp, n_local),
            velocities_in_step(lmp, n_local) if in_callback else view.extract_atom("v")[:n_local].copy(),
        )
    else:
        none = np.zeros((0, 3))
        here = (np.zeros(0, dtype=np.int64), none, none.astype(np.int64), none)
    parts = comm.allgather(here)
    if comm.rank:
        return None
    ids, positions, images, velocities = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(ids)
    step = int(lmp.extract_global("ntimestep"))
    return MeltState(step, ids[order], positions[order], images[order], velocities[order])


def write_state(path: Path, state: MeltState, lmp: Lammps) -> None:
    """Write a state in a periodic box without tilt as a LAMMPS dump; raise RunFailure where that fails."""
    low, high, *_ = lmp.extract_box()
    rows = [f"{a!r} {b!r}" for a, b in zip(low, high, strict=True)]
    head = [
        "ITEM: TIMESTEP", str(state.step), "ITEM: NUMBER OF ATOMS", str(len(state.ids)), "ITEM: BOX BOUNDS pp pp pp",
        *rows, f"ITEM: ATOMS {COLUMNS}",
    ]  # fmt: skip
    table = np.concatenate([state.ids[:, None], state.positions, state.images, state.velocities], axis=1)
    with written_atomically(path, "a snapshot to ") as file:
        file.write(("\n".join(head) + "\n").encode())
        np.savetxt(file, table, fmt=_FORMAT)


def put_back(lmp: Lammps, path: str, step: int) -> None:
    """Have LAMMPS take positions, image flags and velocities from a dump file, and its step.

    Args:
        lmp: the LAMMPS instance, between two runs.
        path: the file's name as a LAMMPS command has it.
        step: in the file.
    """
    columns = COLUMNS.removeprefix("id ")
    lmp.command(f"read_dump {path} {step} {columns} box no replace yes purge no trim no add no format native")
