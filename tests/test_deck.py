"""Scanning decks without LAMMPS."""

from pathlib import Path

import pytest

from mlgle_lammps.acquire.deck import read_deck
from mlgle_lammps.acquire.deck_text import logical_lines, split_words
from mlgle_lammps.commands.parsers import parse_run
from mlgle_lammps.errors import UserError


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def writer(text, name="in.deck"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return writer


def test_missing_deck_is_named(tmp_path):
    with pytest.raises(UserError, match=r"deck .*in\.none not found"):
        read_deck(tmp_path / "in.none")
    with pytest.raises(UserError, match="cannot be read"):
        read_deck(tmp_path)


@pytest.mark.parametrize("name", ["my decks", "a'b", 'a"b', "a$b"])
def test_a_folder_that_lammps_takes_for_several_words_is_refused(write, tmp_path, monkeypatch, name):
    uses = "read_data ${deckdir}/x.data\n"
    path = write(uses, f"{name}/in.deck")
    with pytest.raises(UserError, match=r"in\.deck: the deck uses \$\{deckdir\}.* start in that folder") as caught:
        read_deck(path)
    assert f"'{path.parent}'" in str(caught.value)
    write('variable deckdir index x  # ${deckdir}\nprint "${deckdir}"\n', f"{name}/in.deck")
    assert read_deck(path).before
    write(uses, "in.more")
    write("include in.more\n", f"{name}/in.deck")
    with pytest.raises(UserError, match="the deck uses"):
        read_deck(path)
    monkeypatch.chdir(path.parent)
    write(uses, f"{name}/in.deck")
    assert read_deck(Path("in.deck")).variables[1] == ("deckdir", (".",))
    write(f"shell cd ..\n{uses}", f"{name}/in.deck")
    with pytest.raises(UserError, match="one word: move the deck"):
        read_deck(Path("in.deck"))


@pytest.mark.parametrize("name", ["deckdir", "mlgle", "mlgle_folder", "mlgle_reached"])
def test_variables_of_the_service_are_refused(name):
    with pytest.raises(UserError, match=f"-var {name}: mlgle run gives this variable itself"):
        parse_run(["in.deck", "-var", name, "x"])


def test_a_deck_that_became_a_value_is_named(write):
    write("run 1\n")
    for words, taken in (
        (("-var", "T", "340", "in.deck"), "'in.deck' was taken as a value of -var T; write the deck before -var"),
        (("-var", "T", "in.deck"), "'in.deck' was taken as a value of -var T"),
        (("-var", "a", "1", "in.deck", "-var", "b", "2"), "'in.deck' was taken as a value of -var a"),
        (("-var", "T", "340", "in.none"), "'in.none' was taken as a value of -var T"),
        (("-var", "T", "340", "350"), "mlgle run DECK, or --resume RUN"),
        ((), "mlgle run DECK, or --resume RUN"),
    ):
        with pytest.raises(UserError, match=f"^the deck is missing: {taken}"):
            parse_run(list(words))


def test_marker_splits_the_text(write):
    path = write("units lj\n\n#mlgle production\nrun 10\n")
    deck = read_deck(path, (("T", ("340",)),))
    assert deck.before == "units lj\n\n"
    assert deck.production == "#mlgle production\nrun 10\n"
    assert deck.arguments() == ["-var", "mlgle", "1", "-var", "deckdir", str(path.parent), "-var", "T", "340"]
    assert read_deck(write("run 10\n")).production is None


def test_lines_are_joined_and_comments_gone():
    text = (
        'fix 1 all & # no continuation: a comment\nnve # c\nprint "a # b" # c\npair_coeff * * &\n  1.0\n'
        'print """x\nquit\n"""\n'
    )
    lines = list(logical_lines(text))
    assert lines[1:] == [(2, "nve"), (3, 'print "a # b"'), (4, "pair_coeff * *   1.0"), (6, 'print """x\nquit\n"""')]
    assert split_words("if \"$a > 1\" then 'run 5' else jump") == ["if", "$a > 1", "then", "run 5", "else", "jump"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("units lj\nquit\n", 2, "'quit'"),
        ("fix mlgle_frames all nve\n", 1, "fix mlgle_frames"),
        ("if '$x > 1' then 'quit 1'\n", 1, "'quit'"),
        ('if "$x > 1" then quit\n', 1, "'quit'"),
        ("run_style &\n respa 2 4\n", 1, "respa"),
        ("variable s index respa\nrun_style $s 2 4\n", 2, "respa"),
        ("# mlgle Production\nrun 5\nclear\n", 3, "'clear' after production"),
        ("#mlgle production\nreset_timestep 0\n", 2, "'reset_timestep'"),
        ("#mlgle production\ntimestep 0.1\n", 2, "'timestep'"),
        ("#mlgle production\nread_restart x\n", 2, "'read_restart'"),
        ("#mlgle production\nfix 1 all dt/reset 10 NULL NULL 0.1\n", 2, "dt/reset"),
        ("#mlgle production\nfix 1 all npt temp 1 1 1 iso 0 0 10\n", 2, "fix npt changes the box"),
        ("fix 1 all npt temp 1 1 1 iso 0 0 10\n#mlgle production\nrun 5\n", 1, "fix npt changes the box"),
        ("fix 1 all deform 1 x scale 2\nrun 5\n", 1, "fix deform changes the box"),
        ("#mlgle production\n#mlgle production\n", 2, "second"),
    ],
)
def test_what_cannot_work_is_refused_with_its_line(write, text, line, message):
    path = write(text)
    with pytest.raises(UserError) as caught:
        read_deck(path)
    assert message in str(caught.value)
    assert f"{path}:{line}: " in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "clear\ntimestep 1\nfix 1 all npt temp 1 1 1 iso 0 0 10\nrun 5\nunfix 1\n#mlgle production\nrun 5\n",
        "fix 1 all npt temp 1 1 1 iso 0 0 10\nfix 1 all nvt temp 1 1 1\n#mlgle production\nrun 5\n",
        "fix 1 all press/berendsen iso 1 1 1\nif '${mlgle} == 1' then 'unfix 1'\n#mlgle production\nrun 5\n",
        "print 'quit'\nlabel quit\n# quit\nrun_style verlet\n#mlgle production\nrun 5\n",
    ],
)
def test_what_works_is_let_through(write, text):
    assert read_deck(write(text)).production is not None


def test_includes_are_scanned_with_their_variables(write):
    included = write("units lj\n\nquit\n", "part/in.more")
    for deck in (
        "include part/in.more\n",
        "variable D index part\ninclude ${D}/in.more\n",
        "include ${deckdir}/part/in.more\n",
        "variable D index nowhere\ninclude ${D}/in.more\n",
        "jump part/in.more\n",
    ):
        with pytest.raises(UserError, match=r"in\.more:3: 'quit'"):
            read_deck(write(deck), (("D", ("part",)),))
    included.write_text("include part/in.more\nclear\n")
    read_deck(write("include part/in.more\n#mlgle production\nrun 1\n"))
    with pytest.raises(UserError, match=r"in\.more:2: 'clear' after"):
        read_deck(write("#mlgle production\ninclude part/in.more\n"))


def test_files_of_the_force_field_are_found(write):
    for name in ("part/soft.table", "more/bond.table", "C", "in.more", "x.data"):
        write("x\n", name)
    write("bond_coeff * ${deckdir}/more/bond.table B\n", "in.more")
    text = "variable D index part\npair_coeff * * ${D}/soft.table C none.table\ninclude in.more\nread_data x.data\n"
    path = write(text)
    assert read_deck(path).tables == ("part/soft.table", "C", f"{path.parent}/more/bond.table")
    assert read_deck(write("shell cd part\npair_coeff 1 1 soft.table\n")).tables == ("part/soft.table",)


def test_marker_in_an_include_is_refused(write):
    write("#mlgle production\n", "in.more")
    with pytest.raises(UserError, match=r"in\.more:1: .*belongs into the deck itself"):
        read_deck(write("include in.more\n"))


@pytest.mark.parametrize("number", ["1e300", "-2.5E+10", "1.e99"])
def test_a_coordinate_that_lammps_would_wrap_for_ever_is_refused(tmp_path, number, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, deck = tmp_path / "x.data", tmp_path / "in.deck"
    deck.write_text("units lj\nread_data x.data\n")
    rows = [f"{i} 1 1 1.0e+00 1e-30 2.5e+09 0 0 0\n" for i in range(200_000)]
    rows[7] = "8 1 1 1.0 1 1 0 0 0 # made by commit 4e55f0c, box v1e12b\n"
    data.write_text("Atoms\n\n" + "".join(rows))
    assert read_deck(deck).before  # none of these is
    rows[150_000] = f"150000 1 1 {number} 1 1 0 0 0\n"
    data.write_text("Atoms\n\n" + "".join(rows))
    with pytest.raises(UserError, match=r"in.deck:2: x.data:150003 holds a number beyond 10\^10"):
        read_deck(deck)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("run_style respa 2 4\n#mlgle production\nrun 1\n", r"in\.deck:1: 'run_style respa' is not supported"),
        ("run_style verlet\nrun 1\n#mlgle production\nrun_style respa 2 4\nrun 1\n", r"in\.deck:4: 'run_style respa'"),
        ("run_style respa 2 4\nrun 1\n", r"in\.deck:1: 'run_style respa'"),
        ("atom_style template dec\n", r"in\.deck:1: atom_style template .* use 'atom_style molecular'"),
        ("atom_style hybrid template dec sphere\n", r"in\.deck:1: atom_style template"),
        ("processors 1 2 2\n", r"in\.deck:1: 'processors 1 2 2' .* MD, 3 of 4: the last one learns: start 5 ranks"),
        ("processors 2 * *\n", r"in\.deck:1: 'processors 2 \* \*' does not fit"),
        ("#mlgle production\ncreate_bonds many all all 1 0 1\n", r"in\.deck:2: 'create_bonds' after production"),
        ("#mlgle production\ndelete_bonds all bond 1\n", r"in\.deck:2: 'delete_bonds' after production"),
        ("fix 1 all npt temp 1 1 1 iso 0 0 10\nrun 5\n", r"at the deck's end, where production begins"),
        ("fix 1 all bond/break 1 1 1\nrun 5\n", r"unfix it at the deck's end, where production begins"),
        ("fix 1 all bond/break 1 1 1\n#mlgle production\nrun 5\n", r"unfix it before production begins"),
    ],
)
def test_what_production_cannot_have_is_named(write, text, complaint):
    with pytest.raises(UserError, match=complaint):
        read_deck(write(text), md_ranks=3)


@pytest.mark.parametrize(
    "text",
    [
        "run_style respa 2 4\nrun 5\nrun_style verlet\n#mlgle production\nrun 1\n",
        "run_style respa 2 4\nrun 5\nclear\n#mlgle production\nrun 1\n",
        "processors * * 3\n#mlgle production\n",
        "processors 1 1 3 map xyz\n#mlgle production\n",
        "processors ${x} 2 2\n#mlgle production\n",
        "fix 1 all bond/react stabilization no\nrun 5\nunfix 1\n#mlgle production\n",
    ],
)
def test_what_is_gone_or_fits_is_let_through(write, text):
    assert read_deck(write(text), md_ranks=3).production is not None


def test_files_are_sought_where_the_deck_has_gone(write, tmp_path):
    write("quit\n", "there/in.more")
    for way in ("shell cd there\ninclude in.more\n", "shell cd there/\nshell cd ..\ninclude there/in.more\n"):
        with pytest.raises(UserError, match=r"in\.more:1: 'quit'"):
            read_deck(write(way))
    deck = read_deck(write("shell cd there\nrun 1\n"))
    assert deck.changes_folder
    assert ("deckdir", (str(tmp_path),)) in deck.variables
    assert not read_deck(write("shell mkdir there\nrun 1\n")).changes_folder
