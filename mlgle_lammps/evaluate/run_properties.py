"""The properties of one run or stream, from its files to the record that is reported."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.bead_scattering import add_bead_scattering
from mlgle_lammps.evaluate.box_size import infinite_system
from mlgle_lammps.evaluate.full_md import is_generated
from mlgle_lammps.evaluate.properties import (
    ChainSums,
    Properties,
    Stress,
    add_scattering,
    add_sizes_and_motion,
    add_stress,
    gather,
)
from mlgle_lammps.evaluate.run_results import (
    logged_temperature,
    read_estimate,
    recorded_directions,
    variable_temperature,
)
from mlgle_lammps.evaluate.scales import Scales, scales_of
from mlgle_lammps.evaluate.trajectories import Trajectory, read_trajectory
from mlgle_lammps.options.properties import PropertiesOptions
from mlgle_lammps.records import Estimate, System
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.stress_file import FILE, StressRecord, read_stress

SAME_VOLUME = 1e-3
"""Relative difference up to which a volume that was given is the recorded one, rounded."""
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
    trajectory = read_trajectory(options.run, directions=recorded_directions(options.run))
    record = _stress(options.run)
    _require_as_recorded(options, trajectory.system, record)
    if trajectory.system.n_beads is None and options.beads is not None:
        trajectory = replace(trajectory, system=replace(trajectory.system, n_beads=options.beads))
    system, found = trajectory.system, Properties()
    sums = gather(trajectory)
    share = sums.moments.made_good(sums.lags)
    add_sizes_and_motion(found, sums, system.length_unit, system.time_unit, share)
    q = np.array(options.q) if options.q else None
    q = add_scattering(found, trajectory, sums, q, system.length_unit, system.time_unit, share)
    if options.sum_beads:
        add_bead_scattering(found, trajectory, sums, q, options.run)
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


def _require_as_recorded(options: PropertiesOptions, system: System, record: StressRecord | None) -> None:
    """Raise UserError where beads or a volume were given, and others recorded."""
    if options.beads is not None and system.n_beads not in (None, options.beads):
        raise UserError(f"`beads` {options.beads}: the chains of {options.run} have {system.n_beads}; leave it out")
    recorded = _recorded_volume(system, record)
    if options.volume is None or recorded is None:
        return
    if not math.isclose(options.volume, recorded, rel_tol=SAME_VOLUME):
        raise UserError(
            f"`volume` {options.volume:g}: the box that {options.run} recorded has {recorded:.6g}; leave it out"
        )


def _recorded_volume(system: System, record: StressRecord | None) -> float | None:
    """Return the volume of one box, None where nothing says it."""
    if system.box:
        return math.prod(system.box[:3])
    return record.volume if record else None


def _stress(run: Path) -> StressRecord | None:
    path = run / FILE
    return read_stress(path) if path.is_file() else None


def _scales(
    options: PropertiesOptions, trajectory: Trajectory, record: StressRecord | None, found: Properties
) -> Scales | None:
    """Return what turns correlations into moduli; None with reasons where temperature or volume is not known."""
    names = (
        "viscosity", "viscosity_modes", "viscosity_green_kubo", "viscosity_joined", "G", "G_modes",
        "G_green_kubo", "moduli",
    )  # fmt: skip
    if trajectory.system.boxes > 1 or is_generated(options.run):
        found.reasons |= dict.fromkeys(names, "generated molecules share no box: give MD's run, or its modes.h5")
        return None
    volume = options.volume or _recorded_volume(trajectory.system, record)
    T, how = _temperature(options)
    if T is None or volume is None:
        why = "the temperature is not known: give --temperature" if T is None else "the box is not known: give --volume"
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
    infinite = infinite_system(found, scales, trajectory, D, sums.moments)
    if isinstance(infinite, str):
        found.reasons["D_infinite"] = infinite
    else:
        found.numbers["D_infinite"], found.units["D_infinite"] = infinite, unit


def _learned_D(run: Path) -> Estimate | None:
    if not run.is_dir():
        return None
    try:
        return read_estimate(RunFolder(run).read_result().get("D"))
    except UserError:
        return None
