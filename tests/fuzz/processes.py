"""Run a command in a process of its own, with a time limit: launched as users do, or forked from this one (fast)."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a process did.

    Attributes:
        code: exit code; negative for a signal, None where it had to be killed at the time limit.
        stderr: all of it.
        seconds: wall time.
        megabytes: largest resident memory.
    """

    code: int | None
    stderr: str
    seconds: float
    megabytes: float


def launched(
    command: str, arguments: Sequence[object], folder: Path, ranks: int | None = None, limit: float = 60
) -> Outcome:
    """Return what ``python -m mlgle_lammps.COMMAND ARGUMENTS`` did in ``folder``, under mpirun for some ``ranks``.

    Everything that is left of a process that exceeds the limit is killed.
    """
    launcher = [str(Path(sys.executable).parent / "mpirun"), "-n", str(ranks)] if ranks else []
    started = time.monotonic()
    with tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [*launcher, sys.executable, "-m", f"mlgle_lammps.{command}", *map(_plain, arguments)],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=err, start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        err.seek(0)
        text = err.read().decode(errors="replace")
    return Outcome(code, text, time.monotonic() - started, 0.0)


def lammps_alone(deck: str, folder: Path, limit: float = 30) -> bool:
    """Tell whether LAMMPS by itself comes to an end with a deck within the limit, well or badly."""
    command = [
        str(Path(sys.executable).parent / "lmp"),
        "-in",
        deck,
        "-log",
        "none",
        "-var",
        "deckdir",
        ".",
        "-var",
        "mlgle",
        "1",
    ]
    try:
        subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return False
    return True


def _plain(argument: object) -> str | bytes | os.PathLike[str]:
    return argument if isinstance(argument, str | bytes | os.PathLike) else str(argument)


def forked(
    main: Callable[[list[str]], int], arguments: Sequence[object], folder: Path, limit: float = 60, draw: bool = True
) -> Outcome:
    """Return what ``main(ARGUMENTS)`` did in a fork of this process that works in ``folder``.

    What ``main`` needs should be imported before, and no thread be running. Without ``draw`` pictures are empty files.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            if not draw:
                Figure.savefig = lambda figure, path, **options: Path(path).write_bytes(b"")  # type: ignore[assignment]
            _become(main, [str(argument) for argument in arguments], folder, err.fileno())
        code: int | None = None
        while True:
            pid, status, usage = os.wait4(child, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status) if time.monotonic() - started < limit else None
                break
            if time.monotonic() - started > limit:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.005)
        err.seek(0)
        text = err.read().decode(errors="replace")
    return Outcome(code, text, time.monotonic() - started, usage.ru_maxrss / 1024)


def _become(main: Callable[[list[str]], int], arguments: list[str], folder: Path, err: int) -> None:
    """Be the child; never return."""
    code = 99
    try:
        os.chdir(folder)
        os.dup2(err, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = main(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
