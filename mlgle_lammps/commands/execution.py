"""What every command does around its work: logging to stderr, and one clear line where it fails."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.options.declaring import as_flags


class _ToStderr(logging.StreamHandler[TextIO]):
    """Write to what stderr is at the time, not to what it was when the first command of a process began."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def set_up_logging() -> None:
    """Send the package's log lines to stderr as they are."""
    logger = logging.getLogger("mlgle")
    if not logger.handlers:
        handler = _ToStderr()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


class Terminated(BaseException):
    """The process was asked to end; what it leaves behind is put in order on the way out."""


def _terminate(number: int, frame: object) -> None:
    raise Terminated


@contextlib.contextmanager
def _orderly_end() -> Iterator[None]:
    """Let SIGTERM end the command through its ``finally`` clauses, as Ctrl-C does, unless somebody listens to it."""
    ours = threading.current_thread() is threading.main_thread()
    ours = ours and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def run_command(name: str, work: Callable[[Sequence[str]], int], arguments: Sequence[str] | None) -> int:
    """Return the exit status of ``work(arguments)``; a UserError becomes one line on stderr and its exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin on a busy core halve the speed
    set_up_logging()
    try:
        with _orderly_end():
            return work(sys.argv[1:] if arguments is None else list(arguments))
    except UserError as error:
        print(f"mlgle {name}: error: {as_flags(one_line(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"mlgle {name}: interrupted", file=sys.stderr)
        return 130
    except Terminated:
        print(f"mlgle {name}: terminated", file=sys.stderr)
        return 143
    except Exception as error:
        if os.environ.get("MLGLE_DEBUG"):
            raise
        if isinstance(error, OSError) and error.filename is not None:  # disk full, no permission, name too long
            print(f"mlgle {name}: error: {one_line(error)[:400]}", file=sys.stderr)
            return 1
        if isinstance(error, MemoryError):
            print(f"mlgle {name}: error: not enough memory: {one_line(error)}", file=sys.stderr)
            return 1
        line = f"{type(error).__name__}: {one_line(error)}"
        print(f"mlgle {name}: internal error: {line} (MLGLE_DEBUG=1 shows where; please report it)", file=sys.stderr)
        return 70
