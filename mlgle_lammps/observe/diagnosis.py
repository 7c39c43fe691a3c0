"""What a run should warn of: each line says what was found and what to do."""

from __future__ import annotations

import math

import numpy as np

from mlgle_lammps.records import Float64, GleFit
from mlgle_lammps.statistics.moments import Moments

FEW_CHAINS = 10
ANSATZ_LEVEL = 0.01
WIDE = 0.25
MEMORY_DECAY = 0.2


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
    if fit.beta_sq < 0:
        lines.append("beta^2 came out negative and is 0 in the generator: no subdiffusion tied to the modes was found")
    if moments.center_diffuses:
        lines.append(
            "the system's centre of mass diffuses (momentum is not conserved, or chains were left out): its motion was "
            f"removed and MSDs multiplied by P/(P-1) = {moments.n_chains / (moments.n_chains - 1):.4f}"
        )
    return lines


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


def generated_warnings(ratio: Float64, ratio_se: Float64) -> list[str]:
    """Return warnings about modes whose generated stationary variance is far off the MD's."""
    off = [i + 1 for i in range(len(ratio)) if abs(ratio[i] - 1.0) > max(0.15, 4.0 * ratio_se[i])]
    if not off:
        return []
    worst = int(np.argmax(np.abs(ratio - 1.0)))
    return [
        f"generated variance differs from MD's by more than 15% for modes {', '.join(map(str, off))} "
        f"(mode {worst + 1}: ratio {ratio[worst]:.2f}): use generated trajectories of these modes with care"
    ]
