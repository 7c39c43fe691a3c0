"""What `compare` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.directions import Directions
from mlgle_lammps.errors import UserError


@dataclass(frozen=True)
class CompareOptions:
    """What ``compare`` takes.

    Attributes:
        runs: result folders; the second of two may be a stream of full MD.
        temperatures: of the runs, in their order; empty where the runs' variables or logs tell them.
        out: folder of the comparison.
        overwrite: replace one that exists.
        directions: that are free, such as "xy"; None takes those of the run, or finds them.
        at: temperatures that nobody need have run, at which the pool of the runs is asked.
    """

    runs: tuple[Path, ...]
    out: Path
    temperatures: tuple[float, ...] = ()
    overwrite: bool = False
    directions: str | None = None
    at: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.directions is not None:
            Directions.named(self.directions)
        if self.temperatures and len(self.temperatures) != len(self.runs):
            raise UserError(f"--temperatures has {len(self.temperatures)} values for {len(self.runs)} runs")
        if not all(0 < T < float("inf") for T in self.temperatures):
            raise UserError("--temperatures must be above 0")
        if not all(0 < T < float("inf") for T in self.at):
            raise UserError("--at must be above 0")
        if len(self.temperatures) == 1:
            raise UserError("--temperatures needs two runs or more")
