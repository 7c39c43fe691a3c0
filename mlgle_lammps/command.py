"""What every command does around its work: logging to stderr, and one clear line where it fails."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence

from mlgle_lammps.errors import UserError, one_line


def set_up_logging() -> None:
    """Send the package's log lines to stderr as they are."""
    logger = logging.getLogger("mlgle")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def run_command(name: str, work: Callable[[Sequence[str]], int], arguments: Sequence[str] | None) -> int:
    """Return the exit status of ``work(arguments)``; a UserError becomes one line on stderr and its exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin on a busy core halve the speed
    set_up_logging()
    try:
        return work(sys.argv[1:] if arguments is None else list(arguments))
    except UserError as error:
        print(f"mlgle {name}: error: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"mlgle {name}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("MLGLE_DEBUG"):
            raise
        line = f"{type(error).__name__}: {one_line(error)}"
        print(f"mlgle {name}: internal error: {line} (MLGLE_DEBUG=1 shows where; please report it)", file=sys.stderr)
        return 70
