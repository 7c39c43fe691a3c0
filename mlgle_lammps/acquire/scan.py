"""Pass over a deck and its includes before LAMMPS does, to name a problem by file and line early.

The scan follows the text, not the control flow; jumps are followed as far as their targets are written out. What it
cannot see (names built at run time) is checked again while the deck runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from mlgle_lammps.acquire.data_file import refuse_huge_numbers
from mlgle_lammps.acquire.deck_text import MARKER, MAX_DEPTH, DeckVariables, logical_lines, read_text, split_words
from mlgle_lammps.acquire.fixes import BOX_CHANGING, changes_bonds
from mlgle_lammps.acquire.flow import jumps, labels
from mlgle_lammps.errors import UserError

FIX_ID = "mlgle_frames"
"""Of the fix that takes the frames."""
RESPA = "'run_style respa' is not supported during production: no frames reach the service there; use verlet"
TEMPLATE = (
    "atom_style template keeps its bonds in the molecule file, where LAMMPS shows them to no program: use 'atom_style "
    "molecular' (and 'create_box .. extra/bond/per/atom 2'), with which the atoms have bonds of their own"
)
BONDS_CHANGE = "changes bonds during production: the chains whose D is wanted would not stay the same chains; unfix it"
BEFORE = "before production begins"
AT_THE_END = "at the deck's end, where production begins"

AFTER_MARKER = {
    "clear": "it removes the system that is being recorded",
    "reset_timestep": "frames are counted by step",
    "timestep": "the time between frames must stay the same",
    "read_restart": "it replaces the system that is being recorded",
    "read_data": "it changes the system that is being recorded",
    "change_box": "image flags and unwrapped positions need a constant box",
    "minimize": "its iterations are not dynamics",
    "rerun": "it is not dynamics",
    "read_dump": "beads would jump",
    "create_atoms": "it changes the system that is being recorded",
    "replicate": "it changes the system that is being recorded",
    "delete_atoms": "it changes the system that is being recorded",
    "reset_atoms": "chains are followed by atom id and image flag",
    "displace_atoms": "chains would jump",
    "create_bonds": "the chains are those that production began with",
    "delete_bonds": "the chains are those that production began with",
}


@dataclass
class Scan:
    """One pass over a deck and its includes.

    Attributes:
        path: of the deck.
        marker: number of the marker's line, None where there is none.
        md_ranks: ranks that do MD, None where not known.
        variables: known so far.
        producing: the marker has been passed, or the end of a deck without one.
        folder: the working directory as ``shell cd`` has left it, relative to where the deck began.
        changes_folder: a ``shell cd`` was seen.
        live: id -> (where, style) of fixes that are not unfixed yet.
        made: words of all ``fix`` commands, from the id on.
        made_in_production: ids of those after the marker.
        pair_style: words of the last ``pair_style`` command.
        respa: where r-RESPA was chosen last, "" where it is not in use.
        texts: of the deck and its includes.
    """

    path: Path
    marker: int | None
    md_ranks: int | None
    variables: DeckVariables
    producing: bool = False
    folder: Path = Path()
    changes_folder: bool = False
    live: dict[str, tuple[str, str]] = field(default_factory=dict)
    made: list[tuple[str, ...]] = field(default_factory=list)
    made_in_production: list[str] = field(default_factory=list)
    pair_style: tuple[str, ...] = ()
    respa: str = ""
    texts: list[str] = field(default_factory=list)
    _seen: set[tuple[Path, bool]] = field(default_factory=set)
    _labels: tuple[set[str], set[str]] = (set(), set())
    _again: str = ""

    @classmethod
    def of(
        cls, path: Path, given: tuple[tuple[str, tuple[str, ...]], ...], marker: int | None, md_ranks: int | None
    ) -> Scan:
        """Return a scan that has not begun; ``given`` are the command line's variables."""
        return cls(path, marker, md_ranks, DeckVariables.of(given))

    def deck(self, text: str) -> None:
        """Scan the deck itself."""
        self._seen.add((self.path.resolve(), False))
        self.texts.append(text)
        lines = list(logical_lines(text))
        above = [line for line in lines if self.marker is None or line[0] < self.marker]
        below = lines[len(above) :]
        self._labels = labels(command for _, command in above), labels(command for _, command in below)
        self._lines(above)
        self._begin_production()
        self._lines(below)
        self._jumps_back(above, below)

    def is_deck(self, name: str) -> bool:
        """Return whether a file name of the deck's is that of the deck itself."""
        name = self.variables.substitute(name)
        own = self.path.resolve()
        return any((folder / name).resolve() == own for folder in (Path(), self.folder))

    def _lines(self, lines: list[tuple[int, str]]) -> None:
        for number, command in lines:
            self._command(command, f"{self.path}:{number}", 0)

    def _begin_production(self) -> None:
        self.producing = True
        where_to = BEFORE if self.marker else AT_THE_END
        for where, style in self.live.values():
            if BOX_CHANGING.match(style):
                _refuse(where, f"fix {style} changes the box during production: unfix it {where_to}")
            if style == "dt/reset":
                _refuse(where, f"fix dt/reset changes the time step during production: unfix it {where_to}")
            if changes_bonds(style):
                _refuse(where, f"fix {style} {BONDS_CHANGE} {where_to}")
        if self.respa:
            _refuse(self.respa, RESPA)

    def _jumps_back(self, above: list[tuple[int, str]], below: list[tuple[int, str]]) -> None:
        """Scan what production comes by again when it jumps back above the marker."""
        starts = []
        for number, command in below:
            for words in jumps(self.variables.substitute(command)):
                if words[0] != "SELF" and not self.is_deck(words[0]):
                    continue
                at = 0 if len(words) < 2 else _place(above, words[1])
                if at is not None:
                    starts.append((at, number))
        if starts:
            at, number = min(starts)
            self._again = f" (production comes by here again, by the jump of line {number})"
            self._lines(above[at:])
            self._again = ""

    def _file(self, name: str) -> Path | None:
        """Return the path of a file that the deck names; None where the name is not known."""
        name = self.variables.substitute(name)
        return None if "$" in name else self.folder / name

    def _include(self, name: str, where: str, depth: int) -> None:
        path = self._file(name)
        if path is None or depth >= MAX_DEPTH or not path.is_file():
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
        elif name in ("include", "jump") and arguments:
            self._goes_to(name, arguments, where, depth)
        else:
            self._check(name, arguments, where)
            self._follow(name, arguments, where)

    def _conditional(self, arguments: list[str], where: str, depth: int) -> None:
        """Check the commands that an ``if`` may execute; fixes made there are left to the run-time check."""
        for argument in arguments[1:]:
            words = split_words(argument)
            if not words or words[0] in ("then", "elif", "else"):
                continue
            if words[0] in ("include", "jump") and len(words) > 1:
                self._goes_to(words[0], words[1:], where, depth)
            elif words[0] == "unfix" and len(words) > 1:
                self.live.pop(words[1], None)
            elif words[0] == "if":
                self._conditional(words[1:], where, depth)
            else:
                self._check(words[0], words[1:], where)

    def _goes_to(self, name: str, arguments: list[str], where: str, depth: int) -> None:
        """Follow an ``include`` or ``jump``, and refuse one that would lose the marker."""
        target = arguments[0]
        to_deck = self.is_deck(target) or (name == "jump" and target == "SELF" and depth == 0)
        if not to_deck:
            if not (name == "jump" and target == "SELF"):
                self._include(target, where, depth)
            return
        if self.marker is None or self.producing:
            return
        if name == "include" or depth:
            _refuse(
                where,
                f"'{name} {target}' leads into the deck again, before its '#mlgle production' line is reached: that "
                "line would not be seen; include the other file instead of jumping to it, or jump within the deck",
            )
        if len(arguments) > 1 and arguments[1] in self._labels[1] - self._labels[0]:
            _refuse(
                where,
                f"'jump {' '.join(arguments)}' leads over the '#mlgle production' line: production would never "
                "begin; move that line below the label",
            )

    def _check(self, name: str, arguments: list[str], where: str) -> None:
        if name == "quit":
            _refuse(where, "'quit' would end the program with its frames: remove it (production ends by itself)")
        if name == "read_data" and arguments and "$" not in arguments[0]:
            refuse_huge_numbers(self.folder / arguments[0], where)
        if name == "fix" and arguments[:1] == [FIX_ID]:
            _refuse(where, f"fix {FIX_ID}: the service takes its frames by a fix of that name; choose another")
        if name == "fix" and len(arguments) >= 3:
            self.made.append(tuple(arguments))
            if self.producing:
                self.made_in_production.append(arguments[0])
        if name == "pair_style":
            self.pair_style = tuple(arguments)
        if name == "atom_style" and "template" in arguments:
            _refuse(where, TEMPLATE)
        if name == "processors":
            self._check_grid(arguments, where)
        if name == "shell" and arguments[:1] == ["cd"]:
            self.changes_folder = True
        if self.producing:
            self._check_production(name, arguments, where)

    def _check_grid(self, arguments: list[str], where: str) -> None:
        """Refuse a grid of ranks that does not fit those that do MD."""
        given = [int(word) for word in arguments[:3] if word.isdecimal()]
        free = arguments[:3].count("*")
        if self.md_ranks is None or len(given) + free != 3 or not prod(given):
            return
        wanted = prod(given)
        if self.md_ranks % wanted or (not free and wanted != self.md_ranks):
            _refuse(
                where,
                f"'processors {' '.join(arguments[:3])}' does not fit the ranks that do MD, {md_share(self.md_ranks)}: "
                f"start {wanted + 1} ranks, or write 'processors * * *'",
            )

    def _check_production(self, name: str, arguments: list[str], where: str) -> None:
        if name in AFTER_MARKER:
            _refuse(where, f"'{name}' after production has begun: {AFTER_MARKER[name]}{self._again}")
        if name == "run_style" and arguments[:1] and arguments[0].startswith("respa"):
            _refuse(where, RESPA)
        if name == "set" and (moved := {"image", "x", "y", "z"} & set(arguments[2:])):
            _refuse(where, f"'set {min(moved)}' after production has begun: chains would jump{self._again}")
        if name == "fix" and len(arguments) >= 3:
            style = arguments[2]
            if style == "dt/reset":
                _refuse(where, "fix dt/reset: the time between frames must stay the same")
            if BOX_CHANGING.match(style):
                _refuse(where, f"fix {style} changes the box during production; run at constant volume{self._again}")
            if changes_bonds(style):
                _refuse(where, f"fix {style} {BONDS_CHANGE} {BEFORE}{self._again}")

    def _follow(self, name: str, arguments: list[str], where: str) -> None:
        if name == "fix" and len(arguments) >= 3:
            self.live[arguments[0]] = (where, arguments[2])
        elif name == "unfix" and arguments:
            self.live.pop(arguments[0], None)
        elif name == "run_style" and arguments:
            self.respa = where if arguments[0].startswith("respa") else ""
        elif name == "clear":
            self.live.clear()
            self.respa = ""
        elif name == "shell" and arguments[:1] == ["cd"] and len(arguments) > 1:
            self.folder = self.folder / arguments[1]


def md_share(md_ranks: int) -> str:
    """Return which ranks do MD, in words."""
    return "of which there is 1" if md_ranks == 1 else f"{md_ranks} of {md_ranks + 1}: the last one learns"


def _place(lines: list[tuple[int, str]], label: str) -> int | None:
    """Return where a label stands, None where it does not."""
    return next((i for i, (_, command) in enumerate(lines) if split_words(command)[:2] == ["label", label]), None)


def _refuse(where: str, what: str) -> None:
    raise UserError(f"{where}: {what}")
