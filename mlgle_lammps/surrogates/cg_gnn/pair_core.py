"""The pair core: forces of pairs of groups by their composition and distance, fitted in closed form.

On top of the linear core, F_i = Σ_j w_ij (x_j - x_i) with w_ij = Σ_fk θ_fk X_f(i, j) φ_k(r_ij), X as in `pair_shares`,
φ bumps along the distance. One step ahead, z' - a z = (1 - a) U F / λ + noise, is
linear in θ, and in a change of each mode's own spring with beads and bonds of the whole molecule: ridge regression over
all frames in both directions of time. The ridge is chosen by leaving runs out, fold by fold; what all types share is
hardly held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mlgle_lammps.surrogates.cg_gnn.examples import Examples
from mlgle_lammps.surrogates.cg_gnn.layers import parted_pairs
from mlgle_lammps.surrogates.cg_gnn.linear_core import LinearCore
from mlgle_lammps.surrogates.cg_gnn.pair_shares import (
    make_up,
    n_features,
    n_springs,
    pair_features,
    ridge_weights,
    slowness,
)

CENTRES = (0.4, 0.9, 1.4, 1.9, 2.6, 3.4)
WIDTHS = (0.3, 0.3, 0.3, 0.4, 0.5, 0.6)
"""Of the bumps, in units of the root mean square distance of bonded groups."""
RIDGES = (10.0, 100.0, 1e3, 1e4, 1e5)
"""Over the variance of the noise, one: θ, of weights in units of a spring of the graph, is of the order 1/√ridge."""
_FOLDS = 5
_CHUNK = 512


@dataclass(frozen=True)
class PairCore:
    """What the closed form gives.

    Attributes:
        pairs: θ (feature, K) of forces between groups.
        springs: (`n_springs`, 2) of each mode's own spring, by what the molecule is made up of.
    """

    pairs: torch.Tensor
    springs: torch.Tensor


def bumps(distances: torch.Tensor) -> torch.Tensor:
    """Return φ (.., K) of distances in units of the bond."""
    centres, widths = distances.new_tensor(CENTRES), distances.new_tensor(WIDTHS)
    return torch.exp(-0.5 * ((distances.unsqueeze(-1) - centres) / widths).square())


class _Sums:
    """Normal equations of one run: XᵀX, Xᵀy and yᵀy."""

    def __init__(self, n: int, weights: torch.Tensor) -> None:
        self.weights = weights
        self.square, self.product = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        self.rest, self.count = 0.0, 0

    def add(self, matrix: torch.Tensor, target: torch.Tensor) -> None:
        """Add rows (row, n) and their targets (row,)."""
        self.square += (matrix.mT @ matrix).double().cpu()
        self.product += (matrix.mT @ target).double().cpu()
        self.rest += float(target.double().square().sum())
        self.count += len(target)


def fit_pair_core(sets: Sequence[Examples], core: LinearCore, n_types: int) -> PairCore:
    """Return the core that says most of the next step of runs left out; zeros where nothing helps."""
    runs = [sums for examples in sets for sums in _normal_equations(examples, core, n_types)]
    n = len(runs[0].product)
    folds = min(_FOLDS, len(runs))
    best, chosen = 0.0, None
    if folds > 1:
        for ridge in RIDGES:
            gain = sum(_gain(runs, fold, folds, ridge) for fold in range(folds))
            if gain > best:
                best, chosen = gain, ridge
    else:
        chosen = RIDGES[-1]
    theta = torch.zeros(n, dtype=torch.float64) if chosen is None else _solved(runs, chosen)
    n_own = 2 * n_springs(n_types)
    pairs, springs = theta.float().split([n - n_own, n_own])
    return PairCore(pairs.reshape(n_features(n_types), len(CENTRES)), springs.reshape(-1, 2))


def _gain(runs: Sequence[_Sums], fold: int, folds: int, ridge: float) -> float:
    """Return by how much a fit to the other folds lessens the squares of this one."""
    theta = _solved([own for place, own in enumerate(runs) if place % folds != fold], ridge)
    left = [own for place, own in enumerate(runs) if place % folds == fold]
    return sum(float(2 * theta @ own.product - theta @ own.square @ theta) for own in left)


def _solved(runs: Sequence[_Sums], ridge: float) -> torch.Tensor:
    square = torch.stack([own.square for own in runs]).sum(0)
    product = torch.stack([own.product for own in runs]).sum(0)
    result: torch.Tensor = torch.linalg.solve(square + ridge * torch.diag(runs[0].weights), product)
    return result


def _normal_equations(examples: Examples, core: LinearCore, n_types: int) -> list[_Sums]:
    """Return the sums of each run."""
    molecules = examples.molecules
    features = pair_features(molecules, n_types)
    decays, variances = core.of(molecules.eigenvalues)
    spreads = (variances * (1 - decays.square())).sqrt()
    _, differences = parted_pairs(molecules.pairs, molecules.n_groups, features.dtype)
    shares, along_modes = make_up(molecules, n_types), slowness(molecules.eigenvalues)
    weights = ridge_weights(n_types, len(CENTRES))
    found = []
    for run in range(molecules.n_molecules):
        sums = _Sums(len(weights), weights)
        starts = torch.nonzero(examples.runs == run).squeeze(1)
        gain = ((1 - decays[run]) / molecules.eigenvalues[run] / spreads[run])[:, None] * molecules.modes[run]
        for part in starts.split(_CHUNK):
            ends = examples.at(part, 0), examples.at(part, 1)
            for before, after in (ends, ends[::-1]):
                apart = differences.T @ before
                distances = apart.square().sum(-1).sqrt() / core.bond
                modes = molecules.modes[run] @ before
                rest = molecules.modes[run] @ after - decays[run][:, None] * modes
                target = (rest / spreads[run][:, None]).reshape(-1)
                pulls = bumps(distances).unsqueeze(-1) * apart.unsqueeze(2)
                forces = -(gain @ differences)  # (mode, pair)
                along = torch.einsum("mp,bpkx,pf->bmxfk", forces, pulls, features[run])
                pull = ((1 - decays[run]) / spreads[run])[:, None] * modes
                springs = torch.einsum("bmx,t,mq->bmxtq", pull, shares[run], along_modes[run])
                rows = torch.cat([along.flatten(3), springs.flatten(3)], 3).flatten(0, 2)
                sums.add(rows, target)
        found.append(sums)
    return found
