"""What generated groups are about: the System of the frames that a motion yields."""

from __future__ import annotations

from dataclasses import replace

from mlgle_lammps.records import System
from mlgle_lammps.surrogates.cg_gnn.model import CgGnnModel
from mlgle_lammps.surrogates.cg_gnn.molecules import Molecule


def coarse_system(model: CgGnnModel, system: System, n_trajectories: int, save_every: int = 1) -> System:
    """Return the System of trajectories of one molecule's groups; their beads are its groups, without types.

    Args:
        model: that moves them.
        system: of the beads.
        n_trajectories: on the molecule axis.
        save_every: steps of the model between two frames kept.

    Raises:
        UserError: bead types that the model does not know, or beads that cannot be grouped as its own are.
    """
    molecule = Molecule.of(system, model.beads_per_group, model.grouping)
    molecule.require_known(model.types)
    grouping = molecule.grouping
    chain = {(n, n + 1) for n in range(grouping.n_groups - 1)} == set(grouping.edges)
    return replace(
        system, n_chains=n_trajectories, n_beads=grouping.n_groups, n_modes=0, dt=model.dt * save_every,
        every=save_every, source=f"generated from {system.source}", notes=(), box=None, mode_variances=None,
        channels=("com", "beads", "rg2"), others=(), left_out=(), edges=() if chain else grouping.edges,
        eigenvalues=() if chain else tuple(grouping.eigenvalues.tolist()), types=(), masses=(), ends_alike=True,
        whole_molecules=False,
    )  # fmt: skip
