"""Pictures of a comparison with their captions: distributions of modes, displacements and chain sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.report import figures_distributions
from mlgle_lammps.report.comparison_dynamics import units_of
from mlgle_lammps.report.figures_distributions import Panel
from mlgle_lammps.report.page import Picture, number
from mlgle_lammps.report.plots import Curve, unit_symbol

if TYPE_CHECKING:  # records of the comparison, for their types only
    from mlgle_lammps.evaluate.observables import Observables
    from mlgle_lammps.evaluate.run_against_md import RunAgainstMd
    from mlgle_lammps.evaluate.side_by_side import SideBySide
    from mlgle_lammps.observe.distributions import Distribution


def _density_panels(
    streams: Mapping[str, Observables],
    pick: Callable[[Observables], Mapping[int, Distribution]],
    title: Callable[[int], str],
    keys: list[int],
    dt_of_lags: float | None = None,
) -> list[Panel]:
    """Return a panel for each key.

    Keys are modes, and widths in the first stream's standard deviation; or, where ``dt_of_lags`` is given, lags in
    frames of that length, and widths in each stream's own.
    """
    panels = []
    for key in keys:
        curves, notes, unit = {}, {}, None
        for label, stream in streams.items():
            distribution = pick(stream).get(key if dt_of_lags is None else round(key * dt_of_lags / stream.dt))
            if distribution is None:
                continue
            unit = unit if dt_of_lags is None and unit is not None else distribution.std
            curves[label] = Curve(*distribution.density(unit))
            kurtosis, error = distribution.excess_kurtosis
            notes[label] = f"{label} {kurtosis:+.2f} ± {error:.2f}"
        panels.append(Panel(title(key), curves, notes))
    return panels


def modes_pdf_picture(folder: Path, found: SideBySide) -> Picture | None:
    """Draw densities of the modes."""
    keys = list(found.streams[found.base].modes)
    panels = _density_panels(found.streams, lambda s: s.modes, lambda p: f"mode {p}", keys)
    if not panels:
        return None
    return Picture(
        figures_distributions.draw_densities(folder, "modes_pdf", panels, "$z_p$ / σ of MD"),
        "Distribution of the modes",
        "Components of z_p in units of MD's standard deviation, 95% intervals over chains, numbers are the excess "
        f"kurtosis, with the normal distribution. {found.subject} should lie on MD; slow modes of short chains are a "
        "little narrower in their tails than normal.",
    )


def increments_pdf_picture(folder: Path, found: SideBySide) -> Picture | None:
    """Draw densities of the modes' increments."""
    same_dt = {label: s for label, s in found.streams.items() if abs(s.dt / found.system.dt - 1) < 0.01}
    keys = list(found.streams[found.base].increments)
    panels = _density_panels(same_dt, lambda s: s.increments, lambda p: f"mode {p}", keys)
    if not panels:
        return None
    return Picture(
        figures_distributions.draw_densities(folder, "increments_pdf", panels, "$Δz_p$ / σ of MD"),
        "Distribution of the modes' increments",
        "Change of z_p from one frame to the next, which is what a model learns to draw; numbers are the excess "
        f"kurtosis. {found.subject} should lie on MD out to the tails. It is absent where its file keeps fewer frames "
        "than MD.",
    )


def displacements_pdf_picture(folder: Path, found: SideBySide) -> Picture | None:
    """Draw densities of displacements."""
    keys = list(found.streams[found.base].displacements)
    time = unit_symbol(units_of(found)[1])

    def title(lag: int) -> str:
        return f"t = {number(lag * found.system.dt, 3)} {time} ({lag} frame{'s' if lag > 1 else ''})"

    panels = _density_panels(found.streams, lambda s: s.displacements, title, keys, found.system.dt)
    if not panels:
        return None
    return Picture(
        figures_distributions.draw_densities(folder, "displacements_pdf", panels, "ΔX / own σ"),
        "Distribution of the chains' displacements",
        "Components of X(t₀+t) − X(t₀), each trajectory in units of its own standard deviation: the shape alone; "
        "numbers are the excess kurtosis. Centres of mass of chains are nearly normal; a positive excess kurtosis "
        "at short times says that some chains are freer than others.",
    )


def normal_probability_picture(folder: Path, found: SideBySide) -> Picture | None:
    """Draw normal probability plots."""
    md = found.streams[found.base]
    panels = []
    wanted = [("modes", p) for p in list(md.modes)[:2]] + [
        ("displacements", lag) for lag in list(md.displacements)[::3][:2]
    ]
    for kind, key in wanted:
        curves = {}
        for label, stream in found.streams.items():
            there = key if kind == "modes" else round(key * found.system.dt / stream.dt)
            distribution = getattr(stream, kind).get(there)
            if distribution is not None:
                curves[label] = Curve(*distribution.normal_probability())
        title = f"$z_{{{key}}}$" if kind == "modes" else f"ΔX over {key} frame{'s' if key > 1 else ''}"
        panels.append(Panel(title, curves, {}))
    if not panels:
        return None
    return Picture(
        figures_distributions.draw_normal_probability(folder, panels),
        "Normal probability plots",
        "Quantiles found against those of a normal distribution of the same width. Points on the line: normal. Ends "
        "that bend towards the horizontal: tails shorter than normal; towards the vertical: longer.",
    )


def cross_picture(folder: Path, found: RunAgainstMd) -> Picture:
    """Draw correlations between modes."""
    off = np.abs(found.cross.value - np.eye(len(found.cross.value)))
    return Picture(
        figures_distributions.draw_cross_correlation(folder, found.cross.value, found.cross.se),
        "Are the modes independent?",
        "Correlation of MD's modes at equal times; the generator draws modes independently, so this should be near "
        f"zero off the diagonal. Its largest entry is {off.max():.2f}; entries beyond four standard errors are "
        "ringed. By symmetry of the two chain ends only modes of equal parity can be correlated.",
    )


def chain_sizes_picture(folder: Path, found: SideBySide) -> Picture | None:
    """Draw densities of chain sizes."""

    def curves(pick: Callable[[Observables], Distribution | None]) -> dict[str, Curve]:
        shown = {}
        for label, stream in found.streams.items():
            distribution = pick(stream)
            if distribution is not None:
                total = distribution.powers[:, 1].sum() / distribution.size.sum()
                shown[label] = Curve(*distribution.density(float(np.sqrt(total))))
        return shown

    ends = curves(lambda stream: stream.end_to_end)
    if not ends:
        return None
    return Picture(
        figures_distributions.draw_chain_sizes(folder, ends, curves(lambda stream: stream.gyration)),
        "End-to-end distance and radius of gyration",
        "Densities over the root mean square, from the modes that were recorded, 95% intervals over chains. "
        f"{found.subject} should lie on MD, and both near the Gaussian chain (left) when chains are long and flexible.",
    )
