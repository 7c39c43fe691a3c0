"""``mlgle sets SET.toml``: MD of a set of decks, models trained on some, and how they fare on the others."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.commands.parsers import parse_sets
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.options.sets import STAGES, SetsOptions
from mlgle_lammps.pipeline.set_file import SetFile, read_set

logger = logging.getLogger("mlgle")


def _sets(arguments: Sequence[str]) -> int:
    options = parse_sets(arguments)
    plan = read_set(options.file)
    out = options.out or Path("runs") / options.file.stem
    stages = options.stage or STAGES
    if options.list:
        return _list(plan, out, stages)
    failures: list[RunFailure] = []
    for stage in STAGES:
        if stage in stages:
            try:
                _do(stage, plan, out, options)
            except RunFailure as error:
                if stage == "md":
                    raise
                logger.warning("warning: %s", error)  # the other models are worth a table
                failures.append(error)
    if failures:
        raise failures[0]
    return 0


def _list(plan: SetFile, out: Path, stages: Sequence[str]) -> int:
    from mlgle_lammps.pipeline.set_tasks import tasks_of

    for stage in STAGES[:3]:
        if stage in stages:
            for number, task in enumerate(tasks_of(plan, out, stage)):
                sys.stdout.write(f"{stage} {number} {task.name} {'done' if task.done else 'to do'}\n")
    return 0


def _do(stage: str, plan: SetFile, out: Path, options: SetsOptions) -> None:
    if stage == "evaluate":
        from mlgle_lammps.pipeline.set_parity import write_parity

        for line in write_parity(plan, out):
            logger.info("%s", line)
        return
    from mlgle_lammps.pipeline.set_tasks import Runner, tasks_of

    tasks = tasks_of(plan, out, stage)
    if options.task is not None:
        if options.task >= len(tasks):
            raise UserError(f"`task` {options.task}: {plan.path} has {len(tasks)} tasks of stage {stage}")
        tasks = [tasks[options.task]]
    Runner(out, options.jobs).run(tasks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("sets", _sets, arguments)
