"""What no estimator of D can go below: the Cramér-Rao bound for centres that move as the GLE says.

    python benchmarks/accuracy_floor.py benchmarks/references/*.npz [--frames 200 400 800 1000 1600]

The centres' steps are taken as a normal process with MSD_X = α² t + β² Σ_p MSD_zp, the modes that the default form sums
and their curves as known, α² and β² as fitted to the whole record; the Fisher information of all frames, chains and
directions gives the least standard error of an unbiased D, times the square root of the design effect of the box. The
second column leaves free what the ansatz does not know of at the shortest lags, a motion that is over within one
frame: about what the fit's allowance there means.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.linalg import cho_factor, cho_solve, toeplitz

from mlgle_lammps.chains.spectrum import linear_spectrum
from mlgle_lammps.diffusion.gle_fit import fit_gle, saturating_msd
from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.moments import Moments

LONGEST_LAG = 256


def moments_in(path: Path) -> tuple[Moments, int]:
    """Return what reference_moments.py wrote, and N (0 where unknown)."""
    kept = np.load(path)
    same = ("lags", "counts", "msd_com", "msd_modes", "mode_variance")
    moments = Moments(
        **{name: kept[name] for name in same}, msd_com_chain=np.empty((len(kept["lags"]), 0)),
        design_effect=float(kept["design_effect"]), design_dof=float(kept["design_dof"]),
        center_diffuses=bool(kept["center_diffuses"]), n_chains=int(kept["n_chains"]), n_frames=int(kept["n_frames"]),
        segment_lengths=tuple(kept["segment_lengths"].tolist()),
    )  # fmt: skip
    return moments, int(kept["n_beads"])


def step_covariances(msd: Float64) -> Float64:
    """Return the autocovariance of steps at lags 0..n-1 from a MSD at lags 0..n."""
    whole = np.concatenate([msd[1:2], msd])
    return 0.5 * (whole[2:] + whole[:-2] - 2 * whole[1:-1])


def least_error(parts: list[Float64], values: list[float], n_series: float) -> float:
    """Return the Cramér-Rao bound of the first coefficient.

    Args:
        parts: (lag,) each MSD that a coefficient multiplies, at lags 0..n.
        values: of the coefficients.
        n_series: independent series of n steps.
    """
    each = [toeplitz(step_covariances(part)) for part in parts]
    factor = cho_factor(sum(v * own for v, own in zip(values, each, strict=True)))
    solved = [cho_solve(factor, own) for own in each]
    information = 0.5 * n_series * np.array([[np.sum(a * b.T) for b in solved] for a in solved])
    return float(np.sqrt(np.linalg.inv(information)[0, 0]))


def floors(moments: Moments, n_beads: int, n_frames: int) -> tuple[float, float]:
    """Return the least relative errors of D from ``n_frames`` frames, the second with the shortest lags left free."""
    spectrum = linear_spectrum(n_beads or moments.msd_modes.shape[1] + 1)
    fit = fit_gle(moments, 1.0, "default", spectrum)
    time = np.arange(n_frames, dtype=float)
    shape = np.sum(
        [saturating_msd(time, moments.lags, moments.msd_modes[:, p - 1], moments.mode_variance[p - 1])
         for p in fit.modes], axis=0,
    )  # fmt: skip
    parts, values = [time, shape, (time > 0).astype(float)], [fit.alpha_sq, fit.beta_sq, 1e-9 * fit.alpha_sq]
    n_series = 3 * (moments.n_chains - 1) / moments.design_effect
    known, free = (least_error(parts[:n], values[:n], n_series) / fit.alpha_sq for n in (2, 3))
    return known, free


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("references", type=Path, nargs="+", help="what reference_moments.py wrote")
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 400, 800, 1000, 1600])
    options = parser.parse_args()
    print("| melt | frames | least error of D, % | with the shortest lags left free, % |\n|---|---|---|---|")
    for path in options.references:
        moments, n_beads = moments_in(path)
        moments = moments.at_lags(moments.lags <= LONGEST_LAG)
        for n_frames in options.frames:
            known, free = floors(moments, n_beads, n_frames)
            print(f"| {path.stem} | {n_frames} | {100 * known:.2f} | {100 * free:.2f} |", flush=True)


if __name__ == "__main__":
    main()
