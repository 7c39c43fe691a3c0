"""U from forces: pair potentials by least squares, many-body ones by gradients, pair potentials by Boltzmann inversion.

Besides the mean forces of constrained runs, of which there are few, production itself tells the mean force at every
time: the expectation of [P(t + Δ) - P(t - Δ)]/2Δ for given Q(t) is -∇U(Q(t)) up to order Δ², since friction and its
noise before and after t cancel by time reversal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.centre_motion import distinct_van_hove
from mlgle_lammps.surrogates.nm_mb.constrained_data import Configuration
from mlgle_lammps.surrogates.nm_mb.long_waves import WithLongWaves, half_of_vectors, wave_pulls
from mlgle_lammps.surrogates.nm_mb.neighbours import pairs_within
from mlgle_lammps.surrogates.nm_mb.potential import ManyBodyPotential, PairPotential, slope_weights


@dataclass(frozen=True)
class ForceSamples:
    """Forces whose expectation is the mean force.

    Attributes:
        centres: (sample, M, 3).
        forces: (sample, M, 3).
        weights: (sample,) one over the variance of their noise.
    """

    centres: torch.Tensor
    forces: torch.Tensor
    weights: torch.Tensor

    def joined(self, other: ForceSamples) -> ForceSamples:
        """Return both together."""
        return ForceSamples(
            torch.cat([self.centres, other.centres]), torch.cat([self.forces, other.forces]),
            torch.cat([self.weights, other.weights]),
        )  # fmt: skip


def samples_of_production(
    centres: np.ndarray, momenta: np.ndarray, dt: float, window: float, apart: float
) -> ForceSamples:
    """Return samples from an uninterrupted piece of production.

    Args:
        centres: (time, M, 3).
        momenta: (time, M, 3).
        dt: time between frames.
        window: Δ.
        apart: time between samples.
    """
    reach, every = max(1, round(window / dt)), max(1, round(apart / dt))
    at = np.arange(reach, len(centres) - reach, every)
    forces = torch.as_tensor((momenta[at + reach] - momenta[at - reach]) / (2 * reach * dt))
    variance = float(forces.square().mean())
    return ForceSamples(torch.as_tensor(centres[at]), forces, torch.full((len(at),), 1 / variance, dtype=torch.float64))


def samples_of_constrained(configurations: Sequence[Configuration]) -> ForceSamples:
    """Return the mean forces of constrained runs."""
    centres = torch.cat([found.centres for found in configurations])
    forces = torch.as_tensor(np.stack([found.mean_force for found in configurations]))
    noise = np.array([np.mean((found.mean_halves[0] - found.mean_halves[1]) ** 2) / 4 for found in configurations])
    return ForceSamples(centres, forces, torch.as_tensor(1 / np.maximum(noise, 1e-12)))


WAVES = 2.6
"""Longest wave vector by which long waves are fitted, over the smallest one."""
WIDTHS = (0.08, 0.6)
"""Widths of long waves that are looked at, over the shortest edge."""
SURE = 25.0
"""Least by which χ² falls where long waves are taken up."""


def fit_pair_potential(
    samples: ForceSamples, box: torch.Tensor, cutoff: float, n_knots: int = 30, smooth: float = 1e-6
) -> PairPotential | WithLongWaves:
    """Return the pair potential of least squares, with that of the longest waves where forces show one.

    Second differences of the spline are held down where no pair comes. Of long waves the width is the one that leaves
    least of the forces.

    Args:
        samples: of forces.
        box: (3,).
        cutoff: length.
        n_knots: intervals of the spline.
        smooth: weight of squared second differences, relative to the forces'.
    """
    made = PairPotential(cutoff, n_knots)
    edges = box.numpy()
    vectors = torch.as_tensor(half_of_vectors(edges, WAVES * 2 * np.pi / edges.max()))
    lengths, shell = np.unique(np.round(np.linalg.norm(vectors.numpy(), axis=1), 9), return_inverse=True)
    count = n_knots + len(lengths)
    square = torch.zeros(count, count, dtype=torch.float64)
    target = torch.zeros(count, dtype=torch.float64)
    for centres, forces, weight in zip(samples.centres, samples.forces, samples.weights, strict=True):
        pairs = pairs_within(centres[None], box, cutoff)
        index, weights = slope_weights(pairs.distance, cutoff, n_knots)
        slopes = torch.zeros(len(index), n_knots + 3, dtype=torch.float64)
        slopes = slopes.scatter_add(1, index[:, None] + torch.arange(4), weights)[:, :n_knots]
        on_first = (pairs.unit[:, :, None] * slopes[:, None, :]).reshape(len(index), -1)
        rows = torch.zeros(pairs.n, 3 * n_knots, dtype=torch.float64)
        rows = rows.index_add(0, pairs.first, on_first).index_add(0, pairs.second, -on_first).reshape(-1, n_knots)
        pulls = wave_pulls(centres[None], vectors)[0]
        waves = torch.zeros(pairs.n, 3, len(lengths), dtype=torch.float64)
        waves = waves.index_add(2, torch.as_tensor(shell), pulls[:, None] * vectors.T[None])
        rows = torch.cat([rows, waves.reshape(-1, len(lengths))], dim=1)
        square += weight * rows.T @ rows
        target += weight * rows.T @ forces.reshape(-1)
    bend = torch.as_tensor(np.diff(np.eye(n_knots), 2, axis=0))
    knots = slice(0, n_knots)
    square[knots, knots] += smooth * torch.diagonal(square)[knots].max() * bend.T @ bend
    alone = torch.linalg.solve(square[knots, knots], target[knots])
    width, values, strength, gain = _waves(square.numpy(), target.numpy(), alone.numpy(), lengths, edges)
    if gain < SURE or strength <= 0:
        made.values.data.copy_(alone)
        return made
    made.values.data.copy_(torch.as_tensor(values))
    both = WithLongWaves(made, width)
    both.waves.strength.data.fill_(strength)
    return both


def _waves(
    square: Float64, target: Float64, alone: Float64, lengths: Float64, edges: Float64
) -> tuple[float, Float64, float, float]:
    """Return the width of long waves that explains most, the spline and strength with it, and how much χ² falls.

    Args:
        square: normal matrix of the spline's values and the shells of wave vectors.
        target: its right side.
        alone: the spline without waves.
        lengths: (shell,) of wave vectors.
        edges: (3,) of the box.
    """
    n = len(alone)

    def solved(width: float) -> tuple[Float64, float]:
        both: Float64 = np.zeros((len(target), n + 1), dtype=np.float64)
        both[range(n), range(n)] = 1.0
        both[n:, n] = np.exp(-0.5 * (width * lengths) ** 2)
        right = np.asarray(both.T @ target, dtype=np.float64)
        found = np.asarray(np.linalg.solve(both.T @ square @ both, right), dtype=np.float64)
        return found, float(right @ found)

    tried = np.geomspace(*WIDTHS, 24) * edges.min()
    width = float(tried[int(np.argmax([solved(own)[1] for own in tried]))])
    found, explained_squares = solved(width)
    return width, found[:n], float(found[n]), explained_squares - float(target[:n] @ alone)


def fit_many_body_potential(
    samples: ForceSamples, box: torch.Tensor, pair: PairPotential, updates: int = 300, batch: int = 6,
    rate: float = 0.01, seed: int = 1, should_stop: Callable[[], bool] = lambda: False,
) -> ManyBodyPotential:  # fmt: skip
    """Return a many-body potential that begins with a pair potential and learns the rest of the forces.

    Args:
        samples: of forces.
        box: (3,).
        pair: to begin with.
        updates: of the parameters.
        batch: samples in an update, drawn by their weights.
        rate: of Adam at the start; falls to a hundredth along a cosine.
        seed: of weights and batches.
        should_stop: asked between updates.
    """
    generator = torch.Generator().manual_seed(seed)
    made = ManyBodyPotential(pair.cutoff, pair.n_knots, generator=generator)
    made.pair.values.data.copy_(pair.values.detach())
    made.standardize(pairs_within(samples.centres[:: max(1, len(samples.centres) // 20)], box, pair.cutoff))
    learned = [values for name, values in made.named_parameters() if values.requires_grad and name != "pair.values"]
    groups: list[dict[str, Any]] = [{"params": learned}, {"params": [made.pair.values], "lr": 5 * rate}]
    optimizer = torch.optim.Adam(groups, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates, rate / 100)
    kept: dict[str, torch.Tensor] = {}
    count = 0
    for update in range(updates):
        if should_stop():
            break
        chosen = torch.multinomial(samples.weights, batch, replacement=True, generator=generator)
        optimizer.zero_grad()
        forces = made.forces(samples.centres[chosen], box, keep=True)
        loss = (forces - samples.forces[chosen]).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if update >= updates // 2:  # the mean of late weights: batches are small and forces noisy
            count += 1
            for name, values in made.state_dict().items():
                kept[name] = kept.get(name, torch.zeros_like(values)) + values
    if kept:
        made.load_state_dict({name: total / count for name, total in kept.items()})
    return made


def explained(forces: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], found: Sequence[Configuration]) -> float:
    """Return the share of constrained mean forces' reproducible variance that a potential explains; NaN for none."""
    missed = total = 0.0
    for own in found:
        predicted = forces(own.centres, own.box)[0].detach().numpy()
        first, second = own.mean_halves
        missed += float(((first - predicted) * (second - predicted)).sum())
        total += float((first * second).sum())
    return 1 - missed / total if total > 0 else float("nan")


def invert(
    target: Float64, r: Float64, start: PairPotential, kT: float, move: Callable[[PairPotential], Float64],
    iterations: int = 8, step: float = 0.7,
) -> PairPotential:  # fmt: skip
    """Return a pair potential whose g(r) is a given one: φ += step kT ln(g/g_target), iterated (Reith et al. 2003).

    Args:
        target: (bin,) g(r).
        r: (bin,) distances.
        start: potential to begin with.
        kT: temperature.
        move: returns g(r) at ``r`` of centres that move in a potential.
        iterations: of the correction.
        step: share of the correction that is taken.
    """
    potential = start
    for _ in range(iterations):
        found = move(potential)
        seen = (target > 0.02) & (found > 0.02)
        change = np.where(seen, kT * np.log(np.maximum(found, 1e-9) / np.maximum(target, 1e-9)), 0.0)
        change[: int(np.argmax(seen))] = change[int(np.argmax(seen))]
        potential = _changed(potential, r, step * (change - change[-1]))
    return potential


def _changed(potential: PairPotential, r: Float64, change: Float64) -> PairPotential:
    from mlgle_lammps.surrogates.nm_mb.splines import spline_basis

    made = PairPotential(potential.cutoff, potential.n_knots)
    basis = spline_basis(torch.as_tensor(r), potential.cutoff, potential.n_knots)
    bend = torch.as_tensor(np.diff(np.eye(potential.n_knots), 2, axis=0))
    square = basis.T @ basis + 0.05 * bend.T @ bend
    made.values.data.copy_(potential.values.detach() + torch.linalg.solve(square, basis.T @ torch.as_tensor(change)))
    return made


def radial_distribution(centres: np.ndarray, box: Float64, edges: Float64) -> Float64:
    """Return g(r), (bin,), of frames (time, M, 3)."""
    return distinct_van_hove(centres, box, edges, [0], len(centres))[0]
