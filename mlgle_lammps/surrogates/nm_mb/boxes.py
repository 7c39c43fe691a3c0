"""Centres for boxes of another size than was learned in."""

from __future__ import annotations

import numpy as np

from mlgle_lammps.records import Float64


def filled_box(centres: Float64, box: Float64, edge: float, n_molecules: int, rng: np.random.Generator) -> Float64:
    """Return centres of a cubic box, (n_molecules, 3), that are nowhere nearer than they have to be.

    The recorded box is repeated through the new one; of the copies that fall inside, those nearest to another are
    taken out, or molecules are put where the largest of some holes is, until the number is right.

    Args:
        centres: (M, 3) of the recorded box.
        box: (3,) its edges.
        edge: of the new box.
        n_molecules: wanted.
        rng: of places tried.
    """
    copies = np.ceil(edge / box).astype(int)
    shifts = np.stack(np.meshgrid(*(np.arange(n) for n in copies), indexing="ij"), -1).reshape(-1, 1, 3) * box
    points = (np.mod(centres, box)[None] + shifts).reshape(-1, 3)
    points = points[(points < edge).all(1)]
    while len(points) > n_molecules:
        distances = _distances(points, points, edge)
        np.fill_diagonal(distances, np.inf)
        points = np.delete(points, int(np.argmin(distances.min(1))), axis=0)
    while len(points) < n_molecules:
        tried = rng.uniform(0, edge, (2000, 3))
        points = np.concatenate([points, tried[[int(np.argmax(_distances(tried, points, edge).min(1)))]]])
    return points


def _distances(first: Float64, second: Float64, edge: float) -> Float64:
    apart = first[:, None] - second[None]
    apart -= edge * np.round(apart / edge)
    result: Float64 = np.linalg.norm(apart, axis=-1)
    return result
