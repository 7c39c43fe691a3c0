"""Viscosity by the modes' route from short pieces of a run, against the whole run's Green-Kubo: bias and coverage.

    python benchmarks/accuracy_viscosity.py RUN [--frames 1600] [--temperature T]

RUN is the folder of a `run --stress STEPS`. Pieces are disjoint. The reference is ∫ G dt of the pressure tensor over
all steps, which no piece knows of; beside it the modes' own value from the whole record. G(t) of both is printed too.
Intervals are widened by the reference's own error.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mlgle_lammps.evaluate.properties import Properties, add_stress, gather
from mlgle_lammps.evaluate.run_properties import NO_STRESS, RunProperties, properties_of
from mlgle_lammps.evaluate.trajectories import read_trajectory
from mlgle_lammps.options.properties import PropertiesOptions
from mlgle_lammps.records import Estimate
from mlgle_lammps.statistics.errors import NORMAL

AT = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
"""Times of G, in frames."""


def pieces(run: Path, whole: RunProperties, frames: int) -> list[Estimate | None]:
    """Return the modes' viscosity of disjoint pieces; None where modes have not relaxed within one."""
    if whole.scales is None:
        raise SystemExit("no viscosity: temperature or volume is not known")
    found: list[Estimate | None] = []
    for start in range(0, whole.trajectory.n_frames - frames + 1, frames):
        own = Properties()
        add_stress(own, gather(read_trajectory(run, start, start + frames)), whole.scales, None, NO_STRESS, "")
        found.append(own.numbers.get("viscosity_modes"))
    return found


def judged(found: list[Estimate | None], value: float, se: float) -> str:
    """Return one line: bias, scatter, stated error and how many intervals hold a value."""
    known = [own for own in found if own is not None]
    ratios = np.array([own.value for own in known]) / value
    stated = np.mean([own.se for own in known]) / value
    error = np.hypot(ratios.std(ddof=1) / len(known) ** 0.5, se / value)
    halves = [np.hypot((own.ci95[1] - own.ci95[0]) / 2, NORMAL * se) for own in known]
    held = sum(abs(own.value - value) <= half for own, half in zip(known, halves, strict=True))
    return (
        f"{len(known)} of {len(found)} pieces: {100 * (ratios.mean() - 1):+.1f} ± {100 * error:.1f}%, "
        f"scatter {100 * ratios.std(ddof=1):.1f}%, stated {100 * stated:.1f}%, {held} of {len(known)} hold"
    )


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--frames", type=int, default=1600)
    parser.add_argument("--temperature", type=float)
    asked = parser.parse_args()
    whole = properties_of(PropertiesOptions(asked.run, temperature=asked.temperature))
    numbers = whole.found.numbers
    for name in ("viscosity_modes", "viscosity_green_kubo", "viscosity_joined"):
        own = numbers.get(name)
        reason = whole.found.reasons.get(name)
        print(f"{name}: {own.value:.4g} ± {own.se:.2g} {whole.found.units[name]}" if own else f"{name}: {reason}")
    found = pieces(asked.run, whole, asked.frames)
    for name in ("viscosity_modes", "viscosity_green_kubo"):
        if name in numbers:
            print(f"against the whole record's {name}: {judged(found, numbers[name].value, numbers[name].se)}")
    if whole.stress is None or whole.stress.green_kubo is None or whole.scales is None:
        return
    modes, green_kubo, dt = whole.stress.modes, whole.stress.green_kubo, whole.trajectory.system.dt
    print("| t | modes | Green-Kubo | modes / Green-Kubo |\n|---|---|---|---|")
    for time in (share * dt for share in AT):
        k, j = (int(np.argmin(np.abs(times - time))) for times in (whole.stress.times, green_kubo.times))
        a, b = modes.value[k], green_kubo.G.value[j]
        error = abs(a / b) * np.hypot(modes.se[k] / a, green_kubo.G.se[j] / b)
        print(
            f"| {green_kubo.times[j]:.4g} | {a:.4g} | {b:.4g} ± {green_kubo.G.se[j]:.2g} | {a / b:.3f} ± {error:.3f} |"
        )


if __name__ == "__main__":
    main()
