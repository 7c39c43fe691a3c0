"""Read a LAMMPS deck before LAMMPS does: where production begins, and what cannot work in it.

The deck itself runs as a file, as in ``lmp -in``: only so do ``jump``, ``next`` and ``label`` do there what they do in
LAMMPS. A marker splits it into two files; the second holds the first one's text too, for jumps back across the marker.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mlgle_lammps.acquire.deck_text import logical_lines, marker_lines, read_text, split_words
from mlgle_lammps.acquire.flow import jumping_to_itself, jumps, production_file
from mlgle_lammps.acquire.scan import Scan
from mlgle_lammps.errors import UserError

REACHED = "mlgle_reached"
"""LAMMPS variable that is there once the marker has been reached."""
FORCE_FIELD = re.compile(r"(pair|bond|angle|dihedral|improper)_(style|coeff)$|kspace_style$")


@dataclass(frozen=True)
class Deck:
    """A scanned deck.

    Attributes:
        path: the input script.
        before: its text up to the marker; the whole text where there is no marker.
        production: its text from the marker on, None where there is no marker.
        variables: (name, values) for LAMMPS, the service's own first.
        digest: SHA-256 of its text and of the files it includes, as far as the scan sees them.
        head: what stands above ``production`` in the file that production is read from, for jumps back there.
        rewritten: ``before`` is not the text of ``path``.
        changes_folder: a ``shell cd`` was seen.
        fixes: id -> words of all its ``fix`` commands that the text shows.
        production_fixes: ids of those that are made after the marker.
        pair_style: words of the last ``pair_style`` command that the text shows.
        other_files: (name, text) of further files that its jumps lead to, beside the one that is read.
        tables: names of the files that its force field is read from, as far as the text shows them.
    """

    path: Path
    before: str
    production: str | None
    variables: tuple[tuple[str, tuple[str, ...]], ...]
    digest: str = ""
    head: str = ""
    rewritten: bool = False
    changes_folder: bool = False
    fixes: tuple[tuple[str, ...], ...] = ()
    production_fixes: tuple[str, ...] = ()
    pair_style: tuple[str, ...] = ()
    other_files: tuple[tuple[str, str], ...] = ()
    tables: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return the ``-var`` arguments for LAMMPS."""
        return [word for name, values in self.variables for word in ("-var", name, *values)]

    def first_file(self) -> str | None:
        """Return the text that is run before production; None where it is the deck as it is."""
        if self.production is None:
            return self.before if self.rewritten else None
        return f"{self.before}variable {REACHED} index 1\n" if self.may_miss_marker else self.before

    def production_file(self) -> str:
        """Return the text of production's file."""
        return production_file(self.head, self.production or "")

    @property
    def may_miss_marker(self) -> bool:
        """Whether a jump to another file may lead past the marker."""
        return self.production is not None and any(words[0] != "SELF" for words in jumps(self.before))


def read_deck(path: Path, variables: tuple[tuple[str, tuple[str, ...]], ...] = (), md_ranks: int | None = None) -> Deck:
    """Return the deck split at ``#mlgle production``, or refuse it.

    Args:
        path: LAMMPS input script; files it includes are relative to the working directory, as in LAMMPS.
        variables: (name, values) of the command line's ``-var``.
        md_ranks: ranks that do MD, None where not known.

    Raises:
        UserError: the deck is missing, or holds a command that cannot work here; names file and line. Or a variable's
            name, or a folder's in ``${deckdir}``, that LAMMPS does not take.
    """
    if odd := next((name for name, _ in variables if not re.fullmatch(r"\w+", name, re.ASCII)), None):
        raise UserError(f"{odd!r} is no name of a deck's variable: LAMMPS takes letters, numbers and underscores")
    text = read_text(path)
    try:
        marks = marker_lines(text)
    except UserError as error:
        raise UserError(f"{path}:{error}") from None
    if len(marks) > 1:
        raise UserError(f"{path}:{marks[1]}: a second '#mlgle production'; production begins only once")
    given = (("mlgle", ("1",)), ("deckdir", (str(path.parent),)), *variables)
    scan = Scan.of(path, given, marks[0] if marks else None, md_ranks)
    scan.deck(text)
    if scan.changes_folder:
        given = (given[0], ("deckdir", (str(path.parent.absolute()),)), *variables)
    _refuse_folder(given[1][1][0], scan)
    digest = hashlib.sha256("\0".join(scan.texts).encode()).hexdigest()
    deck = Deck(
        path, text, None, given, digest, changes_folder=scan.changes_folder, fixes=tuple(scan.made),
        production_fixes=tuple(scan.made_in_production), pair_style=scan.pair_style,
        tables=_tables(scan),
    )  # fmt: skip
    return deck if not marks else _split(deck, marks[0], scan)


def _commands(scan: Scan) -> Iterator[str]:
    """Yield the commands of the deck and its includes."""
    return (command for text in scan.texts for _, command in logical_lines(text))


def _tables(scan: Scan) -> tuple[str, ...]:
    """Return the names of files that are there and that commands of the force field name."""
    found: dict[str, None] = {}
    for command in _commands(scan):
        words = split_words(scan.variables.substitute(command))
        if words and FORCE_FIELD.match(words[0]):
            found |= {name: None for word in words[1:] if os.path.isfile(name := str(scan.folder / word))}
    return tuple(found)


def _refuse_folder(folder: str, scan: Scan) -> None:
    """Raise UserError where LAMMPS would take the deck's folder, put in for ${deckdir}, for several words."""
    odd = re.search(r"[\s\"'$]", folder)
    if odd is None:
        return
    if any("${deckdir}" in command and not command.startswith("print") for command in _commands(scan)):
        what = "a blank" if odd[0].isspace() else f"a {odd[0]}"
        remedy = (
            "move the deck" if scan.changes_folder else "start in that folder, where deckdir is '.', or move the deck"
        )
        raise UserError(
            f"{scan.path}: the deck uses ${{deckdir}}, and its folder '{folder}' has {what} in its name, which LAMMPS "
            f"does not take for a part of one word: {remedy}"
        )


def _split(deck: Deck, marker: int, scan: Scan) -> Deck:
    """Return the deck in two parts; jumps to itself by name are those to SELF, since each part has another name."""
    lines = deck.before.splitlines(keepends=True)
    before, production = "".join(lines[: marker - 1]), "".join(lines[marker - 1 :])
    before = jumping_to_itself(before, scan.is_deck)
    production = jumping_to_itself(production, scan.is_deck)
    return replace(deck, before=before, production=production, head=before)
