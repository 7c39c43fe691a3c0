"""Recorded beads of several runs, coarse-grained: what the networks learn from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import CHAINS, Float32, Float64, Frames, Int64, System
from mlgle_lammps.surrogates.cg_gnn import NAME
from mlgle_lammps.surrogates.cg_gnn.molecules import Molecule
from mlgle_lammps.surrogates.recorded import require_channels

NEEDS = ("com", "beads")
"""Channels that it learns from and starts from."""
_DT_SAME = 1e-6


@dataclass(frozen=True)
class BeadRun:
    """One recorded run.

    Attributes:
        system: its molecules: number of beads, types, bonds, time between frames.
        frames: with the channels "com", (time, molecule, 3), and "beads", (time, molecule, bead, 3) relative to it and
            unwrapped.
        name: for people.
    """

    system: System
    frames: Frames
    name: str = ""


@dataclass(frozen=True)
class CoarseRun:
    """One run on the level of groups.

    Attributes:
        molecule: what moves.
        positions: (time, molecule, S, 3) float32 centres of groups about the molecule's centre of mass.
        centres: (time, molecule, 3) float64.
        square_radii: (time, molecule) fine-grained Rg².
        segments: (time,) numbers of uninterrupted pieces.
        dt: time between frames.
        name: for people.
    """

    molecule: Molecule
    positions: Float32
    centres: Float64
    square_radii: Float64
    segments: Int64
    dt: float
    name: str = ""

    @classmethod
    def of(cls, run: BeadRun, beads_per_group: int, method: str) -> CoarseRun:
        """Return the run coarse-grained; raise UserError for frames without beads or molecules that do not group."""
        require_channels(run.frames, NEEDS, NAME)
        molecule = Molecule.of(run.system, beads_per_group, method)
        positions, centres, square_radii = coarse_grained(molecule, run.frames)
        return cls(molecule, positions, centres, square_radii, run.frames.segments, run.system.dt, run.name)

    def starts(self, lag: int, before: int = 0) -> Int64:
        """Return the frames that have ``before`` lags of history and one lag of future in their own segment."""
        last = len(self.segments) - lag
        first = np.arange(before * lag, max(last, before * lag))
        whole = self.segments[first - before * lag] == self.segments[first + lag]
        return first[whole]

    def lag(self, dt: float) -> int:
        """Return the frames of one model step; raise UserError where it is no multiple of the recorded one."""
        return frames_per_step(dt, self.dt, f"`step` {dt:g}", f"the time between frames of run {self.name}")


def frames_per_step(step: float, dt: float, what: str, between: str) -> int:
    """Return the recorded frames of one model step.

    Args:
        step: time of it.
        dt: time between frames.
        what: step for people.
        between: dt for people.

    Raises:
        UserError: no whole number.
    """
    lag = round(step / dt)
    if lag < 1 or abs(lag * dt - step) > _DT_SAME * step:
        raise UserError(f"{what} is no multiple of {dt:g}, {between}")
    return lag


def coarse_grained(molecule: Molecule, frames: Frames) -> tuple[Float32, Float64, Float64]:
    """Return positions of groups about the centre, centres, and fine-grained Rg² of recorded beads.

    Shapes (time, molecule, S, 3), (time, molecule, 3) and (time, molecule). All beads weigh the same.

    Raises:
        UserError: another number of beads, or numbers that are not finite.
    """
    beads = np.asarray(frames.channels[CHAINS]["beads"], dtype=np.float64)
    if beads.ndim != 4 or beads.shape[2:] != (len(molecule.types), 3):
        raise UserError(f"frames have beads of shape {beads.shape}, and {len(molecule.types)} beads of 3 are needed")
    if not (np.isfinite(beads).all() and np.isfinite(frames.com).all()):
        raise UserError("frames have beads whose places are not finite")
    middles = beads.mean(axis=2)
    beads = beads - middles[:, :, None]
    centres = frames.com + middles
    square_radii: Float64 = np.square(beads).sum(axis=-1).mean(axis=-1)
    return molecule.grouping.centres(beads).astype(np.float32), centres, square_radii


def require_runs(runs: Sequence[CoarseRun], dt: float, history: int = 1) -> None:
    """Raise UserError where runs cannot be learned from: each needs steps of history and one more, uninterrupted.

    Args:
        runs: of any molecules.
        dt: time of a model step.
        history: steps before the one that is learned.
    """
    if not runs:
        raise UserError("no run to learn from")
    for run in runs:
        if len(run.starts(run.lag(dt), history)) < 1 or run.positions.shape[1] < 1:
            raise UserError(
                f"each uninterrupted piece of run {run.name} is shorter than {history + 1} steps of `step` {dt:g}: "
                "record longer, or lower `step`"
            )


def fingerprint(frames: Frames) -> str:
    """Return a checksum of the beads of the last frame."""
    return hashlib.sha256(np.ascontiguousarray(frames.channels[CHAINS]["beads"][-1]).tobytes()).hexdigest()
