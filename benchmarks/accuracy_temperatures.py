"""D over temperatures from short records, alone, pooled, and foretold by the other ones, against long MD of each.

    python benchmarks/accuracy_temperatures.py 300=RUN 325=RUN .. [--frames 1600] [--memory 128]

RUN is the folder of a long `run --surrogate none`. D of its first frames is by the fit, and the pool is made of these
alone. The reference is the slope of the MSD over the whole record; z is of what the *others* foretell against that, and
against the temperature's own fit, which is sharper and of frames that the others have no part in.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.spectrum import spectrum_of
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.evaluate.properties import gather
from mlgle_lammps.evaluate.run_properties import properties_of
from mlgle_lammps.evaluate.temperature_pool import PooledRun, leave_one_out, pool_temperatures, pooled_sums
from mlgle_lammps.evaluate.trajectories import read_trajectory
from mlgle_lammps.options.properties import PropertiesOptions
from mlgle_lammps.records import Estimate
from mlgle_lammps.statistics.moments import MomentAccumulator


def short(run: Path, T: float, frames: int, memory: int) -> PooledRun:
    """Return what the first frames of a record bring to a pool, D by the fit among it."""
    trajectory = read_trajectory(run, 0, frames)
    system = trajectory.system
    moments = MomentAccumulator(system.n_chains, system.n_modes, memory)
    moments.add(trajectory.window())
    return pooled_sums(gather(trajectory), fit_gle(moments.moments(), system.dt, "default", spectrum_of(system)).D, T)


def reference(run: Path) -> tuple[Estimate | None, int]:
    """Return D by the slope of a whole record's MSD, and its frames."""
    whole = properties_of(PropertiesOptions(run))
    return whole.found.numbers.get("D"), whole.trajectory.n_frames


def apart(one: Estimate, other: Estimate) -> float:
    """Return the logarithm of the ratio of two independent estimates over its error."""
    return float(np.log(one.value / other.value) / np.hypot(one.se / one.value, other.se / other.value))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="T=RUN")
    parser.add_argument("--frames", type=int, default=1600)
    parser.add_argument("--memory", type=int, default=128)
    asked = parser.parse_args()
    if len(asked.runs) < 3:
        parser.error("three temperatures are needed: two foretell the third")
    named = sorted((float(T), Path(run)) for T, run in (own.split("=", 1) for own in asked.runs))
    runs = [short(run, T, asked.frames, asked.memory) for T, run in named]
    pool, told = pool_temperatures(runs), leave_one_out(runs)
    print(f"{asked.frames} frames each; a_T by {pool.law.name}; D a_T/v alike: χ² {pool.D_chi2:.2f} of {pool.D_dof}")
    print("| T | long MD | frames | alone | pooled | foretold by the others | z | z, own fit | alone: z | pooled: z |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (T, path), own, pooled, (_, foretold, _) in zip(named, runs, pool.D, told, strict=True):
        long, n_frames = reference(path)
        cells = [f"{each.value:.3e} ± {100 * each.se / each.value:.1f}%" for each in (own.D, pooled, foretold.D)]
        against_fit = apart(foretold.D, own.D)
        if long is None:
            print(f"| {T:g} | not normal | {n_frames} | {' | '.join(cells)} | | {against_fit:+.1f} | | |")
            continue
        z = [apart(each, long) for each in (foretold.D, own.D, pooled)]
        print(
            f"| {T:g} | {long.value:.3e} ± {100 * long.se / long.value:.1f}% | {n_frames} | {' | '.join(cells)} | "
            f"{z[0]:+.1f} | {against_fit:+.1f} | {z[1]:+.1f} | {z[2]:+.1f} |"
        )


if __name__ == "__main__":
    main()
