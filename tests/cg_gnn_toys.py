"""Exact toys for CG-GNN: Rouse chains as recorded runs of beads, and models that learned from them briefly."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from mlgle_lammps.chains.laplacian import bead_columns
from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.records import CHAINS, Frames, System, joined
from mlgle_lammps.surrogates.cg_gnn.coarse_runs import BeadRun
from mlgle_lammps.surrogates.cg_gnn.options import CgGnnOptions
from mlgle_lammps.surrogates.cg_gnn.trainer import train
from mlgle_lammps.surrogates.cg_gnn.training import TrainingPlan

N, DT = 8, 0.5
BRIEF = TrainingPlan(updates=6, horizon_updates=2, horizon=4, batch=16)
PRESETS = ("default", "published-small", "deterministic")


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
