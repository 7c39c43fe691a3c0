"""Scanning decks without LAMMPS."""

import pytest

from mlgle_lammps.acquire.deck import read_deck
from mlgle_lammps.acquire.deck_text import logical_lines, split_words
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
    data.write_text("Atoms\n\n" + "".join(rows))
    assert read_deck(deck).before  # none of these is
    rows[150_000] = f"150000 1 1 {number} 1 1 0 0 0\n"
    data.write_text("Atoms\n\n" + "".join(rows))
    with pytest.raises(UserError, match=r"in.deck:2: x.data:150003 holds a number beyond 10\^10"):
        read_deck(deck)
