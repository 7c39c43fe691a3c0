"""Which shape the subdiffusive part of MSD_X has: forms of the sum over modes, fitted to the moments of long records.

    python benchmarks/reference_shapes.py benchmarks/references/*.npz [--longest 256]

Generalized least squares with the covariance of Gaussian paths and the design effect, without any allowance, from
several first lags on: the right form has a chi-square near its degrees of freedom, and a D that does not move with the
first lag. "+ constant" and "two coefficients" are nearly free of a form, and say what D the frames know.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from accuracy_floor import moments_in

from mlgle_lammps.diffusion import gle_fit
from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.moments import Moments
from mlgle_lammps.statistics.msd_covariance import generalized_least_squares

STARTS = (2, 3, 4, 8, 16)


def forms(moments: Moments) -> dict[str, list[Float64]]:
    """Return the columns of each form beside α² t, (lag,) each."""
    msd, variance = moments.msd_modes, moments.mode_variance
    p = np.arange(1, msd.shape[1] + 1)
    even = p % 2 == 0
    relaxed = 2 * variance * (1 - (1 - msd / (2 * variance)) ** 2)
    return {
        "all modes (published)": [msd.sum(axis=1)],
        "even modes (default)": [msd[:, even].sum(axis=1)],
        "even modes × p^-½": [(msd * even * p**-0.5) @ np.ones(len(p))],
        "even modes × p^½": [(msd * even * p**0.5) @ np.ones(len(p))],
        "even modes as stress relaxes": [relaxed[:, even].sum(axis=1)],
        "all modes as stress relaxes": [relaxed.sum(axis=1)],
        "mode 2, other even modes: two coefficients": [msd[:, 1], msd[:, 3::2].sum(axis=1)],
        "even modes + constant": [msd[:, even].sum(axis=1), np.ones(len(msd))],
    }


def main() -> None:
    """Print a table for each reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("references", type=Path, nargs="+", help="what reference_moments.py wrote")
    parser.add_argument("--longest", type=int, default=256, help="lag in frames")
    options = parser.parse_args()
    for path in options.references:
        moments, _ = moments_in(path)
        moments = moments.at_lags(moments.lags <= options.longest)
        dt = float(np.load(path)["dt"])
        even = replace(moments, msd_modes=moments.msd_modes[:, 1::2], mode_variance=moments.mode_variance[1::2])
        covariance = gle_fit._points(even, *gle_fit._rough_fit(even)).covariance
        print(f"\n{path.stem}: {moments.n_frames} frames, lags to {moments.lags[-1]}; D, chi-square/dof\n")
        print("| form | " + " | ".join(f"from lag {first}" for first in STARTS) + " |")
        print("|---" * (1 + len(STARTS)) + "|")
        for name, columns in forms(moments).items():
            cells = []
            for first in STARTS:
                used = moments.lags >= first
                design = np.stack([moments.lags.astype(float), *columns], axis=1)[used]
                found = generalized_least_squares(design, moments.msd_com[used], covariance[np.ix_(used, used)])
                D, se = found.values[0] / (2 * dt), found.errors[0] / (2 * dt)
                cells.append(f"{D:.4g} ± {se:.1g}, {found.chi2:.0f}/{found.dof}")
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
