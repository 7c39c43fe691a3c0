"""Runs at several temperatures: the table of D(T), and the laws of Arrhenius and of Vogel, Fulcher and Tammann."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.run_results import MeasuredTemperature, RunResult, measured_temperature, set_temperature
from mlgle_lammps.observe.temperature import ArrheniusFit, NotDetermined, VogelFit, fit_arrhenius, fit_vogel
from mlgle_lammps.records import Estimate, Float64

DISTINCT = 0.02  # temperatures that differ by more, and by more than four standard errors, are different ones
DISAGREEMENT = 0.1  # of a temperature with the log's, beyond which a note says so
GAS_CONSTANT = 8.31446261815324e-3  # kJ/(mol K)
KELVIN_STYLES = ("real", "metal", "si", "cgs", "electron", "micro", "nano")


@dataclass(frozen=True)
class Temperatures:
    """Temperatures of runs, in the order of the runs.

    Attributes:
        values: of each.
        source: "given" on the command line, the decks' "variable", or the kinetic ones of the "log".
    """

    values: tuple[float, ...]
    source: Literal["given", "variable", "log"]


@dataclass(frozen=True)
class OverTemperatures:
    """Runs in the order of their temperatures.

    Attributes:
        runs: the runs.
        temperatures: of each.
        source: of the temperatures: "given", "variable" or "log".
        units: the decks' LAMMPS unit style, or "unknown".
        arrhenius: fitted to the runs' D; None where that cannot be.
        vogel: the same; None where the data do not fix it.
        generated: Arrhenius fitted to D of the generated ensembles; None without.
        full_md: Arrhenius fitted to D of full MD; None without.
        notes: lines for people.
    """

    runs: tuple[RunResult, ...]
    temperatures: tuple[float, ...]
    source: str
    units: str
    arrhenius: ArrheniusFit | None
    vogel: VogelFit | None
    generated: ArrheniusFit | None
    full_md: ArrheniusFit | None
    notes: tuple[str, ...]

    @property
    def measured(self) -> bool:
        """Whether temperatures are the kinetic ones of the logs."""
        return self.source == "log"

    @property
    def kelvin(self) -> bool:
        """Whether temperatures are in K."""
        return self.units in KELVIN_STYLES


def known_temperatures(runs: Sequence[RunResult]) -> Temperatures | None:
    """Return the temperatures that the runs were set to, or else those in their logs.

    None unless all are known and they are not all the same.

    Raises:
        UserError: three or more runs whose temperatures cannot be told apart.
    """
    given = [T for run in runs if (T := set_temperature(run)) is not None]
    if len(given) == len(runs) and len(set(given)) > 1:
        return Temperatures(tuple(given), "variable")
    measured = [measured_temperature(run) for run in runs]
    known = [temperature for temperature in measured if temperature is not None]
    if len(known) == len(runs) > 1 and len(given) < len(runs) and _differ(known):
        return Temperatures(tuple(temperature.value for temperature in known), "log")
    if len(runs) < 3:
        return None
    missing = [run.name for run, temperature in zip(runs, measured, strict=True) if temperature is None]
    untold = missing and len(given) < len(runs)
    found = f"the logs of {', '.join(missing)} tell no temperature" if untold else "all runs have the same temperature"
    raise UserError(f"{found}: give them by `temperatures` T1 T2 .., or compare two runs, RUN FULL_RUN")


def _differ(known: Sequence[MeasuredTemperature]) -> bool:
    lowest, highest = min(known, key=lambda t: t.value), max(known, key=lambda t: t.value)
    apart = highest.value - lowest.value
    return apart > DISTINCT * lowest.value and apart > 4 * float(np.hypot(lowest.se, highest.se))


def compare_temperatures(runs: Sequence[RunResult], temperatures: Temperatures) -> OverTemperatures:
    """Order the runs by temperature and fit the laws; D is in the units of the first run.

    Args:
        runs: at least two, of one kind of melt.
        temperatures: of each run.

    Raises:
        UserError: runs in units without a common measure, as lj against real ones.
    """
    first = runs[0]
    given = [(run.system.length_unit, run.system.time_unit) for run in runs]
    runs = [run.in_units_of(first) for run in runs]
    _refuse_unnamed(runs)
    order = np.argsort(temperatures.values, kind="stable")
    ordered, T = tuple(runs[i] for i in order), np.array(temperatures.values, dtype=float)[order]
    notes = [] if temperatures.source == "log" else _disagreements(ordered, T, temperatures.source)
    if len(set(given)) > 1:
        units = f"{first.system.length_unit}^2/{first.system.time_unit}"
        notes.append(f"runs are in different units: every D is given in {units}, those of {first.name}")
    free = sorted({run.directions.free for run in runs})
    if len(free) > 1:
        notes.append(f"the runs' D are of different directions: {', '.join(free)}")
    sizes = {(run.system.n_chains, run.system.n_beads) for run in runs}
    if len(sizes) > 1:
        notes.append(
            "the runs are of different melts: " + ", ".join(f"{c} chains × {b} beads" for c, b in sorted(sizes))
        )
    vogel = _law(fit_vogel, "Vogel-Fulcher-Tammann", T, [run.D for run in ordered], notes)
    if vogel is not None and vogel.is_arrhenius:
        notes.append(
            f"the T0 of Vogel-Fulcher-Tammann, {vogel.T0:.4g} ± {vogel.T0_se:.2g}, is consistent with 0: the law is "
            "then that of Arrhenius, whose activation energy is the statement"
        )
    arrhenius = _law(fit_arrhenius, "Arrhenius", T, [run.D for run in ordered], notes)
    return OverTemperatures(
        runs=ordered,
        temperatures=tuple(float(x) for x in T),
        source=temperatures.source,
        units=next((run.system.units for run in runs if run.system.units != "unknown"), "unknown"),
        arrhenius=arrhenius,
        vogel=vogel,
        generated=_law(fit_arrhenius, "", T, [run.D_generated for run in ordered], []),
        full_md=_law(fit_arrhenius, "", T, [run.D_full_md for run in ordered], []),
        notes=tuple(notes),
    )


def _refuse_unnamed(runs: Sequence[RunResult]) -> None:
    """Raise UserError where some runs say their units and others do not."""
    first = runs[0]
    for run in runs[1:]:
        for name in ("length_unit", "time_unit"):
            own, other = getattr(first.system, name), getattr(run.system, name)
            if own != other:
                raise UserError(f"{run.folder.path} has {name} {other}, {first.folder.path} has {own}: no common table")


def _disagreements(runs: Sequence[RunResult], T: np.ndarray, source: str) -> list[str]:
    """Return a line for each run whose log shows another temperature: a variable T need not be one."""
    lines = []
    for run, value in zip(runs, T, strict=True):
        logged = measured_temperature(run)
        if logged and abs(logged.value - value) > max(DISAGREEMENT * value, 4 * logged.se):
            told = "its -var says" if source == "variable" else "--temperatures says"
            lines.append(
                f"{run.name}: {told} T = {value:g}, taken here; the mean Temp in its log is {logged.value:.4g}"
            )
    return lines


Law = TypeVar("Law")


def _law(
    fit: Callable[[Float64, Float64, Float64], Law], name: str, T: np.ndarray, Ds: Sequence[Estimate | None],
    notes: list[str],
) -> Law | None:  # fmt: skip
    """Return the law fitted to the runs that have a D, or None with a note."""
    known = [(t, D.value, D.se) for t, D in zip(T, Ds, strict=True) if D is not None]
    try:
        return fit(*np.array(known, dtype=float).reshape(-1, 3).T)
    except NotDetermined as error:
        notes.append(f"no {name} fit: {error}")
        return None


def activation_energy(fit: ArrheniusFit, units: str) -> tuple[float, float, str]:
    """Return the activation energy, its standard error and its unit: kJ/mol, ε, or k_B times the unit of T."""
    unit = "kJ/mol" if units in KELVIN_STYLES else "ε" if units == "lj" else "k_B times the unit of T"
    factor = GAS_CONSTANT if units in KELVIN_STYLES else 1.0
    return fit.activation * factor, fit.activation_se * factor, unit
