"""What stopping at the first interval that is narrow enough does to D: hand-off policy ``converged``."""

from __future__ import annotations

import math

import numpy as np
from accuracy_scores import percent, score_estimates
from accuracy_streams import RouseMelt

from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.pipeline.learning import FRAMES_BETWEEN_FITS
from mlgle_lammps.records import Estimate


def benchmark_converged(melts: int, memory: int, n_modes: int, target: float = 0.1, most_frames: int = 2000) -> dict:
    """Print and return how D does on Rouse melts that are looked at as often as a run looks, and left when sharp.

    Args:
        melts: independent Rouse melts.
        memory: m, frames.
        n_modes: k.
        target: relative half-width of the interval at which MD stops.
        most_frames: where a melt is given up.
    """
    melt, looks = RouseMelt(), [memory + 1]
    while looks[-1] < most_frames:
        looks.append(math.ceil(looks[-1] * FRAMES_BETWEEN_FITS))
    stopped: list[tuple[int, Estimate]] = []
    for stream in melt.streams(melts, most_frames, n_modes):
        everything = slice(0, stream.n_frames)
        for n, moments in stream.moments_on_the_way(everything, memory, tuple(looks)).items():
            D = fit_gle(moments, stream.dt, "default", stream.spectrum).D
            if D.value > 0 and (D.ci95[1] - D.ci95[0]) / 2 <= target * D.value:
                stopped.append((n, D))
                break
    score = score_estimates([D for _, D in stopped], melt.D, 0.0)
    frames = float(np.mean([n for n, _ in stopped]))
    print(f"\n## Stopped at ±{100 * target:g}%: {score.n} of {melts} Rouse melts, {frames:.0f} frames on average")
    print("| bias | relative RMSE | claimed error | hold |\n|---|---|---|---|")
    print(f"| {percent(score)} | {100 * score.mean_se:.1f} | {score.held}/{score.n} |")
    return {"frames": frames, "bias": score.bias, "rmse": score.rmse, "held": score.held, "n": score.n}
