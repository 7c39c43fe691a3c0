"""D of the same melt in boxes of several sizes, beside the term of Yeh and Hummer for a simple liquid.

    python benchmarks/accuracy_box.py RUN RUN .. [--memory 128]

Each RUN is the folder of a long `run --surrogate none`, the same chains and thermostat in boxes of different sizes.
D is of the whole record by the fit, about the system's centre; η of the largest box by the modes. The term is screened
where a bath acts on each bead. The last line is what multiplies it: 1 where D = D_infinite - term, 0 where the box does
not matter.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.spectrum import spectrum_of
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.evaluate.box_size import about_centre, box_term, centre_diffusion
from mlgle_lammps.evaluate.run_properties import properties_of
from mlgle_lammps.evaluate.scales import Scales
from mlgle_lammps.options.properties import PropertiesOptions
from mlgle_lammps.records import Estimate
from mlgle_lammps.statistics.moments import MomentAccumulator


@dataclass(frozen=True)
class Box:
    """What a run shows: edge of the box, chains, frames, D by the fit and by the slope, η of the modes, D_centre."""

    edge: float
    chains: int
    frames: int
    D: Estimate
    slope: Estimate | None
    viscosity: Estimate
    scales: Scales
    of_centre: float

    def term(self, viscosity: Estimate) -> tuple[float, float]:
        """Return the term that the box takes and its standard error."""
        value = box_term(self.scales, viscosity.value, self.of_centre)
        return value, value * viscosity.se / viscosity.value


def look(run: Path, memory: int) -> Box:
    """Return what a run shows; SystemExit where it lacks a box, a temperature or normal diffusion."""
    found = properties_of(PropertiesOptions(run))
    system = found.trajectory.system
    accumulator = MomentAccumulator(system.n_chains, system.n_modes, memory)
    accumulator.add(found.trajectory.window())
    moments = accumulator.moments()
    viscosity = found.found.numbers.get("viscosity_modes")
    if system.box is None or viscosity is None or found.scales is None:
        raise SystemExit(f"{run}: no box, or no viscosity: {found.found.reasons.get('viscosity_modes', '')}")
    D = fit_gle(moments, system.dt, "default", spectrum_of(system)).D
    of_centre = centre_diffusion(found.trajectory) if moments.center_diffuses else 0.0
    if of_centre:
        D = about_centre(D, system.n_chains)
    return Box(
        float(np.prod(system.box[:3])) ** (1 / 3), system.n_chains, found.trajectory.n_frames, D,
        found.found.numbers.get("D"), viscosity, found.scales, of_centre,
    )  # fmt: skip


def strength(boxes: list[Box], viscosity: Estimate) -> tuple[float, float]:
    """Return the factor s of D = D_infinite - s term and its standard error, η's included."""
    terms = np.array([box.term(viscosity)[0] for box in boxes])
    D, se = np.array([box.D.value for box in boxes]), np.array([box.D.se for box in boxes])
    rows = np.stack([np.ones(len(boxes)), -terms], axis=1) / se[:, None]
    covariance = np.linalg.inv(rows.T @ rows)
    s = (covariance @ rows.T @ (D / se))[1]
    return float(s), float(np.hypot(covariance[1, 1] ** 0.5, s * viscosity.se / viscosity.value))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--memory", type=int, default=128)
    asked = parser.parse_args()
    if len(asked.runs) < 2:
        parser.error("two boxes are needed")
    boxes = sorted((look(run, asked.memory) for run in asked.runs), key=lambda box: box.edge)
    viscosity = boxes[-1].viscosity
    print("| chains | edge | frames | D | by the slope | η of the modes | term | D with it |")
    print("|---|---|---|---|---|---|---|---|")
    for box in boxes:
        term, error = box.term(viscosity)
        slope = "-" if box.slope is None else f"{box.slope.value:.4g} ± {box.slope.se:.1g}"
        print(
            f"| {box.chains} | {box.edge:.4g} | {box.frames} | {box.D.value:.4g} ± {box.D.se:.1g} | {slope} | "
            f"{box.viscosity.value:.3g} ± {box.viscosity.se:.1g} | {term:.3g} ± {error:.1g} | "
            f"{box.D.value + term:.4g} ± {np.hypot(box.D.se, error):.1g} |"
        )
    s, error = strength(boxes, viscosity)
    print(f"D = D_infinite - s term: s = {s:.2f} ± {error:.2f}")


if __name__ == "__main__":
    main()
