"""A generated ensemble against the frames that it was learned from: variance, NACF and kurtosis of every mode.

Both sides have errors. MD's window is short, so that its own numbers scatter, and a deviation counts only where it is
large and beyond what that scatter allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlgle_lammps.evaluate.generated import GeneratedSummary, kurtosis, power_sums
from mlgle_lammps.records import Float64, Frames, Int64
from mlgle_lammps.statistics.correlation import Autocorrelation, melard_roy_error

LEAST = {"variance": 0.15, "nacf": 0.1, "kurtosis": 1.0}
"""Deviations that matter: of the variance's ratio to 1, of the NACF, of <x⁴>/<x²>² (3 for a normal x)."""
SIGNIFICANT = 4.5  # standard errors; twelve modes with many lags are looked at together


@dataclass(frozen=True)
class Comparison:
    """One quantity of all modes, generated against MD.

    Attributes:
        deviation: (mode,) of the generated value from MD's.
        se: (mode,) its standard error, MD's own scatter included.
        off: (mode,) whether it is large and significant.
    """

    deviation: Float64
    se: Float64
    off: NDArray[np.bool_]


@dataclass(frozen=True)
class GeneratedCheck:
    """What the comparison of a generated ensemble with its training frames found.

    Attributes:
        variance: of the ratio generated/MD from 1.
        nacf: the largest over all lags; where it is off, at the lag where it exceeds what is allowed the most.
        nacf_lag: (mode,) that lag in frames.
        kurtosis: of <x⁴>/<x²>² per component.
        generated_kurtosis: (mode,) with its error.
        md_kurtosis: (mode,) with its error.
    """

    variance: Comparison
    nacf: Comparison
    nacf_lag: NDArray[np.int64]
    kurtosis: Comparison
    generated_kurtosis: tuple[Float64, Float64]
    md_kurtosis: tuple[Float64, Float64]

    @property
    def modes_off(self) -> tuple[int, ...]:
        """Modes, counted from 1, of which some quantity is off."""
        off = self.variance.off | self.nacf.off | self.kurtosis.off
        return tuple(int(mode) + 1 for mode in np.flatnonzero(off))

    def summary(self) -> dict[str, Any]:
        """Return what result.json says of the ensemble as a whole."""
        named = {"variance": self.variance, "nacf": self.nacf, "kurtosis": self.kurtosis}
        off = {name: [int(i) + 1 for i in np.flatnonzero(found.off)] for name, found in named.items()}
        limits = {**LEAST, "standard_errors": SIGNIFICANT}
        return {"passed": not self.modes_off, "modes_off": list(self.modes_off), "off": off, "limits": limits}

    def of_mode(self, i: int) -> dict[str, float]:
        """Return what result.json says of mode i + 1."""
        return {
            "stationary_variance_ratio_se": float(self.variance.se[i]),
            "nacf_error": float(abs(self.nacf.deviation[i])),
            "nacf_error_se": float(self.nacf.se[i]),
            "kurtosis": float(self.generated_kurtosis[0][i]),
            "kurtosis_se": float(self.generated_kurtosis[1][i]),
            "md_kurtosis": float(self.md_kurtosis[0][i]),
            "md_kurtosis_se": float(self.md_kurtosis[1][i]),
        }


def check_generated(summary: GeneratedSummary, window: Frames, correlation: Autocorrelation) -> GeneratedCheck:
    """Compare a generated ensemble with the frames that it was learned from.

    Args:
        summary: of the ensemble.
        window: the training frames.
        correlation: NACF and variance of these frames; its lags, half the window, are compared.

    Limit: for an ensemble drawn from the law of the MD itself all deviations are zero within their errors.
    """
    generated = summary.correlation
    n_lags = min(len(generated.nacf), len(correlation.nacf))
    difference = generated.nacf[:n_lags] - correlation.nacf[:n_lags]
    larger = np.maximum(np.abs(generated.nacf[:n_lags]), np.abs(correlation.nacf[:n_lags]))
    pieces = np.unique(window.segments, return_counts=True)[1]
    md_error = _nacf_error(larger, pieces, window.modes.shape[1])
    error = np.hypot(_nacf_error(larger, [summary.n_steps], summary.n_kept), md_error)
    excess = np.abs(difference) - np.maximum(LEAST["nacf"], SIGNIFICANT * error)
    off: NDArray[np.bool_] = np.any(excess > 0, axis=0)
    lag = np.where(off, excess.argmax(axis=0), np.abs(difference).argmax(axis=0))
    mode = np.arange(len(lag))
    nacf = Comparison(difference[lag, mode], error[lag, mode], off)
    ratio = summary.variance / np.maximum(correlation.variance, 1e-300)
    ratio_se = ratio * np.hypot(_md_variance_error(correlation, window, larger**2, ratio), _relative(summary))
    md_kurtosis = _md_kurtosis(window, larger**4)
    apart = summary.kurtosis - md_kurtosis[0]
    apart_se = np.hypot(summary.kurtosis_se, md_kurtosis[1])
    return GeneratedCheck(
        variance=_compare("variance", ratio - 1.0, ratio_se),
        nacf=nacf,
        nacf_lag=lag,
        kurtosis=_compare("kurtosis", apart, apart_se),
        generated_kurtosis=(summary.kurtosis, summary.kurtosis_se),
        md_kurtosis=md_kurtosis,
    )


def _compare(name: str, deviation: Float64, se: Float64) -> Comparison:
    return Comparison(deviation, se, np.abs(deviation) > np.maximum(LEAST[name], SIGNIFICANT * se))


def _nacf_error(nacf: Float64, lengths: Sequence[int] | Int64, n_series: int) -> Float64:
    """Return Mélard and Roy's error (JCP eq. 34), widened where a lag has fewer pairs of frames than there are frames.

    Args:
        nacf: (lag, mode).
        lengths: frames in each uninterrupted piece.
        n_series: chains or trajectories.
    """
    lengths = np.asarray(lengths)
    n_pairs = np.maximum(lengths[:, None] - np.arange(len(nacf)), 0).sum(axis=0)
    error: Float64 = melard_roy_error(nacf, int(lengths.sum()), n_series)
    return error * np.sqrt(lengths.sum() / n_pairs)[:, None]


def _relative(summary: GeneratedSummary) -> Float64:
    result: Float64 = summary.variance_se / np.maximum(summary.variance, 1e-300)
    return result


def _per_independent_value(power: Float64, window: Frames) -> Float64:
    """Return 1/n for n independent values: Σ_t (1 - |t|/T) ρ(t)^a/(3 T P) over lags of both signs, (mode,).

    Args:
        power: (lag, mode) ρ^a from lag 0 on.
        window: T frames of P chains.
    """
    n_time, n_chains = window.modes.shape[:2]
    taper = 1.0 - np.arange(len(power)) / n_time
    result: Float64 = np.maximum(2.0 * taper @ power - 1.0, 1.0) / (3.0 * n_time * n_chains)
    return result


def _md_variance_error(correlation: Autocorrelation, window: Frames, squares: Float64, ratio: Float64) -> Float64:
    """Return the relative error of MD's variance: Bartlett's (2 σ⁴/n, n from ρ²), or that over chains if larger.

    The first refers to the generated variance where that is the larger one: MD's own would be small just where it
    came out too small by chance.
    """
    groups = correlation.by_group[:, 0]
    over_chains = groups.std(axis=0, ddof=min(1, len(groups) - 1)) / np.sqrt(len(groups))
    relative = over_chains / np.maximum(correlation.variance, 1e-300)
    bartlett = np.sqrt(2.0 * _per_independent_value(squares, window)) * np.maximum(ratio, 1.0)
    result: Float64 = np.maximum(bartlett, relative)
    return result


def _md_kurtosis(window: Frames, fourth_powers: Float64) -> tuple[Float64, Float64]:
    """Return <x⁴>/<x²>² per component, over chains; its error as for the normal one, 24/n with n from ρ⁴, or larger."""
    n_samples = 3.0 * len(window.modes)
    second, fourth = power_sums(window.modes)
    value, se = kurtosis(second / n_samples, fourth / n_samples)
    return value, np.fmax(se, np.sqrt(24.0 * _per_independent_value(fourth_powers, window)))


def generated_warnings(check: GeneratedCheck, remedy: str = "") -> list[str]:
    """Return a warning that names the modes whose generated ensemble is not that of the MD, by how much, what to do.

    Args:
        check: what was found.
        remedy: of the model's preset, for instance "use --preset default"; empty where it has none.
    """
    said = []
    if check.variance.off.any():
        i, modes = _worst(check.variance)
        said.append(f"variance of {modes} (mode {i + 1}: {1 + check.variance.deviation[i]:.2f} ± "
                    f"{check.variance.se[i]:.2f} of MD's)")  # fmt: skip
    if check.nacf.off.any():
        i, modes = _worst(check.nacf)
        said.append(f"NACF of {modes} (mode {i + 1}: off by {check.nacf.deviation[i]:+.2f} ± {check.nacf.se[i]:.2f} at "
                    f"lag {check.nacf_lag[i]})")  # fmt: skip
    if check.kurtosis.off.any():
        i, modes = _worst(check.kurtosis)
        said.append(f"kurtosis of {modes} (mode {i + 1}: {check.generated_kurtosis[0][i]:.2f}, MD's "
                    f"{check.md_kurtosis[0][i]:.2f} ± {check.kurtosis.se[i]:.2f})")  # fmt: skip
    if not said:
        return []
    advice = f"{remedy}, " if remedy else ""
    return [
        f"the generated ensemble is not that of its training frames: {'; '.join(said)}; D_generated and relaxation "
        f"times come from it, D does not: {advice}give more frames (--train-frames) or a longer --memory"
    ]


def _worst(found: Comparison) -> tuple[int, str]:
    """Return the mode that is off the furthest, from 0, and all that are off in words."""
    off = np.flatnonzero(found.off)
    modes = ", ".join(str(i + 1) for i in off)
    return int(off[np.argmax(np.abs(found.deviation[off]))]), f"{'mode' if len(off) == 1 else 'modes'} {modes}"
