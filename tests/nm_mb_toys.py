"""Exact toys for NM-MB: constrained runs of a known memory, and production of strangers."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from mlgle_lammps.records import CHAINS, Frames, System
from mlgle_lammps.statistics.force_correlation import collective_motions
from mlgle_lammps.store.constrained_file import ConstrainedRun, ConstrainedSet
from mlgle_lammps.surrogates.nm_mb.constrained_data import Configuration
from mlgle_lammps.surrogates.nm_mb.couplings import RadialCoupling
from mlgle_lammps.surrogates.nm_mb.finite_runs import seen
from mlgle_lammps.surrogates.nm_mb.kernel_fit import FitSettings, products_of
from mlgle_lammps.surrogates.nm_mb.memory import Memory, MemoryGroup
from mlgle_lammps.surrogates.nm_mb.neighbours import pairs_within
from mlgle_lammps.surrogates.nm_mb.presets import MemorySettings
from mlgle_lammps.surrogates.nm_mb.relaxations import beside, exponential, oscillator
from mlgle_lammps.surrogates.nm_mb.trainer import TrainSettings, train

M, EDGE, KT, MASS, DT = 10, 8.0, 2.0, 5.0, 0.1
BOX = np.full(3, EDGE)
PARTS = [oscillator(8.0, 9.0), exponential(0.5)]
TIMES = np.concatenate([np.arange(0, 17) * 0.02, np.geomspace(0.4, 20, 24)])
LAGS = np.unique(np.round(TIMES / 0.02).astype(np.int64))
DURATION = 200.0


def true_memory():
    """Fast oscillations of pairs, slow decays of molecules: what `default` can say."""
    bell = torch.exp(-(torch.linspace(0, 2, 8, dtype=torch.float64) ** 2))[:, None]
    fast, slow = RadialCoupling(1, 0.49 * EDGE, 8), RadialCoupling(1, 0.49 * EDGE, 8)
    fast.radial.data.copy_(bell * torch.tensor([9.0, 7.0], dtype=torch.float64))
    slow.radial.data.copy_(bell * torch.tensor([1.0, 1.2], dtype=torch.float64))
    return Memory((MemoryGroup("pair", fast, beside(PARTS[:1])), MemoryGroup("molecule", slow, beside(PARTS[1:]))))


def grid_of(rng):
    """Return centres that are nowhere nearer than 1.3."""
    found = rng.uniform(0, EDGE, (1, 3))
    while len(found) < M:
        tried = rng.uniform(0, EDGE, (1, 3))
        apart = found - tried
        if np.linalg.norm(apart - EDGE * np.round(apart / EDGE), axis=1).min() > 1.3:
            found = np.concatenate([found, tried])
    return found


def held(rng, duration=DURATION):
    """Return a constrained run without noise: what its two halves show of the true memory on average."""
    centres = grid_of(rng)
    pairs = pairs_within(torch.as_tensor(centres)[None], torch.as_tensor(BOX), EDGE)
    times, grid = LAGS.astype(float) * 0.02, np.concatenate([[0.0], np.geomspace(1e-3, duration, 1500)])
    with torch.no_grad():
        kernel = products_of(true_memory(), configuration(centres, pairs)).numpy().reshape(2, -1)
    decays = np.stack([part.decay(grid)[:, 0, 0] for part in PARTS], 1)
    blocks = KT * (seen(times, decays, grid, duration) @ kernel).reshape(len(times), M, 3, M, 3).transpose(
        0, 1, 3, 2, 4
    )
    known = np.array([(i, j) for i in range(M) for j in range(i + 1, M)])
    pair, own = blocks[:, known[:, 0], known[:, 1]], blocks[:, range(M), range(M)]
    u = collective_motions(centres, BOX).reshape(M, 3, -1)
    return ConstrainedRun(
        0, centres, BOX, np.full(M, MASS), KT, 0.02, LAGS, round(duration / 0.02), np.zeros((2, M, 3)), known,
        np.stack([pair] * 2).astype(np.float32), np.stack([own] * 2).astype(np.float32),
        motions=np.stack([np.einsum("iam,tijab,jbm->tm", u, blocks, u)] * 2),
    )  # fmt: skip


def configuration(centres, pairs):
    blank = np.zeros((2, 1, 1, 3, 3), dtype=np.float32)
    return Configuration(
        torch.as_tensor(centres)[None], torch.as_tensor(BOX), pairs, np.zeros(1), 1.0, blank, blank,
        np.zeros((0, 2), dtype=int), np.zeros((M, 3)), np.zeros((2, M, 3)),
    )  # fmt: skip


@lru_cache
def constrained_set():
    rng = np.random.default_rng(8)
    return ConstrainedSet(tuple(held(rng) for _ in range(4)))


def production(n=900, seed=3):
    rng = np.random.default_rng(seed)
    momenta = np.empty((n, M, 3))
    momenta[0] = rng.standard_normal((M, 3))
    for t in range(1, n):
        momenta[t] = 0.9 * momenta[t - 1] + np.sqrt(1 - 0.81) * rng.standard_normal((M, 3))
    momenta = (momenta - momenta.mean(1, keepdims=True)) * np.sqrt(KT * MASS)
    com = grid_of(rng) + np.cumsum(momenta, axis=0) * DT / MASS
    steps = np.arange(n, dtype=np.int64)
    return Frames(steps, np.zeros(n, dtype=np.int64), {CHAINS: {"com": com, "momenta": momenta}})


FRAMES = production()
SYSTEM = System(M, 5, 0, DT, time_unit="tau", length_unit="sigma")
QUICK = MemorySettings(7, fit=FitSettings(updates=120, rate=0.05, batch=4), n_knots=8)


def trained(preset="nm-dpd", updates=3, frames=FRAMES, **how):
    torch.set_num_threads(1)
    memory = replace(QUICK, fit=replace(QUICK.fit, updates=updates))
    settings = TrainSettings(preset, memory, rounds=1, calibration_time=10.0, potential_updates=3, **how)
    return train(constrained_set(), frames, SYSTEM, settings)


@lru_cache
def model_of(preset):
    return trained(preset)
