"""What a run should warn of: each line says what was found and what to do. Where nothing is wrong there is none.

A warning needs both: an effect large enough to matter, and one beyond chance. Lines that merely tell how the numbers
were obtained are notes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlgle_lammps.observe.cross_correlation import cross_correlation, cross_correlation_warnings
from mlgle_lammps.observe.equilibrium import equilibrium_warnings, size_trend
from mlgle_lammps.observe.sampling import ballistic_warnings, drift_warnings, short_time_exponent, system_drift
from mlgle_lammps.records import Frames, GleFit
from mlgle_lammps.statistics.correlation import Autocorrelation
from mlgle_lammps.statistics.errors import NORMAL, interval_factor
from mlgle_lammps.statistics.moments import Moments

FEW_CHAINS = 10
ANSATZ_LEVEL = 0.01
WIDE = 0.25
MEMORY_DECAY = 0.2
HALF = (0.4, 0.6)  # of the frames: where the fit that the last one is compared with is looked for
MOVED = 3.0  # standard errors


def fit_warnings(fit: GleFit, moments: Moments) -> list[str]:
    """Return warnings about the fit of D."""
    lines = []
    if moments.n_chains < FEW_CHAINS:
        lines.append(
            f"only {moments.n_chains} chains: their intervals are rough; simulate more chains or pool runs by replay"
        )
    if fit.dof > 0 and not math.isnan(fit.p) and fit.p < ANSATZ_LEVEL:
        lines.append(
            f"the GLE ansatz does not describe the MSD at lags {fit.lags[0]}..{fit.lags[-1]} frames "
            f"(chi-square {fit.chi2:.1f} for {fit.dof}, p = {fit.p:.1g}): raise --memory, and compare with --full-md"
        )
    half = (fit.D.ci95[1] - fit.D.ci95[0]) / 2
    if fit.D.value <= 0:
        lines.append("the fitted D is not positive: more frames are needed (--train-frames, --val-frames)")
    elif half > WIDE * fit.D.value:
        lines.append(
            f"D's interval is ±{100 * half / fit.D.value:.0f}%: not converged; give more frames or more chains"
        )
    return lines


def fit_notes(fit: GleFit, moments: Moments) -> list[str]:
    """Return what a reader of D should know though nothing is wrong."""
    lines = []
    if fit.beta_sq < 0:
        lines.append("beta^2 came out negative and is 0 in the generator: no subdiffusion tied to the modes was found")
    if moments.center_held:
        lines.append(
            "fixes hold the system's centre of mass in place; it would diffuse, since momentum is not conserved: MSDs "
            f"were multiplied by {_centre_factor(moments)}"
        )
    elif moments.center_diffuses:
        lines.append(
            "the system's centre of mass diffuses (momentum is not conserved, or chains were left out): its motion was "
            f"removed and MSDs multiplied by {_centre_factor(moments)}"
        )
    return lines


def _centre_factor(moments: Moments) -> str:
    """Return in words what the removal of the system's centre is made good by."""
    if moments.lag_factors is None:
        return f"P/(P-1) = {moments.n_chains / (moments.n_chains - 1):.4f}"
    return f"{moments.lag_factors[-1]:.4f} at t_max, for each molecule's share of the mass"


def convergence_warnings(fits: Sequence[GleFit]) -> list[str]:
    """Return a warning where D moved by more than chance allows since half of the frames.

    Logarithms are compared, whose errors are those of D over D: a D that happened to come out small has a small error
    too. The frames of the earlier fit are part of the later one's, so that the variance of the change is the difference
    of the two, se_half² - se²; at least half of se_half² is taken, since errors are themselves uncertain. Both are
    widened as the earlier fit's Student interval is.

    Args:
        fits: in the order of their frames; without one at about half the frames of the last there is no warning.
    """
    if not fits:
        return []
    last = fits[-1]
    near_half = [fit for fit in fits if HALF[0] <= fit.n_frames / last.n_frames <= HALF[1]]
    early = [fit for fit in near_half if fit.D.value > 0 and fit.D.se > 0]
    if not early or last.D.value <= 0:
        return []
    half = min(early, key=lambda fit: abs(fit.n_frames - last.n_frames / 2))
    widen = interval_factor(half.D) / NORMAL
    variance = (half.D.se / half.D.value) ** 2
    change_se = widen * math.sqrt(max(variance - (last.D.se / last.D.value) ** 2, variance / 2))
    change = math.log(last.D.value / half.D.value)
    if not abs(change) > MOVED * change_se:
        return []
    return [
        f"D moved from {half.D.value:.3g} at {half.n_frames} frames to {last.D.value:.3g} at {last.n_frames}, "
        f"{abs(change) / change_se:.1f} standard errors of such a change: not converged or not stationary; give more "
        "frames and equilibrate longer"
    ]


def stream_warnings(
    window: Frames, correlation: Autocorrelation, n_beads: int | None, longest_lag: int, linear: bool = True
) -> list[str]:
    """Return warnings about the frames themselves: their spacing, drift, modes that move together, equilibrium.

    Args:
        window: the frames.
        correlation: NACF of their modes.
        n_beads: N, None where unknown.
        longest_lag: t_max in frames.
        linear: whether the molecules are linear chains.
    """
    lines: list[str] = []
    if (exponent := short_time_exponent(window)) is not None:
        lines += ballistic_warnings(exponent)
    if (drift := system_drift(window, longest_lag)) is not None:
        lines += drift_warnings(drift)
    if (trend := size_trend(window, n_beads, linear)) is not None:
        lines += equilibrium_warnings(trend)
    return lines + cross_correlation_warnings(cross_correlation(window, correlation))


def memory_warnings(moments: Moments) -> list[str]:
    """Return warnings about t_max, the longest lag of ``moments``: the papers want mode 1 down by about 20% there."""
    if not moments.msd_modes.shape[1] or moments.mode_variance[0] <= 0:
        return []
    decay = float(moments.msd_modes[-1, 0] / (2.0 * moments.mode_variance[0]))
    if decay >= MEMORY_DECAY:
        return []
    return [
        f"mode 1 has lost only {100 * decay:.0f}% of its correlation at t_max ({moments.lags[-1]} frames); about "
        f"{100 * MEMORY_DECAY:.0f}% or more is wanted: raise --memory or --every"
    ]
