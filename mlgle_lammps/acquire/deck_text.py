"""The text of a deck as LAMMPS reads it: commands, words, quotes, continued lines, variables that the text shows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import UserError

MARKER = re.compile(r"^\s*#\s*mlgle\s+production\b", re.IGNORECASE)
WORD = re.compile(r'"""(.*?)"""|"([^"]*)"|\'([^\']*)\'|([^\s"\']+)', re.DOTALL)
REFERENCE = re.compile(r"\$\{(\w+)\}|\$(\w)")
MAX_DEPTH = 16


@dataclass(frozen=True)
class Command:
    """A command of a deck.

    Attributes:
        line: number of its first line.
        text: with comments gone, ``&`` and triple quotes joined; empty for a line that says nothing.
        raw: its lines as they stand, with their ends.
    """

    line: int
    text: str
    raw: str


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


def commands(text: str) -> Iterator[Command]:
    """Yield the commands of a text, and its lines without one, so that the raw ones make up the text again."""
    pending, raw, start = "", "", 0
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if not raw:
            start = number
        raw += line
        pending += line.rstrip("\r\n")
        if pending.count('"""') % 2:
            pending += "\n"
            continue
        stripped = pending.rstrip()
        if stripped.endswith("&"):
            pending = stripped[:-1]
            continue
        yield Command(start, _without_comment(pending).strip(), raw)
        pending, raw = "", ""
    if raw:
        yield Command(start, _without_comment(pending).strip(), raw)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of the first line, command) of the commands of a text."""
    return ((command.line, command.text) for command in commands(text) if command.text)


def marker_lines(text: str) -> list[int]:
    """Return the numbers of the lines that are a marker; one within triple quotes is text.

    Raises:
        UserError: a line that goes on with ``&`` has swallowed a marker.
    """
    found = []
    for command in commands(text):
        lines = command.raw.splitlines()
        if MARKER.match(lines[0]):
            found.append(command.line)
        for number, line in enumerate(lines[1:], start=command.line + 1):
            if MARKER.match(line) and '"""' not in command.raw:
                raise UserError(f"{number}: '#mlgle production' belongs to the line above, which ends in '&'")
    return found


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


def changed(command: str, new: dict[int, str]) -> str:
    """Return the command with some of its words replaced, the others as they are, quotes included."""
    return " ".join(new.get(i, match[0]) for i, match in enumerate(WORD.finditer(command)))


def quoted(word: str) -> str:
    """Return a word as LAMMPS reads it as one: in quotes where it has white space or quotes of its own."""
    return always_quoted(word) if not word or re.search(r"[\s\"'#&]", word) else word


def always_quoted(text: str) -> str:
    """Return a text in quotes that LAMMPS takes off again; raise UserError where it holds triple quotes."""
    if '"' not in text:
        return f'"{text}"'
    if '"""' in text:
        raise UserError(f"a condition within a condition cannot go on from a restart file: {text}")
    return f'"""{text} """' if text.endswith('"') else f'"""{text}"""'
