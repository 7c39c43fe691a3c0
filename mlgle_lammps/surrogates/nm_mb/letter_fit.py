"""The letter's form as printed, misprints mended: a general Λ, and a loss on the kernel's values alone (eq. 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from mlgle_lammps.surrogates.nm_mb.constrained_data import Configuration, own_curve, time_to_fall
from mlgle_lammps.surrogates.nm_mb.couplings import EnvironmentCoupling
from mlgle_lammps.surrogates.nm_mb.kernel_fit import NEVER, FitSettings
from mlgle_lammps.surrogates.nm_mb.memory import Memory, MemoryGroup
from mlgle_lammps.surrogates.nm_mb.relaxations import Relaxations, general

N_FEATURES = 5
REACH = 0.35
"""Cutoff over the shortest edge: 16 in a box of 45.8."""
LONGEST = 50.0
"""Longest lag over the time in which the kernel falls to a third."""


def fit_letter(
    found: Sequence[Configuration], how: FitSettings, environment: bool = True, should_stop: Callable[[], bool] = NEVER
) -> Memory:
    """Return Ξ and Λ = L Lᵀ + Lᵃ that minimize Σ_t |Ξ e^{-Λt} Ξᵀ - K(t)|² over evenly weighted lags.

    Blocks of pairs that were not measured are left out.

    Raises:
        UserError: the kernel does not fall to a third within the lags.
    """
    times = found[0].times
    curve = own_curve(found)
    short = time_to_fall(curve, times, 1 / 3)
    some = times <= LONGEST * short
    lags = torch.as_tensor(times[some])
    targets, known = [_kernel(one, some) for one in found], [_known(one) for one in found]
    generator = torch.Generator().manual_seed(how.seed)
    cutoff = REACH * float(found[0].box.min())
    coupling = EnvironmentCoupling(N_FEATURES, cutoff, environment=environment, generator=generator)
    rates = torch.as_tensor(np.geomspace(0.3, 10, N_FEATURES) / short / 3)
    lower = torch.diag(rates.sqrt()).requires_grad_(True)
    turning = (
        0.5 / short * torch.randn(N_FEATURES, N_FEATURES, generator=generator, dtype=torch.float64)
    ).requires_grad_(True)
    _begin(coupling, found[0], float(curve[0]))
    learned: list[dict[str, Any]] = [
        {"params": list(coupling.parameters())},
        {"params": [lower, turning], "lr": how.rate},
    ]
    optimizer = torch.optim.Adam(learned, lr=how.rate / 5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.updates, how.rate / 100)
    rng, order = np.random.default_rng(how.seed), np.empty(0, dtype=int)
    for _ in range(how.updates):
        if should_stop():
            break
        if not len(order):
            order = rng.permutation(len(found))
        number, order = int(order[0]), order[1:]
        optimizer.zero_grad()
        group = MemoryGroup("molecule", coupling, Relaxations(np.eye(N_FEATURES), tuple(range(N_FEATURES))))
        products = group.dense(found[number].pairs.within(cutoff)).reshape(N_FEATURES**2, -1)
        decays = torch.matrix_exp(-general(lower, turning)[None] * lags[:, None, None]).reshape(len(lags), -1)
        off = (decays @ products - targets[number])[:, known[number]]
        loss = off.square().mean() / curve[0] ** 2 * 1e3
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    matrix = general(lower, turning).detach().numpy()
    relaxations = Relaxations(matrix, tuple(range(N_FEATURES)))
    return Memory((MemoryGroup("molecule", coupling, relaxations),), "paper")


def _kernel(found: Configuration, some: np.ndarray) -> torch.Tensor:
    own, beside = found.matrices(np.eye(len(found.times))[some])
    return torch.as_tensor(own + beside).reshape(int(some.sum()), -1)


def _known(found: Configuration) -> torch.Tensor:
    """Return which entries of the matrix were measured, flattened: molecules' own, and those of known pairs."""
    own = torch.as_tensor(np.kron(np.eye(found.n), np.ones((3, 3))))
    return ((own + found.mask()) > 0).reshape(-1)


def _begin(coupling: EnvironmentCoupling, found: Configuration, strength: float) -> None:
    """Let the sum of the features' own kernels start at a strength."""
    group = MemoryGroup("molecule", coupling, Relaxations(np.eye(coupling.n), tuple(range(coupling.n))))
    with torch.no_grad():
        own = group.products(found.pairs.within(coupling.cutoff)).diagonal(dim1=-2, dim2=-1).mean()
        coupling.weights[-1].data *= (strength / coupling.n / own).sqrt()
