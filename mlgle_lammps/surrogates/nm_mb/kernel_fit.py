"""Couplings fitted to constrained kernels: K and its running integral, at each lag in units of its own size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn

from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.nm_mb.constrained_data import Configuration, decay_of
from mlgle_lammps.surrogates.nm_mb.finite_runs import fine_times, seen
from mlgle_lammps.surrogates.nm_mb.memory import Memory
from mlgle_lammps.surrogates.nm_mb.relaxations import Relaxations, choose, dictionary, exponential

NEVER = lambda: False  # noqa: E731


FLOOR = 0.05
"""Of the largest size, what is added to all."""


@dataclass(frozen=True)
class FitSettings:
    """How couplings are fitted.

    Attributes:
        updates: of the parameters.
        rate: of Adam at the start; falls to a hundredth along a cosine.
        batch: configurations in an update.
        integral: weight of the running integral beside the kernel itself.
        seed: of the order of configurations.
        own: weight of diagonal blocks beside all others together.
        collective: weight of the motions of the smallest wave vectors, which are sums over many distant pairs, each of
            them too weak to count; sound and viscosity hang on them.
    """

    updates: int = 250
    rate: float = 0.08
    batch: int = 3
    integral: float = 1.0
    seed: int = 1
    own: float = 0.3
    collective: float = 0.5


@dataclass(frozen=True)
class Lags:
    """Rows that the misfit is the square of: values and running integrals of the kernel at its lags.

    Attributes:
        rows: (row, L) that make them from a kernel at its lags.
        pair_weights: (row,) of blocks beside the diagonal.
        own_weights: (row,) of diagonal blocks.
        share: (row,) of a row in all, whatever its size.
    """

    rows: Float64
    pair_weights: Float64
    own_weights: Float64
    share: Float64


def integral_rows(times: Float64) -> Float64:
    """Return (L - 1, L) weights of the trapezoid rule up to each lag."""
    rows = np.zeros((len(times) - 1, len(times)))
    for k, width in enumerate(np.diff(times)):
        rows[k:, k] += width / 2
        rows[k:, k + 1] += width / 2
    return rows


def widths(times: Float64) -> Float64:
    """Return the share of a logarithmic time axis that each lag stands for, (L,), short ones as evenly as they are."""
    first = times[1]
    edge = np.log(np.concatenate([[0.5 * first], (times[1:] + times[:-1]) / 2, [times[-1]]]) + first)
    share = np.diff(edge)
    return share / share.sum()


def lags_for(configurations: Sequence[Configuration], settings: FitSettings) -> Lags:
    """Return rows, each in units of the reproducible size of what it is compared with.

    A few hundredths of the size at time 0, less at later times, and of the largest integral are added: where a kernel
    passes through zero, what the memories cannot follow there would otherwise outweigh all that they can.
    """
    times = configurations[0].times
    integral = integral_rows(times)
    rows = np.concatenate([np.eye(len(times)), integral])
    share = widths(times)
    share = np.concatenate([share, settings.integral * share[1:]])
    sizes = np.array([_sizes(found, rows) for found in configurations]).mean(0)
    count, shortest = len(times), decay_of(configurations)
    for own in sizes:
        own[:count] += FLOOR**2 * own[0] / (1 + times / shortest) ** 2
        own[count:] += FLOOR**2 * own[count:].max()
    return Lags(rows, share / sizes[0], share / sizes[1], share)


def _sizes(found: Configuration, rows: Float64) -> tuple[Float64, Float64]:
    """Return mean squares of pair and diagonal entries with half of their noise, (row,) both."""
    result = []
    for values in (found.pair, found.own):
        a, b = (np.einsum("rl,lpab->rpab", rows, half.astype(np.float64)) for half in values)
        signal, noise = (a * b).mean((1, 2, 3)), ((a - b) ** 2).mean((1, 2, 3)) / 4
        result.append(np.maximum(signal, 0.0) + noise + 1e-12)
    return result[0], result[1]


def choose_relaxations(configurations: Sequence[Configuration], most: int, shortest: float) -> list[Relaxations]:
    """Return few memories: oscillations that make up the molecules' own kernels at short times, and slow decays.

    Those at short times are chosen with positive strengths, the runs' finite length allowed for. Beside them decays
    stand half a decade apart up to the longest lag, needed or not for the molecules' own kernels: kernels of pairs have
    either sign, decay otherwise, and share them.
    """
    times, duration = configurations[0].times, configurations[0].duration
    decays = [exponential(1 / time) for time in slow_times(shortest, times[-1])]
    candidates = [*dictionary(shortest), *decays]
    rows = np.concatenate([np.eye(len(times)), integral_rows(times)])
    columns = rows @ seen_decays(candidates, times, duration)
    chosen: list[int] = []
    curves = own_curves(configurations)
    share = max((most - len(decays)) // len(curves), 1)
    keep = list(range(len(candidates) - len(decays), len(candidates)))
    for curve in curves:
        targets, count = rows @ curve, len(times)
        floors = np.concatenate([curve[0] / (1 + times / shortest), np.full(count - 1, np.abs(targets[count:]).max())])
        weights = np.concatenate([widths(times), widths(times)[1:]]) / (np.abs(targets) + 0.02 * floors) ** 2
        which, _ = choose(columns, targets, weights, share, keep)
        chosen += [k for k in which if k not in keep and k not in chosen]
    return [candidates[k] for k in chosen] + decays


def own_curves(configurations: Sequence[Configuration]) -> list[Float64]:
    """Return kernels (L,) that are sums of memories with positive strengths.

    A molecule's own and, where it was measured, that of transverse motions of the smallest wave vectors, which
    swings back much further.
    """
    curves = [np.mean([found.own.mean((0, 2))[:, range(3), range(3)].mean(1) for found in configurations], axis=0)]
    if all(found.motions is not None for found in configurations):
        motions = np.mean([found.collective_kernel() for found in configurations], axis=0).reshape(-1, 3, 2, 3)
        across = [motions[:, axis, :, side] for axis in range(3) for side in range(3) if side != axis]
        curves.append(np.mean(across, axis=(0, 2)))
    return curves


def slow_times(shortest: float, longest: float) -> Float64:
    """Return decay times half a decade apart, from where oscillations have ended up to about the longest lag."""
    first, last = 6 * shortest, 0.8 * longest
    count = max(1, round(2 * np.log10(max(last / first, 1.0))) + 1)
    return np.geomspace(first, last, count) if count > 1 else np.array([first])


def seen_decays(parts: Sequence[Relaxations], times: Float64, duration: float) -> Float64:
    """Return (L, memory) of what runs of a duration show of memories."""
    grid = fine_times(times, duration)
    decays = np.stack([part.decay(grid)[:, 0, 0] for part in parts], axis=1)
    return seen(times, decays, grid, duration)


@dataclass(frozen=True)
class _Target:
    """A configuration's kernel summed over lags with each memory, and what the misfit needs beside it."""

    found: Configuration
    own: torch.Tensor
    beside: torch.Tensor
    mask: torch.Tensor
    modes: torch.Tensor | None = None
    collective: torch.Tensor | None = None


class KernelFit:
    """The misfit of Σ_a c_a(t) Γ_a to constrained kernels, a quadratic form in Γ_a whose lags are summed once.

    Args:
        configurations: to learn from.
        parts: memories c_a, one for each feature.
        settings: of the fit.
    """

    def __init__(
        self, configurations: Sequence[Configuration], parts: Sequence[Relaxations], settings: FitSettings,
        lags: Lags | None = None, columns: Float64 | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        lags = lags or lags_for(configurations, settings)
        first = configurations[0]
        if columns is None:
            columns = seen_decays(parts, first.times, first.duration)
        columns = lags.rows @ columns
        self._squares = [
            torch.as_tensor(columns.T @ (weights[:, None] * columns))
            for weights in (lags.own_weights, lags.pair_weights)
        ]
        self._targets = [self._target(found, lags, columns) for found in configurations]
        if all(found.motions is not None for found in configurations) and settings.collective > 0:
            self._add_collective(lags, columns)

        curve = np.mean([found.own.mean((0, 2))[:, range(3), range(3)].mean(1) for found in configurations], axis=0)
        root = np.sqrt(lags.own_weights)
        self._own = root[:, None] * columns, root * (lags.rows @ curve)

    def _add_collective(self, lags: Lags, columns: Float64) -> None:
        """Add what collective motions miss, each row in units of its own size."""
        values = [lags.rows @ target.found.collective_kernel() for target in self._targets]
        sizes = np.mean([own**2 for own in values], axis=(0, 2))
        count = len(self._targets[0].found.times)
        if len(sizes) > count:
            sizes[:count] += FLOOR**2 * sizes[0] / np.linspace(1, 10, count) ** 2
            sizes[count:] += FLOOR**2 * sizes[count:].max()
        weights = lags.share / np.maximum(sizes, 1e-12)
        self._squares.append(torch.as_tensor(columns.T @ (weights[:, None] * columns)))
        self._targets = [
            replace(
                target,
                modes=target.found.collective(),
                collective=torch.as_tensor((weights[:, None] * columns).T @ own),
            )
            for target, own in zip(self._targets, values, strict=True)
        ]

    def own_strengths(self) -> Float64:
        """Return the positive strengths with which memories make up the molecules' own mean kernel, (n,)."""
        strengths: Float64 = nnls(*self._own)[0]
        return strengths

    @staticmethod
    def _target(found: Configuration, lags: Lags, columns: Float64) -> _Target:
        own, _ = found.matrices((lags.own_weights[:, None] * columns).T @ lags.rows)
        _, beside_it = found.matrices((lags.pair_weights[:, None] * columns).T @ lags.rows)
        return _Target(found, torch.as_tensor(own), torch.as_tensor(beside_it), found.mask())

    def misfit(self, products: torch.Tensor, number: int) -> torch.Tensor:
        """Return the misfit of Γ (n, 3M, 3M) in a configuration, less a constant."""
        target = self._targets[number]
        n, size = products.shape[:2]
        size //= 3
        blocks = products.reshape(n, size, 3, size, 3)
        where = torch.arange(size)
        diagonal = blocks[:, where, :, where]  # (M, n, 3, 3)
        own_target = target.own.reshape(n, size, 3, size, 3)[:, where, :, where]
        own = torch.einsum("inab,imab,nm->", diagonal, diagonal, self._squares[0]) - 2 * (diagonal * own_target).sum()
        off = (products * target.mask).reshape(n, -1)
        pairs = ((self._squares[1] @ off) * off).sum() - 2 * (off * target.beside.reshape(n, -1)).sum()
        total = pairs / target.mask.sum() + self.settings.own * own / (9 * size)
        if target.modes is None or target.collective is None:
            return total
        found = torch.einsum("im,nim->nm", target.modes, products @ target.modes)
        missed = ((self._squares[2] @ found) * found).sum() - 2 * (found * target.collective).sum()
        return total + self.settings.collective * missed / found.shape[1]

    def fit(
        self, products: Callable[[Configuration], torch.Tensor], parameters: Sequence[nn.Parameter],
        should_stop: Callable[[], bool] = NEVER,
    ) -> list[float]:  # fmt: skip
        """Change parameters so that Γ fits; return the misfits of all updates."""
        how, rng = self.settings, np.random.default_rng(self.settings.seed)
        optimizer = torch.optim.Adam(parameters, lr=how.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.updates, how.rate / 100)
        losses, order = [], np.empty(0, dtype=int)
        for _ in range(how.updates):
            if should_stop():
                break
            while len(order) < how.batch:
                order = np.concatenate([order, rng.permutation(len(self._targets))])
            batch, order = order[: how.batch], order[how.batch :]
            optimizer.zero_grad()
            total = 0.0
            for number in batch:
                loss = self.misfit(products(self._targets[number].found), int(number)) / how.batch
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            optimizer.step()
            schedule.step()
            losses.append(total)
        return losses


def products_of(memory: Memory, found: Configuration) -> torch.Tensor:
    """Return Γ of all groups' features, one group after another, (n, 3M, 3M)."""
    own = []
    for group in memory.groups:
        if group.coupling is None:
            raise ValueError("a background is not fitted to constrained kernels")
        own.append(group.products(found.pairs.within(group.coupling.cutoff)))
    return torch.cat(own)
