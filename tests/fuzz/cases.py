"""One mutation of a sound input, the command that is given it, and the verdict."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.processes import Outcome, forked, lammps_alone, launched
from fuzz.verdicts import DEFECTS, Verdict, judge


class Hostile:
    """An object whose pickle creates the file ``ran`` when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def mutated_file(
    write: Callable[[Path], object], name: str, edit: Callable[[Path], object] | None = None
) -> Callable[[Path], None]:
    """Return a function that writes a sound input into a folder and mutates it."""

    def make(folder: Path) -> None:
        write(folder / name)
        if edit is not None:
            edit(folder / name)

    return make


@dataclass(frozen=True)
class Case:
    """A command on a mutated input.

    Attributes:
        kind: of input.
        name: of the mutation.
        make: writes the input into an empty folder.
        command: of ``mlgle``.
        arguments: its arguments, relative to the folder; results go to ``out``.
        expected: "pass" for a sound input, "refuse" where it must be refused, "any" where either will do.
        ranks: for mpirun; None runs without it.
        draw: whether pictures are drawn, which takes most of the time of ``compare``.
    """

    kind: str
    name: str
    make: Callable[[Path], None]
    command: str
    arguments: tuple[object, ...]
    expected: str = "any"
    ranks: int | None = None
    draw: bool = True

    @property
    def leaves_result(self) -> bool:
        """Whether the command writes result.json."""
        return self.command in ("run", "replay")

    def run(self, folder: Path, limit: float, real: bool) -> Outcome:
        """Make the input in ``folder`` and give it to the command, as a launched process or a forked one."""
        folder.mkdir(parents=True)
        self.make(folder)
        if real or self.command == "run":
            return launched(self.command, self.arguments, folder, self.ranks, limit)
        main = importlib.import_module(f"mlgle_lammps.{self.command}").main
        return forked(main, self.arguments, folder, limit, self.draw)

    def verdict(self, outcome: Outcome, folder: Path, sound: dict[str, Any] | None) -> Verdict:
        """Return the verdict; the input's code must not have run, and a refusal must leave no folder behind."""
        found = judge(outcome, folder / "out" if self.leaves_result else None, sound)
        if found.word == "hung" and self.command == "run" and not lammps_alone("in.deck", folder):
            return Verdict("LAMMPS", "LAMMPS by itself does not end with it either")
        if (folder / "ran").exists() or (folder.parent / "ran").exists():
            return Verdict("wrong", "code in the input was executed")
        if self.expected == "refuse" and found.word not in ("refused", *DEFECTS):
            return Verdict("wrong", f"should be refused: {found.word}, {found.reason}")
        if self.expected == "pass" and found.word != "harmless":
            return Verdict("wrong", f"a sound input: {found.word}, {found.reason}")
        left = folder / "out"
        if found.word == "refused" and outcome.code == 2 and left.is_dir() and not (left / "result.json").exists():
            return Verdict("wrong", f"refused, and {sorted(p.name for p in left.iterdir())} left: {found.reason}")
        return found
