"""Where trajectories begin: recorded molecules, and more of them from earlier frames, turned."""

from __future__ import annotations

import numpy as np

from mlgle_lammps.records import Float32, Float64


def turned_starts(
    places: Float32, centres: Float64, memory: int, lag: int, seed: int, n_trajectories: int
) -> Float32:  # fmt: skip
    """Return starts: first the last frame of each molecule, then earlier ones spread over the recording, turned."""
    n_molecules, span = places.shape[1], (memory - 1) * lag
    last = len(places) - 1
    rounds = -(-n_trajectories // n_molecules)
    ends = np.linspace(last, span, rounds).round().astype(int) if rounds > 1 else np.array([last])
    starts = []
    for end in ends:
        frames = np.arange(end - span, end + 1, lag)
        moved = (centres[frames] - centres[end])[:, :, None]
        starts.append((places[frames] + moved).transpose(1, 0, 2, 3))
    whole = np.concatenate(starts)[:n_trajectories]
    random = np.random.default_rng(seed)
    turn, signs = np.linalg.qr(random.standard_normal((len(whole), 3, 3)))
    turn = turn * np.sign(np.diagonal(signs, axis1=1, axis2=2))[:, None]
    turn *= np.linalg.det(turn)[:, None, None]
    turn[:n_molecules] = np.eye(3)
    return (whole.reshape(len(whole), -1, 3) @ turn).reshape(whole.shape).astype(np.float32)
