"""Training CG-GNN on runs of many molecules, and the contract's trainer for one stream."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Frames, ModeReport, System
from mlgle_lammps.resources.compute import resolve_device
from mlgle_lammps.surrogates.cg_gnn import NAME, score_matching
from mlgle_lammps.surrogates.cg_gnn.coarse_runs import NEEDS, BeadRun, CoarseRun, fingerprint, require_runs
from mlgle_lammps.surrogates.cg_gnn.dynamics import Dynamics, EnergyDynamics, EquivariantDynamics, PublishedDynamics
from mlgle_lammps.surrogates.cg_gnn.energy import EnergyNetwork
from mlgle_lammps.surrogates.cg_gnn.equivariant import EquivariantNetwork
from mlgle_lammps.surrogates.cg_gnn.examples import Examples, by_groups
from mlgle_lammps.surrogates.cg_gnn.judging import Judgement, calibrate, judge
from mlgle_lammps.surrogates.cg_gnn.linear_core import LinearCore, fit_linear_core
from mlgle_lammps.surrogates.cg_gnn.model import CgGnnModel, model_types
from mlgle_lammps.surrogates.cg_gnn.networks import Network, make_network
from mlgle_lammps.surrogates.cg_gnn.options import DETERMINISTIC, ENERGY, EQUIVARIANT, CgGnnOptions
from mlgle_lammps.surrogates.cg_gnn.pair_core import PairCore, fit_pair_core
from mlgle_lammps.surrogates.cg_gnn.published_network import PublishedNetwork, PublishedSize
from mlgle_lammps.surrogates.cg_gnn.tempo import set_tempo
from mlgle_lammps.surrogates.cg_gnn.training import Report, Share, by_count, fit_horizon, fit_one_step
from mlgle_lammps.surrogates.recorded import require_channels

EXTENT = 10.0
"""How many times further than recorded a group may go from the centre before a roll-out is given up."""

FAR_OFF = 0.15
"""Mean logarithm of Rg² in roll-outs of the recorded molecules over their own, above which an energy is not taken."""


def _silent(line: str) -> None:
    """Report nothing."""


def train(
    runs: Sequence[BeadRun], options: CgGnnOptions, should_stop: Callable[[], bool] = lambda: False,
    report: Report = _silent,
) -> CgGnnModel:  # fmt: skip
    """Return a model of all runs; deterministic for equal runs, options and threads.

    Args:
        runs: of any molecules whose beads form two groups or more.
        options: how.
        should_stop: asked between updates; True ends training with what there is.
        report: hears lines on progress.

    Raises:
        UserError: no runs, runs too short, without beads, of other steps or units.
    """
    if not runs:
        raise UserError("no run to learn from")
    for run in runs:
        if (run.system.time_unit, run.system.length_unit) != (runs[0].system.time_unit, runs[0].system.length_unit):
            raise UserError(f"run {run.name} has other units than run {runs[0].name}")
    coarse = [CoarseRun.of(run, options.beads_per_group, options.grouping) for run in runs]
    model = train_coarse(coarse, options, should_stop, report)
    prints = tuple(fingerprint(run.frames[-1:]) for run in runs)
    system = runs[0].system
    return replace(model, fingerprints=prints, time_unit=system.time_unit, length_unit=system.length_unit)


def train_coarse(
    runs: Sequence[CoarseRun], options: CgGnnOptions, should_stop: Callable[[], bool] = lambda: False,
    report: Report = _silent, share_of: Share = by_count,
) -> CgGnnModel:  # fmt: skip
    """Return a model of runs that are coarse-grained already; see `train`."""
    size = options.size
    require_runs(runs, options.step, size.history if isinstance(size, PublishedSize) else 1)
    core = fit_linear_core(runs, options.step)
    types = model_types([run.molecule for run in runs])
    extent = EXTENT * max(float(np.abs(run.positions).max()) for run in runs)
    lesson = _Lesson(runs, options, core, types, extent, should_stop, report, share_of)
    networks, scales, judgements = zip(*(lesson.member(n) for n in range(options.n_members)), strict=True)
    notes = [f"seed {options.seed + n}: {_said(own)}" for n, own in enumerate(judgements)]
    return CgGnnModel(
        options.preset, types, options.beads_per_group, options.grouping, core, networks, scales, runs[0].dt,
        options.step, "time", "length", extent, runs[0].molecule, (), _reports(runs[0], core, options), tuple(notes),
    )  # fmt: skip


class _Lesson:
    """What all members are taught from."""

    def __init__(
        self, runs: Sequence[CoarseRun], options: CgGnnOptions, core: LinearCore, types: tuple[str, ...],
        extent: float, should_stop: Callable[[], bool], report: Report, share_of: Share,
    ) -> None:  # fmt: skip
        self._options, self._core, self._types, self._extent = options, core, types, extent
        self._device = resolve_device(options.device)
        self._groups = by_groups(runs)
        self._pairs: PairCore | None = None
        self._equations: list[score_matching.Equations] = []
        self._report = report
        self._share: Share = lambda done, updates: 1.0 if should_stop() else share_of(done, updates)

    def _examples(self, before: int, after: int) -> list[Examples]:
        made = [
            Examples.of(runs, self._types, self._options.step, before, after, self._device) for runs in self._groups
        ]
        if not any(len(own) for own in made):
            raise UserError(
                f"runs are too short: {before + after + 1} steps of `step` {self._options.step:g} are needed"
            )
        return [own for own in made if len(own)]

    def member(self, number: int) -> tuple[Network, float, Judgement]:
        """Return a trained network, the scale of its noise, and how its roll-outs compare with the runs."""
        seed = self._options.seed + number
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = make_network(self._options.size, len(self._types), self._core)
        if isinstance(network, EnergyNetwork):
            return self._energy(network.to(self._device), number, seed)
        generator = torch.Generator().manual_seed(seed)
        if isinstance(network, EquivariantNetwork):
            return self._equivariant(network.to(self._device), generator, seed)
        return self._published(network, generator, seed)

    def _energy(self, network: EnergyNetwork, number: int, seed: int) -> tuple[Network, float, Judgement]:
        """Fit the energy to all runs, or to those that this member of several does not leave out; then the tempo."""
        sets = self._examples(0, 1)
        if not self._equations:
            self._equations = score_matching.equations(sets, self._core, len(self._types))
        members = self._options.n_members
        kept = [own for place, own in enumerate(self._equations) if members == 1 or place % members != number]
        network = network.requires_grad_(False).eval()
        dynamics = EnergyDynamics(network, self._core)
        ridge: float | None = 0.0
        while True:
            ridge = score_matching.take(network, kept or self._equations, ridge or 0.0)
            network.log_tempo.zero_()
            set_tempo(dynamics, sets, self._extent, seed)
            judgement = judge(dynamics, sets, self._extent, seed)
            told = "linear core" if ridge is None else f"energy of {len(kept)} runs, ridge {ridge:g}"
            tempo = network.log_tempo.exp()
            self._report(f"{told}, steps times {tempo.min():.2f} to {tempo.max():.2f}: {_said(judgement)}")
            if ridge is None or (judgement.finite and abs(judgement.bias) < FAR_OFF):
                return network.cpu(), 1.0, judgement

    def _equivariant(
        self, network: EquivariantNetwork, generator: torch.Generator, seed: int
    ) -> tuple[Network, float, Judgement]:
        """Train in two phases; of the core, and of the network after each, the best in roll-outs is taken."""
        plan, sets = self._options.training_plan, self._examples(0, 1)
        two_phases = plan.horizon_updates and plan.updates
        far = self._examples(0, plan.horizon) if two_phases else []  # runs too short for it are refused before training
        self._start_radius(network, sets)
        candidates = [("linear core", copy.deepcopy(network))]
        if self._options.pair_core and network.size.embedded:
            network.take(self._pair_core(sets))
            candidates.append(("pair core", copy.deepcopy(network)))
        if plan.updates:
            trained = fit_one_step(network, sets, plan, generator, share_of=self._share, report=self._report)
            candidates.append(("one step", trained))
            network = copy.deepcopy(trained)
        if two_phases:
            trained = fit_horizon(network, far, plan, generator, share_of=self._share, report=self._report)
            candidates.append(("horizon", trained))
        return self._best(candidates, sets, seed)

    def _best(
        self, candidates: Sequence[tuple[str, EquivariantNetwork]], sets: Sequence[Examples], seed: int
    ) -> tuple[Network, float, Judgement]:
        """Return the candidate whose roll-outs are best, tied by the size of its noise where that is wanted."""
        tied = self._options.calibrated
        found: list[tuple[EquivariantDynamics, Judgement]] = []
        for name, candidate in candidates:
            dynamics = EquivariantDynamics(candidate.requires_grad_(False).eval(), self._core)
            found.append((dynamics, judge(dynamics, sets, self._extent, seed)))
            self._report(f"{name}: {_said(found[-1][1])}")
        best, judgement = min(found, key=lambda own: own[1].score(calibrated=tied))
        if tied:
            judgement = calibrate(best, sets, self._extent, seed, judgement)
            self._report(f"noise times {best.noise_scale:.3f}: {_said(judgement)}")
        return best.network.cpu(), best.noise_scale, judgement

    def _pair_core(self, sets: Sequence[Examples]) -> PairCore:
        """Return the pair core, fitted once for all members."""
        if self._pairs is None:
            self._pairs = fit_pair_core(sets, self._core, len(self._types))
            self._report(f"pair core: {self._pairs.pairs.numel()} numbers in closed form")
        return self._pairs

    def _start_radius(self, network: EquivariantNetwork, sets: Sequence[Examples]) -> None:
        """Let the groups' own Rg² begin at the recorded mean."""
        rest = [
            (own.square_radii[own.frames] - own.molecules.square_radius(own.at(_all(own), 0), own.runs)).mean()
            for own in sets
        ]
        with torch.no_grad():
            network.inner_scale.fill_(float(torch.stack(rest).mean().clamp(min=1e-6).log()))

    def _published(
        self, network: PublishedNetwork, generator: torch.Generator, seed: int
    ) -> tuple[Network, float, Judgement]:
        plan, sets = self._options.training_plan, self._examples(network.size.history, 1)
        steps, accelerations = [], []
        for own in sets:
            frames = own.history(_all(own), 3, 1)
            steps.append(frames.diff(dim=1).square().mean())
            accelerations.append(frames.diff(n=2, dim=1).square().mean())
        network.set_scales(*(float(torch.stack(own).mean().sqrt()) for own in (steps, accelerations)))
        network = network.to(self._device)
        trained = fit_one_step(network, sets, plan, generator, share_of=self._share, report=self._report)
        dynamics: Dynamics = PublishedDynamics(trained.requires_grad_(False).eval())
        noiseless = self._options.preset == DETERMINISTIC
        found = judge(dynamics, sets, self._extent, seed, noiseless=noiseless)
        self._report(f"published: {_said(found)}")
        return trained.cpu(), 1.0, found


def _all(examples: Examples) -> torch.Tensor:
    return torch.arange(len(examples), device=examples.frames.device)


def _said(found: Judgement) -> str:
    if not found.finite:
        return "roll-outs leave the range"
    return f"Rg² of roll-outs off by {found.score():.3f} (log), bias {found.bias:+.3f}, spread {found.spread:+.3f}"


def _reports(run: CoarseRun, core: LinearCore, options: CgGnnOptions) -> tuple[ModeReport, ...]:
    decays, variances = core.of(torch.tensor(run.molecule.grouping.eigenvalues))
    name = {ENERGY: "energy", EQUIVARIANT: "AR(1)+equivariant network"}.get(options.preset, "published network")
    nan = float("nan")
    return tuple(
        ModeReport(mode + 1, name, nan, nan, {"decay": float(a), "variance": float(c)})
        for mode, (a, c) in enumerate(zip(decays.tolist(), variances.tolist(), strict=True))
    )


class CgGnnTrainer:
    """The contract's trainer: one stream of beads (a Trainer)."""

    needs = NEEDS

    def __init__(self, options: CgGnnOptions, system: System, should_stop: Callable[[], bool] = lambda: False) -> None:
        self._options, self._system, self._should_stop = options, system, should_stop

    def partial_fit(self, window: Frames) -> None:
        """Look whether the frames are those that it needs; it learns when all are there."""
        require_channels(window, self.needs, NAME)

    def finish(self, window: Frames) -> CgGnnModel:
        """Train to the end on the frames there are and return the model."""
        require_channels(window, self.needs, NAME)
        return train([BeadRun(self._system, window, "the stream")], self._options, self._should_stop)
