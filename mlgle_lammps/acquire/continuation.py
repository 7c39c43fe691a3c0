"""The deck that goes on from a restart file: what made the system gives way to `read_restart`, the rest is said again.

A LAMMPS restart file holds atoms, topology, box, coefficients and the states of fixes, but no fix, compute, dump,
variable or table. The deck defines these, so it is executed again without what has happened already: building the
system, running, moving atoms. Thermostats whose random numbers no restart file keeps get another seed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlgle_lammps.acquire.deck import Deck
from mlgle_lammps.acquire.deck_text import (
    MAX_DEPTH,
    DeckVariables,
    always_quoted,
    changed,
    logical_lines,
    quoted,
    read_text,
    split_words,
)
from mlgle_lammps.acquire.fixes import plain
from mlgle_lammps.acquire.flow import has_flow, jumps
from mlgle_lammps.errors import UserError

BUILDS = ("read_data", "read_restart", "create_box")
HAPPENED = {
    "run", "minimize", "rerun", "velocity", "set", "create_atoms", "create_bonds", "replicate", "delete_atoms",
    "delete_bonds", "displace_atoms", "change_box", "reset_atoms", "reset_atom_ids", "reset_mol_ids", "reset_timestep",
    "read_dump", "write_data", "write_restart", "write_dump", "write_coeff", "fitpod", "neb", "temper", "balance",
}  # fmt: skip
"""Commands that changed the system or wrote a file once."""
NOISE_IN_PAIRS = {
    "dpd": 3, "dpd/tstat": 4, "dpd/ext": 3, "dpd/ext/tstat": 4, "dpd/fdt": 3, "dpd/fdt/energy": 2, "mdpd": 3,
    "tdpd": 3, "edpd": 2, "brownian": 7, "brownian/poly": 7,
}  # fmt: skip
"""Pair style -> place of its seed, counted from the style's name."""
NOISE_IN_FIXES = {
    "langevin": 4, "brownian": 2, "brownian/sphere": 2, "brownian/asphere": 2, "temp/csvr": 4, "temp/csld": 4,
    "gld": 4, "gle": 4, "ffl": 4, "langevin/eff": 4,
}  # fmt: skip
STATELESS_FIXES = {
    "nve", "nve/limit", "temp/berendsen", "temp/rescale", "momentum", "print", "ave/time", "ave/chunk", "ave/histo",
    "ave/correlate", "vector", "halt",
}  # fmt: skip
"""Fixes that draw no random numbers and start from positions and velocities alone."""
ROUNDED_FIXES = {"nvt"}
"""Fixes that draw no random numbers, whose restarted state is right but for the last bit (measured)."""
FIRST_FILE, SECOND_FILE = "deck.before.lmp", "deck.production.lmp"
"""Names of the files that LAMMPS reads, in the checkpoint folder."""
ONE_FILE_DUMPS = {"dcd", "xtc", "netcdf", "netcdf/mpiio", "h5md", "movie", "xyz/gz", "yaml"}
"""Dump styles that cannot append to a file."""
ONE_FILE_FIXES = {"ave/correlate", "ave/correlate/long"}
"""Fixes that cannot append to a file."""


@dataclass(frozen=True)
class Continuation:
    """A deck to go on with.

    Attributes:
        deck: its text; ``before`` ends with the system as it was, ``production`` goes on with the runs that are left.
        exact: nothing in it draws random numbers, as far as its text shows.
        bitwise: and LAMMPS goes on from a restart file written during a run to the last bit, since no fix is rounded
            and atoms are not sorted (it does that at every start of a run, and sums in another order then).
    """

    deck: Deck
    exact: bool
    bitwise: bool


def continued(deck: Deck, restart: Path, begin: int, epoch: int) -> Continuation:
    """Return the deck that goes on from a restart file.

    Args:
        deck: as read.
        restart: LAMMPS restart file.
        begin: step at which production began the first time.
        epoch: how often the run has gone on before, this time included; added to seeds.

    Raises:
        UserError: the deck builds its system in a way that the text does not show, or jumps to files that it does not.
    """
    rewriter = _Rewriter(deck, restart, epoch)
    before = "\n".join(rewriter.part(deck.before, producing=False)) + "\n"
    if not rewriter.built:
        raise UserError(f"{deck.path}: no {', '.join(BUILDS)} is seen in it, so it cannot go on from a restart file")
    production, head = None, ""
    if deck.production is not None:
        before += f"variable mlgle_clock equal {begin}\n"
        production = "\n".join(rewriter.part(deck.production, producing=True)) + "\n"
        if jumps(deck.production):
            head = "\n".join(rewriter.part(deck.before, producing=True)) + "\n"
    others = tuple(sorted(rewriter.files.items()))
    deck = replace(deck, before=before, production=production, head=head, rewritten=True, other_files=others)
    return Continuation(deck, rewriter.exact, rewriter.exact and rewriter.unsorted and not rewriter.rounded)


def alternates_restarts(deck: Deck) -> bool:
    """Return whether the deck itself lets LAMMPS write two restart files in turn (``restart N a b``)."""
    lines = [command for text in (deck.before, deck.production or "") for _, command in logical_lines(text)]
    return any(words[0] == "restart" and len(words) > 3 for words in map(split_words, lines) if words)


@dataclass
class _Rewriter:
    """One pass over a deck and its includes.

    Attributes:
        built: the restart file has taken the place of what built the system.
        exact: no random numbers were seen.
        unsorted: sorting of atoms was switched off.
        rounded: a fix was seen whose restarted state is rounded.
        files: name -> text of the files that the deck jumps to.
        styles: reseeded pair styles that stand above what builds the system; ``read_restart`` brings their old seeds
            back, so they are said again before the first coefficients.
    """

    deck: Deck
    restart: Path
    epoch: int
    built: bool = False
    exact: bool = True
    unsorted: bool = False
    rounded: bool = False
    producing: bool = False
    files: dict[str, str] = field(default_factory=dict)
    styles: list[str] = field(default_factory=list)
    variables: DeckVariables = field(init=False)
    _folder: Path = Path()
    _names: dict[tuple[Path, bool], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.variables = DeckVariables.of(self.deck.variables)

    def part(self, text: str, producing: bool) -> Iterator[str]:
        """Yield the commands that go on where ``text`` stopped."""
        self.producing, self._folder = producing, self._folder if producing else Path()
        for number, command in logical_lines(text):
            yield from self._command(command, f"{self.deck.path}:{number}", 0)

    def _command(self, command: str, where: str, depth: int) -> Iterator[str]:
        words = split_words(command)
        if not words:
            return
        name, arguments = words[0], words[1:]
        if name == "if":
            yield self._conditional(arguments, where, depth)
        elif name == "include" and arguments:
            yield from self._include(command, arguments[0], where, depth)
        elif name == "jump" and arguments and arguments[0] != "SELF":
            yield self._jump(command, arguments[0], where, depth)
        elif name in BUILDS:
            if not self.built:
                self.built = True
                yield f"read_restart {named(self.restart, self.restart.parent)}"
        elif _happens_once(name, arguments) or (name == "print" and "$" in command and '"""' not in command):
            yield from self._happened(name, arguments, command)
        else:
            if name == "clear":
                self.built = False
            if name == "variable" and len(arguments) >= 3:
                self.variables.define(split_words(self.variables.substitute(command))[1:])
            elif name == "atom_modify" and "sort" in arguments:
                self.unsorted = arguments[arguments.index("sort") + 1 :][:1] == ["0"]
            yield from self._said_again(name, arguments, command)

    def _happened(self, name: str, arguments: list[str], command: str) -> Iterator[str]:
        """Yield what is left of a command that acts once: in production, by the clock of the runs before it."""
        if not self.producing:
            return
        if name != "run" or not arguments:
            yield f'if "${{mlgle_clock}} >= $(step)" then {quoted(command)}'
            return
        others = [word for word in arguments[1:] if word != "upto"]
        span = "" if "start" in others or "stop" in others else "start ${mlgle_clock} stop ${mlgle_stop} "
        length = f"({arguments[0]})" if "upto" in arguments else f"${{mlgle_clock}}+({arguments[0]})"
        run = f"run ${{mlgle_stop}} upto {span}{' '.join(quoted(word) for word in others)}".strip()
        yield f"variable mlgle_stop equal {length}"
        yield f'if "${{mlgle_stop}} > $(step)" then {quoted(run)}'
        yield "variable mlgle_clock equal ${mlgle_stop}"

    def _said_again(self, name: str, arguments: list[str], command: str) -> Iterator[str]:
        """Yield a command that defines something, so changed that it loses no file and repeats no noise."""
        if name == "shell" and arguments[:1] != ["cd"]:
            return
        if name == "shell" and len(arguments) > 1:
            self._folder = self._folder / self.variables.substitute(arguments[1])
        if name == "log" and len(arguments) == 1 and arguments != ["none"]:
            yield f"{command} append"
        elif name == "dump" and len(arguments) > 4 and "*" not in arguments[4]:
            yield from self._dump_again(arguments, command)
        elif name == "pair_style":
            again = self._reseeded(arguments, 0, NOISE_IN_PAIRS, command)
            self.styles = [again] if again != command and not self.built else []
            yield again
        elif name == "pair_coeff":
            yield from self.styles
            self.styles = []
            yield command
        elif name == "fix" and len(arguments) > 2:
            style = plain(arguments[2])
            self.exact &= style in STATELESS_FIXES | ROUNDED_FIXES
            self.rounded |= style in ROUNDED_FIXES
            if style.startswith("ave/") or style == "print":
                yield self._file_again(style, arguments, command)
            else:
                yield self._reseeded(arguments, 2, NOISE_IN_FIXES, command)
        else:
            yield command

    def _file_again(self, style: str, arguments: list[str], command: str) -> str:
        """Return a fix that writes to a file, so that it goes on there as before: behind what is there, or over it."""
        places = [i for i, word in enumerate(arguments[:-1]) if word == "file"]
        if "overwrite" in arguments or not places:
            return command
        if style in ONE_FILE_FIXES:
            return changed(command, {i + 2: quoted(self._another(arguments[i + 1])) for i in places})
        return changed(command, {i + 1: "append" for i in places})

    def _another(self, name: str) -> str:
        """Return the name of the next file, for what cannot append to one."""
        path = Path(name)
        return str(path.with_name(f"{path.stem}.part{self.epoch + 1}{path.suffix}"))

    def _dump_again(self, arguments: list[str], command: str) -> Iterator[str]:
        if plain(arguments[2]) in ONE_FILE_DUMPS:
            yield changed(command, {5: quoted(self._another(arguments[4]))})
        else:
            yield command
            yield f"dump_modify {arguments[0]} append yes"

    def _reseeded(self, arguments: list[str], start: int, seeds: dict[str, int], command: str) -> str:
        """Return the command with ``epoch`` added to its seeds."""
        new: dict[int, str] = {}
        self.exact &= "$" not in "".join(arguments[start : start + 1])
        for i, word in enumerate(arguments[start:], start):
            place = seeds.get(plain(word))
            if place is not None:
                self.exact = False
                if i + place < len(arguments):
                    new[i + place + 1] = shifted(arguments[i + place], self.epoch)
        return changed(command, new)

    def _conditional(self, arguments: list[str], where: str, depth: int) -> str:
        """Return the ``if`` with each of its commands rewritten."""
        parts = ["if", quoted(arguments[0]) if arguments else ""]
        for argument in arguments[1:]:
            if argument in ("then", "elif", "else"):
                parts.append(argument)
            elif parts[-1] == "elif":
                parts.append(quoted(argument))
            elif argument.strip():
                rewritten = list(self._command(argument, where, depth)) or ["variable mlgle_nothing index 1"]
                parts += map(always_quoted, rewritten)
        return " ".join(parts)

    def _include(self, command: str, name: str, where: str, depth: int) -> Iterator[str]:
        path = self._file(name)
        if path is None or depth >= MAX_DEPTH or not path.is_file():
            self.exact = False
            yield command
            return
        text = read_text(path)
        if has_flow(text):
            yield f"include {self._rewritten(path, text, depth)}"
            return
        for _, line in logical_lines(text):
            yield from self._command(line, where, depth + 1)

    def _jump(self, command: str, name: str, where: str, depth: int) -> str:
        """Return a jump that leads into a file rewritten as this one is."""
        path = self._file(name)
        if path is None or depth >= MAX_DEPTH or not path.is_file():
            raise UserError(f"{where}: a deck that jumps to a file which is not known cannot go on from a restart file")
        if path.resolve() == self.deck.path.resolve():
            if depth == 0:
                return changed(command, {1: "SELF"})
            return changed(command, {1: self._name(SECOND_FILE if self.producing else FIRST_FILE)})
        return changed(command, {1: self._rewritten(path, read_text(path), depth)})

    def _file(self, name: str) -> Path | None:
        """Return the path of a file that the deck names; None where the name is not known."""
        name = self.variables.substitute(name)
        return None if "$" in name else self._folder / name

    def _rewritten(self, path: Path, text: str, depth: int) -> str:
        """Return the name of the rewritten version of a file, for a command."""
        key = (path.resolve(), self.producing)
        if key not in self._names:
            self._names[key] = name = f"deck.{len(self._names) + 1}.lmp"
            lines = [
                line
                for number, command in logical_lines(text)
                for line in self._command(command, f"{path}:{number}", depth + 1)
            ]
            self.files[name] = "\n".join(lines) + "\n"
        return self._name(self._names[key])

    def _name(self, name: str) -> str:
        folder = self.restart.parent
        return named(folder / name, folder)


def _happens_once(name: str, arguments: list[str]) -> bool:
    """Return whether a command changed the system or wrote a file when it was executed."""
    if name == "group":
        return "dynamic" not in arguments
    return name in HAPPENED or (name == "print" and ("file" in arguments or "append" in arguments))


def shifted(seed: str, epoch: int) -> str:
    """Return a seed as a deck writes it (number, ``${name}``, ``$(formula)``), with ``epoch`` added."""
    if seed.isdigit():
        return str(int(seed) + epoch)
    if match := re.fullmatch(r"\$\{(\w+)\}|\$(\w)", seed):
        return f"$(v_{match[1] or match[2]}+{epoch})"
    if match := re.fullmatch(r"\$\((.*)\)", seed):
        return f"$(({match[1]})+{epoch})"
    return seed


def named(path: Path, folder: Path) -> str:
    """Return a file's name for a LAMMPS command, one word.

    Of characters beyond ASCII in a command LAMMPS keeps a part only, and in quotes it replaces no variable. So such a
    path starts with ${mlgle_folder}, which the command line gives.

    Args:
        path: of the file.
        folder: that ${mlgle_folder} holds.

    Raises:
        UserError: the folder needs quotes and the variable.
    """
    if str(path).isascii():
        return always_quoted(str(path))
    if re.search(r"[\s\"'#&]", str(folder)):
        raise UserError(
            f"{folder.parent}: LAMMPS takes no name with both white space (or quotes) and characters beyond ASCII; "
            "choose another `out`"
        )
    return f"${{mlgle_folder}}/{os.path.relpath(path, folder)}"
