"""Unwrapped beads from a trajectory: by image flags, as they are, or along bonds and in time, never by guess."""

from __future__ import annotations

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadFrame
from mlgle_lammps.records import Float64, Int64

SAME_BOX = 1e-5
"""Relative change of a box that single precision may make."""
LONGEST_BOND = 0.4
LONGEST_STEP = 0.25
"""Fractions of the box beyond which the nearest image may be the wrong one."""


class Unwrapper:
    """Unwrap the frames of one trajectory, in order.

    Args:
        path: the trajectory, for messages.
        n_chains: P.
        trusted: the user says that positions are unwrapped: they are taken as they are, whatever the box.

    Attributes:
        assumption: one line where positions had to be unwrapped without image flags, else "".
        largest_step: of a chain's centre between frames, as a fraction of the box, where that was needed.
    """

    def __init__(self, path: object, n_chains: int, trusted: bool = False) -> None:
        self._path, self._n_chains, self._trusted = path, n_chains, trusted
        self._cell: Float64 | None = None
        self._centres: Float64 | None = None
        self.assumption = ""
        self.largest_step = 0.0

    def new_piece(self) -> None:
        """Forget the frame before: what follows is another uninterrupted piece."""
        self._centres = None

    def __call__(self, number: int, frame: BeadFrame, slots: Int64) -> Float64:
        """Return unwrapped positions (atom, 3) of the chains' beads.

        Args:
            number: of the frame, for messages.
            frame: as read.
            slots: (atom,) place of each atom, position along the chain · chains + chain; -1 for atoms of no chain.

        Raises:
            UserError: the box changes or is not known, or beads cannot be unwrapped without guessing.
        """
        inside = slots >= 0
        positions = frame.positions[inside]
        if self._trusted:
            return positions
        cell = self._constant_cell(number, frame)
        if frame.unwrapped or not cell.any():
            return positions
        if frame.images is not None:
            return positions + frame.images[inside] @ cell
        placed = np.empty_like(positions)
        placed[slots[inside]] = positions
        whole = self._whole(number, placed.reshape(-1, self._n_chains, 3), cell)
        return np.ascontiguousarray(self._follow(number, whole, cell).reshape(-1, 3)[slots[inside]])

    def _constant_cell(self, number: int, frame: BeadFrame) -> Float64:
        if frame.cell is None:
            if frame.unwrapped:
                return np.zeros((3, 3))
            raise UserError(
                f"{self._path} has no box, so nothing tells whether beads are wrapped: give --unwrapped if they are not"
            )
        if self._cell is None:
            self._cell = frame.cell
        if np.abs(frame.cell - self._cell).max() > SAME_BOX * np.abs(self._cell).max():
            raise UserError(
                f"{self._path}: the box of frame {number} is not that of the first frame: run at constant volume "
                "(--unwrapped takes positions as they are, whatever the box)"
            )
        return self._cell

    def _wraps(self, vectors: Float64, cell: Float64) -> tuple[Int64, Float64]:
        """Return how many boxes take each vector to its nearest image, and that image in fractions of the box."""
        periodic = np.array([row.any() for row in cell])
        to_fractions: Float64 = np.linalg.inv(np.where(periodic[:, np.newaxis], cell, np.eye(3)))
        fractions: Float64 = vectors @ to_fractions
        fractions[..., ~periodic] = 0.0
        wraps = np.rint(fractions).astype(np.int64)
        return wraps, fractions - wraps

    def _whole(self, number: int, beads: Float64, cell: Float64) -> Float64:
        """Return (bead, chain, 3) with every bead at the image nearest to the one before it in its chain."""
        if not self.assumption:
            self.assumption = (
                f"{self._path} has wrapped positions without image flags: chains were made whole along their bonds and "
                "their centres followed to the nearest image, which is right while no bond and no centre's step "
                "between two frames reaches half the box"
            )
        wraps, fractions = self._wraps(np.diff(beads, axis=0), cell)
        longest = float(np.abs(fractions).max(initial=0.0))
        if longest > LONGEST_BOND:
            raise UserError(
                f"{self._path}: in frame {number} a bond spans {longest:.2f} of the box, so its image cannot be told: "
                "dump image flags (ix iy iz) or unwrapped positions (xu yu zu)"
            )
        whole = beads.copy()
        whole[1:] -= np.cumsum(wraps, axis=0) @ cell
        return whole

    def _follow(self, number: int, whole: Float64, cell: Float64) -> Float64:
        """Return the chains moved by whole boxes to where their centres are nearest to the frame before."""
        centres = whole.mean(axis=0)
        if self._centres is not None:
            wraps, fractions = self._wraps(centres - self._centres, cell)
            step = float(np.abs(fractions).max(initial=0.0))
            if step > LONGEST_STEP:
                chain = int(np.abs(fractions).max(axis=1).argmax())
                raise UserError(
                    f"{self._path}: without image flags chain {chain} would move {step:.2f} of the box from frame "
                    f"{number - 1} to {number}, too far to tell its image: dump image flags (ix iy iz), unwrapped "
                    "positions (xu yu zu) or more frames"
                )
            self.largest_step = max(self.largest_step, step)
            whole = whole - wraps @ cell
            centres = centres - wraps @ cell
        self._centres = centres
        return whole
