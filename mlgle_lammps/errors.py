"""Failures a user can act on: one clear line, an exit code, no traceback."""

from __future__ import annotations

LONGEST_LINE = 1000


class UserError(Exception):
    """What was found, where, and what to do, in one line; ends the command with exit code 2.

    A field of the options stands in it in backticks, `save_every`; `commands` say it as the flag that it is there.
    """

    exit_code = 2


class RunFailure(UserError):
    """The run broke after it had begun (LAMMPS error, lost rank); data so far are kept; exit code 1."""

    exit_code = 1


def one_line(message: object) -> str:
    """Return ``message`` as one line that is fit for a terminal.

    Every run of white space is one space, what cannot be printed a question mark, and the end of a very long one "...".
    """
    line = "".join(c if c.isprintable() else "?" for c in " ".join(str(message).split()))
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..."
