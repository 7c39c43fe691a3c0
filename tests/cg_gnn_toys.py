"""Exact toys for CG-GNN: Rouse chains as recorded runs of beads, and models that learned from them briefly."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from mlgle_lammps.chains.laplacian import bead_columns
from mlgle_lammps.chains.rouse import RouseSource, rouse_mode_variance, rouse_relaxation_time
from mlgle_lammps.records import CHAINS, Frames, System, joined
from mlgle_lammps.surrogates.cg_gnn.coarse_runs import BeadRun, CoarseRun
from mlgle_lammps.surrogates.cg_gnn.grouping import Grouping, group_beads
from mlgle_lammps.surrogates.cg_gnn.linear_core import LinearCore
from mlgle_lammps.surrogates.cg_gnn.molecules import Molecule
from mlgle_lammps.surrogates.cg_gnn.options import CgGnnOptions
from mlgle_lammps.surrogates.cg_gnn.trainer import train
from mlgle_lammps.surrogates.cg_gnn.training import TrainingPlan

torch.set_num_threads(1)
N, DT = 8, 0.5
BRIEF = TrainingPlan(updates=6, horizon_updates=2, horizon=4, batch=16)
LINE = tuple((n, n + 1) for n in range(N - 1))
PRESETS = ("default", "network", "published-small", "deterministic")


def rouse_run(n_beads=10, n_chains=4, n_frames=400, dt=0.5, seed=1, bond=1.0, types=(), name="rouse"):
    """Return a run of Rouse chains with their beads."""
    source = RouseSource(n_chains, n_beads, n_beads - 1, n_frames, dt, seed, bond=bond)
    frames = joined(list(source))
    everything = np.concatenate([0 * frames.com[:, :, None], frames.modes.astype(np.float64)], axis=2)
    beads = bead_columns(n_beads, (), n_beads - 1) @ everything
    recorded = Frames(frames.steps, frames.segments, {CHAINS: {"com": frames.com, "beads": beads.astype(np.float32)}})
    system = System(
        n_chains, n_beads, 0, dt, units="lj", time_unit="tau", length_unit="sigma", channels=("com", "beads"),
        types=tuple(types) or ("1",) * n_beads,
    )  # fmt: skip
    return BeadRun(system, recorded, name)


@lru_cache
def runs():
    return tuple(rouse_run(N, 3, 60, DT, seed=s, types=t, name=t) for s, t in ((1, "ABABABAB"), (2, "AAAABBBB")))


def options_of(preset, **changes):
    given = {"preset": preset, "beads_per_group": 2, "step": 2 * DT, "members": 2, "seed": 3, "plan": BRIEF, **changes}
    return CgGnnOptions(**given)


def trained(preset, frames=None):
    """Return a model of both runs, the first one's frames others where they are given."""
    torch.set_num_threads(1)
    first, second = runs()
    return train((first if frames is None else replace(first, frames=frames), second), options_of(preset))


def molecule_of(types="ABABBBAA", groups=tuple(range(N)), edges=LINE):
    pairs = sorted({tuple(sorted((groups[a], groups[b]))) for a, b in edges})
    return Molecule(tuple(types), edges, Grouping("metis", 1, groups, tuple(p for p in pairs if p[0] != p[1])))


def core_of(bond=1.0):
    knots = np.log(group_beads(N, LINE, 1, "blocks").eigenvalues)
    return LinearCore(knots, knots + np.log(0.2), -knots - 1.0, bond, (0.3, 0.05))


def coil(seed=2):
    positions = np.random.default_rng(seed).standard_normal((N, 3)).cumsum(axis=0)
    return positions - positions.mean(axis=0)


def rotation(seed=3):
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    return turn * np.sign(np.linalg.det(turn))


@lru_cache
def long_runs():
    return [CoarseRun.of(rouse_run(N, 8, 1500, DT, seed=s), 1, "blocks") for s in (5, 6)]


def exact_rouse():
    """Return decays and variances of orthonormal modes, <Rg²> and its standard error from the long runs."""
    mode = np.arange(1, N)
    decay = np.exp(-DT / rouse_relaxation_time(mode, N))
    variance = 2 * N * rouse_mode_variance(mode, N)
    n = 2 * 8 * 1500
    slowness = (1 + decay**2) / (1 - decay**2)
    error = np.sqrt((6 * variance**2 / N**2 * slowness / n).sum())
    return decay, variance, float(3 * variance.sum() / N), float(error), n
