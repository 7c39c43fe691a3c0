"""The pool of all temperatures on the page: its table and its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure

from mlgle_lammps.observe.moduli import moduli_of
from mlgle_lammps.plain import AnyArray, JsonObject
from mlgle_lammps.report.page import Picture, number
from mlgle_lammps.report.plots import BLACK, STYLE, save, unit_symbol
from mlgle_lammps.statistics.errors import NORMAL, student_factor

if TYPE_CHECKING:  # records of the evaluation, for their types only
    from mlgle_lammps.evaluate.temperature_answers import TemperatureAnswers
    from mlgle_lammps.evaluate.temperature_pool import TemperaturePool
    from mlgle_lammps.records import Estimate

SHOWN = (1, 2, 4, 8)


def pool_section(answers: TemperatureAnswers, T_unit: str, time: str) -> JsonObject | None:
    """Return what the page's template shows of the pool; None without one."""
    pool = answers.pool
    if pool is None:
        return None
    foretold = {T: (told, z) for T, told, z in answers.left_out}
    rows = []
    for i, run in enumerate(pool.runs):
        told = foretold.get(run.T)
        error = float(np.sqrt(pool.shifts.covariance[i, i]) * np.exp(pool.shifts.shifts[i]))
        shift = number(float(np.exp(pool.shifts.shifts[i])), 3, True)
        rows.append({
            "T": number(run.T), "a": f"{shift} ± {number(error, 2)}" if i != pool.reference else "1 (reference)",
            "alone": _shown(run.D), "pooled": _shown(pool.D[i]), "foretold": _shown(told[0].D) if told else "–",
            "z": f"{told[1]:+.1f}" if told else "–",
        })  # fmt: skip
    at = [
        {"T": number(told.T), "D": _shown(told.D), "D_ci": told.D.ci95,
         "tau": _shown(told.relaxation_time), "tau_ci": told.relaxation_time.ci95 if told.relaxation_time else None,
         "eta": _shown(eta), "eta_ci": eta.ci95 if eta else None}
        for told, eta in zip(answers.predictions, answers.viscosities, strict=True)
    ]  # fmt: skip
    serves = "one factor serves all modes" if pool.shifts.p > 0.01 else "one factor does not serve all modes"
    lines = [
        f"a_T is the factor by which modes {pool.modes[0]} to {pool.modes[-1]} are slower than at "
        f"{number(pool.law.reference)} {T_unit}; χ² = {pool.shifts.chi2:.1f} for {pool.shifts.dof}, p = "
        f"{pool.shifts.p:.2g}: {serves}. D a_T over the chains' mean squared size is one number for all temperatures. "
        f"Law of a_T: {pool.law.name}."
    ]
    wlf = pool.law.wlf()
    if wlf is not None:
        lines.append(f"WLF: C₁ = {wlf[0]:.3g}, C₂ = {wlf[1]:.3g} at T₀ = {number(pool.law.reference)} {T_unit}.")
    eta_unit = f" / ({answers.viscosity_unit})" if answers.viscosity_unit else ""
    return {"lines": lines, "rows": rows, "at": at, "time": unit_symbol(time), "eta_unit": eta_unit}


def _shown(estimate: Estimate | None) -> str:
    return "–" if estimate is None else f"{number(estimate.value, 3, True)} ± {number(estimate.se, 2)}"


def pool_pictures(folder: Path, pool: TemperaturePool, time: str, kelvin: bool) -> list[Picture]:
    """Draw shift factors and master curves."""
    unit = unit_symbol(time)
    return [
        Picture(_shifts(folder, pool, kelvin), "Shift factors",
                "Small marks: each mode by itself; where they scatter beyond their errors, time and temperature do not "
                "superpose. Line: the law, with its 95% band."),
        Picture(_master(folder, pool, unit), "Master curves of the modes",
                "Correlations against t/a_T: those of one mode should lie on one another."),
        Picture(_moduli(folder, pool, unit), "Master curves of G′ and G″",
                "From modes, over n kT/V, against ω a_T."),
    ]  # fmt: skip


def _colours(pool: TemperaturePool) -> AnyArray:
    return colormaps["viridis"](np.linspace(0, 0.85, len(pool.runs)))


def _shifts(folder: Path, pool: TemperaturePool, kelvin: bool) -> Path:
    factor = 1000.0 if kelvin else 1.0
    T = pool.temperatures
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.subplots()
        for i, colour in enumerate(_colours(pool)):
            x = factor / T[i] + 0.004 * np.ptp(factor / T) * (np.arange(len(pool.modes)) - len(pool.modes) / 2)
            axes.errorbar(
                x, pool.shifts.by_mode[i], NORMAL * pool.shifts.by_mode_se[i], fmt=".", color=colour, lw=0.8, ms=4
            )
        errors = NORMAL * np.sqrt(np.diag(pool.shifts.covariance))
        axes.errorbar(factor / T, pool.shifts.shifts, errors, fmt="o", color=BLACK, capsize=3, label="all modes, 95%")
        line = np.linspace(T.min(), T.max(), 100)
        value = np.array([pool.law.through_shifts(t) for t in line])
        of_run = np.eye(len(T))[pool.reference]
        rows = np.array([pool.law.influence_at(t) - of_run for t in line])
        band = student_factor(pool.chain_freedom) * np.sqrt(rows**2 @ (pool.misfit * pool.shifts.variances))
        axes.plot(factor / line, value, "-", color=BLACK, lw=1.2, label=pool.law.name)
        axes.fill_between(factor / line, value - band, value + band, color=BLACK, alpha=0.15, lw=0)
        axes.set(xlabel="1000 K / T" if kelvin else "1/T", ylabel="ln a_T")
        axes.legend()
        return save(figure, folder, "shift_factors")


def _master(folder: Path, pool: TemperaturePool, unit: str) -> Path:
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.subplots()
        for i, (run, colour) in enumerate(zip(pool.runs, _colours(pool), strict=True)):
            mean = run.correlations.mean().value
            t = np.arange(len(mean)) * run.correlations.dt / np.exp(pool.shifts.shifts[i])
            shown = [p for p in SHOWN if p <= mean.shape[1]]
            for p in shown:
                nacf = mean[:, p - 1] / mean[0, p - 1]
                last = max(int(np.argmax(nacf < 0.03)) or len(nacf), 3)
                axes.plot(t[1:last], nacf[1:last], color=colour, lw=1.4, label=f"{run.T:g}" if p == shown[0] else None)
                if i == 0:
                    middle = max(int(np.argmax(nacf < 0.6)), 1)
                    axes.annotate(f"p = {p}", (t[middle], nacf[middle]), textcoords="offset points", xytext=(5, 5))
        axes.set(xscale="log", xlabel=f"(t/a_T) / {unit}", ylabel="C_p(t)", ylim=(0, 1.02))
        axes.legend(title="T")
        return save(figure, folder, "master_curves")


def _moduli(folder: Path, pool: TemperaturePool, unit: str) -> Path:
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.subplots()
        shown: list[float] = []
        for i, (run, colour) in enumerate(zip(pool.runs, _colours(pool), strict=True)):
            times, curve = run.curve
            found = moduli_of(times, curve, float(times[1]) / 2, float(times[-1]))
            inside = (found.frequencies > 1.0 / times[-1]) & (found.frequencies < 1.0 / times[1])
            x = found.frequencies[inside] * np.exp(pool.shifts.shifts[i])
            axes.plot(x, found.storage.value[inside], "-", color=colour, label=f"{run.T:g}")
            axes.plot(x, found.loss.value[inside], "--", color=colour)
            shown += [*found.storage.value[inside], *found.loss.value[inside]]
        axes.set(xscale="log", yscale="log", xlabel=f"ω a_T / (1/{unit})", ylabel="G′ (—), G″ (- -) over n kT/V")
        if shown:
            axes.set_ylim(0.5 * max(min(shown), 1e-6 * max(shown)), 2 * max(shown))
        axes.legend(title="T")
        return save(figure, folder, "master_moduli")
