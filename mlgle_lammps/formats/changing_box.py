"""Centres of chains in a box that changes: their steps, without those of the lattice of images.

An unwrapped position w + n L, with the image n and the box L of its own frame, jumps by n ΔL where the box changes by
ΔL, the more the further the chain has come: D from it is wrong. Here steps are those of the wrapped positions,
u' = u + (w' - w) + (n' - n) L', as in the toroidal-view-preserving scheme of von Bülow, Bullerjahn and Hummer, J. Chem.
Phys. 153, 021101 (2020), of whole chains: their shapes are those of their frame. In a box that does not change this is
w + n L.
"""

from __future__ import annotations

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Float64, Int64

LARGEST_SHEAR = 0.25
"""Change of a tilt, as a fraction of the box, beyond which a box is sheared or was flipped, and not at rest."""


def fractions_of(vectors: Float64, cell: Float64) -> Float64:
    """Return vectors as fractions of the box, 0 in directions that are not periodic."""
    periodic = np.array([row.any() for row in cell])
    to_fractions: Float64 = np.linalg.inv(np.where(periodic[:, np.newaxis], cell, np.eye(3)))
    fractions: Float64 = vectors @ to_fractions
    fractions[..., ~periodic] = 0.0
    return fractions


class ToroidalCentres:
    """Move whole chains so that their centres take steps of wrapped positions.

    Args:
        path: the trajectory, for messages.
    """

    def __init__(self, path: object) -> None:
        self._path = path
        self._first: Float64 | None = None
        self._cell: Float64 | None = None
        self._lattice: Float64 | None = None
        self._images: Int64 | None = None
        self._shift: Float64 | float = 0.0
        self._smallest = self._largest = 0.0
        self.changed = False

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest volume (of the periodic directions) as fractions of the first one."""
        return self._smallest, self._largest

    def new_piece(self) -> None:
        """Forget the frame before."""
        self._lattice, self._shift = None, 0.0

    def expected(self, cell: Float64) -> Float64 | None:
        """Return where the centres of the frame before would be in this box if they did not move within it."""
        if self._lattice is None or self._images is None or self._cell is None:
            return None
        return self._lattice + self._images @ (cell - self._cell)

    def __call__(self, number: int, centres: Float64, cell: Float64, origin: Float64 | None) -> Float64 | float:
        """Return what is to be added to each chain's positions w + n L, (chain, 3) or 0.

        Args:
            number: of the frame, for messages.
            centres: (chain, 3) w + n L of this frame.
            cell: of this frame.
            origin: its corner, None for one at 0.

        Raises:
            UserError: the box is sheared.
        """
        self._note(number, cell)
        expected = self.expected(cell)
        if expected is not None and self._lattice is not None and self.changed:
            self._shift = self._shift + (self._lattice - expected)
        corner = np.zeros(3) if origin is None else origin
        self._images = np.floor(fractions_of(centres - corner, cell)).astype(np.int64)
        self._lattice, self._cell = centres, cell
        return self._shift

    def _note(self, number: int, cell: Float64) -> None:
        if self._first is None:
            self._first = cell
            self._smallest = self._largest = 1.0
        if self._cell is None or cell is self._cell:
            return
        self.changed = True
        edges = np.maximum(np.abs(np.diag(self._first)), 1e-300)
        tilts = np.abs((cell - self._first) - np.diag(np.diag(cell - self._first))) / edges
        if tilts.max() > LARGEST_SHEAR:
            raise UserError(
                f"{self._path}: the box of frame {number} is sheared by {tilts.max():.2f} against the first one: "
                "chains that flow with their box have no D that is read from their positions"
            )
        periodic = np.any(self._first, axis=1, keepdims=True)
        volume, before = (abs(np.linalg.det(np.where(periodic, c, np.eye(3)))) for c in (cell, self._first))
        self._smallest, self._largest = min(self._smallest, volume / before), max(self._largest, volume / before)
