"""result.json from the records of the stages (the schema of the README's "What the numbers mean")."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING

from mlgle_lammps import __version__
from mlgle_lammps.directions import ALL_FREE, Directions
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Ending, Estimate, GleFit, System
from mlgle_lammps.report.stages import Generated, HandOff, SpeciesD, Stages

if TYPE_CHECKING:  # a record of another stage, for its type only
    from mlgle_lammps.statistics.correlation import ModeStatistics

SCHEMA = 1
_PACKAGES = ("lammps", "mpi4py", "torch", "numpy", "scipy", "h5py")


@dataclass(frozen=True)
class Setup:
    """What is known of a run before its first frame.

    Attributes:
        system: what the stream is about.
        options: of learning.
        n_modes: k, those of the options that the system has.
        variables: the deck's settings by ``-var``; empty for a recorded stream.
        threads: of torch.
        device: that networks train and run on.
    """

    system: System
    options: LearnOptions
    n_modes: int
    variables: Mapping[str, Sequence[str]] = field(default_factory=dict)
    threads: int = 0
    device: str = "cpu"


@dataclass
class Findings:
    """What comes up on the way; grows while the stages are at work.

    Attributes:
        n_frames: taken in, up to the hand-off.
        fits: the GLE fits, one per milestone.
        warnings: what a careful person would want to know, one line each.
        notes: what merely informs.
        train_s: wall seconds of training.
        generate_s: of generating.
        total_s: in all so far.
        directions: that are free, by what is known so far.
        species: D of each species, from the hand-off on.
    """

    n_frames: int = 0
    fits: list[GleFit] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    train_s: float = 0.0
    generate_s: float = 0.0
    total_s: float = 0.0
    directions: Directions = ALL_FREE
    species: list[SpeciesD] = field(default_factory=list)

    def warn(self, line: str) -> None:
        """Keep one line of warning, once."""
        if line not in self.warnings:
            self.warnings.append(line)

    def note(self, line: str) -> None:
        """Keep one line that merely informs, once."""
        if line not in self.notes:
            self.notes.append(line)


def opening(system: System, ending: Ending, complete: bool, variables: Mapping[str, Sequence[str]]) -> JsonObject:
    """Return how every result.json begins: whether it is whole, and of what it is."""
    return {
        "schema": SCHEMA,
        "status": "complete" if complete else "partial",
        "message": ending.message,
        "source": system.source,
        "variables": {name: list(values) for name, values in variables.items()},
    }


def extent(system: System, n_frames: int) -> JsonObject:
    """Return how many molecules and frames there are, and in which units, of every result.json."""
    return {
        "dt": system.dt,
        "time_unit": system.time_unit,
        "length_unit": system.length_unit,
        "n_chains": system.n_chains,
        "n_beads": system.n_beads,
        "n_frames": n_frames,
    }


def timing(ending: Ending, total_s: float, **stages: float) -> JsonObject:
    """Return seconds that MD, its callback, further stages and everything took, of every result.json."""
    return {
        "md_s": ending.md_s, "callback_s": ending.callback_s, **stages, "total_s": total_s, "md_waits": ending.waits,
    }  # fmt: skip


def build_result(
    setup: Setup, findings: Findings, stages: Stages, ending: Ending | None = None, complete: bool = False
) -> JsonObject:
    """Return the content of result.json; numbers that are absent are None.

    Args:
        setup: of the run.
        findings: so far.
        stages: that are done.
        ending: how the stream ended; None while it goes on.
        complete: all that was asked for is there.
    """
    system, options, ending = setup.system, setup.options, ending or Ending()
    fit = findings.fits[-1] if findings.fits else None
    units = f"{system.length_unit}^2/{system.time_unit}"
    generated, reference = stages.generated, stages.reference
    return {
        **opening(system, ending, complete, setup.variables),
        "D": _estimate(fit.D if fit else None, units),
        "D_online": [{"frames": f.n_frames, "value": f.D.value, "ci95": list(f.D.ci95)} for f in findings.fits],
        "D_generated": _estimate(generated.D if generated else None, units),
        "D_full_md": _estimate(reference.D if reference else None, units),
        "species": _species(setup, findings, units),
        "directions": findings.directions.summary(),
        "D_by_direction": _by_direction(stages.handoff, units),
        "alpha": math.sqrt(max(fit.alpha_sq, 0.0)) if fit else None,
        "beta": math.sqrt(max(fit.beta_sq, 0.0)) if fit else None,
        "fit": _fit(fit),
        "k": setup.n_modes,
        "m": options.memory,
        **extent(system, findings.n_frames),
        "surrogate": options.surrogate,
        "preset": options.preset,
        "modes": [_mode(stages, i) for i in range(setup.n_modes)],
        "handoff": _handoff(stages.handoff),
        "timing": timing(ending, findings.total_s, train_s=findings.train_s, generate_s=findings.generate_s),
        "generated_check": _check(generated),
        "left_out": list(system.left_out),
        "warnings": list(dict.fromkeys([*system.left_out, *ending.warnings, *findings.warnings])),
        "notes": list(dict.fromkeys([*system.notes, *ending.notes, *findings.notes])),
        "seed": options.seed,
        "device": setup.device,
        "threads": setup.threads,
        "versions": versions(),
    }


def _species(setup: Setup, findings: Findings, units: str) -> list[JsonObject]:
    """Return an entry for each species, the main one first; before the hand-off the others have no D yet."""
    system, fit = setup.system, findings.fits[-1] if findings.fits else None
    found = findings.species
    if not found:
        names = [system.main_name, *(own.name for own in system.others)]
        waiting = [SpeciesD(own, name, 0, None, "not yet") for own, name in zip(system.species, names, strict=True)]
        found = [SpeciesD(waiting[0].species, names[0], setup.n_modes, fit.D if fit else None, "", fit), *waiting[1:]]
    return [
        {
            "name": own.name,
            "main": i == 0,
            "molecules": own.species.n_molecules,
            "beads": own.species.n_beads,
            "k": own.n_modes,
            "D": _estimate(own.D, units),
            "reason": own.reason or None,
            "fit": _fit(own.fit),
            "mass": sum(own.species.masses) / len(own.species.masses) if own.species.masses else None,
        }
        for i, own in enumerate(found)
    ]


def _check(generated: Generated | None) -> JsonObject | None:
    """Return how the ensemble compares with the frames it was learned from: its modes, and its beads' motion."""
    if generated is None:
        return None
    return generated.check.summary() | {"beads": generated.beads.summary() if generated.beads else None}


def _by_direction(handoff: HandOff | None, units: str) -> JsonObject | None:
    """Return D of each free direction by its letter, and how likely chance alone sets them so far apart."""
    if handoff is None:
        return None
    found = handoff.by_direction
    D = {axis: _estimate(estimate, units) for axis, estimate in found.D.items()}
    return D | {"equal_p": found.equal_p, "spread": found.spread}


def _handoff(handoff: HandOff | None) -> JsonObject | None:
    if handoff is None:
        return None
    return {
        "policy": handoff.policy, "frames": handoff.n_frames, "step": handoff.step, "wall_s": handoff.wall_s,
    }  # fmt: skip


def _estimate(estimate: Estimate | None, units: str) -> JsonObject | None:
    if estimate is None:
        return None
    return {
        "value": estimate.value, "ci95": list(estimate.ci95), "se": estimate.se, "units": units,
        "method": estimate.method,
    }  # fmt: skip


def _fit(fit: GleFit | None) -> JsonObject | None:
    if fit is None:
        return None
    return {"lags": list(fit.lags), "chi2": fit.chi2, "dof": fit.dof, "p": fit.p, "beta_sq": fit.beta_sq,
            "beta_sq_se": fit.beta_sq_se, "modes": list(fit.modes)}  # fmt: skip


def _mode(stages: Stages, i: int) -> JsonObject:
    reports = stages.trained.model.reports if stages.trained else ()
    report, generated = reports[i] if i < len(reports) else None, stages.generated
    return {
        "mode": i + 1,
        "relaxation_time": generated.relaxation_times[i] if generated else None,
        "val_nll": report.val_nll if report else None,
        "model": report.model if report else None,
        "stationary_variance_ratio": 1.0 + generated.check.variance.deviation[i] if generated else None,
        "core_nll": report.core_nll if report else None,
        **(generated.check.of_mode(i) if generated else {}),
        **_md_mode(stages.handoff.md_modes if stages.handoff else None, i),
        **(report.details if report else {}),
    }


def _md_mode(md: ModeStatistics | None, i: int) -> JsonObject:
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
