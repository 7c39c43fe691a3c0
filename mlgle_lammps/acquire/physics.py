"""Watch the physics of a run at its frames, and name what goes wrong before numbers are made of it.

Positions that are not finite, lost beads, a changed box or time step and image flags at their limit are seen where
frames are taken (`snapshot`, `driver`); a drifting box is diagnosed from the frames (`observe.sampling`).
"""

from __future__ import annotations

import math

import numpy as np

from mlgle_lammps.acquire.lammps_handle import Lammps
from mlgle_lammps.chains.laplacian import bead_columns
from mlgle_lammps.chains.molecule_sums import Block
from mlgle_lammps.errors import RunFailure
from mlgle_lammps.records import Float64

FIRST_FRAMES = 16
"""Frames whose mean temperature later ones are compared with; later ones are averaged over as many."""
LEAST_FRAMES = 4
RUNAWAY = 5.0
DRIFT = 0.2
SCATTER = 5.0
"""Standard deviations of the kinetic temperature of N atoms, √(2/dN) in d dimensions, that are never called a drift."""
HALF_BOX = 0.5
SUDDEN = 8.0


class PhysicsWatch:
    """Watches temperature and steps of the chains' centres; made when production begins.

    Args:
        lmp: the LAMMPS instance.
        cell: rows are the box vectors, zero where it is not periodic.
    """

    def __init__(self, lmp: Lammps, cell: Float64) -> None:
        self._lmp = lmp
        self._d = 2 if lmp.extract_setting("dimension") == 2 else 3
        edges = np.linalg.norm(cell, axis=1)
        edges[self._d :] = 0.0  # the thickness of a system of two dimensions is nobody's image
        self._periodic = edges > 0
        self._half = HALF_BOX * float(edges[self._periodic].min()) if self._periodic.any() else math.inf
        self._masses, self._mass = _masses(lmp)
        mvv2e, boltz = lmp.extract_global("mvv2e") or 1.0, lmp.extract_global("boltz") or 1.0
        self._to_temperature = mvv2e / (self._d * boltz)
        self._unit = "" if lmp.extract_global("units") == "lj" else " K"
        self._first = self._block = 0.0
        self._n_seen = 0
        self._drifted: tuple[float, int] | None = None
        self._com: Float64 | None = None
        self._largest_step = 0.0
        self._far: tuple[float, int] | None = None

    def local(self, n_local: int) -> tuple[float, float]:
        """Return how many atoms this rank has, and Σ m v² over them in LAMMPS's own units."""
        if n_local == 0:
            return 0.0, 0.0
        velocities = self._lmp.numpy.extract_atom("v")[:n_local]
        if self._masses is None:
            return float(n_local), self._mass * float(np.vdot(velocities, velocities))
        if self._mass:  # they are per atom
            masses = self._lmp.numpy.extract_atom("rmass")[:n_local]
        else:
            masses = self._masses[self._lmp.numpy.extract_atom("type")[:n_local]]
        return float(n_local), float((masses @ (velocities * velocities)).sum())

    def judge(self, com: Float64, n_atoms: float, sum_mv2: float) -> None:
        """Judge one frame, on the first MD rank.

        Args:
            com: (chain, 3) unwrapped centres.
            n_atoms: of all ranks.
            sum_mv2: Σ m v² over them; T = Σ m v² / (d N kB). At dN degrees of freedom T is low by (1 - dof/dN).

        Raises:
            RunFailure: the temperature is not finite or five times that of the first frames, or a centre jumped.
        """
        self._judge_temperature(self._to_temperature * sum_mv2 / max(n_atoms, 1.0), n_atoms)
        self._judge_steps(com)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found that ended nothing, one line each."""
        lines = []
        if self._drifted is not None:
            mean, step = self._drifted
            lines.append(
                f"the kinetic temperature went from {self._first:.4g} to {mean:.4g}{self._unit} "
                f"({100 * (mean / self._first - 1):+.0f}%, means over {FIRST_FRAMES} frames up to step {step}): D is "
                "that of no single temperature; equilibrate before production, and check thermostat and time step"
            )
        if self._far is not None:
            length, step = self._far
            lines.append(
                f"chains' centres move {length:.3g} between two frames, more than half the box (first at step {step}): "
                "lower --every"
            )
        return tuple(lines)

    def _judge_temperature(self, temperature: float, n_atoms: float) -> None:
        if not math.isfinite(temperature):
            raise RunFailure(f"velocities are no longer finite at step {self._step()}: the run has blown up")
        if self._n_seen >= LEAST_FRAMES and temperature > RUNAWAY * self._first > 0:
            raise RunFailure(
                f"the kinetic temperature is {temperature:.4g}{self._unit} at step {self._step()}, "
                f"{temperature / self._first:.1f} times the {self._first:.4g}{self._unit} of the first frames: is the "
                "time step too long, the thermostat set to another temperature, or the system not equilibrated?"
            )
        self._n_seen += 1
        if self._n_seen <= FIRST_FRAMES:
            self._first += (temperature - self._first) / self._n_seen
            return
        self._block += temperature / FIRST_FRAMES
        if self._n_seen % FIRST_FRAMES:
            return
        mean, self._block = self._block, 0.0
        allowed = max(DRIFT, SCATTER * math.sqrt(2 / (self._d * n_atoms))) * self._first
        worst = 0.0 if self._drifted is None else abs(self._drifted[0] - self._first)
        if abs(mean - self._first) > max(allowed, worst):
            self._drifted = mean, self._step()

    def _judge_steps(self, com: Float64) -> None:
        """Compare the chains' steps with one another, so that a motion of all of them does not count."""
        previous, self._com = self._com, com.copy()  # a view would keep all modes of the frame
        if previous is None:
            return
        steps = self._com - previous
        steps -= steps[0].copy()
        across = steps[:, self._periodic]
        largest = float(np.abs(across).max(initial=0.0))
        if largest <= self._half:
            self._largest_step = max(self._largest_step, largest)
        elif 0 < SUDDEN * self._largest_step < largest:
            across = across - np.median(across, axis=0)
            chain = int(np.abs(across).max(axis=1).argmax())
            raise RunFailure(
                f"the centre of chain {chain + 1} jumped by {np.abs(across[chain]).max():.3g} up to step "
                f"{self._step()}, more than half the box, after steps of at most {self._largest_step:.2g}: its image "
                "flags are no longer those of the frame before; change no flags or positions during production (set, "
                "reset_atoms image, displace_atoms)"
            )
        elif self._far is None or largest > self._far[0]:
            self._far = largest, self._far[1] if self._far else self._step()

    def _step(self) -> int:
        return int(self._lmp.extract_global("ntimestep"))


def _masses(lmp: Lammps) -> tuple[Float64 | None, float]:
    """Return (None, mass) for equal masses, (by type, 0) for masses of types, (empty, 1) for masses of atoms."""
    if lmp.extract_setting("rmass_flag"):
        return np.empty(0), 1.0
    masses = np.array(lmp.numpy.extract_atom("mass"), dtype=np.float64)
    if np.all(masses[1:] == masses[1]):
        return None, float(masses[1])
    return masses, 0.0


def torn_bond(modes: Float64, chains: Block, cell: Float64) -> str:
    """Return a line naming the longest bond that spans more than half the box, "" where there is none.

    LAMMPS computes a bond's force along its nearest image, whatever the image flags say. So such a bond is a chain that
    wrong flags tear apart, and none of its modes would mean anything.

    Args:
        modes: z_0..z_{N-1} of unwrapped chains, (chain, N, 3); all of them, so that they give back the beads.
        chains: the molecules.
        cell: rows are the box vectors, zero where it is not periodic.
    """
    n_beads = chains.ids.shape[1]
    beads = bead_columns(n_beads, chains.edges, n_beads - 1) @ modes
    pairs = np.array(chains.edges or [(n, n + 1) for n in range(n_beads - 1)])
    bonds = beads[:, pairs[:, 1]] - beads[:, pairs[:, 0]]
    periodic = np.abs(cell).sum(axis=1) > 0
    if not periodic.any():
        return ""
    to_fractions = np.linalg.inv(np.where(periodic[:, None], cell, np.eye(3)))
    fractions: Float64 = np.abs(bonds @ to_fractions)[..., periodic].max(axis=2)
    if not fractions.max() > HALF_BOX:
        return ""
    chain, bond = divmod(int(fractions.argmax()), len(pairs))
    ends = chains.ids[chain, pairs[bond]]
    n_torn = int((fractions > HALF_BOX).sum())
    return (
        f"{'1 bond spans' if n_torn == 1 else f'{n_torn} bonds span'} more than half the box; the longest, of atoms "
        f"{ends[0]} and {ends[1]} in chain {chain + 1}, is "
        f"{float(np.linalg.norm(bonds[chain, bond])):.3g} long: its atoms' image flags are missing or wrong; write "
        "the data file with image flags (as write_data does) or with unwrapped coordinates"
    )
