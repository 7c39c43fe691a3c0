"""How the networks learn: one step ahead by likelihood, then several steps ahead by the energy score.

A slow drift is worth a thousandth of a nat per step, so the likelihood of one step hardly sees what long runs are made
of. The second phase rolls two samples K steps on from each start and compares pair distances with those recorded, by
½|φ - y| + ½|φ' - y| - ½|φ - φ'| (Gneiting and Raftery 2007): proper, so its least value is the true law K steps ahead.
Equilibrium does not know which way time runs: preset `network` learns from pairs of frames in both directions.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from mlgle_lammps.surrogates.cg_gnn.equivariant import EquivariantNetwork
from mlgle_lammps.surrogates.cg_gnn.examples import Examples
from mlgle_lammps.surrogates.cg_gnn.published_network import PublishedNetwork

Report = Callable[[str], None]
AnyNetwork = TypeVar("AnyNetwork", EquivariantNetwork, PublishedNetwork)


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast.

    Attributes:
        updates: of the first phase.
        horizon_updates: of the second; preset `network` alone.
        horizon: K, model steps; distances are compared after K/4, K/2 and K.
        batch: starts per update.
        rate: first learning rate, of Adam.
        last_rate: at the end.
        decay: of weights.
        averaging: of weights over updates (exponential moving mean).
    """

    updates: int = 1000
    horizon_updates: int = 60
    horizon: int = 8
    batch: int = 128
    rate: float = 3e-3
    last_rate: float = 1e-4
    decay: float = 1e-3
    averaging: float = 0.99


class Averaged(Generic[AnyNetwork]):
    """The moving mean of a network's weights."""

    def __init__(self, network: AnyNetwork, keep: float) -> None:
        self.network: AnyNetwork = copy.deepcopy(network)
        self._keep = keep

    def update(self, network: AnyNetwork) -> None:
        """Take the weights of now into the mean."""
        with torch.no_grad():
            for mean, now in zip(self.network.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1 - self._keep)


class Schedule(Generic[AnyNetwork]):
    """Adam with a rate that falls along a cosine over one phase; gradients clipped; the moving mean kept."""

    def __init__(self, network: AnyNetwork, plan: TrainingPlan, rate: float) -> None:
        self._network: AnyNetwork = network
        self._plan, self._first = plan, rate
        self._adam = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=plan.decay)
        self.mean: Averaged[AnyNetwork] = Averaged(network, plan.averaging)

    def step(self, loss: torch.Tensor, share: float) -> None:
        """Make one update at a ``share`` of the phase from 0 to 1; a loss that is not finite is left out."""
        part = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
        for group in self._adam.param_groups:
            group["lr"] = self._plan.last_rate + (self._first - self._plan.last_rate) * part
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        if bool(torch.isfinite(norm)):
            self._adam.step()
            self.mean.update(self._network)


Share = Callable[[int, int], float]


def by_count(done: int, updates: int) -> float:
    """Return the share of a phase by its updates: 1 at the end."""
    return done / updates


def fit_one_step(
    network: AnyNetwork,
    sets: Sequence[Examples],
    plan: TrainingPlan,
    generator: torch.Generator,
    *,
    share_of: Share = by_count,
    report: Report = lambda line: None,
) -> AnyNetwork:
    """Return the network trained one step ahead, its weights averaged.

    Args:
        network: changed in place.
        sets: of examples; drawn by their numbers of starts.
        plan: how long.
        generator: of starts, on the CPU.
        share_of: (updates done, planned) -> share of the phase that is over; it ends at 1.
        report: hears a line now and then.
    """
    schedule = Schedule(network, plan, plan.rate)
    loss_of = _equivariant_loss if isinstance(network, EquivariantNetwork) else _published_loss
    done, share = 0, 0.0
    while (share := share_of(done, plan.updates)) < 1:
        examples = _drawn_set(sets, generator)
        loss = loss_of(network, examples, examples.draw(plan.batch, generator), generator)
        schedule.step(loss, share)
        done += 1
        if done % max(plan.updates // 8, 1) == 0:
            report(f"one step, update {done}: loss {loss.item():.4f}")
    report(f"one step: {done} updates")
    return schedule.mean.network


def _drawn_set(sets: Sequence[Examples], generator: torch.Generator) -> Examples:
    if len(sets) == 1:
        return sets[0]
    weights = torch.tensor([float(len(own)) for own in sets])
    return sets[int(torch.multinomial(weights, 1, generator=generator))]


def _equivariant_loss(
    network: torch.nn.Module, examples: Examples, starts: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    assert isinstance(network, EquivariantNetwork)
    which = examples.runs[starts]
    still = network.still(examples.molecules, which)
    ends = [still.modes @ examples.at(starts, step) for step in (0, 1)]
    turned = (torch.rand(len(starts), generator=generator) < 0.5).to(starts.device)[:, None, None]
    before, after = torch.where(turned, ends[1], ends[0]), torch.where(turned, ends[0], ends[1])
    law = network(before, still)
    first = torch.where(turned[:, 0, 0], 1, 0)
    radii = examples.square_radii[examples.frames[starts] + first * examples.strides[starts]]
    wanted = radii - examples.molecules.square_radius(network_places(still.modes, before), which)
    found = (examples.molecules.weights[which] * network.inner(law.latent.detach())).sum(1)
    radius_loss = ((found - wanted) / network.core.bond**2).square().mean()
    return law.likelihood(after).mean() + radius_loss


def network_places(modes_of: torch.Tensor, modes: torch.Tensor) -> torch.Tensor:
    """Return places of modes, not yet about the centre of mass."""
    return modes_of.mT @ modes


def _published_loss(
    network: torch.nn.Module, examples: Examples, starts: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    assert isinstance(network, PublishedNetwork)
    which, memory = examples.runs[starts], network.memory
    still = network.still(examples.molecules, which)
    whole = examples.history(starts, memory + 1, 1)
    turn = _turns(len(starts), generator, whole)
    whole = (whole.flatten(1, 2) @ turn).reshape(whole.shape)
    history, after = whole[:, :-1], whole[:, -1]
    levels = torch.tensor([0.0, 0.0, 0.03, 0.1, 0.3])[torch.randint(5, (len(starts),), generator=generator)]
    noise = torch.randn(history.shape, generator=generator).to(history)
    history = history + noise * (levels.to(history) * network.scales[0])[:, None, None, None]
    loss, latent = network.likelihood(history, after, still)
    wanted = examples.radii(starts) - examples.molecules.square_radius(whole[:, -2], which)
    radius_loss = (network.rest_of_radius(latent.detach()) - wanted / network.scales[0] ** 2).square().mean()
    return loss.mean() + 0.1 * radius_loss


def _turns(n: int, generator: torch.Generator, like: torch.Tensor) -> torch.Tensor:
    """Return rotations (n, 3, 3), uniformly drawn."""
    q, r = torch.linalg.qr(torch.randn(n, 3, 3, generator=generator))
    q = q * torch.diagonal(r, dim1=1, dim2=2).sign().unsqueeze(1)
    return (q * torch.linalg.det(q)[:, None, None]).to(like)


def fit_horizon(
    network: EquivariantNetwork,
    sets: Sequence[Examples],
    plan: TrainingPlan,
    generator: torch.Generator,
    *,
    share_of: Share = by_count,
    report: Report = lambda line: None,
) -> EquivariantNetwork:
    """Return the network trained K steps ahead as well; the sets' starts have K steps of future."""
    schedule = Schedule(network, plan, plan.rate / 4)
    done, share = 0, 0.0
    while (share := share_of(done, plan.horizon_updates)) < 1:
        examples = _drawn_set(sets, generator)
        starts = examples.draw(plan.batch, generator)
        score = _energy_score(network, examples, starts, plan.horizon, generator)
        near = _equivariant_loss(network, examples, examples.draw(plan.batch, generator), generator)
        schedule.step(score + near, share)
        done += 1
        if done % max(plan.horizon_updates // 8, 1) == 0:
            report(f"{plan.horizon} steps, update {done}: energy score {score.item():.4f}, loss {near.item():.4f}")
    report(f"{plan.horizon} steps: {done} updates")
    return schedule.mean.network


def _energy_score(
    network: EquivariantNetwork, examples: Examples, starts: torch.Tensor, horizon: int, generator: torch.Generator
) -> torch.Tensor:
    """Return the energy score of pair distances, mean over K/4, K/2 and K steps, in units of the bond."""
    which = examples.runs[starts].repeat(2)
    still = network.still(examples.molecules, which)
    backwards = bool(torch.rand((), generator=generator) < 0.5)
    first = horizon if backwards else 0
    modes = still.modes @ examples.at(starts, first).repeat(2, 1, 1)
    looked_at = sorted({max(horizon // 4, 1), max(horizon // 2, 1), horizon})
    score = modes.new_zeros(())
    normals = torch.randn(horizon, *modes.shape, generator=generator).to(modes)
    for step in range(1, horizon + 1):
        modes = network(modes, still).draw(normals[step - 1])
        if step in looked_at:
            recorded = examples.at(starts, first - step if backwards else step)
            one, other = _distances(network_places(still.modes, modes), still.differences).chunk(2)
            there = _distances(recorded, still.differences)
            score = score + 0.5 * (_norm(one - there) + _norm(other - there) - _norm(one - other)).mean()
    return score / len(looked_at) / network.core.bond


def _distances(places: torch.Tensor, differences: torch.Tensor) -> torch.Tensor:
    return ((differences.T @ places).square().sum(-1) + 1e-8).sqrt() / differences.shape[1] ** 0.5


def _norm(vectors: torch.Tensor) -> torch.Tensor:
    return (vectors.square().sum(-1) + 1e-12).sqrt()
