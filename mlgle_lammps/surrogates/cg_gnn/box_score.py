"""The pair score of a box: how much likelier nodes become where they go, as forces along pairs of nodes.

    S_i = Σ_j f_ij(r_ij) (x_i - x_j)/r_ij,    f_ij(r) = Σ_f X_f(i, j) T_f(r)

X are the symmetric products of both nodes' letters, once for all pairs within a cutoff and once more for groups of one
chain with one or two bonds between; T are piecewise linear in r. What two nodes do to one another cancels. There is one
S for each level of noise. Pairs are those of nearest images; bonded groups stand as they are bonded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.surrogates.cg_gnn.box_nodes import HOPS, Box, Letters
from mlgle_lammps.surrogates.nm_mb.neighbours import pairs_within

FINE = 0.02
"""Spacing, in units of the contact distance, of the tables that pairs are looked up in."""


def knots_up_to(cutoff: float, contact: float) -> Float64:
    """Return the knots of T up to a cutoff, close together about the contact distance, (K,); T is zero at the last."""
    near = np.arange(0.0, 1.6, 0.1) * contact
    middle = np.arange(1.6, 3.0, 0.2) * contact
    far = np.arange(3.0, 50.0, 0.35) * contact
    own = np.concatenate([near, middle, far])
    own = own[own < cutoff - 0.15 * contact]
    return np.append(own, cutoff)


def hats(r: Float64, knots: Float64) -> tuple[Int64, Float64, Float64]:
    """Return the knot below each r, and the weights of that one and the next, (.., 2), and their derivatives.

    Beyond the last knot T goes on along its last piece.
    """
    below = np.clip(np.searchsorted(knots, r, side="right") - 1, 0, len(knots) - 2)
    width = knots[below + 1] - knots[below]
    upper = (r - knots[below]) / width
    return below, np.stack([1 - upper, upper], -1), np.stack([-1 / width, 1 / width], -1)


def products(one: Float64, other: Float64, pairs: tuple[Int64, Int64]) -> Float64:
    """Return the symmetric products of letters of nodes, (.., product)."""
    first, second = pairs
    crossed = one[..., first] * other[..., second]
    return np.where(first == second, crossed, crossed + one[..., second] * other[..., first])


@dataclass(frozen=True)
class ScoreTables:
    """T of all levels.

    Attributes:
        knots: (K,) of pairs that are not bonded; zero at the last, which is the cutoff.
        bonded_knots: (K',) of bonded ones.
        pairs: (level, product, K).
        bonded: (level, HOPS, product, K').
    """

    knots: Float64
    bonded_knots: Float64
    pairs: Float64
    bonded: Float64

    @property
    def n_levels(self) -> int:
        """Levels of noise."""
        return len(self.pairs)


class BoxScore:
    """S of one box at all levels, as fine tables for each sort of pair."""

    def __init__(
        self, tables: ScoreTables, box: Box, letters: Letters, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Make tables for the pairs of sorts of nodes that the box has."""
        shares = box.shares(letters)
        sorts, own = np.unique(shares.round(9), axis=0, return_inverse=True)
        self._sorts = torch.tensor(own.reshape(-1), device=device)
        self._n_sorts, self._box = len(sorts), torch.tensor(box.edges, dtype=dtype, device=device)
        self.cutoff = min(float(tables.knots[-1]), 0.5 * float(box.edges.min()))
        self._spacing = FINE * float(tables.knots[1] - tables.knots[0]) / 0.1
        grid = np.arange(0.0, float(tables.knots[-1]) + 2 * self._spacing, self._spacing)
        features = products(sorts[:, None], sorts[None], letters.pairs).reshape(-1, len(letters.pairs[0]))
        fine = np.einsum("uf,lfg->lug", features, _on_grid(tables.knots, tables.pairs, grid))
        self._fine = torch.tensor(fine, dtype=dtype, device=device)
        pairs, hops = box.bonded()
        self._bonded = torch.tensor(pairs.T.copy(), device=device)
        longest = 3 * float(tables.bonded_knots[-1])
        self._grid_bonded = np.arange(0.0, longest, self._spacing)
        one, other = own.reshape(-1)[pairs].T if len(pairs) else np.zeros((2, 0), np.int64)
        names = (np.minimum(one, other) * self._n_sorts + np.maximum(one, other)) * HOPS + hops - 1
        unique, which = np.unique(names, return_inverse=True)
        chain = sorts[:, : len(letters.beads)]
        table = _on_grid(tables.bonded_knots, tables.bonded, self._grid_bonded)
        rows = []
        for name in unique:
            first, second = divmod(int(name) // HOPS, self._n_sorts)
            own_features = products(chain[first], chain[second], letters.bonded_pairs)
            rows.append(np.einsum("f,lfg->lg", own_features, table[:, int(name) % HOPS]))
        stacked = np.stack(rows, 1) if rows else np.zeros((tables.n_levels, 1, len(self._grid_bonded)))
        self._fine_bonded = torch.tensor(stacked, dtype=dtype, device=device)
        self._which = torch.tensor(which.reshape(-1), device=device)

    def __call__(self, positions: torch.Tensor, level: int) -> torch.Tensor:
        """Return S (box, node, 3) of positions (box, node, 3) at a level of noise."""
        n_boxes = len(positions)
        flat = positions.reshape(-1, 3)
        near = pairs_within(positions, self._box, self.cutoff)
        sorts = self._sorts.repeat(n_boxes)
        which = sorts[near.first] * self._n_sorts + sorts[near.second]
        force = self._looked_up(self._fine[level], which, near.distance).unsqueeze(1) * near.unit
        found = torch.zeros_like(flat).index_add(0, near.second, force).index_add(0, near.first, -force)
        found = found.reshape(positions.shape)
        if self._bonded.shape[1]:
            apart = positions[:, self._bonded[0]] - positions[:, self._bonded[1]]
            distance = apart.square().sum(-1).sqrt().clamp(min=1e-6)
            strength = self._looked_up(self._fine_bonded[level], self._which.expand(n_boxes, -1), distance)
            pull = (strength / distance).unsqueeze(-1) * apart
            found = found.index_add(1, self._bonded[0], pull).index_add(1, self._bonded[1], -pull)
        return found

    def _looked_up(self, tables: torch.Tensor, which: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
        """Return the entries of tables (sort, grid) at distances, linear between."""
        n_grid = tables.shape[1]
        where = torch.nan_to_num(distance / self._spacing).clamp(max=n_grid - 1.001)  # who steps looks for NaN
        below = where.floor()
        upper = where - below
        index = which * n_grid + below.long()
        flat = tables.reshape(-1)
        return flat[index] * (1 - upper) + flat[index + 1] * upper


def _on_grid(knots: Float64, values: Float64, grid: Float64) -> Float64:
    """Return piecewise linear functions (.., K) on a grid (.., G); beyond the last knot along the last piece.

    A function that ends in zero is zero beyond.
    """
    below, weights, _ = hats(grid, knots)
    found = values[..., below] * weights[:, 0] + values[..., below + 1] * weights[:, 1]
    ended = (grid > knots[-1]) & (values[..., -1:] == 0)
    result: Float64 = np.where(ended, 0.0, found)
    return result
