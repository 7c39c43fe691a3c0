"""What `compare` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.directions import Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.declaring import option
from mlgle_lammps.options.learn import DIRECTIONS, DIRECTIONS_BY_DEFAULT


@dataclass(frozen=True)
class CompareOptions:
    """What ``compare`` takes; each field says what it means."""

    runs: tuple[Path, ...] = option(
        meaning="RUN alone (against its own MD); RUN FULL_RUN (a longer run of the same melt, its modes.h5, or an "
        ".npz); STREAM MD (any generated.h5, modes.h5, .npz or folder without a result against MD); RUN1 RUN2 .. at "
        "different temperatures; RUN or generated.h5 .. of --surrogate nm-mb (models side by side)", metavar="RUN",
        positional=True,
    )  # fmt: skip
    out: Path = option(meaning="folder of the comparison", metavar="DIR", shown="runs/<name of the first run>-compare")
    temperatures: tuple[float, ...] = option(
        (), "of the runs, in their order", metavar="T", shown="their -var T, or else the kinetic ones in their logs"
    )
    overwrite: bool = option(False, "replace a comparison that exists")
    directions: str | None = option(None, DIRECTIONS, metavar="XYZ", shown=DIRECTIONS_BY_DEFAULT)
    at: tuple[float, ...] = option(
        (), "temperatures, run or not, at which D, η and τ_1 are asked of all runs together", metavar="T"
    )

    against: Path | None = option(
        None, "MD that models of --surrogate nm-mb are held against, a run's folder or its modes.h5", metavar="MD",
        shown="what the first run's model was not learned from of its production",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.directions is not None:
            Directions.named(self.directions)
        if self.temperatures and len(self.temperatures) != len(self.runs):
            raise UserError(f"`temperatures` has {len(self.temperatures)} values for {len(self.runs)} runs")
        if not all(0 < T < float("inf") for T in self.temperatures):
            raise UserError("`temperatures` must be above 0")
        if not all(0 < T < float("inf") for T in self.at):
            raise UserError("`at` must be above 0")
        if len(self.temperatures) == 1:
            raise UserError("`temperatures` needs two runs or more")
