"""Unwrapped beads from a trajectory: by image flags, as they are, or along bonds and in time, never by guess."""

from __future__ import annotations

import numpy as np

from mlgle_lammps.chains.bond_walk import BondWalk
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadFrame
from mlgle_lammps.formats.changing_box import ToroidalCentres, fractions_of
from mlgle_lammps.formats.wrapped import extent_cell, reaching_across
from mlgle_lammps.records import Float64, Int64

SAME_BOX = 1e-5
"""Relative change of a box that single precision may make."""
LONGEST_BOND = 0.4
LONGEST_STEP = 0.25
"""Fractions of the box beyond which the nearest image may be the wrong one."""
FAR = 1e12
"""Boxes beyond which a position is damage."""
OUT_OF_ORDER = 0.2
"""Share of bonds beyond a quarter of the box from which atoms are taken to be in another order than the topology's."""


class Unwrapper:
    """Unwrap the frames of one trajectory, in order.

    Args:
        path: the trajectory, for messages.
        n_chains: P.
        trusted: the user says that positions are unwrapped: they are taken as they are, whatever the box, unless
            bonds or steps show that they are not.
        walk: from bead to bead, None along linear chains.
        beside: name of a species beside the main one: where its images cannot be told the nearest are taken, and said;
            "" refuses.

    Attributes:
        assumption: one line where positions had to be unwrapped without image flags, else "".
        largest_step: of a chain's centre between frames, as a fraction of the box, where that was needed.
    """

    def __init__(
        self, path: object, n_chains: int, trusted: bool = False, walk: BondWalk | None = None, beside: str = ""
    ) -> None:
        self._walk, self._beside = walk or BondWalk(0), beside
        self._doubtful = 0
        self._path, self._n_chains, self._trusted = path, n_chains, trusted
        self._cell: Float64 | None = None
        self._centres: Float64 | None = None
        self._toroidal = ToroidalCentres(path)
        self._box_changed = False
        self._offsets: Int64 | None = None
        self._in_pieces = 0
        self.assumption = ""
        self.largest_step = 0.0

    def new_piece(self) -> None:
        """Forget the frame before: what follows is another uninterrupted piece."""
        self._centres = None
        self._toroidal.new_piece()

    def remarks(self) -> tuple[str, ...]:
        """Return what was found so far about the box and the steps, one line each."""
        found = []
        if self._doubtful:
            found.append(
                f"{self._path}: in {self._doubtful} frames molecules of '{self._beside}' move so far that their images "
                "cannot be told; the nearest were taken, and its D is not to be trusted: dump image flags (ix iy iz), "
                "or unwrapped positions (xu yu zu)"
            )
        if self._beside:
            return tuple(found)
        if self._in_pieces:
            found.append(
                f"{self._path}: {self._in_pieces} bonds span the box by what image flags (or xu yu zu) say, from the "
                "first frame on: D is not touched, but modes are those of chains in pieces (dump x y z without flags, "
                "and chains are made whole along their bonds)"
            )
        if self._toroidal.changed:
            low, high = self._toroidal.range
            found.append(
                f"{self._path}: the box changes (volume {low:.4f} to {high:.4f} of the first): centres of chains were "
                "unwrapped by the box of each frame (von Bülow, Bullerjahn, Hummer 2020)"
            )
        elif self._box_changed:
            found.append(
                f"{self._path}: the box changes and positions were taken as they are (--unwrapped): right where they "
                "were unwrapped step by step, wrong where image flags were multiplied by the box of each frame"
            )
        if self.assumption:
            found.append(
                f"{self._path}: the largest step of a chain's centre between two frames was "
                f"{self.largest_step:.3f} of the box (nearest image taken; refused beyond a quarter)"
            )
        return tuple(found)

    def __call__(self, number: int, frame: BeadFrame, slots: Int64) -> Float64:
        """Return unwrapped positions (atom, 3) of the chains' beads.

        Args:
            number: of the frame, for messages.
            frame: as read.
            slots: (atom,) place of each atom, position along the chain · chains + chain; -1 for atoms of no chain.

        Raises:
            UserError: the box is not known or sheared, positions are wrapped that are said not to be, or beads cannot
                be unwrapped without guessing.
        """
        inside = slots >= 0
        positions = frame.positions[inside]
        order = slots[inside]
        if frame.cell is not None and frame.cell.any():
            farthest, size = np.abs(positions).max(), np.abs(frame.cell).max()
            if farthest > FAR * size:
                raise UserError(f"{self._path}: frame {number}: a position is {farthest:g}, in a box of {size:g}")
        if self._trusted and not frame.unwrapped:
            self._refuse_wrapped(number, self._placed(positions, order), self._any_cell(frame, positions), frame)
            return positions
        cell = self._steady_cell(frame)
        if cell.any() and not frame.unwrapped and frame.images is None:
            whole = self._whole(number, self._placed(positions, order), cell)
            moved = self._follow(number, whole, cell, frame.origin)
            return np.ascontiguousarray(moved.reshape(-1, 3)[order])
        if cell.any() and not frame.unwrapped and frame.images is not None:
            positions = positions + frame.images[inside] @ cell
        beads = self._placed(positions, order)
        if not cell.any() and not frame.unwrapped:
            return positions
        self._check(number, beads, self._any_cell(frame, positions), frame)
        if not cell.any():
            return positions
        shift = self._toroidal(number, beads.mean(axis=0), cell, frame.origin)
        return positions if isinstance(shift, float) else positions + shift[order % self._n_chains]

    def _placed(self, positions: Float64, order: Int64) -> Float64:
        """Return (bead, chain, 3)."""
        placed = np.empty_like(positions)
        placed[order] = positions
        return placed.reshape(-1, self._n_chains, 3)

    def _steady_cell(self, frame: BeadFrame) -> Float64:
        """Return the frame's box, that of the first frame where it is the same but for rounding."""
        if frame.cell is None:
            if frame.unwrapped:
                return np.zeros((3, 3))
            raise UserError(
                f"{self._path} has no box, so nothing tells whether beads are wrapped: give --unwrapped if they are not"
            )
        if self._cell is None:
            self._cell = frame.cell
        return frame.cell if self._differs(frame.cell) else self._cell

    def _differs(self, cell: Float64) -> bool:
        assert self._cell is not None
        return bool(np.abs(cell - self._cell).max() > SAME_BOX * np.abs(self._cell).max())

    def _any_cell(self, frame: BeadFrame, positions: Float64) -> Float64:
        """Return a box to measure in: the frame's, or as large as what is in it."""
        if frame.cell is None or not frame.cell.any():
            return extent_cell(positions)
        if self._cell is None:
            self._cell = frame.cell
        if self._differs(frame.cell):
            self._box_changed = True
            return frame.cell
        return self._cell

    def _check(self, number: int, beads: Float64, cell: Float64, frame: BeadFrame) -> None:
        """Raise UserError where positions are wrapped after all.

        Image flags that are not those of one molecule (from data files without flags) leave chains in pieces for good,
        whole boxes apart: centres move rightly then. Positions that are wrapped come apart in other places as they
        move.
        """
        if self._offsets is None:
            bonds = fractions_of(self._walk.bonds(beads), cell)
            self._offsets = np.zeros(beads.shape, dtype=np.int64)
            if reaching_across(bonds.reshape(-1, 3)):
                self._offsets[1:] = self._walk.along(np.rint(bonds).astype(np.int64))
                self._in_pieces = int(np.count_nonzero(np.rint(bonds).any(axis=2)))
        self._refuse_wrapped(number, beads - self._offsets @ cell if self._in_pieces else beads, cell, frame)

    def _refuse_wrapped(self, number: int, beads: Float64, cell: Float64, frame: BeadFrame) -> None:
        """Raise UserError where bonds, or steps of chains' centres, reach across the box."""
        if self._beside:
            return
        said, advice = self._said(frame)
        bonds = fractions_of(self._walk.bonds(beads).reshape(-1, 3), cell)
        if found := reaching_across(bonds):
            raise UserError(
                f"{self._path}: positions are unwrapped by what {said} say, but in frame {number} a bond spans "
                f"{found[1]:.2f} of the box: {advice}{self._order_advice(bonds)}"
            )
        centres, before = beads.mean(axis=0), self._centres
        if self._toroidal.changed:
            before = self._toroidal.expected(cell)
        self._centres = centres
        if frame.cell is None or before is None:
            return
        if found := reaching_across(fractions_of(centres - before, cell)):
            raise UserError(
                f"{self._path}: positions are unwrapped by what {said} say, but chain {found[0]} moves "
                f"{found[1]:.2f} of the box to frame {number} while others hardly move: {advice}"
            )

    def _said(self, frame: BeadFrame) -> tuple[str, str]:
        """Return what says that positions are unwrapped, and what to do where they are not."""
        if self._trusted and not frame.unwrapped:
            advice = "they are wrapped: leave out --unwrapped, and they are unwrapped by image flags or along bonds"
            return "--unwrapped", advice
        if frame.images is not None:
            return "image flags", "the flags do not belong to these positions"
        return "xu yu zu", "they are wrapped"

    @staticmethod
    def _order_advice(bonds: Float64) -> str:
        far = np.abs(bonds - np.rint(bonds)).max(axis=1) > LONGEST_STEP
        if np.mean(far) < OUT_OF_ORDER:
            return ""
        return "; or atoms are not in the topology's order (dump_modify sort id)"

    def _wraps(self, vectors: Float64, cell: Float64) -> tuple[Int64, Float64]:
        """Return how many boxes take each vector to its nearest image, and that image in fractions of the box."""
        fractions = fractions_of(vectors, cell)
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
        wraps, fractions = self._wraps(self._walk.bonds(beads), cell)
        longest = float(np.abs(fractions).max(initial=0.0))
        if longest > LONGEST_BOND and not self._beside:
            raise UserError(
                f"{self._path}: in frame {number} a bond spans {longest:.2f} of the box, so its image cannot be told: "
                "dump image flags (ix iy iz) or unwrapped positions (xu yu zu)"
                f"{self._order_advice(fractions.reshape(-1, 3))}"
            )
        whole = beads.copy()
        whole[1:] -= self._walk.along(wraps) @ cell
        return whole

    def _follow(self, number: int, whole: Float64, cell: Float64, origin: Float64 | None) -> Float64:
        """Return the chains moved by whole boxes to where their centres are nearest to the frame before."""
        centres = whole.mean(axis=0)
        before = self._toroidal.expected(cell) if self._toroidal.changed or self._cell is not cell else self._centres
        if before is not None:
            wraps, fractions = self._wraps(centres - before, cell)
            step = float(np.abs(fractions).max(initial=0.0))
            self._doubtful += bool(self._beside) and step > LONGEST_STEP
            if step > LONGEST_STEP and not self._beside:
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
        return whole + self._toroidal(number, centres, cell, origin)
