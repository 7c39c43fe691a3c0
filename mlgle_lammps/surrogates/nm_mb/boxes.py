"""Centres for boxes of another size than was learned in."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from mlgle_lammps.records import Float64

PLACES = 50
"""Looked at for each molecule where holes are sought."""


def filled_box(centres: Float64, box: Float64, edge: float, n_molecules: int, rng: np.random.Generator) -> Float64:
    """Return centres of a cubic box, (n_molecules, 3), that are nowhere nearer than they have to be.

    The recorded box is repeated through the new one. Of the copies that fall inside, one of the nearest pair is taken
    out, again and again, while there are too many or a pair is nearer than any recorded one: across the new faces
    strangers meet. Molecules that are missing then come where most room is.

    Args:
        centres: (M, 3) of the recorded box.
        box: (3,) its edges.
        edge: of the new box.
        n_molecules: wanted.
        rng: of places tried.
    """
    inside = _wrapped(centres, box)
    copies = np.ceil(edge / box).astype(int)
    shifts = np.stack(np.meshgrid(*(np.arange(n) for n in copies), indexing="ij"), -1).reshape(-1, 1, 3) * box
    points = (inside[None] + shifts).reshape(-1, 3)
    points = points[(points < edge).all(1)]
    least = float(_nearest(inside, box).min()) * (1 - 1e-9)  # but for rounding
    while len(points) > 1:
        nearest = _nearest(points, edge)
        if len(points) <= n_molecules and nearest.min() >= least:
            break
        points = np.delete(points, int(np.argmin(nearest)), axis=0)
    return _with_holes_filled(points, edge, n_molecules, rng)


def _with_holes_filled(points: Float64, edge: float, n_molecules: int, rng: np.random.Generator) -> Float64:
    """Return points, (n_molecules, 3), the added ones each where most room is then."""
    tried = rng.uniform(0, edge, (PLACES * n_molecules, 3))
    room = cKDTree(points, boxsize=edge).query(tried)[0]
    added = []
    for _ in range(n_molecules - len(points)):
        added.append(tried[int(np.argmax(room))])
        apart = tried - added[-1]
        room = np.minimum(room, np.linalg.norm(apart - edge * np.round(apart / edge), axis=1))
    return np.concatenate([points, *(place[None] for place in added)])


def _wrapped(centres: Float64, box: Float64) -> Float64:
    inside = np.mod(centres, box)
    return np.where(inside < box, inside, 0.0)  # a tiny negative number becomes the edge


def _nearest(points: Float64, box: Float64 | float) -> Float64:
    """Return the distance of each point, (M, 3) within the box, from the nearest other or its image."""
    result: Float64 = cKDTree(points, boxsize=box).query(points, k=2)[0][:, 1]
    return result
