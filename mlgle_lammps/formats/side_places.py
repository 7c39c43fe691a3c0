"""Atoms beside the backbones at the images nearest to what they are bonded to, whatever the file says of images."""

from __future__ import annotations

import numpy as np

from mlgle_lammps.chains.molecules import SideAtoms
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadFrame
from mlgle_lammps.formats.changing_box import fractions_of
from mlgle_lammps.formats.unwrap import LONGEST_BOND
from mlgle_lammps.records import Float64


class SidePlaces:
    """Places the side atoms of one trajectory.

    Args:
        path: the trajectory, for messages.
        side: its side atoms.
        n_beads: of all chains together.
        trusted: the user says that positions are unwrapped.
    """

    def __init__(self, path: object, side: SideAtoms, n_beads: int, trusted: bool) -> None:
        self._path, self._n_beads, self._trusted = path, n_beads, trusted
        self._parent = side.parent
        self._levels = [np.flatnonzero(side.level == level) for level in range(1, side.level.max(initial=0) + 1)]

    def __call__(self, number: int, frame: BeadFrame, stored: Float64, placed: Float64) -> None:
        """Fill in where the side atoms are.

        Args:
            number: of the frame, for messages.
            frame: as read.
            stored: (slot, 3) positions of beads and side atoms, as the file has them.
            placed: (slot, 3) unwrapped positions of the beads; those of the side atoms are written.

        Raises:
            UserError: a bond spans so much of the box that its image cannot be told.
        """
        as_they_are = frame.unwrapped or self._trusted or frame.cell is None or not frame.cell.any()
        for atoms in self._levels:
            parents, slots = self._parent[atoms], self._n_beads + atoms
            bonds = stored[slots] - stored[parents]
            if not as_they_are and frame.cell is not None:
                fractions = fractions_of(bonds, frame.cell)
                wraps = np.rint(fractions)
                longest = float(np.abs(fractions - wraps).max())
                if longest > LONGEST_BOND and frame.images is None:
                    raise UserError(
                        f"{self._path}: in frame {number} a bond spans {longest:.2f} of the box, so its image cannot "
                        "be told: dump image flags (ix iy iz) or unwrapped positions (xu yu zu)"
                    )
                bonds = bonds - wraps @ frame.cell
            placed[slots] = placed[parents] + bonds
