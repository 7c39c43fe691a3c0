"""How well a memory model explains constrained runs that it was not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.errors import jackknife_error, left_out_means
from mlgle_lammps.surrogates.nm_mb.constrained_data import Configuration, decay_of
from mlgle_lammps.surrogates.nm_mb.finite_runs import fine_times, seen
from mlgle_lammps.surrogates.nm_mb.integrator import Force
from mlgle_lammps.surrogates.nm_mb.memory import Memory
from mlgle_lammps.surrogates.nm_mb.potential_fit import explained

SHARE = 4
"""One constrained run in so many is held out, where there are as many."""
KINDS = ("pairs", "own", "motions")
"""Of products of forces: of two molecules, of one, and of the motions of the smallest wave vectors."""
WINDOWS = (0.0, 2.0, 10.0, 60.0)
"""Edges of the windows of lags, over the time in which the molecules' own kernel falls to 1/e."""


def shares(memory: Memory, forces: Force, found: Sequence[Configuration]) -> JsonObject:
    """Return the share of the reproducible variance that a model explains, by window of lags.

    With A and B the halves of a run and p what such a run would show of the model, a share is
    1 - Σ(A - p)(B - p) / ΣAB: the noise of the halves is independent and drops out. Errors are by leaving out one run.

    Args:
        memory: of the model.
        forces: -∇U of the model, (box, M, 3) at centres (box, M, 3) in a box (3,).
        found: runs that neither was learned from.

    Limit: 1 for the true kernel, 0 for none. Halves of a run share its mean force, so slightly more than 1 can occur.
    Motions of the smallest wave vectors are judged where all runs recorded them.
    """
    edges = decay_of(found) * np.array(WINDOWS)
    kinds = KINDS if all(own.motions is not None for own in found) else KINDS[:2]
    sums = np.array([_sums(memory, own, edges, kinds) for own in found])  # (run, window, kind, missed or total)
    value = _share(sums.mean(0))
    rest = np.array([_share(mean) for mean in left_out_means(sums)])
    error = jackknife_error(rest)
    upper = np.minimum(edges[1:], found[0].times[-1])
    return {
        "configurations": len(found),
        "windows": [[float(first), float(last)] for first, last in zip(edges[:-1], upper, strict=True)],
        **{kind: value[:, k].tolist() for k, kind in enumerate(kinds)},
        **{f"{kind}_se": error[:, k].tolist() for k, kind in enumerate(kinds)},
        "mean_force": explained(forces, found),
    }  # fmt: skip


def _share(sums: Float64) -> Float64:
    """Return (window, kind) shares from (window, kind, missed or total)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Float64 = np.where(sums[..., 1] > 0, 1 - sums[..., 0] / sums[..., 1], np.nan)
    return result


def _sums(memory: Memory, found: Configuration, edges: Float64, kinds: Sequence[str]) -> Float64:
    """Return (window, kind, missed or total) of a run."""
    whole = seen_kernel(memory, found)
    model = whole.reshape(len(found.times), found.n, 3, found.n, 3)
    i, j = found.known.T
    each = np.arange(found.n)
    u = found.collective().numpy()
    compared = {
        "pairs": (found.pair, model[:, i, :, j].transpose(1, 0, 2, 3)),
        "own": (found.own, model[:, each, :, each].transpose(1, 0, 2, 3)),
        "motions": (found.motions, np.einsum("im,tij,jm->tm", u, whole, u, optimize=True)),
    }
    result = []
    for first, last in pairwise(edges):
        at = (found.times <= last) & ((found.times > first) if first else True)
        row = []
        for halves, predicted in (compared[kind] for kind in kinds):
            assert halves is not None
            a, b = (half[at].astype(np.float64) for half in halves)
            p = predicted[at]
            row.append([float(((a - p) * (b - p)).sum()), float((a * b).sum())])
        result.append(row)
    return np.array(result)


def seen_kernel(memory: Memory, found: Configuration) -> Float64:
    """Return what a run of this length would show of a model's kernel, (L, 3M, 3M)."""
    times, duration = found.times, found.duration
    grid = fine_times(times, duration)
    total: Float64 = np.zeros((len(times), 3 * found.n, 3 * found.n))
    for group in memory.groups:
        near = found.pairs if group.coupling is None else found.pairs.within(group.coupling.cutoff)
        decay = group.relaxations.decay(grid)
        n = decay.shape[1]
        mixed = np.abs(decay).max(0) > 0  # most features are not coupled to one another
        a, b = np.nonzero(mixed)
        shown = seen(times, decay[:, a, b], grid, duration)
        with torch.no_grad():
            products = group.products(near)[a] if len(a) == n else group.dense(near)[a, b]
        total += (shown @ products.reshape(len(a), -1).numpy()).reshape(total.shape)
    return total
