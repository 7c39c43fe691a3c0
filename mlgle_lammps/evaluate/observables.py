"""Every observable of one recorded stream, whoever made it, in one pass over its chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mlgle_lammps.chains.mode_basis import linear_basis
from mlgle_lammps.diffusion.slope import species_slopes
from mlgle_lammps.evaluate.chain_curves import LAGS_PER_OCTAVE, ChainCurves, chain_curves
from mlgle_lammps.evaluate.stream_statistics import ModeSummary, power_sums, summarize_modes
from mlgle_lammps.evaluate.trajectories import ChainGroup, Trajectory
from mlgle_lammps.observe.chain_motion import GroupMotion, group_motion
from mlgle_lammps.observe.chain_size import ChainSize, chain_size, end_to_end, squared_gyration
from mlgle_lammps.observe.distributions import Distribution, DistributionGatherer
from mlgle_lammps.observe.exponent import AnomalousExponent, anomalous_exponent
from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.correlation import Autocorrelation, join_groups, lagged_products
from mlgle_lammps.statistics.displacements import mean_squared_displacements
from mlgle_lammps.statistics.moments import Moments, logarithmic_lags
from mlgle_lammps.statistics.pieces import longest_piece

SHOWN_MODES = (1, 2, 5, 10)


@dataclass(frozen=True)
class Observables:
    """What one trajectory says; times in its time unit, lengths in its length unit.

    Attributes:
        dt: time between frames.
        n_frames: frames.
        n_chains: chains, or generated trajectories.
        moments: displacements of centres of mass at logarithmic lags up to a quarter of the longest segment.
        msd: (lag,) MSD of centres of mass at lags 0, 1, 2, .. frames, summed over the free directions.
        msd_se: (lag,) standard error over chains, widened by how far the chains of one box move together.
        exponent: ν(t); None where there are too few lags.
        summary: variance, NACF and kurtosis of all modes; None without modes.
        modes: mode to the distribution of its components.
        increments: mode to that of its change from one frame to the next.
        displacements: lag in frames to the distribution of the centres' displacements.
        end_to_end: distribution of R over its root mean square; None without modes.
        gyration: distribution of R_g over its root mean square; None without modes.
        size: mean squared sizes; None without modes.
        curves: how beads and chains move and forget; None without modes, in fewer than three directions, and of
            molecules that are not linear or whose beads are not counted.
    """

    dt: float
    n_frames: int
    n_chains: int
    moments: Moments
    msd: Float64
    msd_se: Float64
    exponent: AnomalousExponent | None
    summary: ModeSummary | None
    modes: dict[int, Distribution]
    increments: dict[int, Distribution]
    displacements: dict[int, Distribution]
    end_to_end: Distribution | None
    gyration: Distribution | None
    size: ChainSize | None
    curves: ChainCurves | None

    @property
    def correlation(self) -> Autocorrelation | None:
        """NACF of the modes; None without modes."""
        return None if self.summary is None else self.summary.correlation


def displacement_moments(trajectory: Trajectory) -> Moments:
    """Return what ``normal_diffusion`` needs: displacements at lags up to a quarter of the longest segment."""
    system = trajectory.system
    accumulator = species_slopes(
        system.species, trajectory.longest_segment, system.center_held, trajectory.directions.n
    )
    for frame in trajectory.frames():
        accumulator.add(frame)
    return accumulator.moments()


def observe(trajectory: Trajectory, displacement_lags: Sequence[int] = (1,)) -> Observables:
    """Return every observable of a trajectory.

    Args:
        trajectory: read twice (once for each half GiB of it in the second pass).
        displacement_lags: lags in frames at which the distribution of displacements is wanted; those beyond the
            trajectory are left out.
    """
    moments = displacement_moments(trajectory)
    lags = [lag for lag in displacement_lags if 0 < lag < trajectory.longest_segment]
    gathered = _Gathered(trajectory, lags)
    for group in trajectory.groups():
        gathered.add(group)
    return gathered.observables(moments)


@dataclass
class _Gathered:
    """Sums over the groups of chains seen so far."""

    trajectory: Trajectory
    lags: Sequence[int]
    msd: list[Float64] = field(default_factory=list)
    products: list[Float64] = field(default_factory=list)
    powers: list[tuple[Float64, Float64]] = field(default_factory=list)
    n_chains: list[int] = field(default_factory=list)
    squares: list[Float64] = field(default_factory=list)
    motions: list[GroupMotion] = field(default_factory=list)

    def __post_init__(self) -> None:
        system, n = self.trajectory.system, self.trajectory.n_mode_frames
        longest = longest_piece(self.trajectory.segments[:n])
        self.motion_lags = np.array([0, *logarithmic_lags(max(longest // 4, 1), LAGS_PER_OCTAVE)])
        self.basis = linear_basis(system.n_beads) if system.linear and system.n_beads and longest >= 8 else None
        shown = [p for p in SHOWN_MODES if p <= self.trajectory.system.n_modes] if self.trajectory.n_mode_frames else []
        self.modes = {p: DistributionGatherer() for p in shown}
        self.increments = {p: DistributionGatherer() for p in shown if self.trajectory.n_mode_frames > 1}
        self.displacements = {lag: DistributionGatherer() for lag in self.lags}
        self.sizes = DistributionGatherer(), DistributionGatherer()

    def add(self, group: ChainGroup) -> None:
        """Take in one group of chains."""
        trajectory = self.trajectory
        longest = trajectory.longest_segment
        self.msd.append(mean_squared_displacements(group.com, trajectory.segments, longest // 4 + 1))
        self.n_chains.append(group.com.shape[1])
        for lag, gatherer in self.displacements.items():
            whole = trajectory.segments[lag:] == trajectory.segments[:-lag]
            gatherer.add((group.com[lag:] - group.com[:-lag])[whole])
        if trajectory.n_mode_frames:
            self._add_modes(group)

    def _add_modes(self, group: ChainGroup) -> None:
        segments = self.trajectory.segments[: len(group.modes)]
        n_lags = max(2, longest_piece(segments) // 2)
        self.products.append(lagged_products(group.modes, segments, n_lags))
        self.powers.append(power_sums(group.modes))
        for p, gatherer in self.modes.items():
            gatherer.add(group.modes[:, :, p - 1])
        for p, gatherer in self.increments.items():
            whole = segments[1:] == segments[:-1]
            gatherer.add(np.diff(group.modes[:, :, p - 1].astype(np.float64), axis=0)[whole])
        if self.basis is not None and self.trajectory.directions.n == 3:
            com = group.com[: len(segments)]
            self.motions.append(group_motion(com, group.modes, segments, self.motion_lags, 1, self.basis))
        radius = squared_gyration(group.modes)
        vector = end_to_end(group.modes, self.trajectory.system.n_beads)
        ends = (vector**2).sum(axis=2) if self.trajectory.system.linear else np.full_like(radius, np.nan)
        self.squares.append(np.stack([ends.mean(axis=0), radius.mean(axis=0)]))
        for gatherer, square in zip(self.sizes, (ends, radius), strict=True):
            if not np.isnan(square).any():
                gatherer.add(np.sqrt(square))

    def observables(self, moments: Moments) -> Observables:
        """Return what the groups say together."""
        trajectory, n_chains = self.trajectory, self.trajectory.system.n_chains
        per_chain = np.concatenate(self.msd, axis=1)
        per_chain *= moments.made_good(np.arange(len(per_chain)))[:, None]
        by_group = np.array([own.mean(axis=1) for own in self.msd])
        lags = np.array([lag for lag in logarithmic_lags(max(int((len(per_chain) - 2) / 1.5), 1), 6) if lag > 1])
        scatter = per_chain.std(axis=1, ddof=1) / np.sqrt(n_chains) if n_chains > 1 else np.full(len(per_chain), np.nan)
        size = np.concatenate(self.squares, axis=1) if self.squares else None
        return Observables(
            dt=trajectory.system.dt,
            n_frames=trajectory.n_frames,
            n_chains=n_chains,
            moments=moments,
            msd=per_chain.mean(axis=1),
            msd_se=scatter * np.sqrt(moments.design_effect),
            exponent=anomalous_exponent(by_group, lags, moments.design_effect, np.array(self.n_chains))
            if len(lags) else None,
            summary=self._summary(),
            modes={p: gatherer.distribution() for p, gatherer in self.modes.items()},
            increments={p: gatherer.distribution() for p, gatherer in self.increments.items()},
            displacements={lag: gatherer.distribution() for lag, gatherer in self.displacements.items()},
            end_to_end=self.sizes[0].distribution() if self.squares and trajectory.system.linear else None,
            gyration=self.sizes[1].distribution() if self.squares else None,
            size=None if size is None
            else chain_size(
                size[0], size[1], trajectory.system.n_modes, trajectory.system.n_beads, trajectory.system.eigenvalues
            ),
            curves=chain_curves(self.motions, self.motion_lags, trajectory.system.dt, moments)
            if self.motions else None,
        )  # fmt: skip

    def _summary(self) -> ModeSummary | None:
        if not self.products:
            return None
        segments, d = self.trajectory.segments[: self.trajectory.n_mode_frames], self.trajectory.directions.n
        second, fourth = (np.concatenate(power) for power in zip(*self.powers, strict=True))
        correlation = join_groups(self.products, self.n_chains, segments, d)
        return summarize_modes((second, fourth), correlation, segments, n_dimensions=d)
