"""What two groups are made up of: shares of bead types and of kinds of bonds; and how slow modes are.

X of a pair: 1, which all share; the symmetric products of the shares of bead types in the two groups; the mean
shares of their bonds by the types at both ends, so that blocks (stiff ones, say) differ from what is mixed, and zero
for groups far from one another along the molecule. Apart for bonded groups, for next neighbours and for all others.
"""

from __future__ import annotations

import torch

from mlgle_lammps.surrogates.cg_gnn.layers import meaned_onto
from mlgle_lammps.surrogates.cg_gnn.molecules import MoleculeSet

MOST_TYPES = 8
"""Above which groups are described by the sums of their shares, not by products and bonds."""
N_KINDS = 3
"""Of pairs: bonded groups, next neighbours, others."""
SHARED = 0.01
"""Of a ridge, for what all types share."""
WHOLE = 3.0
"""Of a ridge, for springs by what the whole molecule is made up of: what is near says most of it already."""
_SLOW = 0.3


def n_features(n_types: int) -> int:
    """Return how many X there are."""
    return N_KINDS * (1 + (2 * _n_bonds(n_types) if n_types <= MOST_TYPES else n_types))


def n_springs(n_types: int) -> int:
    """Return what springs hang on: shares of beads and of bonds."""
    return n_types + _n_bonds(n_types)


def _n_bonds(n_types: int) -> int:
    """Return the kinds of bonds that are told apart."""
    return n_types * (n_types + 1) // 2 if n_types <= MOST_TYPES else 0


def pair_features(molecules: MoleculeSet, n_types: int) -> torch.Tensor:
    """Return X of all pairs of groups, (molecule, P, feature)."""
    dtype = molecules.modes.dtype
    shares, bonds = group_make_up(molecules, n_types).split([n_types, _n_bonds(n_types)], -1)
    one, other = shares[:, molecules.pairs[0]], shares[:, molecules.pairs[1]]
    if n_types <= MOST_TYPES:
        products = one.unsqueeze(-1) * other.unsqueeze(-2)
        first, second = torch.triu_indices(n_types, n_types, device=products.device)
        near = (molecules.hops <= 2).unsqueeze(-1).to(dtype)
        along = near * (bonds[:, molecules.pairs[0]] + bonds[:, molecules.pairs[1]]) / 2
        own = torch.cat([(products + products.mT)[..., first, second] / 2, along], -1)
    else:
        own = (one + other) / 2
    own = torch.cat([torch.ones_like(own[..., :1]), own], -1)
    return torch.cat([own * kind.unsqueeze(-1).to(dtype) for kind in pair_kinds(molecules)], -1)


def pair_kinds(molecules: MoleculeSet) -> list[torch.Tensor]:
    """Return which pairs (molecule, P) are of each kind."""
    return [molecules.hops == 1, molecules.hops == 2, molecules.hops > 2]


def bond_shares(molecules: MoleculeSet, n_types: int) -> torch.Tensor:
    """Return the share of each kind of bond, by the types at both ends, in each group, (molecule, S, kind).

    Bonds between two groups count in both.
    """
    n = molecules.n_molecules * molecules.n_groups
    if n_types > MOST_TYPES:
        return molecules.modes.new_zeros(molecules.n_molecules, molecules.n_groups, 0)
    ends = molecules.bead_types[molecules.bonds]
    low, high = ends.min(0).values, ends.max(0).values
    kinds = torch.nn.functional.one_hot(low * n_types + high, n_types**2).to(molecules.modes.dtype)
    shares = meaned_onto(kinds, molecules.group_of[molecules.bonds[1]], n).reshape(-1, n_types, n_types)
    first, second = torch.triu_indices(n_types, n_types, device=shares.device)
    return shares[:, first, second].reshape(molecules.n_molecules, molecules.n_groups, -1)


def group_make_up(molecules: MoleculeSet, n_types: int) -> torch.Tensor:
    """Return the shares of bead types and of kinds of bonds in each group, (molecule, S, `n_springs`)."""
    beads = torch.nn.functional.one_hot(molecules.bead_types, n_types).to(molecules.modes.dtype)
    shares = meaned_onto(beads, molecules.group_of, molecules.n_molecules * molecules.n_groups)
    shares = shares.reshape(molecules.n_molecules, molecules.n_groups, n_types)
    return torch.cat([shares, bond_shares(molecules, n_types)], -1)


def make_up(molecules: MoleculeSet, n_types: int) -> torch.Tensor:
    """Return the shares of bead types and of kinds of bonds in each molecule, (molecule, `n_springs`)."""
    shares, bonds = group_make_up(molecules, n_types).split([n_types, _n_bonds(n_types)], -1)
    return torch.cat([(molecules.weights.unsqueeze(-1) * shares).sum(1), bonds.mean(1)], 1)


def ridge_weights(n_types: int, n_bumps: int, whole: float = 1.0) -> torch.Tensor:
    """Return what a ridge weighs of θ (feature, bump) and, with ``whole``, of springs (`n_springs`, 2), flat."""
    pairs = torch.ones(N_KINDS, n_features(n_types) // N_KINDS, n_bumps, dtype=torch.float64)
    pairs[:, 0] = SHARED
    return torch.cat([pairs.flatten(), torch.full((2 * n_springs(n_types),), whole, dtype=torch.float64)])


def slowness(eigenvalues: torch.Tensor) -> torch.Tensor:
    """Return what springs hang on along the modes (.., 2): slow ones alone, and all alike."""
    return torch.stack([torch.exp(-eigenvalues / _SLOW), torch.ones_like(eigenvalues)], -1)
