"""Curves of runs and streams, drawn into matplotlib axes that are passed in; nothing is opened, styled or saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.api.runs import Run
from mlgle_lammps.errors import UserError
from mlgle_lammps.statistics.errors import NORMAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlgle_lammps.evaluate.observables import Observables


def plot_D(axes: Axes, run: Run) -> None:
    """Draw how D and its 95% interval came about with the frames, and D by other ways at its end."""
    frames, D, interval = run.D_online
    axes.fill_between(frames, *interval.T, alpha=0.3, linewidth=0)
    axes.plot(frames, D, label="GLE fit")
    for label, other in (("generated", run.D_generated), ("full MD", run.D_full_md)):
        if other is not None and len(frames):
            yerr = np.abs(np.array(other.ci95)[:, None] - other.value)
            axes.errorbar([frames[-1]], [other.value], yerr=yerr, fmt="o", capsize=3, label=label)
    axes.set(xlabel="frames", ylabel=f"D in {run.system.length_unit}²/{run.system.time_unit}", xscale="log")
    axes.legend()


def plot_msd(axes: Axes, run: Run, *, label: str = "MD", stream: Observables | None = None) -> None:
    """Draw the MSD of the centres of mass against time, with its 95% band, and 2dDt of the run's fit.

    Args:
        axes: to draw into.
        run: whose frames and whose D.
        label: of the curve.
        stream: another stream's observables in the place of the run's frames, such as ``run.ensemble``.
    """
    found = run.md if stream is None else stream
    lags = np.arange(1, len(found.msd))
    time, msd = lags * found.dt, found.msd[1:]
    band = NORMAL * found.msd_se[1:]
    (line,) = axes.loglog(time, msd, label=label)
    axes.fill_between(
        time, np.maximum(msd - band, msd / 10), msd + band, alpha=0.3, linewidth=0, color=line.get_color()
    )
    axes.loglog(time, 2 * found.moments.n_dimensions * run.D.value * time, "k:", linewidth=1)
    axes.set(xlabel=f"time in {run.system.time_unit}", ylabel=f"MSD in {run.system.length_unit}²")
    axes.legend()


def plot_correlation(axes: Axes, run: Run, modes: Sequence[int] = (1, 2, 3), *, generated: bool = True) -> None:
    """Draw the normalized autocorrelation of some modes: MD with its 95% band, and dashed what was generated.

    Args:
        axes: to draw into.
        run: with its frames.
        modes: 1..k.
        generated: draw the generated trajectories, where generated.h5 is there.

    Raises:
        UserError: no modes in the frames, or not those.
    """
    own = run.md.correlation
    if own is None or not set(modes) <= set(range(1, own.nacf.shape[1] + 1)):
        raise UserError(f"{run.path} has no modes {', '.join(map(str, modes))}")
    made = run.ensemble.correlation if generated and run.folder.generated.is_file() else None
    for mode in modes:
        time, nacf, band = _curve(run.md.dt, own.nacf[:, mode - 1], own.se[:, mode - 1])
        (line,) = axes.plot(time, nacf, label=f"mode {mode}")
        axes.fill_between(time, nacf - band, nacf + band, alpha=0.3, linewidth=0, color=line.get_color())
        if made is not None:
            again = made.nacf[: len(time), mode - 1]
            axes.plot(np.arange(len(again)) * run.ensemble.dt, again, "--", color=line.get_color())
    axes.set(xlabel=f"time in {run.system.time_unit}", ylabel="autocorrelation")
    axes.legend()


def _curve(dt: float, nacf: np.ndarray, se: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times, values and 95% band as far as the noise allows: to the first lag below two errors."""
    lost = np.flatnonzero(nacf < 2 * se)
    end = max(2, int(lost[0]) + 1 if len(lost) else len(nacf))
    return np.arange(end) * dt, nacf[:end], NORMAL * se[:end]


def plot_relaxation_times(axes: Axes, run: Run) -> None:
    """Draw the modes' relaxation times: of MD with 95% bars, and of what was generated."""
    known = [mode for mode in run.modes if mode.md_relaxation_time is not None]
    bars = [NORMAL * (mode.md_relaxation_time_se or 0.0) for mode in known]
    axes.errorbar([m.mode for m in known], [m.md_relaxation_time or 0.0 for m in known], yerr=bars, fmt="o", label="MD")
    made = [mode for mode in run.modes if mode.relaxation_time is not None]
    axes.plot([m.mode for m in made], [m.relaxation_time or 0.0 for m in made], "x", label="generated")
    axes.set(xlabel="mode", ylabel=f"relaxation time in {run.system.time_unit}", xscale="log", yscale="log")
    axes.legend()
