"""D of every species at 1000 frames against the slope of the whole record: bias, RMSE and coverage over segments.

    python benchmarks/accuracy_species.py RUN/modes.h5 [RUN/modes.h5 ..] [--frames 1000] [--memory 128]

Segments are disjoint. The reference is the slope of the MSD over all records at lags up to a quarter of the longest, by
generalized least squares; its own error is given, and is part of the bias's. Sums of the fit that symmetry does
not give stand beside (all modes up to λ = 2), where --sums asks for them.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.laplacian import SLOW
from mlgle_lammps.chains.spectrum import Spectrum, spectrum_of
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.pipeline.each_species import diffusion_of_species
from mlgle_lammps.records import CHAINS, Estimate, Frames, Species, System
from mlgle_lammps.statistics.correlation import autocorrelation, relaxation_times
from mlgle_lammps.statistics.errors import NORMAL
from mlgle_lammps.statistics.species_moments import SpeciesMoments
from mlgle_lammps.store.reader import FramesReader

SLOWEST = 4
"""Modes among which the slowest is."""


def reference(records: list[Frames], system: System, own: Species) -> Estimate | None:
    """Return D by the slope of one species' MSD over all records, the system's motion removed as `fits` removes it.

    The window begins 1.5 relaxation times of the slowest mode late: where less is left out, a straight line may fit by
    chance what is not normal yet.
    """
    longest = max(len(frames) for frames in records)
    moments = SpeciesMoments(system.species, dict.fromkeys((each.name for each in system.species), 0), longest // 4)
    for frames in records:
        moments.add(frames)
    slowest = 0.0
    if own.n_modes:
        modes = [frames.channels[own.name]["modes"][:, :, :SLOWEST] for frames in records]
        segments = np.concatenate([frames.segments for frames in records])
        correlation = autocorrelation(np.concatenate(modes), segments, longest // 2)
        slowest = max((time or longest for time in relaxation_times(correlation.nacf, 1.0)), default=0.0)
    return normal_diffusion(moments.moments(own.name), system.dt, slowest)


def fits(frames: Frames, system: System, memory: int, everything: bool) -> dict[str, Estimate | None]:
    """Return D of each species from one segment."""
    n_modes = {own.name: own.n_modes for own in system.species}
    moments = SpeciesMoments(system.species, n_modes, memory)
    moments.add(frames)
    main = fit_gle(moments.moments(), system.dt, "default", spectrum_of(system))
    found = {each.name: each.D for each in diffusion_of_species(moments, system, n_modes, "default", main)}
    if everything:
        for each in system.species:
            spectrum = spectrum_of(each)
            if each.n_modes and spectrum is not None:
                name = system.main_name if each.name == CHAINS else each.name
                slow = tuple(bool(value <= SLOW + 1e-9) for value in spectrum.eigenvalues)
                of_all = Spectrum(spectrum.eigenvalues, slow)
                found[f"{name}, all modes to λ = 2"] = fit_gle(
                    moments.moments(each.name), system.dt, "default", of_all
                ).D
    return found


def read(path: Path, number: int) -> tuple[System, Frames]:
    """Return a record's system and its frames as one segment of that number."""
    with FramesReader(path) as reader:
        frames = reader.read(0, len(reader.steps))
        return reader.system, replace(frames, segments=np.full(len(frames), number, dtype=np.int64))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("streams", type=Path, nargs="+", help="runs of one deck, with seeds of their own")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--memory", type=int, default=128)
    parser.add_argument("--sums", action="store_true", help="also the sum over all modes")
    values = parser.parse_args()
    records = [read(path, number) for number, path in enumerate(values.streams)]
    system = records[0][0]
    rows: dict[str, list[Estimate]] = {}
    for _, frames in records:
        for start in range(0, len(frames) - values.frames + 1, values.frames):
            for name, D in fits(frames[start : start + values.frames], system, values.memory, values.sums).items():
                rows.setdefault(name, []).extend([D] if D is not None else [])
    known = {}
    for own in system.species:
        name = system.main_name if own.name == CHAINS else own.name
        known[name] = reference([frames for _, frames in records], system, own)
    total = sum(len(frames) for _, frames in records)
    print(f"{len(records)} records of {total} frames, segments of {values.frames}, {system.source}")
    print("| species | D by the slope | segments with D | bias / % | RMSE / % | stated se / % | coverage |")
    print("|---|---|---|---|---|---|---|")
    for name, found in rows.items():
        print(line(name, known[name.split(", all")[0]], found))


def line(name: str, exact: Estimate | None, found: list[Estimate]) -> str:
    """Return a row of the table."""
    if exact is None or len(found) < 2:
        return f"| {name} | {'not normal' if exact is None else f'{exact.value:.4g}'} | {len(found)} | | | | |"
    ratio = np.array([D.value / exact.value for D in found])
    held = [_holds(D, exact) for D in found]
    error = math.hypot(ratio.std(ddof=1) / math.sqrt(len(ratio)), exact.se / exact.value)
    stated = np.median([D.se / exact.value for D in found])
    return (
        f"| {name} | {exact.value:.4g} ± {exact.se:.2g} | {len(found)} | {100 * (ratio.mean() - 1):+.1f} ± "
        f"{100 * error:.1f} | {100 * math.sqrt(np.mean((ratio - 1) ** 2)):.1f} | {100 * stated:.1f} | "
        f"{sum(held)}/{len(held)} |"
    )


def _holds(D: Estimate, exact: Estimate) -> bool:
    """Return whether an interval holds the reference, widened by the reference's own error."""
    half = (D.ci95[1] - D.ci95[0]) / 2
    return abs(D.value - exact.value) <= math.hypot(half, NORMAL * exact.se)


if __name__ == "__main__":
    main()
