"""The energy of groups, from recorded places alone, in closed form: score matching (Hyvärinen 2005).

The energy whose gradient is nearest to that of the true one is least in J = <½ |∂E/∂y|² - ΔE>, of which no constant of
normalization is asked. E is linear in its numbers θ, so J is quadratic: with ∂E/∂y = y + Aθ and ΔE = const + lᵀθ,

    (<AᵀA> + ridge) θ = <l - Aᵀy>.

For a harmonic energy that is maximum likelihood, k = 1/<y²> - 1. Each run weighs the same; the ridge is that with the
least J of runs left out, fold by fold; what all types share is hardly held back. Nothing depends on the time between
frames: the slow drift that a fit of one step hardly sees (a thousandth of a nat) is in where molecules are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from mlgle_lammps.surrogates.cg_gnn.energy import CENTRES, EnergyNetwork, bumps
from mlgle_lammps.surrogates.cg_gnn.examples import Examples
from mlgle_lammps.surrogates.cg_gnn.layers import parted_pairs
from mlgle_lammps.surrogates.cg_gnn.linear_core import LinearCore
from mlgle_lammps.surrogates.cg_gnn.pair_shares import (
    N_KINDS,
    SHARED,
    WHOLE,
    group_make_up,
    make_up,
    pair_features,
    pair_kinds,
    ridge_weights,
    slowness,
)

RIDGES = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Over the mean square of a gradient in units of the modes' own."""
ALONE = 1.0
"""Ridge where no run can be left out."""
_FOLDS = 5
_CHUNK = 256
_INNER_RIDGE = 1e-3


@dataclass(frozen=True)
class Equations:
    """Of one run: J = ½ θᵀ square θ - productᵀ θ, and likewise of the groups' own Rg².

    Attributes:
        square: (n, n).
        product: (n,).
        inner: (n_springs,) what its groups are made up of, mean over beads.
        rest: mean of the fine-grained Rg² less that of its groups.
    """

    square: torch.Tensor
    product: torch.Tensor
    inner: torch.Tensor
    rest: float

    def loss(self, theta: torch.Tensor) -> float:
        """Return J."""
        return float(0.5 * theta @ self.square @ theta - self.product @ theta)


def equations(sets: Sequence[Examples], core: LinearCore, n_types: int) -> list[Equations]:
    """Return the equations of all runs, in the order of the sets and of their runs."""
    return [_of_run(examples, run, core, n_types) for examples in sets for run in range(len(examples.names))]


def take(network: EnergyNetwork, runs: Sequence[Equations], least: float = 0.0) -> float | None:
    """Let a network take the energy of runs whose ridge is above ``least``; return the ridge, None for no energy.

    No energy is taken where no ridge is above, or by an ablation: the linear core alone is left.
    """
    size = network.size
    theta, ridge = torch.zeros_like(runs[0].product), None
    ridges = [own for own in RIDGES if own > least]
    if size.by_mode and ridges:
        seen = _seen(network.n_types, by_types=size.by_types)
        own = [replace(run, square=run.square[seen][:, seen], product=run.product[seen]) for run in runs]
        theta[seen], ridge = _fitted(own, ridges, ridge_weights(network.n_types, len(CENTRES), WHOLE)[seen])
    n_own = network.springs.numel()
    pairs, springs = theta.split([len(theta) - n_own, n_own])
    with torch.no_grad():
        network.pairs.copy_(pairs.reshape(network.pairs.shape))
        network.springs.copy_(springs.reshape(network.springs.shape))
        network.inner.copy_(_inner(runs, network.n_types))
    return ridge


def _fitted(runs: Sequence[Equations], ridges: Sequence[float], weights: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return θ by the ridge with the least J of runs left out; ``ALONE`` or more where there is one run."""
    folds = min(_FOLDS, len(runs))
    chosen = max(ridges[0], ALONE)
    if folds > 1:
        losses = {ridge: sum(_left_out(runs, fold, folds, ridge, weights) for fold in range(folds)) for ridge in ridges}
        chosen = min(losses, key=lambda own: losses[own])
    return _solved(runs, chosen, weights), chosen


def _left_out(runs: Sequence[Equations], fold: int, folds: int, ridge: float, weights: torch.Tensor) -> float:
    theta = _solved([own for place, own in enumerate(runs) if place % folds != fold], ridge, weights)
    return sum(own.loss(theta) for place, own in enumerate(runs) if place % folds == fold)


def _solved(runs: Sequence[Equations], ridge: float, weights: torch.Tensor) -> torch.Tensor:
    square = torch.stack([own.square for own in runs]).mean(0)
    product = torch.stack([own.product for own in runs]).mean(0)
    result: torch.Tensor = torch.linalg.solve(square + ridge * torch.diag(weights), product)
    return result


def _inner(runs: Sequence[Equations], n_types: int) -> torch.Tensor:
    """Return how the groups' own Rg² hangs on what they are made up of: ridge regression about the mean over runs."""
    rows, rest = torch.stack([own.inner for own in runs]), torch.tensor([own.rest for own in runs], dtype=torch.float64)
    mean = rest.mean()
    square = rows.mT @ rows / len(runs) + _INNER_RIDGE * torch.eye(rows.shape[1], dtype=rows.dtype)
    found: torch.Tensor = torch.linalg.solve(square, rows.mT @ (rest - mean) / len(runs))
    shares = torch.zeros_like(found)
    shares[:n_types] = mean  # shares of beads add up to one
    return found + shares


def _seen(n_types: int, *, by_types: bool) -> torch.Tensor:
    """Return the places of the numbers that are fitted: all, or those that all types share."""
    weights = ridge_weights(n_types, len(CENTRES), WHOLE)
    return torch.arange(len(weights)) if by_types else torch.nonzero(weights == SHARED).squeeze(1)


def _of_run(examples: Examples, run: int, core: LinearCore, n_types: int) -> Equations:
    """Return the equations of one run, of frames half a step of the model apart."""
    molecules = examples.molecules
    device, dtype = molecules.modes.device, torch.float64
    features = pair_features(molecules, n_types)[run].to(dtype)
    kinds = [own[run] for own in pair_kinds(molecules)]
    parts = features.chunk(N_KINDS, -1)
    modes = molecules.modes[run].to(dtype)
    scales = core.of(molecules.eigenvalues)[1][run].to(dtype).sqrt().unsqueeze(-1)
    along = (modes @ parted_pairs(molecules.pairs, molecules.n_groups, dtype)[1]) * scales / core.bond
    shares, slow = make_up(molecules, n_types)[run].to(dtype), slowness(molecules.eigenvalues)[run].to(dtype)
    own_springs = torch.einsum("u,mq->muq", shares, slow).flatten(1)
    n = features.shape[-1] * len(CENTRES) + own_springs.shape[1]
    square, product = torch.zeros(n, n, dtype=dtype, device=device), torch.zeros(n, dtype=dtype, device=device)
    starts = torch.nonzero(examples.runs == run).squeeze(1)
    starts = starts[:: _apart(examples, starts)]
    for part in starts.split(_CHUNK):
        scaled = (modes @ examples.at(part, 0).to(dtype)) / scales
        apart = along.mT @ scaled
        distances = (apart.square().sum(-1) + 1e-9).sqrt()
        _, slopes, bends = bumps(distances)
        pulls = (slopes / distances.unsqueeze(-1)).unsqueeze(-1) * apart.unsqueeze(2)
        round_about = (bends + 2 * slopes / distances.unsqueeze(-1)) * along.square().sum(0).unsqueeze(-1)
        rows, curls = [], []
        for kind, own in zip(kinds, parts, strict=True):
            rows.append(torch.einsum("pf,mp,bpkx->bmxfk", own[kind], along[:, kind], pulls[:, kind]).flatten(3))
            curls.append(torch.einsum("pf,bpk->fk", own[kind], round_about[:, kind]).flatten())
        rows.append(scaled.unsqueeze(-1) * own_springs[:, None])
        curls.append(3 * own_springs.sum(0) * len(part))
        matrix = torch.cat(rows, 3).flatten(0, 2)
        square += matrix.mT @ matrix
        product += torch.cat(curls) - matrix.mT @ scaled.flatten()
    inner = (molecules.weights[run].to(dtype).unsqueeze(-1) * group_make_up(molecules, n_types)[run].to(dtype)).sum(0)
    rest = examples.radii(starts) - molecules.square_radius(examples.at(starts, 0), examples.runs[starts])
    count = len(starts)
    return Equations((square / count).cpu(), (product / count).cpu(), inner.cpu(), float(rest.double().mean()))


def _apart(examples: Examples, starts: torch.Tensor) -> int:
    """Return how many starts lie within half a step of the model."""
    n_molecules = len(torch.unique(examples.tracks[starts]))
    frames = int(examples.strides[starts[0]]) // n_molecules
    return max(frames // 2, 1) if n_molecules == 1 else 1
