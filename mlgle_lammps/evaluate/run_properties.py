"""The properties of one run or stream, from its files to the record that is reported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.bead_scattering import add_bead_scattering
from mlgle_lammps.evaluate.properties import (
    YEH_HUMMER,
    ChainSums,
    Properties,
    Stress,
    add_scattering,
    add_sizes_and_motion,
    add_stress,
    gather,
)
from mlgle_lammps.evaluate.run_results import logged_temperature, read_estimate, variable_temperature
from mlgle_lammps.evaluate.scales import Scales, scales_of
from mlgle_lammps.evaluate.trajectories import Trajectory, read_trajectory
from mlgle_lammps.options.properties import PropertiesOptions
from mlgle_lammps.records import Estimate
from mlgle_lammps.statistics.displacements import mean_squared_displacements
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.stress_file import FILE, StressRecord, read_stress

WEAK_BATH = 2.0
"""D of the system's centre over that of independent molecules, beyond which flow acts across the box."""
LEAST_SCREENING = 0.3
"""κL below which the sum over images is taken by its first terms."""
LARGEST = 0.3
"""Rg over the edge of the box, up to which the term of Yeh and Hummer was seen to hold in melts."""
KNOWN = 0.2
"""Relative standard error with which it was."""
NO_STRESS = "no stress was recorded: give --stress STEPS to run"


@dataclass(frozen=True)
class RunProperties:
    """What was found of a run.

    Attributes:
        source: the run.
        trajectory: its stream.
        sums: over its chains.
        found: numbers, tables and reasons.
        scales: None where temperature or volume is not known.
        stress: its relaxation; None without ``scales``.
    """

    source: Path
    trajectory: Trajectory
    sums: ChainSums
    found: Properties
    scales: Scales | None
    stress: Stress | None


def properties_of(options: PropertiesOptions) -> RunProperties:
    """Return the properties of a run or a stream; raise UserError where it is none, or damaged."""
    trajectory = read_trajectory(options.run)
    if trajectory.system.n_beads is None and options.beads is not None:
        trajectory = replace(trajectory, system=replace(trajectory.system, n_beads=options.beads))
    system, found = trajectory.system, Properties()
    sums = gather(trajectory)
    share = system.n_chains / (system.n_chains - 1) if sums.moments.center_diffuses else 1.0
    add_sizes_and_motion(found, sums, system.length_unit, system.time_unit, share)
    q = np.array(options.q) if options.q else None
    q = add_scattering(found, trajectory, sums, q, system.length_unit, system.time_unit, share)
    if options.sum_beads:
        add_bead_scattering(found, trajectory, sums, q, options.run)
    record = _stress(options.run)
    scales = _scales(options, trajectory, record, found)
    stress = None
    if scales is not None:
        missing = NO_STRESS if record is None else ""
        stress = add_stress(found, sums, scales, record, missing, system.time_unit)
        if system.others or system.left_out:
            found.notes.append(
                "the melt holds more than these chains: the modes' route has their stress alone, Green-Kubo all"
            )
    _add_diffusion(found, sums, scales, options.run, trajectory)
    return RunProperties(options.run, trajectory, sums, found, scales, stress)


def _stress(run: Path) -> StressRecord | None:
    path = run / FILE
    return read_stress(path) if path.is_file() else None


def _scales(
    options: PropertiesOptions, trajectory: Trajectory, record: StressRecord | None, found: Properties
) -> Scales | None:
    """Return what turns correlations into moduli; None with reasons where temperature or volume is not known."""
    box = trajectory.system.box
    volume = options.volume or (float(np.prod(box[:3])) if box else None) or (record.volume if record else None)
    T, how = _temperature(options)
    if T is None or volume is None:
        why = "the temperature is not known: give --temperature" if T is None else "the box is not known: give --volume"
        names = ("viscosity", "viscosity_modes", "viscosity_green_kubo", "viscosity_joined", "G", "G_modes", "moduli")
        found.reasons |= dict.fromkeys(names, why)
        return None
    found.notes.append(f"T = {T:.6g}, {how}")
    return scales_of(trajectory.system, T, volume)


def _temperature(options: PropertiesOptions) -> tuple[float | None, str]:
    if options.temperature is not None:
        return options.temperature, "as given by --temperature"
    if not options.run.is_dir():
        return None, ""
    folder = RunFolder(options.run)
    logged = logged_temperature(folder.log)
    if logged is not None:
        return logged.value, "the mean kinetic temperature of its log"
    try:
        return variable_temperature(folder.read_result()), "as the deck's variable says"
    except UserError:
        return None, ""


def _add_diffusion(
    found: Properties, sums: ChainSums, scales: Scales | None, run: Path, trajectory: Trajectory
) -> None:
    """Add D, and D of the infinite system where that is known."""
    system = trajectory.system
    unit = f"{system.length_unit}^2/{system.time_unit}"
    D = _learned_D(run)
    if D is None:
        tau = found.numbers.get("relaxation_time")
        D = normal_diffusion(sums.moments, sums.dt, tau.value / sums.dt if tau else 0.0)
    if D is None:
        found.reasons["D"] = "no fit in result.json, and the record shows no normal diffusion long enough"
    else:
        found.numbers["D"], found.units["D"] = D, unit
    of_centre = centre_diffusion(trajectory) if sums.moments.center_diffuses else 0.0
    if D is not None and sums.moments.center_diffuses and of_centre * system.n_chains < WEAK_BATH * D.value:
        method = (
            f"{D.method}; friction is of each bead by itself, so that no flow acts across the box and D is as it is"
        )
        found.numbers["D_infinite"], found.units["D_infinite"] = replace(D, method=method), unit
        return
    infinite = _infinite(found, scales, trajectory, D, of_centre)
    if isinstance(infinite, str):
        found.reasons["D_infinite"] = infinite
    else:
        found.numbers["D_infinite"], found.units["D_infinite"] = infinite, unit


def _infinite(
    found: Properties, scales: Scales | None, trajectory: Trajectory, D: Estimate | None, of_centre: float
) -> Estimate | str:  # fmt: skip
    """Return D of the infinite system where flow acts across the box, or why there is none.

    Args:
        found: so far.
        scales: of the melt.
        trajectory: its stream.
        D: in the box.
        of_centre: D of the whole system's centre; 0 where momentum is conserved.
    """
    what = "the bath's friction is weak" if of_centre else "momentum is conserved"
    why = f"{what}, so that D depends on the box"
    system, viscosity = trajectory.system, found.numbers.get("viscosity")
    if D is None:
        return f"{why}, and there is no D"
    if viscosity is None or scales is None or system.box is None:
        return f"{why}, by as much as η says, and there is no η"
    edges, size = np.array(system.box[:3]), float(np.sqrt(found.numbers["rg2"].value)) / scales.volume ** (1 / 3)
    term = box_term(scales, viscosity.value, of_centre)
    would = f"the term of Yeh and Hummer, {_law(of_centre)}, would be {term:.3g}, {term / D.value:.0%} of D"
    if np.ptp(edges) > 1e-3 * edges.min() or any(abs(tilt) > 1e-9 for tilt in system.box[3:]):
        return f"{why}; {would} in a cube, which this box is not"
    if system.others or system.left_out:
        return f"{why}; {would} by η of these chains alone, and the melt holds more"
    if size > LARGEST:
        return f"{why}; {would}, but it was seen to hold up to Rg/L = {LARGEST:g} alone, and here that is {size:.2g}"
    if of_centre:  # D as it is reported holds the centre's share as if molecules were independent; D of the centre
        lost = D.value / system.n_chains  # is in the term
        D = replace(D, value=D.value - lost, ci95=(D.ci95[0] - lost, D.ci95[1] - lost))
    return infinite_diffusion(D, term, viscosity, _law(of_centre))


def _law(of_centre: float) -> str:
    return "ξkT/6πηL screened by the bath" if of_centre else "ξkT/6πηL"


def centre_diffusion(trajectory: Trajectory) -> float:
    """Return D per component of the system's centre of mass, by the growth of its displacement between two lags.

    One path tells it to a few per cent at best. It is kT over the friction of all beads together.
    """
    centres = np.concatenate([block.com.mean(axis=1) for block in trajectory.frames(trajectory.system.n_modes)])
    segments = trajectory.segments[: len(centres)]
    last = max(2, min(16, trajectory.longest_segment // 8))
    msd = mean_squared_displacements(centres[:, None], segments, last + 1)[:, 0]
    first = last // 2
    return max(float(msd[last] - msd[first]) / (6 * (last - first) * trajectory.system.dt), 0.0)


def infinite_diffusion(D: Estimate, term: float, viscosity: Estimate, law: str = "ξkT/6πηL") -> Estimate:
    """Return D and the term that the box takes from it; errors of D, of η, and of how well the term is known to hold.

    Args:
        D: in the box.
        term: that the box takes.
        viscosity: η.
        law: of the term.
    """
    error = term * float(np.hypot(viscosity.se / viscosity.value, KNOWN))
    se = float(np.hypot(D.se, error))
    half = float(np.hypot((D.ci95[1] - D.ci95[0]) / 2, 1.96 * error))
    value = D.value + term
    method = (
        f"{D.method}; and {term:.3g} by Yeh and Hummer, {law}, η = {viscosity.value:.3g} ± {viscosity.se:.1g}; that "
        f"term is known to {KNOWN:.0%}, as measured in Kremer-Grest melts"
    )
    return Estimate(value, se, (value - half, value + half), method)


def box_term(scales: Scales, viscosity: float, of_centre: float = 0.0) -> float:
    """Return by how much D about the system's centre is too small in a periodic box of a simple liquid.

    ξkT/(6πηL) where momentum is conserved (Yeh and Hummer 2004). A bath's friction Γ on all beads screens flow beyond
    1/κ, κ² = ρΓ/η = kT/(ηV D_c) with D_c of the system's centre: (2kT/3η)[1/(Vκ²) - Σ_n exp(-κL|n|)/(4πL|n|)], the sum
    over all images but the box itself.

    Limit: the first for D_c without bound, 2D_c/3 for κL without bound.

    Args:
        scales: of the melt.
        viscosity: η.
        of_centre: D_c; 0 where momentum is conserved.
    """
    kT_over_viscosity, edge = (
        scales.energy_density * scales.volume / (viscosity / scales.time),
        scales.volume ** (1 / 3),
    )
    if not of_centre:
        return float(YEH_HUMMER * kT_over_viscosity / (6 * np.pi * edge))
    screening = edge * np.sqrt(kT_over_viscosity / (scales.volume * of_centre))
    if screening < LEAST_SCREENING:
        return box_term(scales, viscosity) * (1 - screening / YEH_HUMMER)
    most = int(np.ceil(30 / screening))
    whole = np.arange(-most, most + 1)
    squares = whole[:, None, None] ** 2 + whole[None, :, None] ** 2 + whole[None, None, :] ** 2
    distance = np.sqrt(squares[squares > 0])
    images = float(np.sum(np.exp(-screening * distance) / (4 * np.pi * distance)))
    return float(2 * kT_over_viscosity / (3 * edge) * (1 / screening**2 - images))


def _learned_D(run: Path) -> Estimate | None:
    if not run.is_dir():
        return None
    try:
        return read_estimate(RunFolder(run).read_result().get("D"))
    except UserError:
        return None
