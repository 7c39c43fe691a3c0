"""Centres and modes of the molecules of all species, from the beads of one rank: sums that the ranks add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlgle_lammps.chains.atom_places import AtomPlaces
from mlgle_lammps.chains.laplacian import Edges, mode_rows
from mlgle_lammps.chains.molecules import Centres
from mlgle_lammps.records import Float64, Int64


@dataclass(frozen=True)
class Block:
    """Molecules that are alike bead by bead, and how they are summed.

    Attributes:
        ids: (molecule, bead) atom ids.
        n_modes: k.
        edges: of each molecule; empty for linear chains and single atoms.
        centres: how centres of mass are summed, None where the mean of the beads is it.
        with_beads: positions of the beads follow the modes.
    """

    ids: Int64
    n_modes: int
    edges: Edges = ()
    centres: Centres | None = None
    with_beads: bool = False

    @property
    def side(self) -> Int64:
        """(side atom,) ids of what else belongs to the molecules."""
        return np.empty(0, dtype=np.int64) if self.centres is None else self.centres.side.ids

    @property
    def n_slots(self) -> int:
        """Atoms that count."""
        return self.ids.size + len(self.side)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(molecule, k+1, 3) of the centres and modes, (molecule, k+1+N, 3) with the beads."""
        return len(self.ids), self.n_modes + 1 + (self.ids.shape[1] if self.with_beads else 0), 3


class MoleculeSums:
    """The part of all molecules' centres and modes that comes from the beads of one rank.

    Summed over the ranks (one Reduce) it gives them; no rank ever holds all positions of others.

    Args:
        blocks: in their order; no atom belongs to two.

    Attributes:
        n_slots: atoms that count: beads of the molecules, and what else belongs to them.
        size: numbers in a sum.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = tuple(blocks)
        self._matrices = [mode_rows(block.ids.shape[1], block.edges, block.n_modes) for block in blocks]
        listed = [atoms for block in blocks for atoms in (block.ids.T.ravel(), block.side)]
        self._places = AtomPlaces(np.concatenate(listed))  # bead-major slots: one matrix product serves a block
        self.n_slots = sum(block.n_slots for block in blocks)
        self.size = sum(int(np.prod(block.shape)) for block in blocks)
        self._positions = np.zeros((self.n_slots, 3))

    def slots(self, ids: NDArray[np.integer]) -> Int64:
        """Return each atom's slot, -1 for atoms that do not count.

        The slots of a block follow those of the one before: bead · molecules + molecule, then other atoms of them.
        """
        return self._places(ids)

    def __call__(self, slots: Int64, positions: Float64) -> Float64:
        """Return this rank's part of centres, modes and beads, (size,) float64: of each block its shape in a row.

        Args:
            slots: (local atom,) from `slots`, without -1.
            positions: (local atom, 3), unwrapped.
        """
        if len(slots) < self.n_slots:
            self._positions.fill(0.0)
        self._positions[slots] = positions
        parts, first = [], 0
        for block, matrix in zip(self.blocks, self._matrices, strict=True):
            own = self._positions[first : first + block.n_slots]
            parts.append(_part(block, matrix, own).ravel())
            first += block.n_slots
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def split(self, total: Float64) -> list[Float64]:
        """Return each block's centres, modes and beads from a sum, of its shape, as views."""
        ends = np.cumsum([int(np.prod(block.shape)) for block in self.blocks])[:-1]
        return [own.reshape(block.shape) for block, own in zip(self.blocks, np.split(total, ends), strict=True)]


def _part(block: Block, matrix: Float64, positions: Float64) -> Float64:
    """Return centres, modes and beads of one block's positions, contiguous, of the block's shape."""
    n_molecules, n_beads = block.ids.shape
    beads = positions[: n_beads * n_molecules].reshape(n_beads, n_molecules * 3)
    modes = matrix @ beads
    rows = np.concatenate([modes, beads]) if block.with_beads else modes
    part = np.ascontiguousarray(rows.reshape(-1, n_molecules, 3).transpose(1, 0, 2))
    if block.centres is not None:
        part[:, 0] = block.centres.weights @ positions
    return part


class LocalModeSum:
    """The same of linear chains alone.

    Args:
        chains: (chain, bead) atom ids, each chain in the order along its backbone.
        n_modes: k.
        centres: how centres of mass are summed, None where mode 0 is it.

    Attributes:
        n_slots: atoms that count.
    """

    def __init__(self, chains: Int64, n_modes: int, centres: Centres | None = None) -> None:
        self._sums = MoleculeSums([Block(chains, n_modes, centres=centres)])
        self.n_slots = self._sums.n_slots

    def slots(self, ids: NDArray[np.integer]) -> Int64:
        """Return each atom's slot, as `MoleculeSums.slots`."""
        return self._sums.slots(ids)

    def __call__(self, slots: Int64, positions: Float64) -> Float64:
        """Return this rank's part, (chain, k+1, 3): the centre of mass, then z_1..z_k."""
        return self._sums(slots, positions).reshape(self._sums.blocks[0].shape)
