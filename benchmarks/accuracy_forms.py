"""Which modes belong into the sum of the fit: bias, scatter and coverage of D over disjoint segments, against a slope.

    python benchmarks/accuracy_forms.py STREAM [--reference benchmarks/references/kg25_seed7301.npz]

reads the stream of a run's folder, a modes.h5 or an .npz once. Without a reference, D is the slope of the stream's own
late MSD, whose standard error is common to all rows. With --rouse 400 instead of a stream: melts whose D is known.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.rouse import RouseSource, rouse_diffusion
from mlgle_lammps.chains.spectrum import Spectrum, linear_spectrum
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.records import Estimate, FrameSource
from mlgle_lammps.statistics.moments import MomentAccumulator, Moments
from mlgle_lammps.store.recorded import RecordedSource

LENGTHS = (200, 400, 800, 1000, 1600)
MEMORY, LONGEST_LAG = 128, 4096
ROUSE_DT = 0.135  # of the time in which a bead moves by a bond's length: mode 1 lives some 100 frames


Fit = Callable[[Moments, float, Spectrum], Estimate]
FORMS: dict[str, Fit] = {
    "even modes (default)": lambda moments, dt, own: fit_gle(moments, dt, "default", own).D,
    "all modes": lambda moments, dt, own: fit_gle(moments, dt, "default", every_mode(own)).D,
    "published": lambda moments, dt, own: fit_gle(moments, dt, "published").D,
}


def every_mode(own: Spectrum) -> Spectrum:
    """Return a spectrum as of a molecule without symmetry."""
    return replace(own, invariant=(True,) * len(own.invariant))


def moments_of_segments(source: FrameSource) -> tuple[dict[int, list[Moments]], Moments]:
    """Return the moments of disjoint segments by length, and those of the whole record at longer lags."""
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
    return found, whole.moments()


def rouse_melts(n_melts: int) -> dict[int, list[Moments]]:
    """Return the moments of the first frames of independent Rouse melts, by length."""
    found: dict[int, list[Moments]] = {length: [] for length in LENGTHS}
    for seed in range(n_melts):
        accumulator = MomentAccumulator(20, 12, MEMORY)
        for n_frames, frame in enumerate(RouseSource(20, 20, 12, LENGTHS[-1], ROUSE_DT, seed), start=1):
            accumulator.add(frame)
            if n_frames in found:
                found[n_frames].append(accumulator.moments())
    return found


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
    parser.add_argument("stream", type=Path, nargs="?", help="none where --rouse is given")
    parser.add_argument("--beads", type=int, help="N, where the stream does not say")
    parser.add_argument("--reference", type=Path, help="what reference_moments.py wrote of a longer run")
    parser.add_argument("--relaxation", type=float, default=0.0, help="of mode 1 in frames, for the stream's own slope")
    parser.add_argument("--rouse", type=int, help="so many Rouse melts of 20 × 20 beads, whose D is known")
    options = parser.parse_args()
    if options.rouse:
        segments, D, se, dt, own = rouse_melts(options.rouse), rouse_diffusion(20), 0.0, ROUSE_DT, linear_spectrum(20)
    else:
        source = RecordedSource([options.stream])
        source.hand_off()
        segments, whole = moments_of_segments(source)
        dt, n_beads = source.system.dt, options.beads or source.system.n_beads
        if n_beads is None:
            raise SystemExit(f"{options.stream}: say how many beads chains have, --beads")
        own = linear_spectrum(n_beads)
        D, se = reference(options, whole, dt)
    print(f"{options.stream or 'Rouse melts'}: reference D = {D:.5g} ± {se:.2g} ({100 * se / D:.1f}%)\n")
    print("| frames | sum over | bias | scatter | RMSE | claims | hold |\n|---|---|---|---|---|---|---|")
    for length, found in segments.items():
        for name, fit in FORMS.items():
            if found:
                print(f"| {length} | {name} {row([fit(moments, dt, own) for moments in found], D)}", flush=True)


def reference(options: argparse.Namespace, whole: Moments, dt: float) -> tuple[float, float]:
    """Return D taken for true and its standard error."""
    if options.reference is not None:
        kept = np.load(options.reference)
        return float(kept["D"]), float(kept["D_se"])
    slope = normal_diffusion(whole, dt, options.relaxation)
    if slope is None:
        raise SystemExit(f"{options.stream}: too short for a slope; give --reference")
    return slope.value, slope.se


if __name__ == "__main__":
    main()
