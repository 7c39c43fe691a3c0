"""The work that a set of runs makes, as commands: what is done of it, what goes on where it stopped, what is next."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.options.learn import NO_SURROGATE
from mlgle_lammps.pipeline.set_file import PlannedModel, PlannedRun, SetFile

logger = logging.getLogger("mlgle")
STOP_SECONDS = 30.0
"""That a task has for saving what it has, once it was told to end."""


@dataclass(frozen=True)
class Task:
    """One command.

    Attributes:
        stage: that it belongs to.
        name: for people.
        folder: that it makes.
        words: of the command, after ``python -m mlgle_lammps.``.
        resumes: words of the command that goes on where an earlier one was ended; empty where none does.
        whole: file that is there once the command has done its work.
    """

    stage: str
    name: str
    folder: Path
    words: tuple[str, ...]
    resumes: tuple[str, ...]
    whole: Path

    @property
    def done(self) -> bool:
        """Whether its work is there."""
        if self.whole.name != "result.json":
            return self.whole.exists()
        try:
            return bool(json.loads(self.whole.read_text(encoding="utf-8")).get("status") == "complete")
        except (OSError, ValueError):
            return False

    @property
    def command(self) -> tuple[str, ...]:
        """Words of the command that does what is left."""
        if self.resumes and any((self.folder / "checkpoint").glob("stream-*.npz")):
            return self.resumes
        return (*self.words, "--overwrite") if self.folder.exists() else self.words


def run_folder(out: Path, run: PlannedRun) -> Path:
    """Return the folder of a run's MD."""
    return out / "md" / run.part / run.name


def model_folder(out: Path, model: PlannedModel) -> Path:
    """Return the folder of a model."""
    return out / "models" / model.name


def generated_folder(out: Path, model: PlannedModel) -> Path:
    """Return the folder that holds one of generated trajectories for each unseen molecule."""
    return out / "generated" / model.name


def tasks_of(plan: SetFile, out: Path, stage: str) -> list[Task]:
    """Return the tasks of a stage in their order: "md", "train" or "generate"."""
    if stage == "md":
        return [_md(out, own) for own in plan.runs]
    if stage == "train":
        return [_training(plan, out, own) for own in plan.models]
    return [own for model in plan.models for own in _generation(plan, out, model)]


def _md(out: Path, run: PlannedRun) -> Task:
    folder = run_folder(out, run)
    words = ["run", str(run.deck), "--surrogate", NO_SURROGATE, "--every", str(run.every), "--out", str(folder)]
    words += [] if run.frames is None else ["--frames", str(run.frames)]
    for name, values in run.variables:
        words += ["-var", name, *values]
    return Task("md", run.name, folder, tuple(words), ("run", "--resume", str(folder)), folder / "result.json")


def _training(plan: SetFile, out: Path, model: PlannedModel) -> Task:
    folder = model_folder(out, model)
    runs = [str(run_folder(out, own)) for own in plan.of_part("train")]
    if not runs:
        raise UserError(f'{plan.path}: no run has part = "train", so that models have nothing to learn from')
    words = ("replay", *runs, "--surrogate", plan.surrogate, "--seed", str(model.seed), "--threads", "1",
             "--out", str(folder), *model.options)  # fmt: skip
    return Task("train", model.name, folder, words, (), folder / "result.json")


def _generation(plan: SetFile, out: Path, model: PlannedModel) -> list[Task]:
    """Return one task for the unseen molecules of each part: those of one size move side by side."""
    found = []
    for part in model.parts:
        if not (runs := plan.of_part(part)):
            continue
        folder = generated_folder(out, model) / part
        time = plan.time if model.time is None else model.time
        words = ("generate", str(model_folder(out, model)), "--start", *(str(run_folder(out, own)) for own in runs),
                 "--time", f"{time:g}", "--ensemble", str(plan.ensemble), "--seed", str(model.seed),
                 "--save-every", str(plan.save_every), "--threads", "1", "--out", str(folder))  # fmt: skip
        found.append(Task("generate", f"{model.name}/{part}", folder, words, (), folder / "generated.json"))
    return found


class Runner:
    """Runs tasks as processes of their own, some at a time; told to end, it lets them save what they have.

    Args:
        out: folder of the set, in which each task's log is.
        jobs: tasks at a time.
    """

    def __init__(self, out: Path, jobs: int) -> None:
        self._out, self._jobs = out, jobs
        self._lock = threading.Lock()
        self._running: list[subprocess.Popen[bytes]] = []
        self._ended = False

    def run(self, tasks: Sequence[Task]) -> None:
        """Do what is not done of the tasks.

        Raises:
            RunFailure: a task failed; the others have been done all the same.
        """
        waiting = [task for task in tasks if not task.done]
        logger.info(
            "%s: %d of %d are done", tasks[0].stage if tasks else "nothing", len(tasks) - len(waiting), len(tasks)
        )
        pool = ThreadPoolExecutor(self._jobs)
        try:
            failed = [line for line in pool.map(self._one, waiting) if line]
        except BaseException:
            self.end()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if failed:
            raise RunFailure(f"{len(failed)} of {len(waiting)} tasks failed, first {failed[0]}")

    def end(self) -> None:
        """Start nothing more and have what runs end; wait for it."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()

    def _one(self, task: Task) -> str:
        """Run one task; return what went wrong in a line, "" where nothing."""
        log = self._out / "log" / f"{task.stage}-{task.name.replace('/', '-')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        task.folder.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started, (command, *rest) = time.monotonic(), task.command
        with open(log, "ab") as file:
            with self._lock:
                if self._ended:
                    return ""
                process = subprocess.Popen(
                    [sys.executable, "-m", f"mlgle_lammps.{command}", *rest],
                    stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment, start_new_session=True,
                )  # fmt: skip
                self._running.append(process)
            code = process.wait()
        with self._lock:
            self._running.remove(process)
            if self._ended:
                return ""
        logger.info(
            "%s %s: %.0f s%s", task.stage, task.name, time.monotonic() - started, "" if code == 0 else " FAILED"
        )
        if code == 0 and task.done:
            return ""
        return f"{task.stage} {task.name} ({_last_line(log)}; see {log})"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no word"
