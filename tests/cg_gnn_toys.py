"""Exact toys for CG-GNN: Rouse chains as recorded runs of beads."""

from __future__ import annotations

import numpy as np

from mlgle_lammps.chains.laplacian import bead_columns
from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.records import CHAINS, Frames, System, joined
from mlgle_lammps.surrogates.cg_gnn.coarse_runs import BeadRun


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
