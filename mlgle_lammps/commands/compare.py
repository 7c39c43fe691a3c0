"""``python -m mlgle_lammps.compare RUN [FULL_RUN]``, or ``RUN1 RUN2 ..``: against full MD, or over temperatures."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.commands.parsers import parse_compare
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.compare import CompareOptions
from mlgle_lammps.records import Estimate
from mlgle_lammps.store.run_folder import PREVIOUS, RunFolder, plain

if TYPE_CHECKING:  # commands import what is slow to load where they need it
    from mlgle_lammps.evaluate.over_temperatures import Temperatures

logger = logging.getLogger("mlgle")
NUMBERS = "comparison.json"


def _compare(arguments: Sequence[str]) -> int:
    options = parse_compare(arguments)
    from mlgle_lammps.evaluate.over_temperatures import Temperatures, known_temperatures
    from mlgle_lammps.evaluate.run_results import open_run

    if {options.out.resolve()} & {path.resolve() for path in options.runs}:
        raise UserError(f"--out {options.out} is one of the runs; choose another folder")
    if any(os.path.lexists(options.out / name) for name in ("result.json", "modes.h5", "checkpoint")):
        raise UserError(f"--out {options.out} is a run's folder, which is not replaced; choose another")
    twice = len({path.resolve() for path in options.runs}) < len(options.runs)
    if twice and (options.temperatures or len(options.runs) > 2):
        raise UserError("the same run is given twice: name each once")
    first = open_run(options.runs[0])
    folders = all(path.is_dir() and (path / "result.json").is_file() for path in options.runs)
    temperatures = Temperatures(options.temperatures, "given") if options.temperatures else None
    if temperatures is None and folders and len(options.runs) > 1:
        temperatures = known_temperatures([first, *map(open_run, options.runs[1:])])
    if temperatures is None and len(options.runs) > 2:
        raise UserError(
            "of more than two, each must be a run's folder; RUN FULL_RUN compares a run with a stream of MD"
        )
    folder = RunFolder.create(options.out, options.overwrite)
    try:
        folder.checkpoint.rmdir()
        found = _against_md(options, folder) if temperatures is None else _over_T(options, temperatures, folder)
        _write(folder, found)
    except BaseException:
        if not (folder.path / NUMBERS).exists():
            folder.remove()
        raise
    shutil.rmtree(folder.path / PREVIOUS, ignore_errors=True)
    logger.info("%s and %d figures in %s", folder.report.name, len(list(folder.figures.glob("*.png"))), folder.path)
    return 0


def _against_md(options: CompareOptions, folder: RunFolder) -> dict[str, Any]:
    """Compare a run with full MD, draw it, and return the numbers."""
    from mlgle_lammps.evaluate.against_md import compare_with_md
    from mlgle_lammps.evaluate.run_results import open_run
    from mlgle_lammps.report.comparison import write_comparison
    from mlgle_lammps.report.result import versions

    run = open_run(options.runs[0])
    full = options.runs[1] if len(options.runs) > 1 else None
    logger.info("%s against %s", run.folder.path, full or "its own MD")
    found = compare_with_md(run, full)
    for way, estimate in found.estimates.items():
        z = f", z = {found.z_scores[way]:+.1f}" if way in found.z_scores else ""
        logger.info("%-34s D = %.4g ± %.2g%s", way, estimate.value, estimate.se, z)
    for note in found.notes:
        logger.info("note: %s", note)
    write_comparison(folder.path, found, versions())
    kernel = asdict(found.kernel) | {"nu": found.kernel.subdiffusive_power}
    return {
        "schema": 1,
        "kind": "against MD",
        "run": str(run.folder.path),
        "reference": found.reference_source or None,
        "D": {way: _estimate(e) | {"z": found.z_scores.get(way)} for way, e in found.estimates.items()},
        "cost": asdict(found.cost) if found.cost else None,
        "relaxation": {
            str(p): {"ornstein_uhlenbeck": asdict(found.exponential[p]), "kohlrausch": asdict(law)}
            for p, law in found.stretched.items()
        },
        "generalized_rouse_kernel": kernel,
        "size": {label: asdict(s.size) if s.size else None for label, s in found.streams.items()},
        "modes": {label: asdict(statistics) for label, statistics in found.relaxations.items()},
        "cross_correlation": {"value": found.cross.value.tolist(), "se": found.cross.se.tolist()},
        "D_of_modes": {str(n): [_estimate(D) for D in Ds] for n, Ds in found.of_modes.items()},
        "error_of_frames": {preset: asdict(errors) for preset, errors in found.of_frames.items()},
        "notes": list(found.notes),
        "versions": versions(),
    }


def _over_T(options: CompareOptions, temperatures: Temperatures, folder: RunFolder) -> dict[str, Any]:
    """Put runs in the order of their temperatures, fit the laws, draw, and return the numbers."""
    from mlgle_lammps.evaluate.over_temperatures import activation_energy, compare_temperatures
    from mlgle_lammps.evaluate.run_results import open_run
    from mlgle_lammps.report.result import versions
    from mlgle_lammps.report.temperature_page import write_temperatures

    runs = [open_run(path) for path in options.runs]
    found = compare_temperatures(runs, temperatures)
    energy = activation_energy(found.arrhenius, found.units) if found.arrhenius else None
    for T, run in zip(found.temperatures, found.runs, strict=True):
        logger.info("T = %.4g  D = %.4g ± %.2g  %s", T, run.D.value, run.D.se, run.folder.path)
    if energy:
        logger.info("activation energy %.3g ± %.2g %s", *energy)
    for note in found.notes:
        logger.info("note: %s", note)
    write_temperatures(folder.path, found, energy, versions())
    return {
        "schema": 1,
        "kind": "temperatures",
        "temperatures_measured": found.measured,
        "temperatures_from": found.source,
        "runs": [
            {
                "run": str(run.folder.path),
                "T": T,
                "D": _estimate(run.D),
                "D_generated": _estimate(run.D_generated) if run.D_generated else None,
                "D_full_md": _estimate(run.D_full_md) if run.D_full_md else None,
            }
            for T, run in zip(found.temperatures, found.runs, strict=True)
        ],
        "activation_energy": dict(zip(("value", "se", "unit"), energy, strict=True)) if energy else None,
        "arrhenius": _law(found.arrhenius),
        "arrhenius_generated": _law(found.generated),
        "arrhenius_full_md": _law(found.full_md),
        "vogel_fulcher_tammann": _law(found.vogel),
        "notes": list(found.notes),
        "versions": versions(),
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "se": estimate.se, "ci95": list(estimate.ci95), "method": estimate.method}


def _law(fit: Any) -> dict[str, Any] | None:
    return None if fit is None else asdict(fit) | {"covariance": fit.covariance.tolist()}


def _write(folder: RunFolder, numbers: dict[str, Any]) -> None:
    """Write the numbers atomically."""
    from mlgle_lammps.store.atomic import write_bytes_atomically

    text = json.dumps(plain(numbers), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes_atomically(folder.path / NUMBERS, (text + "\n").encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("compare", _compare, arguments)
