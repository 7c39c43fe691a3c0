"""Sizes of molecules in time, from any frames with beads or with their Rg², and how far they are from MD's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import wasserstein_distance

from mlgle_lammps.errors import UserError
from mlgle_lammps.observe.bead_structure import squared_gyration_of
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import CHAINS, Estimate, Float64, Frames, System
from mlgle_lammps.statistics.errors import student_estimate
from mlgle_lammps.statistics.series import Series
from mlgle_lammps.store.recording import checked_blocks, open_recording

MOST_SAMPLES = 20_000
"""Values of Rg² that a distance of distributions is taken of; more change nothing."""


@dataclass(frozen=True)
class MoleculeSizes:
    """How large the main molecules of one stream were.

    Attributes:
        system: what the stream is about.
        squared_radius: Rg² in time, length².
    """

    system: System
    squared_radius: Series

    @property
    def composition(self) -> dict[str, float]:
        """Share of each type of beads; empty where types are not known."""
        types = self.system.types
        return {kind: types.count(kind) / len(types) for kind in sorted(set(types))}

    @property
    def arrangement(self) -> dict[str, float]:
        """The composition, and the share of bonds between two beads of one type, "A-A"; empty likewise."""
        types, bonds = self.system.types, self.system.bonds
        alike = [types[a] for a, b in bonds if types[a] == types[b]] if types else []
        return self.composition | {f"{kind}-{kind}": alike.count(kind) / len(bonds) for kind in self.composition}


def squared_radii(frames: Frames) -> Float64:
    """Return Rg² of the main molecules, (time, molecule), length²: what the frames say of it, or their beads.

    Raises:
        UserError: frames with neither.
    """
    own = frames.channels[CHAINS]
    if "rg2" in own:
        return np.asarray(own["rg2"][..., 0], dtype=np.float64)
    if "beads" not in own:
        raise UserError("these frames hold neither beads nor Rg2: record them with `surrogate` none")
    return squared_gyration_of(own["beads"])


def sizes_of(path: Path) -> MoleculeSizes:
    """Return the sizes of molecules in a recorded or generated stream; raise UserError where it does not tell them."""
    recording = open_recording(path)
    if not {"beads", "rg2"} & set(recording.system.channels):
        raise UserError(f"{path} holds no beads: record them with `surrogate` none")
    radii, segments = [], []
    for block in checked_blocks(recording):
        radii.append(squared_radii(block))
        segments.append(block.segments)
    series = Series.of(np.concatenate(radii), recording.system.dt, np.concatenate(segments))
    return MoleculeSizes(recording.system, series)


@dataclass(frozen=True)
class SizeDifference:
    """One stream's sizes against MD's.

    Attributes:
        mean: <Rg²>, length².
        md_mean: MD's.
        fluctuation_ratio: standard deviation of Rg² over MD's.
        relaxation_ratio: 1/e time of its autocorrelation over MD's; None where either does not show it.
        distance: earth mover's distance of the distributions, length².
        md_distance: that of MD's two halves: what chance alone makes of it, length².
        drift: <Rg²> of the second half of the time over that of the first, less one.
    """

    mean: Estimate
    md_mean: Estimate
    fluctuation_ratio: Estimate
    relaxation_ratio: Estimate | None
    distance: float
    md_distance: float
    drift: Estimate


def size_difference(found: Series, md: Series) -> SizeDifference:
    """Hold a series of Rg² against that of MD."""
    times = found.relaxation(), md.relaxation()
    relaxation = None if times[0] is None or times[1] is None else ratio(times[0], times[1])
    early, late = (half.mean() for half in found.halves())
    halves = ratio(late, early)
    drift = replace(halves, value=halves.value - 1.0, ci95=(halves.ci95[0] - 1.0, halves.ci95[1] - 1.0))
    return SizeDifference(
        found.mean(), md.mean(), ratio(found.fluctuation(), md.fluctuation()), relaxation, emd(found, md),
        emd(*md.halves()), drift,
    )  # fmt: skip


def ratio(one: Estimate, other: Estimate) -> Estimate:
    """Return the ratio of two independent estimates with its error to first order."""
    value = one.value / other.value
    se = abs(value) * float(np.hypot(one.se / one.value, other.se / other.value))
    return student_estimate(value, se, 30, "ratio")


def emd(one: Series, other: Series) -> float:
    """Return the earth mover's distance between two distributions, in the unit of the values."""
    return float(wasserstein_distance(*(_samples(own.all) for own in (one, other))))


def _samples(values: Float64) -> Float64:
    return values[:: max(1, len(values) // MOST_SAMPLES)]


def described(difference: SizeDifference) -> JsonObject:
    """Return a difference as numbers by name, each with its standard error."""
    found: JsonObject = {}
    for name in ("mean", "md_mean", "fluctuation_ratio", "relaxation_ratio", "drift"):
        estimate = getattr(difference, name)
        found[name] = None if estimate is None else estimate.value
        found[f"{name}_se"] = None if estimate is None else estimate.se
    return found | {"distance": difference.distance, "md_distance": difference.md_distance}


def geometric_mean(estimates: Sequence[Estimate | None]) -> tuple[float, float]:
    """Return the geometric mean of what is known and its standard error from the scatter; NaN of nothing."""
    logs = np.log([own.value for own in estimates if own is not None and own.value > 0])
    if not len(logs):
        return float("nan"), float("nan")
    mean = float(np.exp(logs.mean()))
    se = mean * float(logs.std(ddof=1) / np.sqrt(len(logs))) if len(logs) > 1 else float("nan")
    return mean, se
