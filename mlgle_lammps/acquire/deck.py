"""Read a LAMMPS deck before LAMMPS does: where production begins, and what cannot work in it.

The scan follows the text and its included files, not the control flow: it is there to name a problem by file and line
early. What it cannot see (names built at run time) is checked again while the deck runs.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlgle_lammps.acquire.data_file import refuse_huge_numbers
from mlgle_lammps.errors import UserError

MARKER = re.compile(r"^\s*#\s*mlgle\s+production\b", re.IGNORECASE)
WORD = re.compile(r'"""(.*?)"""|"([^"]*)"|\'([^\']*)\'|([^\s"\']+)', re.DOTALL)
REFERENCE = re.compile(r"\$\{(\w+)\}|\$(\w)")
BOX_CHANGING = re.compile(r"^(npt|nph|deform|box/relax|press/|msst|nphug|qbmsst|append/atoms)")
MAX_DEPTH = 16
FIX_ID = "mlgle_frames"
"""Of the fix that takes the frames."""

AFTER_MARKER = {
    "clear": "it removes the system that is being recorded",
    "reset_timestep": "frames are counted by step",
    "timestep": "the time between frames must stay the same",
    "read_restart": "it replaces the system that is being recorded",
    "read_data": "it changes the system that is being recorded",
    "change_box": "image flags and unwrapped positions need a constant box",
    "minimize": "its iterations are not dynamics",
    "rerun": "it is not dynamics",
    "replicate": "it changes the system that is being recorded",
    "delete_atoms": "it changes the system that is being recorded",
    "reset_atoms": "chains are followed by atom id and image flag",
    "displace_atoms": "chains would jump",
}


@dataclass(frozen=True)
class Deck:
    """A scanned deck.

    Attributes:
        path: the input script.
        before: its text up to the marker; the whole text where there is no marker.
        production: its text from the marker on, None where there is no marker.
        variables: (name, values) for LAMMPS, the service's own first.
        digest: SHA-256 of its text and of the files it includes, as far as the scan sees them.
    """

    path: Path
    before: str
    production: str | None
    variables: tuple[tuple[str, tuple[str, ...]], ...]
    digest: str = ""

    def arguments(self) -> list[str]:
        """Return the ``-var`` arguments for LAMMPS."""
        return [word for name, values in self.variables for word in ("-var", name, *values)]


def read_deck(path: Path, variables: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> Deck:
    """Return the deck split at ``#mlgle production``, or refuse it.

    Args:
        path: LAMMPS input script; files it includes are relative to the working directory, as in LAMMPS.
        variables: (name, values) of the command line's ``-var``.

    Raises:
        UserError: the deck is missing, or holds a command that cannot work here; names file and line.
    """
    text = read_text(path)
    lines = text.splitlines(keepends=True)
    marks = [number for number, line in enumerate(lines) if MARKER.match(line)]
    if len(marks) > 1:
        raise UserError(f"{path}:{marks[1] + 1}: a second '#mlgle production'; production begins only once")
    given = (("mlgle", ("1",)), ("deckdir", (str(path.parent),)), *variables)
    scan = _Scan(DeckVariables.of(given))
    scan.deck(path, text, marks[0] + 1 if marks else None)
    digest = hashlib.sha256("\0".join(scan.texts).encode()).hexdigest()
    if not marks:
        return Deck(path, text, None, given, digest)
    return Deck(path, "".join(lines[: marks[0]]), "".join(lines[marks[0] :]), given, digest)


def read_text(path: Path) -> str:
    """Return a deck's text; raise UserError where it cannot be read."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UserError(f"deck {path} is not a file")  # a pipe or device may have no end
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise UserError(f"deck {path} not found") from None
    except OSError as error:
        raise UserError(f"deck {path} cannot be read: {error.strerror}") from None


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of the first line, command) with comments gone, ``&`` and triple quotes joined."""
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not pending:
            start = number
        pending += line
        if pending.count('"""') % 2:
            pending += "\n"
            continue
        stripped = pending.rstrip()
        if stripped.endswith("&"):
            pending = stripped[:-1]
            continue
        command = _without_comment(pending).strip()
        pending = ""
        if command:
            yield start, command
    if pending.strip():
        yield start, _without_comment(pending).strip()


def _without_comment(line: str) -> str:
    """Return ``line`` up to the first # outside quotes."""
    quote, at = "", 0
    while at < len(line):
        if quote:
            if line.startswith(quote, at):
                at += len(quote)
                quote = ""
                continue
        elif line.startswith('"""', at):
            quote = '"""'
            at += 3
            continue
        elif line[at] in "\"'":
            quote = line[at]
        elif line[at] == "#":
            return line[:at]
        at += 1
    return line


def split_words(command: str) -> list[str]:
    """Return the words of a command; a quoted one without its quotes."""
    return [next((part for part in match.groups() if part is not None), "") for match in WORD.finditer(command)]


@dataclass
class DeckVariables:
    """Variables that a deck's text shows.

    Attributes:
        values: known so far; index variables of the command line win over the deck's.
    """

    values: dict[str, str]

    @classmethod
    def of(cls, given: tuple[tuple[str, tuple[str, ...]], ...]) -> DeckVariables:
        """Return those of the command line; of one given twice the first, which LAMMPS keeps."""
        return cls({name: values[0] for name, values in reversed(given)})

    def substitute(self, text: str) -> str:
        """Return ``text`` with the references to known variables replaced."""
        return REFERENCE.sub(lambda match: self.values.get(match[1] or match[2], match[0]), text)

    def define(self, arguments: list[str]) -> None:
        """Take in a ``variable`` command: name, style and value."""
        name, style, value = arguments[:3]
        if style in ("index", "string") or (style == "getenv" and value in os.environ):
            value = os.environ[value] if style == "getenv" else value
            if style == "string":
                self.values[name] = value
            else:
                self.values.setdefault(name, value)


@dataclass
class _Scan:
    """One pass over a deck and its includes.

    Attributes:
        variables: known so far.
        producing: the marker has been passed.
        box_fixes: id -> (where, style) of fixes that change the box and are not unfixed yet.
        texts: of the deck and its includes.
    """

    variables: DeckVariables
    producing: bool = False
    box_fixes: dict[str, tuple[str, str]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    _seen: set[tuple[Path, bool]] = field(default_factory=set)

    def deck(self, path: Path, text: str, marker: int | None) -> None:
        """Scan the deck itself; ``marker`` is the marker's line number."""
        self._seen.add((path.resolve(), False))
        self.texts.append(text)
        for number, command in logical_lines(text):
            if marker is not None and not self.producing and number > marker:
                self._begin_production()
            self._command(command, f"{path}:{number}", 0)
        self._begin_production()

    def _begin_production(self) -> None:
        self.producing = True
        for where, style in self.box_fixes.values():
            _refuse(where, f"fix {style} changes the box during production: unfix it before production begins")

    def _include(self, name: str, where: str, depth: int) -> None:
        path = Path(self.variables.substitute(name))
        if "$" in str(path) or depth >= MAX_DEPTH or not path.is_file():
            return  # LAMMPS itself will complain if it gets there
        visit = (path.resolve(), self.producing)
        if visit in self._seen:
            return
        self._seen.add(visit)
        text = read_text(path)
        self.texts.append(text)
        for number, line in enumerate(text.splitlines(), start=1):
            if MARKER.match(line):
                _refuse(
                    f"{path}:{number}", f"'#mlgle production' belongs into the deck itself, not into a file ({where})"
                )
        for number, command in logical_lines(text):
            self._command(command, f"{path}:{number}", depth + 1)

    def _command(self, command: str, where: str, depth: int) -> None:
        words = split_words(self.variables.substitute(command))
        if not words:
            return
        name, arguments = words[0], words[1:]
        if name == "if":
            self._conditional(arguments, where, depth)
        elif name == "variable" and len(arguments) >= 3:
            self.variables.define(arguments)
        elif name in ("include", "jump") and arguments and arguments[0] != "SELF":
            self._include(arguments[0], where, depth)
        else:
            self._check(name, arguments, where)
            self._follow_fixes(name, arguments, where)

    def _conditional(self, arguments: list[str], where: str, depth: int) -> None:
        """Check the commands that an ``if`` may execute; fixes made there are left to the run-time check."""
        for argument in arguments[1:]:
            words = split_words(argument)
            if not words or words[0] in ("then", "elif", "else"):
                continue
            if words[0] in ("include", "jump") and len(words) > 1 and words[1] != "SELF":
                self._include(words[1], where, depth)
            elif words[0] == "unfix" and len(words) > 1:
                self.box_fixes.pop(words[1], None)
            else:
                self._check(words[0], words[1:], where)

    def _check(self, name: str, arguments: list[str], where: str) -> None:
        if name == "quit":
            _refuse(where, "'quit' would end the program with its frames: remove it (production ends by itself)")
        if name == "run_style" and arguments[:1] and arguments[0].startswith("respa"):
            _refuse(where, "'run_style respa' is not supported: no frames reach the service there; use verlet")
        if name == "read_data" and arguments and "$" not in arguments[0]:
            refuse_huge_numbers(Path(arguments[0]), where)
        if name == "fix" and arguments[:1] == [FIX_ID]:
            _refuse(where, f"fix {FIX_ID}: the service takes its frames by a fix of that name; choose another")
        if not self.producing:
            return
        if name in AFTER_MARKER:
            _refuse(where, f"'{name}' after production has begun: {AFTER_MARKER[name]}")
        if name == "set" and "image" in arguments:
            _refuse(where, "'set image' after production has begun: chains would jump")
        if name == "fix" and len(arguments) >= 3:
            style = arguments[2]
            if style == "dt/reset":
                _refuse(where, "fix dt/reset: the time between frames must stay the same")
            if BOX_CHANGING.match(style):
                _refuse(where, f"fix {style} changes the box during production; run at constant volume")

    def _follow_fixes(self, name: str, arguments: list[str], where: str) -> None:
        if name == "fix" and len(arguments) >= 3:
            self.box_fixes.pop(arguments[0], None)
            if BOX_CHANGING.match(arguments[2]) or arguments[2] == "dt/reset":
                self.box_fixes[arguments[0]] = (where, arguments[2])
        elif name == "unfix" and arguments:
            self.box_fixes.pop(arguments[0], None)
        elif name == "clear":
            self.box_fixes.clear()


def _refuse(where: str, what: str) -> None:
    raise UserError(f"{where}: {what}")
