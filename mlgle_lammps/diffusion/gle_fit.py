"""The GLE fit: α and β from mean squared displacements up to t_max, and D = α²/2 with an interval that holds.

The model is MSD_X(t) = α² t + β² Σ_p MSD_zp(t) per dimension. JCP eq. 26 sums all modes, which makes D some 4% low:
symmetry ties the centre only to modes that every automorphism of the molecule leaves as they are, the even ones of a
chain with equal ends (`chains/spectrum.py`, docs/accuracy.md), and ``default`` sums these. Where no mode is such (a
ring) all are taken as the shape. Where modes with λ_p <= 2, half of a chain's, are not streamed the sum is completed: a
mode p > k has the shape of mode k, smaller and faster by λ_k/λ_p, as Rouse's. At the shortest lags the model fails, by
how much one cannot know, so an allowance is added to the covariance, which fades to half a per cent within some
relaxation times of mode k (of the last with λ_p <= 2 where that is slower).

Where the centre of mass is not the mean of the beads that the modes are of (side groups, unequal masses), the distance
between the two adds what relaxes with the side groups, faster than the slow modes: a constant is then fitted beside.
So is one where frames are closer than the time T in which velocities are forgotten: such lags are left out, and beyond
them the motion still lags behind by 2D T (Langevin's MSD = 2D (t - T + T exp(-t/T)) per dimension).

The points at different lags come from the same frames and are strongly correlated. Displacements of centres of mass
and modes are Gaussian to a good approximation, and for a Gaussian process with stationary increments the covariance
of time-averaged MSDs follows from the MSD itself; so it is computed from the fitted curve rather than estimated from
few chains, and generalized least squares is then close to maximum likelihood. What the curve cannot know is how much
chains of one box move together: that is measured (``Moments.design_effect``) and multiplies the covariance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from scipy import optimize

from mlgle_lammps.chains.laplacian import SLOW
from mlgle_lammps.chains.spectrum import Spectrum
from mlgle_lammps.diffusion.forms import FitForm
from mlgle_lammps.records import Estimate, Float64, GleFit, Int64
from mlgle_lammps.statistics.errors import student_estimate
from mlgle_lammps.statistics.moments import Moments
from mlgle_lammps.statistics.msd_covariance import GlsSolution, generalized_least_squares, msd_covariance

FAST_MODE_TIMES = 1.0  # lags shorter than this many relaxation times τ of mode k (or N/2) are left out
ALLOWANCE = 0.6  # relative error of the ansatz at lag t, one standard deviation: ALLOWANCE exp(-ALLOWANCE_DECAY t/τ);
ALLOWANCE_DECAY = 1.8  # above what was seen at short lags of long records (docs/method.md)
ALLOWANCE_LATE = 0.005  # and at every lag: an ansatz is never exact
ALLOWANCE_REACH = 1.0  # errors of neighbouring lags are alike: correlation exp(-|ln(t/t')|/ALLOWANCE_REACH)
TRUST_LEVEL = 0.01  # lags are left out from the short end until the residuals' chi-square is as likely as this
RISE = 3.0  # standard errors by which MSD_X/t must grow from a lag to the next to say that motion is inertial there
LEAST_LAGS = 5
MEMORIES = 64  # of mode k, after which it is taken as relaxed


@dataclass(frozen=True)
class _Points:
    """The regression's points in units of frames: y ≈ α² t + β² s, or with a constant more, with covariance C."""

    lags: Int64
    y: Float64
    s: Float64
    covariance: Float64
    constant: bool = False

    def design(self, start: int) -> Float64:
        """Return what is fitted to the points from ``start`` on, (point, coefficient)."""
        columns = [self.lags.astype(float), self.s, np.ones(len(self.lags))]
        return np.stack(columns[: 3 if self.constant else 2], axis=1)[start:]


def fit_gle(moments: Moments, dt: float, form: FitForm = "default", spectrum: Spectrum | None = None) -> GleFit:
    """Return α², β² and D = α²/2 with its 95% interval (JCP eq. 26-27).

    ``default``: generalized least squares, β² free, the sum over modes that symmetry allows (of branched molecules and
    rings midway between that sum and the one over all, `_between`), those not streamed added,
    the shortest lags weighed by how far the ansatz can be trusted there, or left out until the residuals agree with
    their covariance. ``published``: all modes, the three points 1, m/2, m, unweighted, α² ≥ 0 and β² ≥ 0; its interval
    comes from the same covariance.

    Args:
        moments: displacements so far, lags in frames.
        dt: time between frames, time_unit.
        form: "default" or "published".
        spectrum: of the molecule; None where unknown: then even modes are summed and none are added.

    Returns:
        The fit; α² and D in length²/time, D per dimension.

    Raises:
        ValueError: fewer than three lags have been reached, centres that do not move, or no such form.

    Limit: for a Rouse melt β² is 0 and D is kT/(Nζ).
    """
    if len(moments.lags) < 3:
        raise ValueError(f"{moments.n_frames} frames reach {len(moments.lags)} lags; the fit needs 3")
    if not np.all(moments.msd_com > 0):
        raise ValueError(
            f"{moments.n_chains} chain{'s' * (moments.n_chains > 1)} without motion against the system's centre: "
            "the fit needs two chains or more, which move"
        )
    if form not in get_args(FitForm):
        raise ValueError(f"the fit has no form {form!r}")
    if form == "published":
        return _published(_points(moments, *_rough_fit(moments)), moments, dt)
    if spectrum is None or spectrum.linear:
        return _default(moments, dt, spectrum)
    fewest = _fewest(spectrum)
    fit = _default(moments, dt, fewest)
    of_all = _default(moments, dt, replace(spectrum, invariant=(True,) * len(spectrum.invariant)))
    return of_all if fit.modes == of_all.modes else _between(fit, of_all, moments, dt, fewest)


def _fewest(spectrum: Spectrum) -> Spectrum:
    """Return a branched molecule's or a ring's modes that the centre is tied to at least, as its invariant ones.

    Of a ring, whose symmetry leaves none, those are all but the slowest pair.
    """
    if any(spectrum.invariant):
        return spectrum
    slowest = spectrum.eigenvalues[0] * (1 + 1e-9)
    return replace(spectrum, invariant=tuple(bool(value > slowest) for value in spectrum.eigenvalues))


def _default(moments: Moments, dt: float, spectrum: Spectrum | None) -> GleFit:
    """Fit with the sum over the modes that the spectrum calls invariant."""
    relaxed = _relaxation(moments, _shortest_wave(moments, spectrum))
    first = _first_lag(moments.lags, relaxed)
    summed, modes, beyond = _summed(moments, spectrum)
    curve = _rough_fit(summed)
    for _ in range(3):
        points = _points(summed, *curve)
        start = _past_inertia(points, first)
        points = replace(points, constant=moments.apart or start > first)
        solution, used = _trusted(_with_allowance(points, relaxed), start)
        curve = max(solution.values[0], 1e-12 * points.y[-1]), solution.values[1]
    n_added = len(beyond)
    added = f", {n_added} mode{'s' * (n_added > 1)} beyond k added" if n_added else ""
    added += ", a constant for side groups and unequal masses" if moments.apart else ""
    added += ", a constant for motion that is inertial at shorter lags" if start > first and not moments.apart else ""
    sum_of = _listed(modes, moments.msd_modes.shape[1])
    method = f"GLE fit, generalized least squares, free beta^2, {sum_of}{added}"
    fit = _record(solution, used, summed, dt, method, modes)
    return replace(fit, beyond=beyond, short=_short(points, len(used), *curve)) if beyond else fit


def _short(points: _Points, n_used: int, alpha_sq: float, beta_sq: float) -> tuple[tuple[int, float], ...]:
    """Return (lag, MSD_X less the curve) up to the first of the last ``n_used`` lags; none where a constant was fitted.

    Args:
        points: in units of frames.
        n_used: lags that were fitted.
        alpha_sq: length² per frame.
        beta_sq: of the curve.
    """
    end = 0 if points.constant else len(points.lags) - n_used + 1
    excess = points.y - alpha_sq * points.lags - beta_sq * points.s
    return tuple(zip(points.lags[:end].tolist(), excess[:end].tolist(), strict=True))


def _between(fit: GleFit, of_all: GleFit, moments: Moments, dt: float, spectrum: Spectrum) -> GleFit:
    """Return D midway between two sums that the data do not tell apart, half their distance part of its error.

    Of branched molecules and rings both sums describe the MSD up to the memory, and differ beyond it: by 13 to 17% of
    D for melts whose long runs lie between. β² of the fewer modes follows, so that the generated MSD stays that of MD.
    """
    value = (fit.D.value + of_all.D.value) / 2
    se = math.hypot(max(fit.D.se, of_all.D.se), (fit.D.value - of_all.D.value) / 2)
    points = _points(_summed(moments, spectrum)[0], fit.alpha_sq * dt, fit.beta_sq)
    start = len(points.lags) - len(fit.lags)
    rest = (points.y - 2 * value * dt * points.lags)[start:]
    solution = generalized_least_squares(points.design(start)[:, 1:], rest, points.covariance[start:, start:])
    beta_sq = solution.values[0]
    middle = f"midway to the sum over all modes ({of_all.D.value:.4g}), half the distance in the error"
    D = _with_interval(value, se, moments, f"{fit.D.method}; {middle}")
    short = _short(points, len(fit.lags), 2 * value * dt, beta_sq) if fit.short else ()
    return replace(fit, alpha_sq=2 * value, beta_sq=beta_sq, beta_sq_se=solution.errors[0], D=D, short=short)


def _with_interval(value: float, se: float, moments: Moments, method: str) -> Estimate:
    """Return D with its Student interval, of the degrees of freedom with which the design effect is known."""
    return student_estimate(value, se, moments.design_dof, method)


def _listed(modes: tuple[int, ...], k: int) -> str:
    """Return in words which of modes 1..k are summed."""
    if len(modes) == k:
        return "all modes"
    if modes == tuple(range(2, k + 1, 2)):
        return "even modes"
    return f"mode{'s' * (len(modes) > 1)} {', '.join(map(str, modes))}"


def _rough_fit(moments: Moments) -> tuple[float, float]:
    """Fit with residuals relative to the MSD: good enough to start from."""
    y, s = moments.msd_com, moments.msd_modes.sum(axis=1)
    design = np.stack([moments.lags / y, s / y], axis=1)
    (alpha_sq, beta_sq), *_ = np.linalg.lstsq(design, np.ones(len(y)), rcond=None)
    if alpha_sq <= 0:
        alpha_sq, beta_sq = y[-1] / moments.lags[-1] / 2, 0.0
    return float(alpha_sq), float(beta_sq)


def _points(moments: Moments, alpha_sq: float, beta_sq: float) -> _Points:
    """Attach to the points the covariance that the curve (alpha_sq, beta_sq) implies."""
    lags = moments.lags
    reach = 6 * int(lags[-1])
    time = np.arange(reach + 1, dtype=np.float64)
    curves = [
        saturating_msd(time, lags, moments.msd_modes[:, mode], moments.mode_variance[mode])
        for mode in range(moments.msd_modes.shape[1])
    ]
    com = alpha_sq * time + max(beta_sq, 0.0) * np.sum(curves, axis=0)
    covariance, *of_modes = msd_covariance([com, *curves], lags, moments.segment_lengths)
    covariance = covariance + beta_sq**2 * np.sum(of_modes, axis=0)
    covariance *= moments.design_effect / (moments.n_dimensions * moments.n_chains)
    return _Points(lags, moments.msd_com, moments.msd_modes.sum(axis=1), covariance, moments.apart)


def saturating_msd(time: Float64, lags: Int64, msd: Float64, variance: float) -> Float64:
    """Return a mode's MSD 2σ²(1 - ρ(t)) at every ``time``, ρ continued exponentially beyond the last lag.

    Args:
        time: (n,) in frames, from 0.
        lags: (lag,) in frames.
        msd: (lag,) length².
        variance: σ², length².
    """
    if variance <= 0:
        return np.zeros_like(time)
    decay = -np.log(np.clip(1.0 - msd / (2.0 * variance), 1e-3, 1.0))
    known_lags, known = np.concatenate([[0], lags]), np.concatenate([[0.0], decay])
    half = int(np.searchsorted(lags, lags[-1] / 2))
    half = min(half, len(lags) - 2)
    rate = max((decay[-1] - decay[half]) / float(lags[-1] - lags[half]), 1e-4)
    inside = np.interp(time, known_lags, known)
    decay_at = np.where(time > lags[-1], decay[-1] + rate * (time - lags[-1]), inside)
    result: Float64 = 2.0 * variance * (1.0 - np.exp(-decay_at))
    return result


def _shortest_wave(moments: Moments, spectrum: Spectrum | None) -> int:
    """Return the column of the mode whose relaxation says where short lags end: k, or the last with λ <= 2 before it.

    Waves of four beads forget within about the time in which the centres of mass do what the ansatz does not know of.
    """
    k = moments.msd_modes.shape[1]
    slow = k if spectrum is None else _n_slow(spectrum)
    return max(1, min(k, slow)) - 1


def _n_slow(spectrum: Spectrum) -> int:
    """Return how many modes have λ <= 2: N/2 of a linear chain."""
    return int(np.searchsorted(spectrum.eigenvalues, SLOW * (1 + 1e-9), side="right"))


def _relaxation(moments: Moments, column: int) -> float:
    """Return the 1/e time of a mode in frames; the longest lag, which it is at least, where it lies beyond."""
    correlation = 1.0 - moments.msd_modes[:, column] / (2.0 * max(moments.mode_variance[column], 1e-300))
    relaxed = np.flatnonzero(correlation < math.exp(-1.0))
    if not len(relaxed):
        return float(moments.lags[-1])
    i = int(relaxed[0])
    lags = np.concatenate([[0], moments.lags[: i + 1]])
    values = np.concatenate([[1.0], correlation[: i + 1]])
    return float(lags[i] + (lags[i + 1] - lags[i]) * (values[i] - math.exp(-1.0)) / (values[i] - values[i + 1]))


def _first_lag(lags: Int64, relaxed: float) -> int:
    """Return the index of the first lag used: mode k has relaxed there, or few enough lags are left."""
    return min(int(np.searchsorted(lags, FAST_MODE_TIMES * relaxed)), max(len(lags) - LEAST_LAGS, 0))


def _past_inertia(points: _Points, first: int) -> int:
    """Return the index of the first lag, from ``first`` on, at which MSD_X/t has ceased to grow.

    Overdamped motion slows down: its MSD/t never grows with t. Frames closer than the time in which velocities are
    forgotten show inertial motion, which the fit would take for modes with a negative β², and D would come out high.
    """
    per_lag = points.y / points.lags
    relative = points.covariance / np.outer(points.lags, points.lags)
    last = max(len(per_lag) - LEAST_LAGS, 0)
    while first < last:
        variance = relative[first, first] + relative[first + 1, first + 1] - 2 * relative[first, first + 1]
        if per_lag[first + 1] - per_lag[first] <= RISE * math.sqrt(max(variance, 0.0)):
            break
        first += 1
    return first


def _summed(moments: Moments, spectrum: Spectrum | None) -> tuple[Moments, tuple[int, ...], tuple[float, ...]]:
    """Return the moments of the modes that are summed, these modes, and λ_k/λ_p of those added as one column.

    Rouse's modes are alike but for their size and speed: σ_p² and τ_p go as 1/λ_p, so MSD_p(t) = r MSD_k(t/r) with
    r = λ_k/λ_p. Without them the fit takes their share for diffusion that slows down, and D comes out low.
    """
    k = moments.msd_modes.shape[1]
    allowed = [p % 2 == 0 for p in range(1, k + 1)] if spectrum is None else list(spectrum.invariant)
    missing = [] if spectrum is None else [p for p in range(k + 1, _n_slow(spectrum) + 1) if allowed[p - 1]]
    if not any(allowed[:k]) and not missing:  # of mode 1 alone, or of a ring's slowest pair: the shape of all
        allowed = [True] * len(allowed)
    modes = tuple(p for p in range(1, k + 1) if allowed[p - 1])
    chosen = [p - 1 for p in modes]
    of_modes, variance = moments.msd_modes[:, chosen], moments.mode_variance[chosen]
    beyond: tuple[float, ...] = ()
    if missing and spectrum is not None and moments.mode_variance[-1] > 0:
        ratio = spectrum.eigenvalues[k - 1] / spectrum.eigenvalues[[p - 1 for p in missing]]
        added = _faster_copies(moments, ratio)
        of_modes = np.column_stack([of_modes, added])
        variance = np.append(variance, float(ratio.sum() * moments.mode_variance[-1]))
        beyond = tuple(ratio.tolist())
    return replace(moments, msd_modes=of_modes, mode_variance=variance), modes, beyond


def _faster_copies(moments: Moments, ratio: Float64) -> Float64:
    """Return (lag,) the sum over r in ``ratio`` of r MSD_k(t/r), k the last mode."""
    longest = int(moments.lags[-1] * min(1.0 / ratio.min(), MEMORIES)) + 1
    time = np.arange(longest + 1, dtype=np.float64)
    shape = saturating_msd(time, moments.lags, moments.msd_modes[:, -1], moments.mode_variance[-1])
    result: Float64 = np.sum([r * np.interp(moments.lags / r, time, shape) for r in ratio], axis=0)
    return result


def _with_allowance(points: _Points, relaxed: float) -> _Points:
    """Add to the covariance what the ansatz may be wrong by, most of all at a few relaxation times of mode k.

    Args:
        points: with the covariance of their noise.
        relaxed: 1/e time of mode k in frames.
    """
    early = ALLOWANCE * np.exp(-ALLOWANCE_DECAY * points.lags / relaxed)
    size = np.hypot(early, ALLOWANCE_LATE) * points.y
    log_lag = np.log(points.lags)
    alike = np.exp(-np.abs(log_lag[:, None] - log_lag) / ALLOWANCE_REACH)
    return replace(points, covariance=points.covariance + np.outer(size, size) * alike)


def _trusted(points: _Points, start: int) -> tuple[GlsSolution, Int64]:
    """Leave out the shortest lags until the residuals agree with their covariance."""
    while True:
        solution = generalized_least_squares(points.design(start), points.y[start:], points.covariance[start:, start:])
        if len(points.lags) - start <= LEAST_LAGS or solution.p >= TRUST_LEVEL:
            return solution, points.lags[start:]
        start += 1


def _published(points: _Points, moments: Moments, dt: float) -> GleFit:
    """Unweighted non-negative least squares on lags 1, m/2, m (JCP eq. 27).

    Chi-square is of the residuals with their own covariance, not the points': what the fit takes out of them is not
    in it. Its degrees of freedom are the points less the coefficients that are not held at zero.
    """
    middle = int(np.argmin(np.abs(points.lags - points.lags[-1] / 2)[1:-1])) + 1
    keep = [0, middle, len(points.lags) - 1]
    lags, y, s = points.lags[keep], points.y[keep], points.s[keep]
    design = np.stack([lags.astype(float), s], axis=1)
    (alpha_sq, beta_sq), _ = optimize.nnls(design, y)
    active = [0, 1] if beta_sq > 0 else [0]
    weights = np.linalg.pinv(design[:, active])[0]
    covariance = points.covariance[np.ix_(keep, keep)]
    errors = (float(np.sqrt(weights @ covariance @ weights)), math.nan)
    free = [column for column, value in enumerate((alpha_sq, beta_sq)) if value > 0]
    across = np.linalg.qr(design[:, free], mode="complete")[0][:, len(free) :]  # what no coefficient reaches
    residual = across.T @ y
    chi2 = float(residual @ np.linalg.solve(across.T @ covariance @ across, residual))
    solution = GlsSolution((float(alpha_sq), float(beta_sq)), errors, chi2, len(residual))
    every = tuple(range(1, moments.msd_modes.shape[1] + 1))
    return _record(solution, lags, moments, dt, "GLE fit as published: lags 1, m/2, m, unweighted, beta >= 0", every)


def _record(
    solution: GlsSolution, lags: Int64, moments: Moments, dt: float, method: str, modes: tuple[int, ...]
) -> GleFit:
    value, se = solution.values[0] / (2 * dt), solution.errors[0] / (2 * dt)
    detail = f"{method}; lags {lags[0]}..{lags[-1]} frames; Student interval, design effect {moments.design_effect:.2f}"
    return GleFit(
        alpha_sq=2 * value,
        beta_sq=solution.values[1],
        D=_with_interval(value, se, moments, detail),
        lags=tuple(int(lag) for lag in lags),
        chi2=solution.chi2,
        dof=solution.dof,
        p=solution.p,
        n_frames=moments.n_frames,
        modes=modes,
        beta_sq_se=solution.errors[1],
    )
