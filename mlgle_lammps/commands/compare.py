"""``mlgle compare RUN [FULL_RUN]``, ``STREAM MD`` or ``RUN1 RUN2 ..``: against MD, or over temperatures."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.commands.parsers import parse_compare
from mlgle_lammps.directions import Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.compare import CompareOptions
from mlgle_lammps.store.run_folder import PREVIOUS, RunFolder

if TYPE_CHECKING:  # commands import what is slow to load where they need it
    from mlgle_lammps.evaluate.over_temperatures import Temperatures
    from mlgle_lammps.evaluate.run_results import RunResult
    from mlgle_lammps.evaluate.side_by_side import SideBySide

logger = logging.getLogger("mlgle")


def _compare(arguments: Sequence[str]) -> int:
    options = parse_compare(arguments)
    from mlgle_lammps.report.comparison_numbers import NUMBERS, write_numbers

    _require_own_folder(options)
    temperatures = _temperatures(options)
    if options.at and temperatures is None:
        raise UserError("--at asks runs at several temperatures: name them all")
    streams = temperatures is None and len(options.runs) == 2 and not _is_run(options.runs[0])
    folder = RunFolder.create(options.out, options.overwrite)
    try:
        folder.checkpoint.rmdir()
        if temperatures is not None:
            found = _over_T(options, temperatures, folder)
        else:
            found = _two_streams(options, folder) if streams else _against_md(options, folder)
        write_numbers(folder.path, found)
    except BaseException:
        if not (folder.path / NUMBERS).exists():
            folder.remove()
        raise
    shutil.rmtree(folder.path / PREVIOUS, ignore_errors=True)
    logger.info("%s and %d figures in %s", folder.report.name, len(list(folder.figures.glob("*.png"))), folder.path)
    return 0


def _require_own_folder(options: CompareOptions) -> None:
    """Raise UserError where the comparison would replace a run, or where a run is named twice."""
    if {options.out.resolve()} & {path.resolve() for path in options.runs}:
        raise UserError(f"--out {options.out} is one of the runs; choose another folder")
    if any(os.path.lexists(options.out / name) for name in ("result.json", "modes.h5", "checkpoint")):
        raise UserError(f"--out {options.out} is a run's folder, which is not replaced; choose another")
    twice = len({path.resolve() for path in options.runs}) < len(options.runs)
    if twice and (options.temperatures or len(options.runs) > 2):
        raise UserError("the same run is given twice: name each once")


def _is_run(path: os.PathLike[str]) -> bool:
    return os.path.isfile(os.path.join(path, "result.json"))


def _temperatures(options: CompareOptions) -> Temperatures | None:
    """Return the temperatures of the runs where it is these that are compared; None where it is streams."""
    from mlgle_lammps.evaluate.over_temperatures import Temperatures, known_temperatures
    from mlgle_lammps.evaluate.run_results import open_run

    if len(options.runs) == 2 and not options.temperatures and not _is_run(options.runs[0]):
        return None
    first = open_run(options.runs[0])
    if options.temperatures:
        return Temperatures(options.temperatures, "given")
    known = None
    if len(options.runs) > 1 and all(map(_is_run, options.runs)):
        known = known_temperatures([first, *map(open_run, options.runs[1:])])
    if known is None and len(options.runs) > 2:
        raise UserError(
            "of more than two, each must be a run's folder; RUN FULL_RUN compares a run with a stream of MD, STREAM MD "
            "any stream"
        )
    return known


def _require_own_directions(options: CompareOptions, run: RunResult) -> None:
    """Raise UserError where other directions are asked for than those that a run's D is of."""
    if options.directions is not None and Directions.named(options.directions).free != run.directions.free:
        raise UserError(
            f"--directions {options.directions}: D of {run.folder.path} is that of {run.directions.free}; replay the "
            f"run with --directions {options.directions} to compare others"
        )


def _against_md(options: CompareOptions, folder: RunFolder) -> dict[str, Any]:
    """Compare a run with full MD, draw it, and return the numbers."""
    from mlgle_lammps.evaluate.run_against_md import compare_with_md
    from mlgle_lammps.evaluate.run_results import open_run
    from mlgle_lammps.report.comparison import write_comparison
    from mlgle_lammps.report.comparison_numbers import numbers_of_run
    from mlgle_lammps.report.result import versions

    run = open_run(options.runs[0])
    _require_own_directions(options, run)
    full = options.runs[1] if len(options.runs) > 1 else None
    logger.info("%s against %s", run.folder.path, full or "its own MD")
    found = compare_with_md(run, full)
    _log_estimates(found)
    write_comparison(folder.path, found, versions())
    return numbers_of_run(found)


def _two_streams(options: CompareOptions, folder: RunFolder) -> dict[str, Any]:
    """Hold a stream against one of MD, draw both, and return the numbers."""
    from mlgle_lammps.evaluate.two_streams import compare_streams
    from mlgle_lammps.report.comparison_numbers import numbers_of_streams
    from mlgle_lammps.report.result import versions
    from mlgle_lammps.report.streams_page import write_streams

    named = None if options.directions is None else Directions.named(options.directions)
    found = compare_streams(options.runs[0], options.runs[1], named)
    for label, source in found.sources.items():
        logger.info("%s is %s", label, source)
    _log_estimates(found)
    if found.judgement is not None:
        words = found.judgement.words()
        logger.info("%s", f"{found.subject} is off: {'; '.join(words)}" if words else f"{found.subject} agrees with MD")
    write_streams(folder.path, found, versions())
    return numbers_of_streams(found)


def _log_estimates(found: SideBySide) -> None:
    for way, estimate in found.estimates.items():
        z = f", z = {found.z_scores[way]:+.1f}" if way in found.z_scores else ""
        logger.info("%-34s D = %.4g ± %.2g%s", way, estimate.value, estimate.se, z)
    for note in found.notes:
        logger.info("note: %s", note)


def _over_T(options: CompareOptions, temperatures: Temperatures, folder: RunFolder) -> dict[str, Any]:
    """Put runs in the order of their temperatures, fit the laws, draw, and return the numbers."""
    from mlgle_lammps.evaluate.over_temperatures import activation_energy, compare_temperatures
    from mlgle_lammps.evaluate.run_results import open_run
    from mlgle_lammps.evaluate.temperature_answers import answers_of
    from mlgle_lammps.report.comparison_numbers import numbers_of_temperatures
    from mlgle_lammps.report.result import versions
    from mlgle_lammps.report.temperature_page import write_temperatures

    runs = [open_run(path) for path in options.runs]
    for run in runs:
        _require_own_directions(options, run)
    found = compare_temperatures(runs, temperatures)
    energy = activation_energy(found.arrhenius, found.units) if found.arrhenius else None
    for T, run in zip(found.temperatures, found.runs, strict=True):
        logger.info("T = %.4g  D = %.4g ± %.2g  %s", T, run.D.value, run.D.se, run.folder.path)
    if energy:
        logger.info("activation energy %.3g ± %.2g %s", *energy)
    answers = answers_of(found, options.at)
    for line in (*answers.lines, *(f"note: {note}" for note in (*found.notes, *answers.notes))):
        logger.info("%s", line)
    write_temperatures(folder.path, found, energy, versions(), answers)
    return numbers_of_temperatures(found, energy) | {"pool": answers.numbers}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("compare", _compare, arguments)
