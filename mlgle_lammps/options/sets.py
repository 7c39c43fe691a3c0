"""What `sets` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.declaring import option, require_limits

STAGES = ("md", "train", "generate", "evaluate")


@dataclass(frozen=True)
class SetsOptions:
    """What ``sets`` takes; each field says what it means."""

    file: Path = option(meaning="TOML file that lists decks and -var values", metavar="SET", positional=True)
    out: Path | None = option(None, "folder of all runs", metavar="DIR", shown="runs/<name of the file>")
    stage: tuple[str, ...] = option((), f"what to do: {', '.join(STAGES)}", metavar="STAGE", shown="all in this order")
    task: int | None = option(
        None, "do this one of the stage's tasks alone, counted from 0, as a Slurm array does", metavar="K", least=0
    )
    jobs: int = option(2, "tasks at a time, one core each", metavar="N", least=1, most=1024)
    list: bool = option(False, "print the tasks of the stages, and what is done of them, and exit")

    def __post_init__(self) -> None:
        require_limits(self)
        if unknown := [name for name in self.stage if name not in STAGES]:
            raise UserError(f"`stage` {unknown[0]}: there is no such stage; there are {', '.join(STAGES)}")
        if self.task is not None and len(self.stage) != 1:
            raise UserError("`task` counts the tasks of one stage: name it with `stage`")
        if self.task is not None and self.stage == ("evaluate",):
            raise UserError("`task`: stage evaluate is done in one piece; leave it out")
