"""What a command's outcome is worth: refused in one clear line, harmless, or one of the ways to fail."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.processes import Outcome

DEFECTS = ("hung", "traceback", "wrong")
FACTOR = 3.0
"""A D that is off by more than this is not harmless, unless a warning names what is wrong."""
LONGEST_LINE = 1100
MOST_MEGABYTES = 1500.0
_TRACE = re.compile(r"Traceback \(most recent|internal error|Segmentation|double free|corrupted|terminate called")


@dataclass(frozen=True)
class Verdict:
    """A word of ("refused", "harmless", "warned", "other", "LAMMPS", *DEFECTS) and why.

    "warned" is a D far from the sound input's with a warning that the sound input does not get, "other" the same
    without one: something else was asked for, or something is wrong. "LAMMPS" is an endless loop of LAMMPS's own.
    """

    word: str
    reason: str


def judge(outcome: Outcome, folder: Path | None, sound: dict[str, Any] | None = None) -> Verdict:
    """Return the verdict on a command.

    Args:
        outcome: what the process did.
        folder: where it should have left result.json; None for commands that leave none.
        sound: result.json of the input that was mutated; None where this is it.
    """
    if outcome.code is None:
        return Verdict("hung", f"still running after {outcome.seconds:.0f} s")
    if _TRACE.search(outcome.stderr) or outcome.code < 0 or outcome.code not in (0, 1, 2):
        return Verdict("traceback", f"exit code {outcome.code}: {outcome.stderr[-300:]}")
    if outcome.megabytes > MOST_MEGABYTES:
        return Verdict("wrong", f"took {outcome.megabytes:.0f} MB")
    lines = outcome.stderr.splitlines()
    errors = [line for line in lines if ": error: " in line]
    if outcome.code:
        return _judge_refusal(outcome.code, errors, lines)
    if errors:
        return Verdict("wrong", f"exit code 0 and {errors[0]}")
    return Verdict("harmless", "") if folder is None else _judge_result(folder, sound)


def _judge_refusal(code: int, errors: list[str], lines: list[str]) -> Verdict:
    given_up = [line for line in lines if "nothing was generated: " in line]
    said = errors or given_up
    if len(said) != 1:
        return Verdict(
            "wrong", f"exit code {code} and {len(said)} lines that say why: {' | '.join(said or lines[-3:])}"
        )
    line = said[0].removeprefix("warning: ")
    if len(line) > LONGEST_LINE or not line.isprintable():
        return Verdict("wrong", f"a line of {len(line)} characters: {line[:200]!r}")
    return Verdict("refused", line.split(": error: ")[-1])


def _judge_result(folder: Path, sound: dict[str, Any] | None) -> Verdict:
    path = folder / "result.json"
    if not path.is_file():
        return Verdict("wrong", "exit code 0 without result.json")
    result = json.loads(path.read_text())
    D = (result.get("D") or {}).get("value")
    if result.get("status") != "complete" or not isinstance(D, float) or not math.isfinite(D):
        return Verdict("wrong", f"exit code 0, status {result.get('status')}, D {D}")
    if sound is None:
        return Verdict("harmless" if D > 0 else "wrong", f"D = {D:.3g}")
    if D > 0 and abs(math.log(D / sound["D"]["value"])) < math.log(FACTOR):
        return Verdict("harmless", f"D = {D:.3g}")
    known = {_numberless(line) for line in sound["warnings"]}
    new = [line for line in result["warnings"] if _numberless(line) not in known]
    return Verdict("warned" if new else "other", f"D = {D:.3g}: {new[0] if new else 'no warning'}")


def _numberless(line: str) -> str:
    """Return a warning without its numbers."""
    return re.sub(r"[-+]?\d[\d.]*(e[-+]?\d+)?", "#", line)
