"""How centres of molecules move together: pieces of trajectories of MD or of any model, with errors over pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.observe.centre_velocities import (
    current_correlations,
    shell_cross_correlations,
    viscosity,
)
from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.centre_motion import (
    distinct_van_hove,
    mean_squared_displacement,
    velocity_autocorrelation,
)

CURVES = ("vacf", "vccf_inner", "vccf_outer", "C_L", "C_T")
"""Curves that models are judged by, each (lag,)."""


@dataclass(frozen=True)
class CentrePiece:
    """An uninterrupted piece of a trajectory.

    Attributes:
        centres: (time, M, 3), unwrapped.
        momenta: (time, M, 3).
    """

    centres: np.ndarray
    momenta: np.ndarray


@dataclass(frozen=True)
class CentrePlan:
    """What is looked at; the same for MD and models, so that both are seen alike.

    Attributes:
        dt: time between frames.
        box: (3,) edges.
        masses: (M,).
        kT: temperature.
        shells: two shells of distances, that of the first neighbours and one beyond.
        longest: time of the longest lag of velocity correlations.
        diffusion: two times between which the MSD's slope is D.
        maps: times of the van Hove function.
        conserved: whether the total momentum is.
    """

    dt: float
    box: Float64
    masses: Float64
    kT: float
    shells: tuple[tuple[float, float], tuple[float, float]] = ((10.0, 11.0), (14.0, 15.0))
    longest: float = 20.0
    diffusion: tuple[float, float] = (20.0, 80.0)
    maps: tuple[float, ...] = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)
    conserved: bool = True

    @property
    def lags(self) -> Float64:
        """Times of the curves."""
        times: Float64 = np.arange(round(self.longest / self.dt) + 1, dtype=np.float64) * self.dt
        return times

    @property
    def edges(self) -> Float64:
        """Edges of distances, up to half the box."""
        return np.linspace(0.0, float(self.box.min()) / 2, 91)


@dataclass(frozen=True)
class CentreCurves:
    """What pieces show; the first axis of all arrays is the piece.

    Attributes:
        times: (lag,) of the curves.
        curves: name to (piece, lag); correlations over their value for one molecule at time 0.
        msd: (piece, lag), length².
        msd_times: (lag,).
        D: (piece,), a sixth of the MSD's slope.
        kT: (piece,), over the bath's.
        viscosity: (piece,).
        van_hove: (piece, time, bin).
        r: (bin,) middles of the bins.
        maps: times of the van Hove function.
        wave_number: k of the modes.
    """

    times: Float64
    curves: dict[str, Float64]
    msd: Float64
    msd_times: Float64
    D: Float64
    kT: Float64
    viscosity: Float64
    van_hove: Float64
    r: Float64
    maps: tuple[float, ...]
    wave_number: float

    @property
    def n_pieces(self) -> int:
        """Number of pieces."""
        return len(self.D)

    def mean(self, name: str) -> tuple[Float64, Float64]:
        """Return a curve's mean over pieces and its standard error, (lag,) both."""
        values = self.curves[name]
        return values.mean(0), values.std(0, ddof=1) / len(values) ** 0.5 if len(values) > 1 else values[0] * np.nan


def look_at(pieces: Sequence[CentrePiece], plan: CentrePlan) -> CentreCurves:
    """Return what pieces show; each longer than the plan's longest times."""
    found = [_look_at(piece, plan) for piece in pieces]
    names = found[0]["curves"].keys()
    edges = plan.edges
    each = {name: np.array([own[name] for own in found]) for name in ("msd", "D", "kT", "viscosity", "van_hove")}
    return CentreCurves(
        plan.lags, {name: np.stack([own["curves"][name] for own in found]) for name in names}, each["msd"],
        found[0]["msd_times"], each["D"], each["kT"], each["viscosity"], each["van_hove"],
        (edges[1:] + edges[:-1]) / 2, plan.maps, found[0]["k"],
    )  # fmt: skip


def _look_at(piece: CentrePiece, plan: CentrePlan) -> dict:  # type: ignore[type-arg]
    masses = plan.masses[:, None]
    velocities = piece.momenta / masses
    total = piece.momenta.sum(1, keepdims=True) / masses.sum()
    free = len(masses)
    if plan.conserved:  # a drift of the whole is no motion of the molecules
        velocities, free = velocities - total, free - 1
    drift = np.concatenate([np.zeros((1, 1, 3)), np.cumsum(0.5 * (total[1:] + total[:-1]) * plan.dt, axis=0)])
    centres = piece.centres - drift if plan.conserved else piece.centres
    n_lags = len(plan.lags)
    unit = plan.kT * float(np.mean(1.0 / plan.masses))
    inner, outer = shell_cross_correlations(centres, velocities, plan.box, plan.shells, n_lags)
    along, across, k = current_correlations(centres, velocities, plan.box, n_lags)
    first, last = (round(time / plan.dt) for time in plan.diffusion)
    msd = mean_squared_displacement(centres, last + 1)
    density = float(plan.masses.sum() / np.prod(plan.box))
    own = velocity_autocorrelation(velocities, n_lags)
    return {
        "curves": {
            "vacf": own / own[0], "vccf_inner": inner / unit, "vccf_outer": outer / unit,
            "C_L": along / along[0], "C_T": across / across[0],
        },
        "msd": msd, "msd_times": np.arange(last + 1) * plan.dt,
        "D": (msd[last] - msd[first]) / (6 * (last - first) * plan.dt),
        "kT": float((velocities**2 * masses).sum((1, 2)).mean() / (3 * free * plan.kT)),
        "viscosity": viscosity(across, plan.dt, k, density), "k": k,
        "van_hove": distinct_van_hove(centres, plan.box, plan.edges, [round(t / plan.dt) for t in plan.maps], 60),
    }  # fmt: skip
