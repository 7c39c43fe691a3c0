"""result.json from the records of the stages (the schema of the README's "What the numbers mean")."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from mlgle_lammps import __version__
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.records import Ending, Estimate, GleFit, ModeReport, System

if TYPE_CHECKING:  # a record of another stage, for its type only
    from mlgle_lammps.evaluate.judgement import Judgement
    from mlgle_lammps.statistics.correlation import ModeStatistics

SCHEMA = 1
_PACKAGES = ("lammps", "mpi4py", "torch", "numpy", "scipy", "h5py")


@dataclass
class RunState:
    """What is known of a run so far; the one mutable thing that the pipeline hands on.

    Attributes:
        variables: the deck's settings by ``-var``; empty for a recorded stream.
        fits: the GLE fits, one per milestone, the last at the hand-off.
        modes: outcome of training, empty before it.
        relaxation_times: of the generated NACF, time_unit; None where beyond its lags.
        variance_ratios: stationary variance, generated over MD.
        generated_check: the generated ensemble against its training frames.
        md_modes: variance and relaxation time of MD's own modes, with errors.
    """

    system: System
    options: LearnOptions
    n_modes: int
    variables: Mapping[str, Sequence[str]] = field(default_factory=dict)
    n_frames: int = 0
    fits: list[GleFit] = field(default_factory=list)
    handoff: dict[str, Any] | None = None
    modes: Sequence[ModeReport] = ()
    relaxation_times: Sequence[float | None] = ()
    variance_ratios: Sequence[float] = ()
    generated_check: Judgement | None = None
    md_modes: ModeStatistics | None = None
    D_generated: Estimate | None = None
    D_full_md: Estimate | None = None
    ending: Ending = field(default_factory=Ending)
    complete: bool = False
    train_s: float = 0.0
    generate_s: float = 0.0
    total_s: float = 0.0
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    threads: int = 0
    device: str = "cpu"

    def warn(self, line: str) -> None:
        """Keep one line of warning, once."""
        if line not in self.warnings:
            self.warnings.append(line)

    def note(self, line: str) -> None:
        """Keep one line that merely informs, once."""
        if line not in self.notes:
            self.notes.append(line)


def build_result(state: RunState) -> dict[str, Any]:
    """Return the content of result.json; numbers that are absent are None."""
    fit = state.fits[-1] if state.fits else None
    units = f"{state.system.length_unit}^2/{state.system.time_unit}"
    return {
        "schema": SCHEMA,
        "status": "complete" if state.complete else "partial",
        "message": state.ending.message,
        "source": state.system.source,
        "variables": {name: list(values) for name, values in state.variables.items()},
        "D": _estimate(fit.D if fit else None, units),
        "D_online": [{"frames": f.n_frames, "value": f.D.value, "ci95": list(f.D.ci95)} for f in state.fits],
        "D_generated": _estimate(state.D_generated, units),
        "D_full_md": _estimate(state.D_full_md, units),
        "alpha": math.sqrt(max(fit.alpha_sq, 0.0)) if fit else None,
        "beta": math.sqrt(max(fit.beta_sq, 0.0)) if fit else None,
        "fit": _fit(fit),
        "k": state.n_modes,
        "m": state.options.memory,
        "dt": state.system.dt,
        "time_unit": state.system.time_unit,
        "length_unit": state.system.length_unit,
        "n_chains": state.system.n_chains,
        "n_beads": state.system.n_beads,
        "n_frames": state.n_frames,
        "preset": state.options.preset,
        "modes": [_mode(state, i) for i in range(state.n_modes)],
        "handoff": state.handoff,
        "timing": {
            "md_s": state.ending.md_s,
            "callback_s": state.ending.callback_s,
            "train_s": state.train_s,
            "generate_s": state.generate_s,
            "total_s": state.total_s,
            "md_waits": state.ending.waits,
        },
        "generated_check": state.generated_check.summary() if state.generated_check else None,
        "warnings": list(dict.fromkeys([*state.ending.warnings, *state.warnings])),
        "notes": list(dict.fromkeys([*state.system.notes, *state.ending.notes, *state.notes])),
        "seed": state.options.seed,
        "device": state.device,
        "threads": state.threads,
        "versions": versions(),
    }


def _estimate(estimate: Estimate | None, units: str) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "value": estimate.value, "ci95": list(estimate.ci95), "se": estimate.se, "units": units,
        "method": estimate.method,
    }  # fmt: skip


def _fit(fit: GleFit | None) -> dict[str, Any] | None:
    if fit is None:
        return None
    return {"lags": list(fit.lags), "chi2": fit.chi2, "dof": fit.dof, "p": fit.p, "beta_sq": fit.beta_sq}


def _mode(state: RunState, i: int) -> dict[str, Any]:
    report = state.modes[i] if i < len(state.modes) else None
    return {
        "mode": i + 1,
        "relaxation_time": state.relaxation_times[i] if i < len(state.relaxation_times) else None,
        "val_nll": report.val_nll if report else None,
        "model": report.model if report else None,
        "stationary_variance_ratio": state.variance_ratios[i] if i < len(state.variance_ratios) else None,
        "core_nll": report.core_nll if report else None,
        **(state.generated_check.of_mode(i) if state.generated_check else {}),
        **_md_mode(state.md_modes, i),
        **(report.details if report else {}),
    }


def _md_mode(md: ModeStatistics | None, i: int) -> dict[str, Any]:
    if md is None:
        return {}
    return {
        "md_relaxation_time": md.relaxation_time[i],
        "md_relaxation_time_se": md.relaxation_time_se[i],
        "md_variance": md.variance[i],
        "md_variance_se": md.variance_se[i],
    }


def versions() -> dict[str, str]:
    """Return the versions of this program, Python and the packages that numbers depend on."""
    found = {"mlgle_lammps": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found
