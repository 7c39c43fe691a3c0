"""Pictures of a comparison with their captions: how chains and modes move, and D by its several ways."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.evaluate.labels import FULL_MD
from mlgle_lammps.report import figures_dynamics, figures_estimates, plots
from mlgle_lammps.report.page import Picture
from mlgle_lammps.report.plots import Curve, Level

if TYPE_CHECKING:  # records of the comparison, for their types only
    from mlgle_lammps.evaluate.run_against_md import RunAgainstMd
    from mlgle_lammps.evaluate.side_by_side import SideBySide


def units_of(found: SideBySide) -> tuple[str, str]:
    """Return the units of length and time."""
    return found.system.length_unit, found.system.time_unit


def estimates_picture(folder: Path, found: SideBySide) -> Picture:
    """Draw D by its several ways."""
    shown = {way: Level(e.value, *e.ci95) for way, e in found.estimates.items() if np.isfinite(e.se)}
    return Picture(
        figures_estimates.draw_estimates(folder, shown, found.reference, *units_of(found)),
        "D by its several ways",
        "95% intervals. The fit (square) should overlap the grey band, the slope of full MD, where there is any. "
        "MSD/(2t) at t_max is what the same frames say without a model: too large while subdiffusion lasts.",
    )


def msd_picture(folder: Path, found: SideBySide) -> Picture:
    """Draw MSDs and their ratio."""
    curves = {}
    for label, stream in found.streams.items():
        lags = np.unique(np.geomspace(1, len(stream.msd) - 1, 250).astype(int))
        curves[label] = Curve(lags * stream.dt, stream.msd[lags], stream.msd_se[lags])
    reference = FULL_MD if FULL_MD in curves else found.base
    last = max(float(curve.x[-1]) for curve in curves.values())
    time = np.geomspace(found.system.dt, last, 200)
    d = found.streams[found.base].moments.n_dimensions
    model = Curve(time, d * found.kernel.msd(time))
    return Picture(
        figures_dynamics.draw_msd_ratio(folder, curves, model, reference, *units_of(found), d),
        "Mean squared displacements, and their ratio",
        f"By FFT, bands are 95% intervals over chains. In the lower panel {found.subject} should keep to 1, the MSD of "
        f"{reference}, within the bands; the Generalized Rouse Kernel was fitted to {found.base} at shorter times and "
        "is continued beyond.",
    )


def bead_motion_picture(folder: Path, found: SideBySide) -> Picture | None:
    """Draw g_1, g_2 and g_3."""
    names = {"g1": "g₁, inner beads", "g2": "g₂, inner beads about the centre", "g3": "g₃, centres of mass"}
    curves = _chain_curves(found, tuple(names))
    if not curves:
        return None
    return Picture(
        figures_dynamics.draw_bead_motion(folder, names, curves, *units_of(found)),
        "How beads move",
        f"Of five inner beads, rebuilt from the modes 1 to {found.system.n_modes} that are streamed: faster ones are "
        f"in none of the streams. Bands are 95% intervals over chains; the points of {found.subject} should lie in "
        "them. g₁ and g₃ meet where chains diffuse.",
    )


def chain_memory_picture(folder: Path, found: SideBySide) -> Picture | None:
    """Draw the correlations of the end-to-end vector and of Rg²."""
    names = {"ends": "⟨R(t)·R(0)⟩/⟨R²⟩", "gyration": "R_g², its fluctuations"}
    curves = _chain_curves(found, tuple(names))
    if not curves:
        return None
    return Picture(
        figures_dynamics.draw_chain_memory(folder, names, curves, units_of(found)[1]),
        "How chains forget",
        "Normalized autocorrelations of the end-to-end vector and of the squared radius of gyration, from the modes "
        f"that are streamed; bands are 95% intervals over chains. Those of {found.subject} should lie on MD's.",
    )


def _chain_curves(found: SideBySide, names: tuple[str, ...]) -> dict[str, dict[str, Curve]]:
    """Return name to label to curve; empty where no stream has them."""
    known = {label: stream.curves for label, stream in found.streams.items() if stream.curves is not None}
    return {
        name: {label: Curve(own.time, getattr(own, name).value, getattr(own, name).se) for label, own in known.items()}
        for name in names
        if known
    }


def exponent_picture(folder: Path, found: SideBySide) -> Picture | None:
    """Draw ν(t)."""
    curves = {
        label: Curve(stream.exponent.lags * stream.dt, stream.exponent.value, stream.exponent.se)
        for label, stream in found.streams.items()
        if stream.exponent is not None
    }
    if not curves:
        return None
    time = np.geomspace(min(c.x[0] for c in curves.values()), max(c.x[-1] for c in curves.values()), 150)
    msd = np.log(found.kernel.msd(time))
    return Picture(
        figures_dynamics.draw_exponent(folder, curves, Curve(time, np.gradient(msd, np.log(time))), units_of(found)[1]),
        "Anomalous exponent",
        "ν(t) = d ln MSD/d ln t over an octave of lags, bands 95%. Below 1 the chains are still held back; D can be "
        "read from the MSD only where ν has come to 1. Ballistic motion at the shortest times would show as ν above "
        "1.",
    )


def nacf_picture(folder: Path, found: SideBySide) -> Picture | None:
    """Draw NACFs."""

    def by_mode(label: str, with_error: bool) -> dict[int, Curve]:
        stream = found.streams.get(label)
        if stream is None or stream.correlation is None:
            return {}
        lags = np.unique(np.geomspace(1, len(stream.correlation.nacf) - 1, 400).astype(int))
        nacf, se = stream.correlation.nacf, stream.correlation.se
        return {
            p: Curve(lags * stream.dt, nacf[lags, p - 1], se[lags, p - 1] if with_error else None) for p in stream.modes
        }

    md, subject, full = by_mode(found.base, True), by_mode(found.subject, False), by_mode(FULL_MD, False)
    if not md:
        return None
    return Picture(
        plots.draw_nacf(folder, md, subject, units_of(found)[1], found.subject, full),
        "Relaxation of the modes",
        "Normalized autocorrelations, the band is MD's 95% by Mélard and Roy (JCP eq. 34). That of "
        f"{found.subject} (dashed) should stay in the band and cross 1/e where MD does.",
    )


def relaxation_fits_picture(folder: Path, found: RunAgainstMd) -> Picture | None:
    """Draw classical fits of NACFs."""
    stream = found.streams[found.base]
    if stream.correlation is None or not found.stretched:
        return None
    lags = np.unique(np.geomspace(1, min(1000, len(stream.correlation.nacf) - 1), 300).astype(int))
    time, nacf, se = lags * stream.dt, stream.correlation.nacf[lags], stream.correlation.se[lags]
    return Picture(
        figures_dynamics.draw_relaxation_fits(
            folder,
            {p: Curve(time, nacf[:, p - 1], se[:, p - 1]) for p in found.stretched},
            {p: Curve(time, law.nacf(time)) for p, law in found.exponential.items()},
            {p: Curve(time, law.nacf(time)) for p, law in found.stretched.items()},
            {p: law.exponent for p, law in found.stretched.items()},
            units_of(found)[1],
        ),
        "Classical relaxations",
        "What an Ornstein-Uhlenbeck process (dotted) and a Kohlrausch law (dashed) make of MD's autocorrelation "
        "(JCP fig. 6). Where dotted leaves the band, the mode remembers more than its last frame; a = 1 would be a "
        "Rouse mode.",
    )


def relaxation_times_picture(folder: Path, found: SideBySide) -> Picture | None:
    """Draw relaxation times."""
    times = {
        label: {
            p: (tau, se)
            for p, (tau, se) in enumerate(zip(known.relaxation_time, known.relaxation_time_se, strict=True), start=1)
            if tau is not None
        }
        for label, known in found.relaxations.items()
    }
    times = {label: by_mode for label, by_mode in times.items() if by_mode}
    if not times:
        return None
    return Picture(
        figures_dynamics.draw_relaxation_times(folder, times, units_of(found)[1]),
        "Relaxation times",
        "Where each autocorrelation crosses 1/e, 95% intervals over chains. Those of "
        f"{found.subject} should lie on MD's; the dotted line is Rouse's p⁻².",
    )


def of_modes_picture(folder: Path, found: RunAgainstMd) -> Picture:
    """Draw D against k."""
    curves = {
        f"{n} frames": Curve(np.arange(1, len(Ds) + 1.0), np.array([D.value for D in Ds]), np.array([D.se for D in Ds]))
        for n, Ds in found.of_modes.items()
    }
    level = found.estimates[found.reference] if found.reference else None
    band = Level(level.value, *level.ci95) if level is not None else None
    return Picture(
        figures_estimates.draw_against_modes(folder, curves, band, *units_of(found)),
        "D against the number of modes",
        "The fit with modes 1 to k, for the first quarter, half and all of the frames (JCP fig. 10), 95% intervals. "
        "With few modes only the longest lags can be used, so intervals are wide; D should settle as k grows"
        + (", in the grey band of full MD." if band else "."),
    )


def of_frames_picture(folder: Path, found: RunAgainstMd) -> Picture | None:
    """Draw the error of D against frames."""
    if not found.of_frames:
        return None
    curves = {
        preset: Curve(np.array(e.frames, dtype=float), 100 * np.array(e.rmse), 100 * np.array(e.rmse_se))
        for preset, e in found.of_frames.items()
    }
    errors = found.of_frames["default"]
    counts = ", ".join(f"{n} of {length}" for length, n in zip(errors.frames, errors.n_segments, strict=True))
    claimed = Curve(np.array(errors.frames, dtype=float), 100 * np.array(errors.claimed))
    known = (
        "The reference is taken from the same frames, which flatters long segments. " if found.of_frames_shared else ""
    )
    if found.reference is not None:
        D = found.estimates[found.reference]
        known += f"The reference's own error, {100 * D.se / D.value:.1f}%, is common to all points."
    return Picture(
        figures_estimates.draw_against_frames(folder, curves, claimed),
        "Error of D against the frames fitted",
        f"Root mean squared error over disjoint segments ({counts} frames) of {found.of_frames_source}; bars are one "
        "standard error (JCP fig. 11). It should fall as 1/√frames, and the dashed line, the error that each fit "
        f"states by itself, should run through the points of the default preset. {known}",
    )
