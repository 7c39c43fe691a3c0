"""Which modes belong into the sum of the fit: bias, scatter and coverage of D over disjoint segments, against a slope.

    python benchmarks/accuracy_forms.py STREAM [--reference benchmarks/references/kg25_seed7301.npz]

reads the stream of a run's folder, a modes.h5 or an .npz once. Without a reference, D is the slope of the stream's own
late MSD, whose standard error is common to all rows. Where k is below N/2, modes beyond k are left out of both sums.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.records import Estimate, System
from mlgle_lammps.statistics.moments import MomentAccumulator, Moments
from mlgle_lammps.store.recorded import RecordedSource

LENGTHS = (200, 400, 800, 1000, 1600)
MEMORY, LONGEST_LAG = 128, 4096


def of_modes(moments: Moments, first: int, step: int) -> Moments:
    """Return the moments with modes first, first + step, .. only."""
    return replace(
        moments,
        msd_modes=moments.msd_modes[:, first - 1 :: step],
        mode_variance=moments.mode_variance[first - 1 :: step],
    )


FORMS: dict[str, Callable[[Moments, float], Estimate]] = {
    "all modes": lambda moments, dt: fit_gle(moments, dt).D,
    "even modes": lambda moments, dt: fit_gle(of_modes(moments, 2, 2), dt).D,
    "published": lambda moments, dt: fit_gle(moments, dt, "published").D,
}


def moments_of_segments(path: Path) -> tuple[System, dict[int, list[Moments]], Moments]:
    """Return the moments of disjoint segments by length, and those of the whole record at longer lags."""
    source = RecordedSource([path])
    source.hand_off()
    system = source.system

    def fresh(longest: int, lags_per_octave: int) -> MomentAccumulator:
        return MomentAccumulator(system.n_chains, system.n_modes, longest, lags_per_octave, system.center_held)

    whole, running = fresh(LONGEST_LAG, 4), {length: fresh(MEMORY, 2) for length in LENGTHS}
    found: dict[int, list[Moments]] = {length: [] for length in LENGTHS}
    for frame in source:
        whole.add(frame)
        for length, accumulator in running.items():
            accumulator.add(frame)
            if accumulator.n_frames >= length:
                found[length].append(accumulator.moments())
                running[length] = fresh(MEMORY, 2)
    return system, found, whole.moments()


def row(estimates: list[Estimate], reference: float) -> str:
    """Return bias, scatter, RMSE and the method's own error in per cent, and how many intervals hold."""
    D = np.array([e.value for e in estimates]) / reference
    held = sum(e.ci95[0] <= reference <= e.ci95[1] for e in estimates)
    claims = 100 * np.mean([e.se for e in estimates]) / reference
    scatter = 100 * D.std(ddof=1) if len(D) > 1 else np.nan
    return (
        f"| {100 * (D.mean() - 1):+.1f} ± {scatter / np.sqrt(len(D)):.1f} | {scatter:.1f} "
        f"| {100 * np.sqrt(np.mean((D - 1) ** 2)):.1f} | {claims:.1f} | {held}/{len(D)} |"
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", type=Path)
    parser.add_argument("--reference", type=Path, help="what reference_moments.py wrote of a longer run")
    parser.add_argument("--relaxation", type=float, default=0.0, help="of mode 1 in frames, for the stream's own slope")
    options = parser.parse_args()
    system, segments, whole = moments_of_segments(options.stream)
    if options.reference is not None:
        kept = np.load(options.reference)
        D, se = float(kept["D"]), float(kept["D_se"])
    else:
        slope = normal_diffusion(whole, system.dt, options.relaxation)
        if slope is None:
            raise SystemExit(f"{options.stream}: too short for a slope; give --reference")
        D, se = slope.value, slope.se
    print(f"{options.stream}: {whole.n_frames} frames, reference D = {D:.5g} ± {se:.2g} ({100 * se / D:.1f}%)\n")
    print("| frames | sum over | bias | scatter | RMSE | claims | hold |\n|---|---|---|---|---|---|---|")
    for length, found in segments.items():
        for name, fit in FORMS.items():
            if found:
                print(f"| {length} | {name} {row([fit(moments, system.dt) for moments in found], D)}", flush=True)


if __name__ == "__main__":
    main()
