"""Pairs of molecules within a distance of one another, in periodic boxes, for many independent boxes at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

ALL_PAIRS_UP_TO = 400
"""Molecules of a box up to which all pairs are looked at; beyond, a cell list finds those that are near."""


@dataclass(frozen=True)
class Pairs:
    """Pairs i < j, molecules counted on over the boxes.

    Attributes:
        first: (P,) i.
        second: (P,) j.
        unit: (P, 3) from i to j, length 1.
        distance: (P,).
        n: molecules of all boxes together.
    """

    first: torch.Tensor
    second: torch.Tensor
    unit: torch.Tensor
    distance: torch.Tensor
    n: int

    @property
    def names(self) -> torch.Tensor:
        """Return (P,) numbers that tell a pair from all others."""
        return self.first * self.n + self.second

    def sorted(self) -> Pairs:
        """Return the pairs in the order of their names."""
        order = torch.argsort(self.names)
        return Pairs(self.first[order], self.second[order], self.unit[order], self.distance[order], self.n)

    def within(self, cutoff: float) -> Pairs:
        """Return those that are nearer than a distance."""
        near = self.distance < cutoff
        return Pairs(self.first[near], self.second[near], self.unit[near], self.distance[near], self.n)


@lru_cache(maxsize=8)
def _all_pairs(n_molecules: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = torch.triu_indices(n_molecules, n_molecules, 1, device=device)
    return first, second


def pairs_within(centres: torch.Tensor, box: torch.Tensor, cutoff: float) -> Pairs:
    """Return all pairs nearer than a distance, by the nearest image.

    Args:
        centres: (box, M, 3), wrapped or not; gradients pass to the distances.
        box: (3,) edges; where one is below twice the cutoff each pair still comes once, by its nearest image.
        cutoff: length.
    """
    n_boxes, n_molecules, _ = centres.shape
    if n_molecules > ALL_PAIRS_UP_TO and 2 * cutoff <= float(box.min()):  # cells know all images of a pair
        return _by_cells(centres, box, cutoff)
    first, second = _all_pairs(n_molecules, centres.device)
    vector = centres[:, second] - centres[:, first]
    vector = vector - box * torch.round(vector.detach() / box)
    distance = vector.square().sum(-1)
    near = distance.detach() < cutoff**2
    boxes, pairs = torch.nonzero(near, as_tuple=True)
    return _pairs(
        first[pairs] + boxes * n_molecules, second[pairs] + boxes * n_molecules, vector[near], n_boxes * n_molecules
    )


def _by_cells(centres: torch.Tensor, box: torch.Tensor, cutoff: float) -> Pairs:
    from vesin import NeighborList

    n_boxes, n_molecules, _ = centres.shape
    edges = np.diag(box.detach().cpu().numpy().astype(np.float64))
    finder = NeighborList(cutoff=float(cutoff), full_list=False, sorted=True)
    found, device = [], centres.device
    for number in range(n_boxes):
        points = np.mod(centres[number].detach().cpu().numpy().astype(np.float64), np.diag(edges))
        i, j = finder.compute(points=points, box=edges, periodic=True, quantities="ij")
        found.append(np.stack([np.minimum(i, j), np.maximum(i, j)]).astype(np.int64) + number * n_molecules)
    first, second = torch.as_tensor(np.concatenate(found, axis=1), device=device)
    flat = centres.reshape(-1, 3)
    vector = flat[second] - flat[first]
    vector = vector - box * torch.round(vector.detach() / box)
    return _pairs(first, second, vector, n_boxes * n_molecules)


def _pairs(first: torch.Tensor, second: torch.Tensor, vector: torch.Tensor, n: int) -> Pairs:
    distance = vector.square().sum(-1).sqrt()
    return Pairs(first, second, vector / distance[:, None], distance, n)
