"""The modes of one stream against those of another: differences of variance, NACF and kurtosis with their errors.

The other, the reference, is MD: its frames are few, so that its own numbers scatter, and the scatter of so few chains
is no safe error of them. The larger of that and what theory says of a normal process of the same NACF is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.evaluate.stream_statistics import ModeSummary
from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.correlation import melard_roy_error
from mlgle_lammps.statistics.errors import jackknife_error, left_out_means


@dataclass(frozen=True)
class Differences:
    """One quantity of all modes, the stream's less the reference's.

    Attributes:
        value: (mode,), or (lag, mode) of the NACF.
        se: its standard error, same shape, the reference's own scatter included.
    """

    value: Float64
    se: Float64


@dataclass(frozen=True)
class ModeDifferences:
    """What tells the modes of a stream from those of the reference.

    Attributes:
        variance: of the ratio stream/reference from 1.
        nacf: at all lags that both have.
        kurtosis: of <x⁴>/<x²>² per component.
        stream_kurtosis: (mode,) value and error.
        reference_kurtosis: (mode,) likewise.
    """

    variance: Differences
    nacf: Differences
    kurtosis: Differences
    stream_kurtosis: tuple[Float64, Float64]
    reference_kurtosis: tuple[Float64, Float64]


def mode_differences(stream: ModeSummary, reference: ModeSummary, scarce: bool = False) -> ModeDifferences:
    """Return the differences in the modes that both have; frames must lie equally far apart.

    Args:
        stream: of any frames.
        reference: of MD.
        scarce: whether the stream, too, has so few frames or chains that their scatter is no safe error.

    Limit: for two streams of the same law all are zero within their errors; NaN where the reference's mode is at rest.
    """
    k = min(len(stream.variance), len(reference.variance))
    stream, reference = stream.first_modes(k), reference.first_modes(k)
    own, other = stream.correlation, reference.correlation
    n_lags = min(len(own.nacf), len(other.nacf))
    larger = np.maximum(np.abs(own.nacf[:n_lags]), np.abs(other.nacf[:n_lags]))
    nacf_se = np.hypot(
        _nacf_error(larger, stream.segment_lengths, stream.n_correlated, stream.n_dimensions),
        _nacf_error(larger, reference.segment_lengths, reference.n_chains, reference.n_dimensions),
    )
    moves = np.where(other.variance > 0, 1.0, np.nan)  # a mode at rest is nothing to hold another against
    ratio = moves * stream.variance / np.where(other.variance > 0, other.variance, 1.0)
    own_error = stream.variance_se / np.maximum(stream.variance, 1e-300)
    own_kurtosis_se = stream.kurtosis_se
    if scarce:
        own_error = np.maximum(own_error, np.sqrt(2.0 * _per_independent_value(larger**2, stream)))
        own_kurtosis_se = _safe_kurtosis_error(stream, larger**4)
    md_kurtosis_se = _safe_kurtosis_error(reference, larger**4)
    return ModeDifferences(
        variance=Differences(ratio - 1.0, ratio * np.hypot(_variance_error(reference, larger**2, ratio), own_error)),
        nacf=Differences(moves * (own.nacf[:n_lags] - other.nacf[:n_lags]), nacf_se),
        kurtosis=Differences(stream.kurtosis - reference.kurtosis, np.hypot(own_kurtosis_se, md_kurtosis_se)),
        stream_kurtosis=(stream.kurtosis, own_kurtosis_se),
        reference_kurtosis=(reference.kurtosis, md_kurtosis_se),
    )


def _nacf_error(nacf: Float64, lengths: Sequence[int], n_series: int, n_dimensions: int) -> Float64:
    """Return Mélard and Roy's error (JCP eq. 34), widened where a lag has fewer pairs of frames than there are frames.

    Args:
        nacf: (lag, mode).
        lengths: frames in each uninterrupted piece.
        n_series: chains or trajectories.
        n_dimensions: d of each.
    """
    pieces = np.asarray(lengths)
    n_pairs = np.maximum(pieces[:, None] - np.arange(len(nacf)), 0).sum(axis=0)
    error: Float64 = melard_roy_error(nacf, int(pieces.sum()), n_series, n_dimensions)
    return error * np.sqrt(pieces.sum() / n_pairs)[:, None]


def _per_independent_value(power: Float64, stream: ModeSummary) -> Float64:
    """Return 1/n for n independent values: Σ_t (1 - |t|/T) ρ(t)^a/(d T P) over lags of both signs, (mode,).

    Args:
        power: (lag, mode) ρ^a from lag 0 on.
        stream: T frames of P chains.
    """
    n_time, n_chains = stream.n_frames, stream.n_chains
    taper = 1.0 - np.arange(len(power)) / n_time
    result: Float64 = np.maximum(2.0 * taper @ power - 1.0, 1.0) / (float(stream.n_dimensions) * n_time * n_chains)
    return result


def _variance_error(md: ModeSummary, squares: Float64, ratio: Float64) -> Float64:
    """Return the relative error of MD's variance: Bartlett's (2 σ⁴/n, n from ρ²), or that over chains if larger.

    The first refers to the other stream's variance where that is the larger one: MD's own would be small just where it
    came out too small by chance.
    """
    groups, sizes = md.correlation.by_group[:, 0], md.correlation.group_sizes
    over_chains = jackknife_error(left_out_means(groups, sizes), sizes, md.correlation.variance)
    relative = np.nan_to_num(over_chains) / np.maximum(md.correlation.variance, 1e-300)
    bartlett = np.sqrt(2.0 * _per_independent_value(squares, md)) * np.maximum(ratio, 1.0)
    result: Float64 = np.maximum(bartlett, relative)
    return result


def _safe_kurtosis_error(stream: ModeSummary, fourth_powers: Float64) -> Float64:
    """Return the error over chains, or that of the normal process, 24/n with n from ρ⁴, if larger; (mode,)."""
    result: Float64 = np.fmax(stream.kurtosis_se, np.sqrt(24.0 * _per_independent_value(fourth_powers, stream)))
    return result
