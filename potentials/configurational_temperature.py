"""The configurational temperature, T_config = <|∇U|²>/(k <∇²U>) over conservative forces (Butler et al. 1998).

It sees positions only. A time step that is long for the bonds misstates their kinetic energy, ½ m v², and with it the
kinetic temperature; T_config tells what temperature positions have, with most weight on the stiffest motions. Forces
come from LAMMPS, the thermostat's friction and noise off. The trace ∇²U is estimated by Hutchinson's way:
v·[F(x - εv) - F(x + εv)]/2ε with random signs v has the mean ∇²U, whatever the force field.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from measure import Array, Recording, Value, beads

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.deck import read_deck

BOLTZMANN = 0.0019872067  # kcal/mol/K
DISPLACEMENT = 1e-3  # angstrom
NO_THERMOSTAT = "pair_coeff 1 1 dpd/tstat 0.0 10.0"


class Forces:
    """Conservative forces of a deck's system at any positions.

    Args:
        deck: with a ``#mlgle production`` line; what is above it is run, without relaxation.
        variables: of the deck.
    """

    def __init__(self, deck: Path, variables: Mapping[str, object]) -> None:
        given = tuple((name, (str(value),)) for name, value in {**variables, "relax": 0}.items())
        scanned = read_deck(deck, given)
        arguments = ["-log", "none", "-screen", "none", *scanned.arguments()]
        self._lmp: Any = mpi.open_lammps(arguments, mpi.start().md_comm)
        self._lmp.commands_string(f"{scanned.before}\n{NO_THERMOSTAT}\nrun 0 post no")

    def __call__(self, positions: Array) -> Array:
        """Return the forces in kcal/mol/angstrom, (bead, 3); ``positions`` likewise, in the order of atom ids."""
        count = positions.size
        self._lmp.scatter_atoms("x", 1, 3, np.ctypeslib.as_ctypes(np.ascontiguousarray(positions.ravel())))
        self._lmp.command("run 0 post no")
        return np.array(self._lmp.gather_atoms("f", 1, 3)[:count]).reshape(-1, 3)

    def close(self) -> None:
        """Give back LAMMPS' memory."""
        self._lmp.close()


def configurational_temperature(recording: Recording, forces: Forces, n_frames: int, seed: int) -> Value:
    """Return T_config in K over evenly spread frames, its standard error over them (jackknife of the ratio).

    Args:
        recording: a run of the same system; chains' beads follow one another in the order of atom ids.
        forces: conservative ones.
        n_frames: how many frames to take, at most.
        seed: of the random signs.

    Limit: for harmonic bonds and nothing else, the temperature at which their lengths are distributed.
    """
    rng = np.random.default_rng(seed)
    n_frames = min(n_frames, len(recording.frames))
    chosen = np.linspace(0, len(recording.frames) - 1, n_frames).astype(int)
    squares, traces = np.empty(n_frames), np.empty(n_frames)
    for i, frame in enumerate(chosen):
        positions = beads(recording.frames[frame], recording.system).reshape(-1, 3)
        positions = positions % recording.box
        signs = rng.choice([-1.0, 1.0], size=positions.shape) * DISPLACEMENT
        squares[i] = np.sum(forces(positions) ** 2)
        change = forces(positions - signs) - forces(positions + signs)
        traces[i] = np.sum(signs * change) / (2 * DISPLACEMENT**2)
    left_out = (squares.sum() - squares) / (traces.sum() - traces) / BOLTZMANN
    se = np.sqrt((n_frames - 1) / n_frames * np.sum((left_out - left_out.mean()) ** 2))
    return Value(float(squares.sum() / traces.sum() / BOLTZMANN), float(se))
