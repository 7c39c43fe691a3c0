"""Failures a user can act on: one clear line, an exit code, no traceback."""

from __future__ import annotations


class UserError(Exception):
    """What was found, where, and what to do, in one line; ends the command with exit code 2."""

    exit_code = 2


class RunFailure(UserError):
    """The run broke after it had begun (LAMMPS error, lost rank); data so far are kept; exit code 1."""

    exit_code = 1


def one_line(message: object) -> str:
    """Return ``message`` with every run of white space folded into one space."""
    return " ".join(str(message).split())
