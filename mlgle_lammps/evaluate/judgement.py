"""Whether a stream is that of MD: its modes within MD's own scatter, or off by more than matters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlgle_lammps.evaluate.mode_differences import Differences, ModeDifferences, mode_differences
from mlgle_lammps.evaluate.stream_statistics import StreamSummary, summarize_window
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Float64, Frames
from mlgle_lammps.statistics.correlation import Autocorrelation
from mlgle_lammps.statistics.errors import student_limit

LEAST = {"variance": 0.15, "nacf": 0.1, "kurtosis": 1.0}
"""Deviations that matter: of the variance's ratio to 1, of the NACF, of <x⁴>/<x²>² (3 for a normal x)."""
SIGNIFICANT = 4.5  # standard errors; twelve modes with many lags are looked at together


@dataclass(frozen=True)
class Judged:
    """One quantity of all modes against MD's.

    Attributes:
        deviation: (mode,) of the stream's value from MD's.
        se: (mode,) its standard error, MD's own scatter included.
        off: (mode,) whether it is large and significant.
    """

    deviation: Float64
    se: Float64
    off: NDArray[np.bool_]


@dataclass(frozen=True)
class Judgement:
    """What the comparison of a stream's modes with those of MD found.

    Attributes:
        variance: of the ratio stream/MD from 1.
        nacf: the largest over all lags; where it is off, at the lag where it exceeds what is allowed the most.
        nacf_lag: (mode,) that lag in frames.
        kurtosis: of <x⁴>/<x²>² per component.
        stream_kurtosis: (mode,) with its error.
        md_kurtosis: (mode,) with its error.
    """

    variance: Judged
    nacf: Judged
    nacf_lag: NDArray[np.int64]
    kurtosis: Judged
    stream_kurtosis: tuple[Float64, Float64]
    md_kurtosis: tuple[Float64, Float64]

    @property
    def modes_off(self) -> tuple[int, ...]:
        """Modes, counted from 1, of which some quantity is off."""
        off = self.variance.off | self.nacf.off | self.kurtosis.off
        return tuple(int(mode) + 1 for mode in np.flatnonzero(off))

    def summary(self) -> JsonObject:
        """Return what result.json says of the stream as a whole."""
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
            "kurtosis": float(self.stream_kurtosis[0][i]),
            "kurtosis_se": float(self.stream_kurtosis[1][i]),
            "md_kurtosis": float(self.md_kurtosis[0][i]),
            "md_kurtosis_se": float(self.md_kurtosis[1][i]),
        }

    def words(self) -> list[str]:
        """Return what is off, of which modes and by how much; nothing where nothing is."""
        said = []
        if self.variance.off.any():
            i, modes = _worst(self.variance)
            said.append(f"variance of {modes} (mode {i + 1}: {1 + self.variance.deviation[i]:.2f} ± "
                        f"{self.variance.se[i]:.2f} of MD's)")  # fmt: skip
        if self.nacf.off.any():
            i, modes = _worst(self.nacf)
            said.append(f"NACF of {modes} (mode {i + 1}: off by {self.nacf.deviation[i]:+.2f} ± {self.nacf.se[i]:.2f} "
                        f"at lag {self.nacf_lag[i]})")  # fmt: skip
        if self.kurtosis.off.any():
            i, modes = _worst(self.kurtosis)
            said.append(f"kurtosis of {modes} (mode {i + 1}: {self.stream_kurtosis[0][i]:.2f}, MD's "
                        f"{self.md_kurtosis[0][i]:.2f} ± {self.kurtosis.se[i]:.2f})")  # fmt: skip
        return said


def _worst(found: Judged) -> tuple[int, str]:
    """Return the mode that is off the furthest, from 0, and all that are off in words."""
    off = np.flatnonzero(found.off)
    modes = ", ".join(str(i + 1) for i in off)
    return int(off[np.argmax(np.abs(found.deviation[off]))]), f"{'mode' if len(off) == 1 else 'modes'} {modes}"


def excess(value: Float64, se: Float64, least: float, dof: float = np.inf) -> Float64:
    """Return by how much deviations are beyond what matters and what chance allows; above 0 where they are off.

    Args:
        value: deviations.
        se: their standard errors.
        least: deviation that matters.
        dof: degrees of freedom of the errors.
    """
    result: Float64 = np.abs(value) - np.maximum(least, student_limit(SIGNIFICANT, dof) * se)
    return result


def judge(found: ModeDifferences) -> Judgement:
    """Return which differences are both large enough to matter and beyond what the scatter of MD allows."""
    value, se = found.nacf.value, found.nacf.se
    beyond = excess(value, se, LEAST["nacf"])
    off: NDArray[np.bool_] = np.any(beyond > 0, axis=0)
    lag = np.where(off, beyond.argmax(axis=0), np.abs(value).argmax(axis=0))
    mode = np.arange(len(lag))
    return Judgement(
        variance=_judge("variance", found.variance),
        nacf=Judged(value[lag, mode], se[lag, mode], off),
        nacf_lag=lag,
        kurtosis=_judge("kurtosis", found.kurtosis),
        stream_kurtosis=found.stream_kurtosis,
        md_kurtosis=found.reference_kurtosis,
    )


def _judge(name: str, found: Differences) -> Judged:
    return Judged(found.value, found.se, excess(found.value, found.se, LEAST[name]) > 0)


def judge_against_window(summary: StreamSummary, window: Frames, correlation: Autocorrelation) -> Judgement:
    """Judge a stream by the frames that its maker learned from.

    Args:
        summary: of the stream.
        window: the training frames.
        correlation: NACF and variance of these frames; its lags, half the window, are compared.
    """
    return judge(mode_differences(summary.modes, summarize_window(window, correlation)))


def judgement_warnings(judgement: Judgement, remedy: str = "") -> list[str]:
    """Return a warning that names the modes whose ensemble is not that of its training frames, by how much, what to do.

    Args:
        judgement: of the ensemble.
        remedy: of the surrogate's variant, such as "use --preset default"; empty where it has none.
    """
    said = judgement.words()
    if not said:
        return []
    advice = f"{remedy}, " if remedy else ""
    return [
        f"the generated ensemble is not that of its training frames: {'; '.join(said)}; D_generated and relaxation "
        f"times come from it, D does not: {advice}give more frames (--train-frames) or a longer --memory"
    ]
