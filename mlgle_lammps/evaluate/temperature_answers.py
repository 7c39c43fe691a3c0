"""What the pool of all temperatures answers, as numbers and as lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.over_temperatures import OverTemperatures
from mlgle_lammps.evaluate.scales import scales_of
from mlgle_lammps.evaluate.temperature_pool import Prediction, TemperaturePool, leave_one_out, pool_of, predict
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Estimate
from mlgle_lammps.store.run_folder import plain

ONE_FACTOR = 0.01


@dataclass(frozen=True)
class TemperatureAnswers:
    """What the pool says.

    Attributes:
        pool: the runs as one; None where they cannot be.
        predictions: at the temperatures asked for.
        viscosities: of modes there; None where not known.
        viscosity_unit: of these.
        left_out: T, what the others foretell there, z against the run's own D.
        lines: for people.
        notes: for people.
    """

    pool: TemperaturePool | None
    predictions: tuple[Prediction, ...] = ()
    viscosities: tuple[Estimate | None, ...] = ()
    viscosity_unit: str = ""
    left_out: tuple[tuple[float, Prediction, float], ...] = ()
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    numbers: JsonObject | None = field(default=None)


def answers_of(found: OverTemperatures, at: Sequence[float]) -> TemperatureAnswers:
    """Return what all runs say together.

    Args:
        found: the runs in the order of their temperatures.
        at: temperatures asked for.

    Raises:
        UserError: temperatures are asked for and the runs cannot be pooled.
    """
    pool, why = pool_of(found.runs, found.temperatures)
    if pool is None:
        if at:
            raise UserError(f"`at`: {why}")
        return TemperatureAnswers(None, notes=(why,), numbers={"reason": why})
    predictions = tuple(predict(pool, T) for T in at)
    viscosities, unit = _viscosities(found, predictions)
    try:
        left_out = tuple(leave_one_out(pool.runs))
    except (UserError, np.linalg.LinAlgError):
        left_out = ()
    answers = TemperatureAnswers(
        pool, predictions, viscosities, unit, left_out, tuple(_lines(pool, predictions, viscosities, unit)),
        tuple(_notes(pool, predictions)),
    )  # fmt: skip
    return replace(answers, numbers=plain(_numbers(answers, pool)))


def _viscosities(found: OverTemperatures, predictions: Sequence[Prediction]) -> tuple[tuple[Estimate | None, ...], str]:
    """Return the modes' viscosity at each temperature from the melt's density, and its unit."""
    system = next((run.system for run in found.runs if run.system.box), None)
    if system is None or system.box is None:
        return (None,) * len(predictions), ""
    volume, result, unit = float(np.prod(system.box[:3])), [], ""
    for told in predictions:
        scales = scales_of(system, told.T, volume)
        unit, factor = scales.viscosity_unit, scales.energy_density * system.n_chains * scales.time
        own = told.relaxation
        result.append(None if own is None else replace(own.scaled(factor), method=f"modes' route, {own.method}"))
    return tuple(result), unit


def _lines(
    pool: TemperaturePool, predictions: Sequence[Prediction], viscosities: Sequence[Estimate | None], unit: str
) -> list[str]:
    lines = [
        f"pool: modes {pool.modes[0]}..{pool.modes[-1]}, one a_T for all: chi2 = {pool.shifts.chi2:.1f} for "
        f"{pool.shifts.dof}, p = {pool.shifts.p:.2g}; {pool.law.name}"
    ]
    for run, s, D in zip(pool.runs, pool.shifts.shifts, pool.D, strict=True):
        lines.append(
            f"T = {run.T:.4g}  a_T = {np.exp(s):.4g}  D = {D.value:.4g} ± {D.se:.2g} of the pool, {run.D.value:.4g} ± "
            f"{run.D.se:.2g} alone"
        )
    for told, eta in zip(predictions, viscosities, strict=True):
        line = f"at T = {told.T:.4g}  D = {told.D.value:.4g} [{told.D.ci95[0]:.4g}, {told.D.ci95[1]:.4g}]"
        if told.relaxation_time is not None:
            own = told.relaxation_time
            line += f"  tau_1 = {own.value:.4g} [{own.ci95[0]:.4g}, {own.ci95[1]:.4g}]"
        if eta is not None:
            line += f"  eta of modes = {eta.value:.4g} [{eta.ci95[0]:.4g}, {eta.ci95[1]:.4g}] {unit}"
        lines.append(line)
    return lines


def _notes(pool: TemperaturePool, predictions: Sequence[Prediction]) -> list[str]:
    notes = []
    if pool.shifts.p < ONE_FACTOR:
        notes.append(
            f"one factor does not serve all modes (p = {pool.shifts.p:.1g}): time and temperature do not superpose, "
            "and what the pool says is an average over modes"
        )
    if pool.D_dof and float(stats.chi2.sf(pool.D_chi2, pool.D_dof)) < ONE_FACTOR:
        notes.append("D does not follow the modes' a_T: take each run's own D")
    outside = [f"{told.T:g}" for told in predictions if told.extrapolated]
    if outside:
        notes.append(f"T = {', '.join(outside)} lie outside the temperatures that were run: extrapolated by a law")
    return notes


def _numbers(answers: TemperatureAnswers, pool: TemperaturePool) -> JsonObject:
    """Return what comparison.json says of the pool, all that `generate --temperature` needs among it."""
    wlf = pool.law.wlf()
    vogel = None
    if wlf is not None:
        vogel = {"B": pool.law.parameters[0], "T0": pool.law.parameters[1],
                 "se": np.sqrt(np.diag(pool.law.covariance))}  # fmt: skip
    return {
        "reference_T": pool.law.reference,
        "modes": pool.modes,
        "a_T": [
            {"T": run.T, "a": np.exp(s), "ln_a": s, "ln_a_se": np.sqrt(v)}
            for run, s, v in zip(pool.runs, pool.shifts.shifts, np.diag(pool.shifts.covariance), strict=True)
        ],
        "ln_a_covariance": pool.shifts.covariance,
        "ln_a_of_modes": pool.shifts.by_mode,
        "ln_a_of_modes_se": pool.shifts.by_mode_se,
        "one_factor": {"chi2": pool.shifts.chi2, "dof": pool.shifts.dof, "p": pool.shifts.p},
        "law": {"name": pool.law.name, "parameters": pool.law.parameters, "covariance": pool.law.covariance,
                "offset": pool.law.offset, "chi2": pool.law.chi2, "dof": pool.law.dof, "p": pool.law.p},
        "wlf": None if wlf is None else {"C1": wlf[0], "C2": wlf[1], "T0": pool.law.reference},
        "vogel_fulcher_tammann": vogel,
        "wlf_reason": None if wlf else f"the shifts agree with a simpler law, {pool.law.name}, or leave T0 open",
        "D": [vars(D) | {"T": run.T} for run, D in zip(pool.runs, pool.D, strict=True)],
        "D_consistency": {"chi2": pool.D_chi2, "dof": pool.D_dof},
        "ln_size_slope": pool.sizes[1],
        "ln_variance_of_modes": pool.mode_sizes,
        "leave_one_out": [{"T": T, "D": vars(told.D), "z": z} for T, told, z in answers.left_out],
        "at": [
            {"T": told.T, "ln_a": told.log_a[0], "D": vars(told.D), "extrapolated": told.extrapolated,
             "relaxation_time": vars(told.relaxation_time) if told.relaxation_time else None,
             "viscosity_modes": vars(eta) | {"units": answers.viscosity_unit} if eta else None}
            for told, eta in zip(answers.predictions, answers.viscosities, strict=True)
        ],
    }  # fmt: skip
