"""D of each free direction by itself, and whether chance alone can have set them so far apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from mlgle_lammps.chains.spectrum import Spectrum
from mlgle_lammps.diffusion.forms import FitForm
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.directions import AXES, Directions
from mlgle_lammps.records import Estimate, Float64, Frames, System
from mlgle_lammps.statistics.displacements import mean_squared_displacements
from mlgle_lammps.statistics.moments import Moments

LEVEL = 0.01
LEAST_SPREAD = 0.1
"""Of the MSDs at the longest lag, largest less smallest over their mean: less is not worth a warning."""


@dataclass(frozen=True)
class ByDirection:
    """What the free directions say one by one.

    Attributes:
        D: letter to D there, by the same fit as that of all; None where it cannot be fitted.
        equal_p: probability that directions of one MSD come out so different at the longest lag; None for one
            direction or too few chains.
        spread: largest less smallest MSD there over their mean.
    """

    D: Mapping[str, Estimate | None]
    equal_p: float | None = None
    spread: float | None = None


def diffusion_by_direction(
    frames: Frames,
    directions: Directions,
    moments: Moments,
    dt: float,
    form: FitForm,
    spectrum: Spectrum | None,
) -> ByDirection:
    """Return D of each free direction from its own displacements of centres and modes.

    Whether directions differ is tested by Hotelling's T² of the chains' MSDs at the longest lag, one direction less
    another; chains are the independent units, and the design effect of the box widens their scatter.

    Args:
        frames: all three columns; against the centre of the system where the moments are.
        directions: those that are free.
        moments: of the same frames, all free directions together.
        dt: time between frames.
        form: of the fit.
        spectrum: of the chains, None where unknown.

    Limit: for an isotropic melt the same D within its errors, which are √d times those of all directions together.
    """
    lengths = np.unique(frames.segments, return_counts=True)[1]
    reached = moments.lags < lengths.max()
    whole = replace(
        moments, lags=moments.lags[reached], counts=moments.counts[reached],
        lag_factors=None if moments.lag_factors is None else moments.lag_factors[reached],
        segment_lengths=tuple(lengths.tolist()), n_frames=len(frames),
    )  # fmt: skip
    single = {axis: _moments_along(frames, AXES.index(axis), whole) for axis in directions.free}
    D: dict[str, Estimate | None] = {}
    for axis, own in single.items():
        try:
            D[axis] = fit_gle(own, dt, form, spectrum).D
        except (ValueError, np.linalg.LinAlgError):
            D[axis] = None
    return ByDirection(D, *_difference(list(single.values())))


def _moments_along(frames: Frames, column: int, whole: Moments) -> Moments:
    """Return the moments of one direction; drift, its factor and the design effect are those of all together."""
    n_chains, k, lags = whole.n_chains, whole.msd_modes.shape[1], whole.lags
    if whole.lag_factors is None:
        com = frames.com[:, :, column] - frames.com[:, :, column].mean(axis=1, keepdims=True)
    else:
        com = frames.com[:, :, column]
    reach = int(lags[-1]) + 1
    per_chain = (
        mean_squared_displacements(com[:, :, None], frames.segments, reach)[lags] * whole.made_good(lags)[:, None]
    )
    modes = frames.modes[:, :, :k, column]
    of_modes = np.empty((len(lags), k))
    for p in range(k):
        of_modes[:, p] = mean_squared_displacements(modes[:, :, p, None], frames.segments, reach)[lags].mean(axis=1)
    squares = np.einsum("tcm,tcm->m", modes, modes, dtype=np.float64)
    return replace(
        whole, msd_com=per_chain.mean(axis=1), msd_com_chain=per_chain, msd_modes=of_modes,
        mode_variance=squares / max(len(frames) * n_chains, 1), n_dimensions=1,
    )  # fmt: skip


def _difference(single: list[Moments]) -> tuple[float | None, float | None]:
    """Return the p-value of equal MSDs at the longest lag, and their relative spread."""
    per_chain: Float64 = np.array([own.msd_com_chain[-1] for own in single])
    means = per_chain.mean(axis=1)
    n_contrasts, n_chains = len(single) - 1, per_chain.shape[1]
    if not n_contrasts or n_chains <= n_contrasts + 1 or not means.mean() > 0:
        return None, None
    spread = float(np.ptp(means) / means.mean())
    contrasts = per_chain[1:] - per_chain[0]
    covariance = np.atleast_2d(np.cov(contrasts)) * single[0].design_effect / n_chains
    mean = contrasts.mean(axis=1)
    T2 = float(mean @ np.linalg.pinv(covariance) @ mean)
    F = T2 * (n_chains - n_contrasts) / (n_contrasts * (n_chains - 1))
    return float(stats.f.sf(F, n_contrasts, n_chains - n_contrasts)), spread


def direction_warnings(found: ByDirection, system: System) -> list[str]:
    """Return a warning where directions differ by more than their errors allow, and by more than a tenth."""
    if found.equal_p is None or found.spread is None or found.equal_p > LEVEL or found.spread < LEAST_SPREAD:
        return []
    unit = f"{system.length_unit}^2/{system.time_unit}"
    listed = ", ".join(f"D_{axis} = {D.value:.3g} ± {D.se:.2g}" for axis, D in found.D.items() if D is not None)
    return [
        f"the directions differ: {listed} {unit}; their MSDs at t_max are {100 * found.spread:.0f}% apart (Hotelling's "
        f"T² over chains, p = {found.equal_p:.1g}): D is their mean, and what is generated is the same in all; use "
        "D_by_direction, or name the directions that are alike by --directions"
    ]
