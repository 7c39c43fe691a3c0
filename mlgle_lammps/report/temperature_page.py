"""The page and the pictures of runs at several temperatures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.plain import JsonObject
from mlgle_lammps.report import figures_estimates
from mlgle_lammps.report.page import Picture, number, traffic_light, write_page
from mlgle_lammps.report.plots import Curve, Level, unit_symbol
from mlgle_lammps.report.pool_section import pool_pictures, pool_section

if TYPE_CHECKING:  # records of the comparison, for their types only
    from mlgle_lammps.evaluate.over_temperatures import OverTemperatures
    from mlgle_lammps.evaluate.temperature_answers import TemperatureAnswers
    from mlgle_lammps.records import Estimate


_SOURCES = {
    "given": "T as given by --temperatures",
    "variable": "T as set by the decks' variable (-var T, temp or temperature)",
    "log": "T is the mean kinetic temperature that LAMMPS printed in production",
}


def write_temperatures(
    folder: Path,
    found: OverTemperatures,
    energy: tuple[float, float, str] | None,
    versions: Mapping[str, str],
    answers: TemperatureAnswers,
) -> Path:
    """Draw D(T) and the Arrhenius plot into ``folder``/figures and write report.html; return the page.

    Args:
        folder: where.
        found: the runs and the laws.
        energy: activation energy, its standard error and its unit; None without a fit.
        versions: of programs.
        answers: of the pool of all runs.

    Raises:
        RunFailure: a file cannot be written.
    """
    system = found.runs[0].system
    pictures = [_against_T(folder / "figures", found)]
    if found.arrhenius is not None:
        pictures.append(_arrhenius(folder / "figures", found))
    if answers.pool is not None:
        pictures += pool_pictures(folder / "figures", answers.pool, system.time_unit, found.kelvin)
    T = ", ".join(number(t) for t in found.temperatures)
    unit = _unit(found, "ε/k_B")
    return write_page(
        folder / "report.html",
        "temperatures.html",
        pictures,
        versions,
        None,
        title=f"D at {len(found.runs)} temperatures",
        subtitle=f"{T} {unit} · {system.n_chains} chains" + (f" × {system.n_beads} beads" if system.n_beads else ""),
        headline="No Arrhenius fit"
        if energy is None
        else f"Activation energy {number(energy[0], 3, True)} ± {number(energy[1], 2)} {energy[2]}",
        verdict=_verdict(found),
        rows=[_row(found, i) for i in range(len(found.runs))],
        T_unit=f" / {unit}" if unit else "",
        T_source=_SOURCES[found.source],
        units=f"{unit_symbol(system.length_unit)}²/{unit_symbol(system.time_unit)}",
        notes=(*found.notes, *answers.notes),
        pool=pool_section(answers, _unit(found, "ε/k_B"), system.time_unit),
    )


def _verdict(found: OverTemperatures) -> list[str]:
    fit = found.arrhenius
    if fit is None:
        return []
    lines = [
        f"Arrhenius, D = D₀ exp(−E/k_B T): E/k_B = {number(fit.activation, 4)} ± {number(fit.activation_se, 2)}, ln "
        f"D₀ = {fit.log_D0:.2f} ± {fit.log_D0_se:.2f}; ± is one standard error, propagated from the errors of D."
    ]
    if fit.dof > 0:
        agrees = "the law describes these D" if fit.p > 0.05 else "the law does not describe these D well"
        lines.append(
            f"χ² = {fit.chi2:.1f} for {fit.dof} degree{'s' if fit.dof > 1 else ''} of freedom, p = {fit.p:.2g}: "
            f"{agrees}."
        )
    if found.vogel is not None:
        error = np.sqrt(np.diagonal(found.vogel.covariance))
        lines.append(
            f"Vogel-Fulcher-Tammann, D = D₀ exp(−B/(T−T₀)): B = {found.vogel.B:.4g} ± {error[1]:.2g}, T₀ = "
            f"{found.vogel.T0:.4g} ± {error[2]:.2g}, χ² = {found.vogel.chi2:.1f} for {found.vogel.dof}"
            + (": T₀ is consistent with 0, and Arrhenius is the statement." if found.vogel.is_arrhenius else ".")
        )
    return lines


def _row(found: OverTemperatures, i: int) -> JsonObject:
    run = found.runs[i]
    return {
        "name": run.name,
        "T": f"{found.temperatures[i]:.1f}" if found.measured else number(found.temperatures[i]),
        "full_md": _with_error(run.D_full_md),
        "fit": _with_error(run.D),
        "ci95": run.D.ci95,
        "generated": _with_error(run.D_generated),
        "light": traffic_light(run.result),
    }


def _with_error(estimate: Estimate | None) -> str:
    return "–" if estimate is None else f"{number(estimate.value, 3, True)} ± {number(estimate.se, 2)}"


def _against_T(folder: Path, found: OverTemperatures) -> Picture:
    reduced = "(ε/$k_B$)"
    ways: dict[str, list[Estimate | None]] = {
        "full MD": [run.D_full_md for run in found.runs],
        "fit": [run.D for run in found.runs],
        "generated": [run.D_generated for run in found.runs],
    }
    levels = {
        way: [Level(e.value, *e.ci95) if e is not None else None for e in Ds] for way, Ds in ways.items() if any(Ds)
    }
    system = found.runs[0].system
    png = figures_estimates.draw_temperatures(
        folder,
        np.array(found.temperatures),
        levels,
        system.length_unit,
        system.time_unit,
        "T" + (f" / {_unit(found, reduced)}" if found.units != "unknown" else ""),
    )
    return Picture(
        png,
        "D against temperature",
        "95% intervals; points of one temperature are set side by side (JCP fig. 14, table 1). D should rise with "
        "T, and fit, generated and full MD agree within their intervals.",
    )


def _unit(found: OverTemperatures, reduced: str) -> str:
    """Return the unit of T, empty where it is unknown; ``reduced`` is how that of LJ units is written."""
    return "K" if found.kelvin else reduced if found.units == "lj" else ""


def _arrhenius(folder: Path, found: OverTemperatures) -> Picture:
    assert found.arrhenius is not None
    factor = 1000.0 if found.kelvin else 1.0
    inverse = 1 / np.array(found.temperatures)
    room = 0.06 * float(np.ptp(inverse))
    x = np.linspace(inverse.min() - room, inverse.max() + room, 100)
    value, se = found.arrhenius.D(1 / x)
    lines = {"Arrhenius, 95% band": Curve(factor * x, value, se)}
    if found.vogel is not None:
        lines["Vogel-Fulcher-Tammann"] = Curve(factor * x, found.vogel.D(1 / x))
    system = found.runs[0].system
    levels = [Level(run.D.value, *run.D.ci95) for run in found.runs]
    png = figures_estimates.draw_arrhenius(
        folder, factor * inverse, levels, lines, system.length_unit, system.time_unit,
        "1000 K / T" if found.kelvin else "ε/$k_B T$" if found.units == "lj" else "1/T",
    )  # fmt: skip
    return Picture(
        png,
        "Arrhenius plot",
        "A straight line means one activation energy; the band is the fit's own 95%, from the errors of D. Points "
        "that fall below it at the cold end (right) call for Vogel-Fulcher-Tammann, which is fitted from five "
        "temperatures on.",
    )
