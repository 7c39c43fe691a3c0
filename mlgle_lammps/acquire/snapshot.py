"""Centres and modes of all molecules at one step, from the atoms that LAMMPS holds on each rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlgle_lammps.acquire.lammps_handle import Lammps
from mlgle_lammps.acquire.physics import PhysicsWatch
from mlgle_lammps.chains.molecule_sums import Block, MoleculeSums
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.stream.communicator import Communicator


class Snapshots:
    """Takes snapshots during a run; the box and the time step must stay as they are now.

    Args:
        lmp: the LAMMPS instance.
        comm: communicator of the MD ranks.
        blocks: the molecules, those of the main species first.
        n_main: blocks of the main species.
        momenta: take velocities too, in a callback of LAMMPS, for momenta of the molecules.
        balanced: `fix balance` moves the ranks' borders, which LAMMPS tells as a box that changes.

    Attributes:
        velocities: the sums of the last `total`, (molecule, k+1, 3) of each block; none without ``momenta``.
        cell: rows (lx,0,0),(xy,ly,0),(xz,yz,lz); rows of directions that are not periodic are zero.
        follow_images: image flags have come half-way to their limit, so their wraps are followed from now on.
    """

    def __init__(
        self, lmp: Lammps, comm: Communicator, blocks: Sequence[Block], n_main: int = 1, momenta: bool = False,
        balanced: bool = False,
    ) -> None:  # fmt: skip
        self._lmp, self._comm, self._momenta, self._balanced = lmp, comm, momenta, balanced
        self.velocities: list[Float64] = []
        self._sum, self._n_main = MoleculeSums(blocks), n_main
        self._limit = image_layout(lmp)[1]
        self._timestep = lmp.extract_global("dt")
        self.cell = self._read_cell()
        self._physics = PhysicsWatch(lmp, self.cell)
        self._kinetic = (0.0, 0.0)
        self._followed: NDArray[np.int64] | None = None
        self._wraps = np.zeros((self._sum.n_slots, 3), dtype=np.int64)
        self._n_found = 0
        self.follow_images = False

    def local(self, ids: NDArray[np.integer], positions: Float64) -> tuple[Float64, bool]:
        """Return this rank's part of centres and modes, and whether image flags should be followed from now on.

        Args:
            ids: (local atom,) atom ids.
            positions: (local atom, 3) wrapped positions.

        Raises:
            UserError: the box or the time step has changed.
        """
        cell = self._check_constant()
        images = image_flags(self._lmp, len(ids))
        slots = self._sum.slots(ids)
        inside = slots >= 0
        velocities = velocities_in_step(self._lmp, len(ids)) if self._momenta else None
        if not inside.all():
            slots, positions, images = slots[inside], positions[inside], images[inside]
            velocities = None if velocities is None else velocities[inside]
        self._n_found, self._kinetic = len(slots), self._physics.local(len(ids))
        far = bool(len(images)) and int(np.abs(images).max()) >= self._limit // 2
        if self.follow_images:
            images = self._follow(slots, images)
        part = self._sum(slots, positions + images @ cell)
        if velocities is not None:
            part = np.concatenate([part, self._sum(slots, velocities)])
        return part, far

    def total(self, part: Float64) -> list[Float64] | None:
        """Return the sum over ranks, (molecule, k+1, 3) of each block, on the first MD rank, None on the others.

        Mode 0 is the centre of mass.

        Raises:
            RunFailure: beads of the chains are gone, or their motion cannot be right; on the first MD rank.
        """
        message = np.empty(part.size + 3)
        message[:-3] = part
        message[-3:] = *self._kinetic, self._n_found
        if self._comm.size > 1:
            total = np.empty_like(message) if self._comm.rank == 0 else None
            self._comm.Reduce(message, total, root=0)
            if total is None:
                return None
            message = total
        if int(message[-1]) != self._sum.n_slots:
            gone = self._sum.n_slots - int(message[-1])
            raise RunFailure(f"{gone} of {self._sum.n_slots} chain beads are gone: LAMMPS has lost atoms")
        modes = self._sum.split(message[: self._sum.size])
        if self._momenta:
            self.velocities = self._sum.split(message[self._sum.size : -3])
        centres = [own[:, 0] for own in modes[: self._n_main]]
        self._physics.judge(centres[0] if self._n_main == 1 else np.concatenate(centres), *message[-3:-1])
        return modes

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found in the physics that ended nothing, one line each; on the first MD rank."""
        return self._physics.warnings

    def _follow(self, slots: Int64, images: Int64) -> Int64:
        """Return image flags unwrapped in time: they run modulo twice their limit."""
        now = np.zeros_like(self._wraps)
        now[slots] = images
        if self._comm.size > 1:
            total = np.empty_like(now)
            self._comm.Allreduce(now, total)
            now = total
        if self._followed is not None:
            period = 2 * self._limit
            self._wraps -= period * np.rint((now - self._followed) / period).astype(np.int64)
        self._followed = now
        return images + self._wraps[slots]

    def _read_cell(self) -> Float64:
        """Return the box vectors; raise UserError where a fix changes them."""
        low, high, xy, yz, xz, periodic, changes = self._lmp.extract_box()
        if changes and all(periodic) and not self._balanced:  # LAMMPS says so of ranks' borders too
            raise UserError("the box changes during production (a fix such as npt or deform): run at constant volume")
        lx, ly, lz = (b - a for a, b in zip(low, high, strict=True))
        cell = np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])
        return cell * np.array(periodic, dtype=np.float64)[:, None]

    def _check_constant(self) -> Float64:
        cell = self._read_cell()
        if not np.array_equal(cell, self.cell):
            raise UserError("the box changed during production: run at constant volume")
        if self._lmp.extract_global("dt") != self._timestep:
            raise UserError("the time step changed during production: keep it constant")
        return cell


def masses_here(lmp: Lammps, n_local: int) -> Float64:
    """Return (local atom,) masses."""
    if lmp.extract_setting("rmass_flag"):
        return np.array(lmp.numpy.extract_atom("rmass")[:n_local], dtype=np.float64)
    kinds = lmp.numpy.extract_atom("type")[:n_local]
    return np.array(lmp.numpy.extract_atom("mass"), dtype=np.float64)[kinds]


def velocities_in_step(lmp: Lammps, n_local: int) -> Float64:
    """Return (local atom, 3) velocities at the step itself, inside a callback, where LAMMPS has moved them half-way.

    Forces are those that have been computed by then: what fixes add to them later, and what thermostats do at the end
    of a step, is not in it.
    """
    if not n_local:
        return np.zeros((0, 3))
    kick = 0.5 * float(lmp.extract_global("dt")) * float(lmp.extract_global("ftm2v") or 1.0)
    forces, velocities = lmp.numpy.extract_atom("f")[:n_local], lmp.numpy.extract_atom("v")[:n_local]
    in_step: Float64 = velocities + kick * forces / masses_here(lmp, n_local)[:, None]
    return in_step


def image_flags(lmp: Lammps, n_local: int) -> Int64:
    """Return (local atom, 3) image flags."""
    if n_local == 0:
        return np.empty((0, 3), dtype=np.int64)
    packed = lmp.numpy.extract_atom("image")[:n_local]
    mask, limit, low, high = image_layout(lmp)
    flags = np.empty((n_local, 3), dtype=np.int64)
    flags[:, 0] = packed & mask
    flags[:, 1] = packed >> low & mask
    flags[:, 2] = packed >> high & mask
    return flags - limit


def image_layout(lmp: Lammps) -> tuple[int, int, int, int]:
    """Return LAMMPS's mask, offset and shifts of packed image flags; of versions that do not tell, by their width."""
    mask, limit, low, high = (lmp.extract_setting(name) for name in ("IMGMASK", "IMGMAX", "IMGBITS", "IMG2BITS"))
    if min(mask, limit, low, high) > 0:
        return mask, limit, low, high
    bits = 21 if lmp.extract_setting("imageint") == 8 else 10
    return 2**bits - 1, 2 ** (bits - 1), bits, 2 * bits
