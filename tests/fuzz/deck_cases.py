"""Decks, data files and tables that are not what they should be, for ``mlgle run`` as users launch it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from fuzz import material
from fuzz.cases import Case
from fuzz.damage import damaged_bytes, damaged_text

Files = dict[str, str | bytes | Callable[[Path], object]]
Change = Callable[[Files], None]
ARGUMENTS = ("in.deck", *material.DECK_OPTIONS, "--out", "out")
MARKER = "#mlgle production\n"


def edited(name: str, old: str, new: str) -> Change:
    """Replace text of a file that must be there."""

    def change(files: Files) -> None:
        text = files[name]
        if not isinstance(text, str) or old not in text:
            raise ValueError(f"{name} has no {old!r}")
        files[name] = text.replace(old, new)

    return change


def deck(old: str, new: str) -> Change:
    """Replace text of the deck."""
    return edited("in.deck", old, new)


def before(line: str) -> Change:
    """Put a line before the marker."""
    return deck(MARKER, f"{line}\n{MARKER}")


def after(line: str) -> Change:
    """Put a line after the marker."""
    return deck(MARKER, f"{MARKER}{line}\n")


def data(pattern: str, new: str, count: int = 1) -> Change:
    """Replace what matches in the data file."""

    def change(files: Files) -> None:
        text, n = re.subn(pattern, new, str(files["chains.data"]), count=count, flags=re.MULTILINE)
        if not n:
            raise ValueError(pattern)
        files["chains.data"] = text

    return change


def table(pattern: str, new: str, count: int = 1) -> Change:
    """Replace what matches in the table."""

    def change(files: Files) -> None:
        files["soft.table"] = re.sub(pattern, new, str(files["soft.table"]), count=count, flags=re.MULTILINE)

    return change


def whole(name: str, make: Callable[[str], str | bytes]) -> Change:
    """Replace a file by a function of its text."""

    def change(files: Files) -> None:
        files[name] = make(str(files[name]))

    return change


def special(name: str, make: Callable[[Path], object]) -> Change:
    """Put something that is not a file in its place."""

    def change(files: Files) -> None:
        files[name] = make

    return change


def both(*changes: Change) -> Change:
    """Make several changes."""

    def change(files: Files) -> None:
        for each in changes:
            each(files)

    return change


def with_file(name: str, text: str, *changes: Change) -> Change:
    """Add a file, and make changes."""

    def change(files: Files) -> None:
        files[name] = text
        for each in changes:
            each(files)

    return change


BOND_1 = r"^1 1 1 2$"
ATOM_1 = r"^1 1 1 (\S+ \S+ \S+) \S+ \S+ \S+$"
REFUSED: dict[str, Change] = {
    "empty": whole("in.deck", lambda text: ""),
    "only a comment": whole("in.deck", lambda text: "# nothing\n"),
    "only the marker": whole("in.deck", lambda text: MARKER),
    "NUL bytes": whole("in.deck", lambda text: "\0" * 1000),
    "UTF-16": whole("in.deck", lambda text: text.encode("utf-16")),
    "random bytes": whole("in.deck", lambda text: bytes(range(256)) * 20),
    "a folder": special("in.deck", Path.mkdir),
    "missing": special("in.deck", lambda path: None),
    "a FIFO": special("in.deck", os.mkfifo),
    "/dev/zero": special("in.deck", lambda path: path.symlink_to("/dev/zero")),
    "a link to itself": special("in.deck", lambda path: path.symlink_to(path)),
    "marker twice": after(MARKER),
    "marker within an include": edited("in.forces", "bond_style", f"{MARKER}bond_style"),
    "marker before the system": both(deck(MARKER, ""), deck("units ", f"{MARKER}units ")),
    "include missing": deck("in.forces", "in.nothing"),
    "include of a folder": with_file("x", "", deck("${deckdir}/in.forces", "${deckdir}")),
    "include of itself": before("include in.deck"),
    "includes in a circle": with_file(
        "in.a", "include in.b\n", before("include in.a"), lambda files: files.update({"in.b": "include in.a\n"})
    ),
    "data missing": deck("chains.data", "nothing.data"),
    "variable undefined": deck("${T} ${seed} dist", "${nothing} ${seed} dist"),
    "variable unclosed": deck("${T} ${seed} dist", "${T ${seed} dist"),
    "quit": before("quit"),
    "quit after the marker": after("quit"),
    "quit 1 in an if": before('if "1 > 0" then "quit 1"'),
    "quit in a variable": before("variable q string quit\n${q}"),
    "quit in an index": before("variable q index quit\n${q}"),
    "quit built": before("variable a string qu\nvariable b string it\n${a}${b}"),
    "quit in an include": with_file("in.q", "quit\n", before("include in.q")),
    "quit from a loop variable": before("variable q loop 1\nvariable w universe quit\n${w}"),
    "quit in a format": before("variable q format T quit%.0s\n${q}"),
    "quit by jump": with_file("in.q", "label here\nquit\n", before("jump in.q here")),
    "clear": after("clear"),
    "clear by a variable": after("variable c string clear\n${c}"),
    "clear built": after("variable a string cle\n${a}ar"),
    "reset_timestep": after("reset_timestep 0"),
    "reset_timestep built": after("variable a string reset_time\n${a}step 0"),
    "timestep": after("timestep 0.001"),
    "read_restart": after("read_restart x"),
    "minimize": after("minimize 0 0 1 1"),
    "npt": after("fix p all npt temp 1 1 1 iso 0 0 10"),
    "npt before": before("fix p all press/berendsen iso 0 0 10"),
    "deform": after("fix d all deform 1 x scale 1.1"),
    "respa": before("run_style respa 2 2 bond 1 pair 2"),
    "dt/reset": after("fix t all dt/reset 1 NULL NULL 0.1"),
    "fix of frames removed": after("unfix mlgle_frames"),
    "read_data again": after("read_data chains.data add append"),
    "change_box": after("change_box all x scale 1.2"),
    "change_box built": after("variable a string change_\n${a}box all x scale 1.2"),
    "delete_atoms": after("delete_atoms group all"),
    "delete some built": after("variable a string delete_\n${a}atoms random fraction 0.1 yes all NULL 1"),
    "no atoms": deck(
        "read_data   ${deckdir}/chains.data",
        "region b block 0 5 0 5 0 5\ncreate_box 1 b bond/types 1 extra/bond/per/atom 2",
    ),
    "units later": before("units real"),
    "unknown command": before("frobnicate 3"),
    "unknown fix": before("fix f all frobnicate"),
    "too few arguments": deck("all nve", "all"),
    "pair coeffs missing": edited("in.forces", "pair_coeff  * * ${deckdir}/soft.table SOFT 1.0\n", ""),
    "bond coeffs missing": edited("in.forces", "bond_coeff  1 1.5 0.0\n", ""),
    "timestep 0": deck("0.02\n", "0\n"),
    "timestep -1": deck("0.02\n", "-1\n"),
    "timestep NaN": deck("0.02\n", "nan\n"),
    "timestep 1e300": deck("timestep    0.02\n", "timestep 1e300\n"),
    "timestep 10": deck("timestep    0.02\n", "timestep 10\n"),
    "temperature NaN": deck("index 1.0", "index nan"),
    "temperature -1": deck("index 1.0", "index -1.0"),
    "seed 0": deck("4711", "0"),
    "seed huge": deck("4711", "99999999999"),
    "steps text": deck("12000", "many"),
    "steps -1": deck("12000", "-1"),
    "steps 2^40": deck("12000", str(2**40)),
    "no more bonds": data(r"Bonds\n\n(.*\n)*", ""),
    "header of 0 bonds": data(r"^100 bonds", "0 bonds"),
    "header of more atoms": data(r"^120 atoms", "121 atoms"),
    "header of fewer atoms": data(r"^120 atoms", "119 atoms"),
    "header of 10^12 atoms": data(r"^120 atoms", "1000000000000 atoms"),
    "header of 2*10^9 atoms": data(r"^120 atoms", "2000000000 atoms"),
    "header of -5 atoms": data(r"^120 atoms", "-5 atoms"),
    "header of more bonds": data(r"^100 bonds", "101 bonds"),
    "header without types": data(r"^1 atom types\n", ""),
    "header without box": data(r"^0 7 xlo xhi\n", ""),
    "box without edge": data(r"^0 7 xlo xhi", "0 0 xlo xhi"),
    "box below 0": data(r"^0 7 xlo xhi", "7 0 xlo xhi"),
    "box NaN": data(r"^0 7 xlo xhi", "0 nan xlo xhi"),
    "box of 1e30": data(r"^0 7 xlo xhi", "0 1e30 xlo xhi"),
    "box tiny": data(r"^0 7 ", "0 0.7 ", 3),
    "mass 0": data(r"^1 1$", "1 0"),
    "mass -1": data(r"^1 1$", "1 -1"),
    "mass NaN": data(r"^1 1$", "1 nan"),
    "mass missing": data(r"Masses\n\n1 1\n", ""),
    "bond to nobody": data(BOND_1, "1 1 1 999"),
    "bond to itself": data(BOND_1, "1 1 1 1"),
    "bond of type 9": data(BOND_1, "1 9 1 2"),
    "a ring closed": both(data(r"^100 bonds", "101 bonds\n1 extra bond per atom"), data(r"\Z", "101 1 1 6\n")),
    "a bond text": data(BOND_1, "1 1 one 2"),
    "an atom twice": data(r"^2 1 1 ", "1 1 1 "),
    "an atom of type 2": data(r"^2 1 1 ", "2 1 2 "),
    "an atom at NaN": data(ATOM_1, "1 1 1 nan 1 1 0 0 0"),
    "an atom at 1e300": data(ATOM_1, "1 1 1 1e300 1 1 0 0 0"),
    "an atom id 0": data(r"^2 1 1 ", "0 1 1 "),
    "an atom id of 10^15": data(r"^2 1 1 ", "1000000000000000 1 1 "),
    "data cut": whole("chains.data", lambda text: text[: len(text) // 2]),
    "data empty": whole("chains.data", lambda text: ""),
    "data of another style": deck("atom_style  bond", "atom_style full"),
    "a table of too few rows": table(r"^40 .*\n", ""),
    "a table of one row": whole("soft.table", lambda text: "SOFT\nN 1 R 0.1 0.1\n\n1 0.1 0 0\n"),
    "a table without its keyword": table("SOFT", "HARD"),
    "a table of 10^12 rows": table("N 40", "N 1000000000000"),
    "a table of text": table(r"^20 .*", "20 a b c"),
    "a table empty": whole("soft.table", lambda text: ""),
    "a table missing": special("soft.table", lambda path: None),
    "a table of no number": table("N 40", "N x"),
    "bonds without a force constant": edited("in.forces", "1.5 0.0", "1.5"),
    "bond constant NaN": edited("in.forces", "1.5 0.0", "nan 0.0"),
    "bond constant 1e10": edited("in.forces", "1.5 0.0", "1e10 0.0"),
    "bond constant -50": edited("in.forces", "1.5 0.0", "-50 0.0"),
    "two chains of 1": both(data(r"^120 atoms", "120 atoms"), deck("#mlgle", "delete_bonds all bond 1 remove\n#mlgle")),
    "one chain": before("group x molecule > 1\ndelete_atoms group x bond yes\n"),
    "a fix that fails": before("fix h all halt 10 v_T > 0.5"),
    "an error": before('print "x" file /nowhere/x'),
    "frozen by setforce": deck("all nve", "all setforce 0 0 0"),
    "no integration": deck("fix         move all nve\n", ""),
}
DOUBTFUL: dict[str, Change] = {
    "a chain in another order": data(BOND_1, "1 1 1 6"),
    "jump to nowhere": before("label again\njump SELF nowhere"),
    "CRLF": whole("in.deck", lambda text: text.replace("\n", "\r\n")),
    "CR": whole("in.deck", lambda text: text.replace("\n", "\r")),
    "BOM": whole("in.deck", lambda text: b"\xef\xbb\xbf" + text.encode()),
    "latin-1": whole("in.deck", lambda text: text.replace("Rouse", "Roußé").encode("latin-1")),
    "umlauts": whole("in.deck", lambda text: text.replace("Rouse", "Roußé \U0001f600")),
    "no end of line": whole("in.deck", lambda text: text.rstrip("\n")),
    "data with CRLF": whole("chains.data", lambda text: text.replace("\n", "\r\n")),
    "table with CRLF": whole("soft.table", lambda text: text.replace("\n", "\r\n")),
    "data with BOM": whole("chains.data", lambda text: b"\xef\xbb\xbf" + text.encode()),
    "a line of 10^5 letters": before("# " + "x" * 10**5),
    "a print of 10^5 letters": before('print "' + "x" * 10**5 + '"'),
    "10^4 lines": before("print 'x'\n" * 10**4),
    "marker in quotes": before(f'print "\n{MARKER}"'),
    "marker in triple quotes": before(f'print """\n{MARKER}"""'),
    "marker behind a command": deck(MARKER, "print 1 #mlgle production\n"),
    "marker missing": deck(MARKER, ""),
    "marker continued": deck(MARKER, "print 1 &\n" + MARKER),
    "marker with capitals": deck(MARKER, "# MLGLE  Production \n"),
    "no run": deck("run         ${steps}\n", ""),
    "a run of 0": deck("12000", "0"),
    "a run of 100": deck("12000", "100"),
    "many runs": deck("run         ${steps}", "label a\nvariable i loop 200\nrun 100\nnext i\njump SELF a"),
    "run every": deck("run         ${steps}", 'run ${steps} every 100 "print x"'),
    "run upto": deck("run         ${steps}", "run ${steps} upto"),
    "shell": before("shell touch touched"),
    "shell quit": before("shell exit 3"),
    "python": before("python f input 0 format f here 'def f(): import os; os._exit(3)'"),
    "log elsewhere": before("log other.log"),
    "log none": before("log none"),
    "screen": before('print "x" screen no'),
    "sort off": deck("atom_style  bond\n", "atom_style  bond\natom_modify sort 0 0\n"),
    "newton off": deck("units       lj\n", "units lj\nnewton off\n"),
    "tilted box": data(r"^0 7 zlo zhi", "0 7 zlo zhi\n1 0 0 xy xz yz"),
    "walls": deck("atom_style  bond\n", "atom_style  bond\nboundary p p f\n"),
    "shrink-wrapped": deck("atom_style  bond\n", "atom_style  bond\nboundary s s s\n"),
    "image flags lost": data(r"^(\d+ \d+ 1 \S+ \S+ \S+) \S+ \S+ \S+$", r"\1", 0),
    "image flags zero": data(r"^(\d+ \d+ 1 \S+ \S+ \S+) \S+ \S+ \S+$", r"\1 0 0 0", 0),
    "an image flag off by one": data(ATOM_1, r"1 1 1 \1 5 0 0"),
    "image flags at their limit": data(r"^(\d+ \d+ 1 \S+ \S+ \S+) \S+ \S+ \S+$", r"\1 511 511 511", 0),
    "an image flag of 10^9": data(ATOM_1, r"1 1 1 \1 1000000000 0 0"),
    "image flags set later": before("set atom 3 image 4 0 0"),
    "a bond less": both(data(r"^100 bonds", "99 bonds"), data(r"^1 1 1 2\n", "")),
    "a bond twice": both(data(r"^100 bonds", "101 bonds\n2 extra bond per atom"), data(r"\Z", "101 1 1 2\n")),
    "a bond across chains": data(BOND_1, "1 1 1 7"),
    "two chains joined": both(data(r"^100 bonds", "101 bonds\n2 extra bond per atom"), data(r"\Z", "101 1 6 7\n")),
    "molecule ids all 0": data(r"^(\d+) \d+ 1 (\S+ \S+ \S+ \S+ \S+ \S+)$", r"\1 0 1 \2", 0),
    "an atom outside": data(ATOM_1, "1 1 1 100 -50 3 0 0 0"),
    "two atoms in one place": data(r"^2 1 1 .*$", "2 1 1 1 1 1 0 0 0"),
    "mass 1e-10": data(r"^1 1$", "1 1e-10"),
    "mass 1e10": data(r"^1 1$", "1 1e10"),
    "box of 200": data(r"^0 7 ", "0 200 ", 3),
    "temperature 0": deck("index 1.0", "index 0.0"),
    "temperature 0 from start": deck("create ${T}", "create 0.0"),
    "temperature 1e6": deck("index 1.0", "index 1e6"),
    "no thermostat": deck("fix         bath all langevin ${T} ${T} 0.2 ${seed}\n", ""),
    "no thermostat, still": both(
        deck("fix         bath all langevin ${T} ${T} 0.2 ${seed}\n", ""), deck("create ${T}", "create 0.0")
    ),
    "friction 0": deck("0.2 ${seed}", "1e30 ${seed}"),
    "friction huge": deck("0.2 ${seed}", "1e-6 ${seed}"),
    "a constant push": before("fix push all addforce 1 0 0"),
    "a push on one chain": before("group one molecule 1\nfix push one addforce 50 0 0"),
    "all move alike": before("velocity all set 5 0 0 sum yes"),
    "a flow": before("fix f all addforce 0.5 0 0\nfix g all viscous 0.1"),
    "one chain held": before("group one molecule 1\nfix hold one setforce 0 0 0\nvelocity one set 0 0 0"),
    "half the chains held": before("group one molecule < 11\nfix hold one setforce 0 0 0\nvelocity one set 0 0 0"),
    "integrated twice": before("fix again all nve"),
    "two thermostats": before("fix again all langevin 5 5 0.5 99"),
    "nvt as well": before("fix again all nvt temp 1 1 1"),
    "atoms deleted before": before("group x id 6\ndelete_atoms group x bond yes"),
    "atoms without bonds": before("create_atoms 1 single 1 1 1"),
    "table strength NaN": table(r"^20 \S+ \S+ \S+", "20 0.5 nan nan"),
    "table not increasing": table(r"^20 \S+", "20 0.9"),
    "table rows swapped": whole("soft.table", lambda text: _swapped(text)),
    "table of zeros": table(r"^(\d+ \S+) \S+ \S+$", r"\1 0 0", 0),
    "table of 1e10": table(r"^(\d+ \S+) \S+ \S+$", r"\1 1e10 1e10", 0),
    "table of attraction": table(r"^(\d+ \S+) (\S+) (\S+)$", r"\1 -\2 -\3", 0),
    "variable loops": before("variable a equal v_b\nvariable b equal v_a"),
    "variable of nothing": before("variable a equal v_nothing"),
    "recursion in the thermo": before("variable a equal v_a\nthermo_style custom step v_a"),
    "dump on production": after("dump d all custom 100 d.dump id x y z"),
    "restart on production": after("restart 100 a.rst b.rst"),
    "write_data": after("write_data x.data"),
    "velocity after": after("velocity all create 1.0 5"),
    "displace before": before("displace_atoms all random 1 1 1 5"),
    "thermo every step": before("thermo 1"),
    "timer": before("timer timeout 0:00:01"),
    "timer at once": before("timer timeout 0:00:00 every 1"),
    "suffix": deck("units       lj\n", "suffix omp\nunits lj\n"),
    "a group of the name": before("group mlgle_frames id 1"),
    "a fix of the name": before("fix mlgle_frames all print 1000 x"),
    "a variable of the name": before("variable mlgle_elapsed equal 1\nvariable mlgle_members atom 1"),
    "deckdir changed": before("variable deckdir delete\nvariable deckdir index /nowhere"),
    "partition": before("partition yes 1 print x"),
    "fix halt later": after("fix h all halt 100 v_T > 0.5 error continue"),
    "fix halt soft": after("fix h all halt 3000 v_T > 0.5 error soft"),
}
OPTIONS: dict[str, tuple[tuple[object, ...], str]] = {
    "no such option": (("--frames", 3), "refuse"),
    "every 0": (("--every", 0), "refuse"),
    "every -5": (("--every", -5), "refuse"),
    "every 2^40": (("--every", 2**40), "refuse"),
    "every text": (("--every", "x"), "refuse"),
    "modes 0": (("--modes", 0), "refuse"),
    "modes 10^9": (("--modes", 10**9), "any"),
    "memory above": (("--memory", 10**6), "refuse"),
    "frames 10^12": (("--train-frames", 10**12), "refuse"),
    "a group that is none": (("--chain-group", "x"), "refuse"),
    "a group of nobody": (("--chain-group", "${T}"), "refuse"),
    "-var without value": (("-var", "T"), "refuse"),
    "-var nan": (("-var", "T", "nan"), "refuse"),
    "-var with quotes": (("-var", "T", "1.0 'x\" $"), "refuse"),
    "-var with a command": (("-var", "T", "1.0\nquit"), "refuse"),
    "-var of a quit": (("-var", "T", "${quit}"), "refuse"),
    "out is a file": (("--out", "in.deck"), "refuse"),
    "out below a file": (("--out", "in.deck/x"), "refuse"),
    "out in /proc": (("--out", "/proc/x"), "refuse"),
    "out with odd letters": (("--out", "o ut'\"$%\u00e4"), "any"),
    "out very long": (("--out", "x" * 300), "refuse"),
    "out of NUL": (("--out", ""), "any"),
    "seed -1": (("--seed", -1), "refuse"),
    "seed 2^70": (("--seed", 2**70), "refuse"),
    "ensemble 10^9": (("--ensemble", 10**9), "refuse"),
    "steps 10^15": (("--generate-steps", 10**15), "refuse"),
    "threads 10^6": (("--threads", 10**6), "refuse"),
    "device cuda": (("--device", "cuda"), "any"),
    "target 2": (("--target-ci", 2), "refuse"),
    "full md -1": (("--full-md", -1), "refuse"),
}


def _swapped(text: str) -> str:
    lines = text.split("\n")
    lines[20], lines[30] = lines[30], lines[20]
    return "\n".join(lines)


def _make(change: Change | None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        files: Files = dict(material.deck_files())
        if change is not None:
            change(files)
        for name, content in files.items():
            if callable(content):
                content(folder / name)
            elif isinstance(content, bytes):
                (folder / name).write_bytes(content)
            else:
                (folder / name).write_text(content, encoding="utf-8", newline="")

    return make


def _random(number: int) -> Change:
    def change(files: Files) -> None:
        name = ("in.deck", "in.deck", "in.forces", "chains.data", "soft.table")[number % 5]
        text = str(files[name])
        if number % 7 == 0:
            files[name] = damaged_bytes(text.encode(), number)[0]
        else:
            files[name] = damaged_text(text, number, 1 + number % 2)[0]

    return change


def sound_cases() -> Iterator[Case]:
    """Yield the deck as it is, on one process and on two ranks."""
    for ranks in (None, 2):
        yield Case("deck", f"sound, {ranks or 1} ranks", _make(None), "run", ARGUMENTS, "pass", ranks)


def named_cases() -> Iterator[Case]:
    """Yield the named mutations; every sixth on two ranks."""
    number = 0
    for mutations, expected in ((REFUSED, "refuse"), (DOUBTFUL, "any")):
        for name, change in mutations.items():
            yield Case("deck", name, _make(change), "run", ARGUMENTS, expected, None if number % 6 else 2)
            number += 1
    for name, (options, expected) in OPTIONS.items():
        yield Case("option", name, _make(None), "run", (*ARGUMENTS, *options), expected)


def random_cases(seed: int, n: int) -> Iterator[Case]:
    """Yield decks with random damage; every sixth on two ranks."""
    for number in range(seed * 10**6, seed * 10**6 + n):
        yield Case(
            "deck", f"random {number}", _make(_random(number)), "run", ARGUMENTS, "any", None if number % 6 else 2
        )
