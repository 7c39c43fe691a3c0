"""Streams of one melt side by side: what every comparison holds and every picture of it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.diffusion.baselines import GeneralizedRouseKernel
from mlgle_lammps.evaluate.agreement import z_score
from mlgle_lammps.evaluate.observables import Observables, observe
from mlgle_lammps.evaluate.trajectories import Trajectory
from mlgle_lammps.records import Estimate, System
from mlgle_lammps.statistics.correlation import ModeStatistics, mode_statistics


@dataclass(frozen=True)
class SideBySide:
    """Streams of one melt and what they say of the same things.

    Attributes:
        streams: label to observables, see `labels`.
        system: of the stream that others are held against.
        base: its label.
        subject: label of the stream that is held against it; there need not be one.
        kernel: Generalized Rouse Kernel of the base.
        relaxations: label of the stream to its modes' variances and relaxation times.
        estimates: way to D.
        reference: the way that is the independent reference; None without.
        z_scores: way to its distance from the reference in standard errors, for ways that do not use its frames.
        notes: lines for people.
    """

    streams: dict[str, Observables]
    system: System
    base: str
    subject: str
    kernel: GeneralizedRouseKernel
    relaxations: dict[str, ModeStatistics]
    estimates: dict[str, Estimate]
    reference: str | None
    z_scores: dict[str, float]
    notes: tuple[str, ...]


def displacement_times(system: System, longest: int) -> list[float]:
    """Return the times at which displacements are shown: a frame, ``longest`` frames, and two between."""
    return [lag * system.dt for lag in sorted({1, max(1, longest // 16), max(1, longest // 4), longest})]


def observe_at(trajectory: Trajectory, times: Iterable[float]) -> Observables:
    """Return all observables of a trajectory, displacements at those ``times`` that its frames hold."""
    lags = [time / trajectory.system.dt for time in times]
    return observe(trajectory, [round(lag) for lag in lags if lag > 0.99 and abs(lag - round(lag)) < 0.01 * lag])


def relaxations_of(streams: Mapping[str, Observables]) -> dict[str, ModeStatistics]:
    """Return variances and relaxation times of the streams that have modes."""
    return {
        label: mode_statistics(stream.correlation, stream.dt)
        for label, stream in streams.items()
        if stream.correlation is not None
    }


def slowest_time(relaxations: Mapping[str, ModeStatistics], labels: Iterable[str]) -> float:
    """Return the relaxation time of mode 1 as the first of the labelled streams has it that knows it; 0 if none."""
    times = [relaxations[label].relaxation_time[0] for label in labels if label in relaxations]
    return next((time for time in times if time is not None), 0.0)


def z_scores_of(estimates: Mapping[str, Estimate], reference: str | None, same_frames: str) -> dict[str, float]:
    """Return the distances from the reference, in standard errors, of all ways that do not begin with ``same_frames``.

    Args:
        estimates: way to D.
        reference: the way that the others are held against; None without.
        same_frames: label of the stream that the reference is from.
    """
    if reference is None:
        return {}
    others = {way: estimate for way, estimate in estimates.items() if not way.startswith(same_frames)}
    return {way: z_score(e, estimates[reference]) for way, e in others.items() if np.isfinite(e.se)}
