"""Decks do in the service what they do in plain LAMMPS, jump for jump: same prints, same thermo output, same files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "decks"))
import flow

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.deck import read_deck
from mlgle_lammps.acquire.driver import Driver
from mlgle_lammps.acquire.frame_taker import ENOUGH
from mlgle_lammps.acquire.wanted import FramesWanted
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.deck import DeckOptions

pytestmark = pytest.mark.lammps

GIVEN = (("given", ("3",)),)
TIMED = re.compile(
    r"^(Performance|.*% CPU use|MPI task timing|Section |-+$|.* \| |Per MPI rank memory|Total wall time|LAMMPS \()|"
    r"using \d+ OpenMP|.*CPU = "
)
LOOP_TIME = re.compile(r"^Loop time of \S+")


class Nobody:
    """Takes the frames, and wants ever more of them."""

    waits, handed_off, told_to_stop = 0, None, False

    def __init__(self):
        self.frames = []

    def hello(self, system):
        pass

    def send(self, frame):
        self.frames.append(frame)

    def listen(self):
        pass


def said(log: Path) -> list[str]:
    """Return what a log says, without what a clock or a memory counter says."""
    return [LOOP_TIME.sub("Loop time", line) for line in log.read_text().splitlines() if not TIMED.match(line)]


def files_in(folder: Path) -> dict[str, bytes]:
    kept = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log")
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def drive_plainly(log: Path) -> None:
    words = ["-var", "given", "3", "-log", str(log), "-screen", "none"]
    lmp = mpi.open_lammps(words, mpi.start().md_comm)
    lmp.file("in.deck")
    lmp.close()


def drive(log: Path | None, variables=GIVEN, every=1000, wanted=None, run_on=False, stop=lambda: False):
    """Have the service run ``in.deck`` to its end; return the driver, what took its frames, and how it ended."""
    outbox = Nobody()
    options = DeckOptions(Path("in.deck"), variables, every=every)
    wanted = wanted or FramesWanted(2, 1200)
    driver = Driver(mpi.start(), read_deck(options.deck, variables, 1), options, wanted, outbox, log, stop)
    if not run_on:
        driver._run_on = lambda: setattr(driver._taker, "verdict", ENOUGH)  # type: ignore[method-assign]
    try:
        driver.prepare()
        return driver, outbox, driver.produce()
    finally:
        driver._lmp.close()


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders, one to run plainly in, one for the service."""
    monkeypatch.chdir(tmp_path)
    for name in ("plain", "service"):
        (tmp_path / name).mkdir()
    return tmp_path / "plain", tmp_path / "service"


@pytest.mark.parametrize("name", [*flow.DECKS, *flow.MARKED])
def test_a_deck_does_what_it_does_in_plain_lammps(folders, name, monkeypatch, capfd):
    outputs = []
    for folder, way in zip(folders, (drive_plainly, drive), strict=True):
        flow.write_deck(folder, name)
        monkeypatch.chdir(folder)
        way(folder.absolute() / "log.log")
        assert Path.cwd() == folder
        outputs.append(capfd.readouterr().out)
    plain, service = (said(folder / "log.log") for folder in folders)
    assert any(line.startswith("Loop time") for line in plain) or "run" not in flow.DECKS.get(name, "run")
    assert service == plain
    assert files_in(folders[0]) == files_in(folders[1])
    assert outputs[0] == outputs[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*flow.DECKS, *flow.MARKED])
def test_and_what_the_lmp_program_does(folders, name, monkeypatch):
    plain, service = folders
    for folder in folders:
        flow.write_deck(folder, name)
    lmp = Path(sys.executable).with_name("lmp")
    words = [str(lmp), "-in", "in.deck", "-var", "given", "3", "-log", "log.log", "-screen", "none"]
    assert subprocess.run(words, cwd=plain, timeout=180).returncode == 0
    monkeypatch.chdir(service)
    drive(service.absolute() / "log.log")
    assert said(service / "log.log") == said(plain / "log.log")
    assert files_in(service) == files_in(plain)


BROKEN = {
    "python": ('python f here """def f(): pass"""', "python"),
    "no label": ("jump SELF nowhere", "Label wasn't found"),
    "no file": ("jump nowhere.lmp", "nowhere.lmp"),
    "no file, with a label": ("jump nowhere.lmp x", "nowhere.lmp"),
    "no include": ("include nowhere.lmp", "nowhere.lmp"),
    "no variable": ("next nothing", "Invalid variable"),
    "unbalanced": ("print 'x", "Unmatched single quote"),
    "no condition": ("if 1 ==", "if"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_plain_lammps_refuses_is_refused_alike(folders, name, monkeypatch):
    line, complaint = BROKEN[name]
    flow.write_deck(folders[0], "plain")
    monkeypatch.chdir(folders[0])
    deck = Path("in.deck")
    deck.write_text(deck.read_text() + line + "\n")
    with pytest.raises(Exception, match=complaint) as plain:
        drive_plainly(Path("plain.log"))
    with pytest.raises(UserError, match=complaint) as service:
        drive(Path("service.log"))
    assert str(service.value).startswith("in.deck: LAMMPS: ")
    assert not isinstance(plain.value, UserError)


REFUSED = {
    "an include jumps back": (
        "include there.lmp\n#mlgle production\nrun 1\nlabel back\n", "there.lmp:3: 'jump in.deck'"),
    "another file jumps back": (
        "jump there.lmp\nlabel back\n#mlgle production\nrun 1\n", "there.lmp:3: 'jump in.deck'"),
    "the deck includes itself": (
        "if '${given} > 5' then 'include in.deck'\n#mlgle production\nrun 1\n", "in.deck:3: 'include in.deck'"),
    "a jump over the marker": (
        "jump SELF out\n#mlgle production\nrun 1\nlabel out\nrun 2\n", "in.deck:3: 'jump SELF out' leads over"),
    "a jump over it by name": (
        "if '1 > 0' then 'jump in.deck out'\n#mlgle production\nrun 1\nlabel out\n", "in.deck:3: 'jump in.deck out'"),
    "production jumps back above what it must not do": (
        "variable k loop 2\nlabel a\ntimestep 0.004\n#mlgle production\nrun 1\nnext k\njump SELF a\n",
        "in.deck:5: 'timestep' after production has begun.*by the jump of line 9"),
    "a marker that a line swallows": (
        "run 1 &\n#mlgle production\nrun 1\n", "in.deck:4: '#mlgle production' belongs to"),
    "quit behind a jump": ("variable k loop 2\njump stops.lmp\n", "stops.lmp:2: 'quit'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_as_lammps_does_it_is_refused_by_line(folders, name, monkeypatch):
    text, complaint = REFUSED[name]
    flow.write_deck(folders[0], "plain")
    monkeypatch.chdir(folders[0])
    Path("stops.lmp").write_text("run 1\nquit\n")
    Path("in.deck").write_text(f"echo none\ninclude head.lmp\n{text}")
    with pytest.raises(UserError, match=complaint):
        read_deck(Path("in.deck"), GIVEN)


def test_a_jump_that_loses_the_marker_at_run_time_is_said(folders, monkeypatch):
    flow.write_deck(folders[0], "plain")
    monkeypatch.chdir(folders[0])
    deck = "include head.lmp\nvariable w file words.txt\njump ${w}.lmp\n#mlgle production\nrun 1\n"
    Path("in.deck").write_text(deck)
    Path("alpha.lmp").write_text("run 2\n")
    with pytest.raises(UserError, match="without passing the line '#mlgle production'"):
        drive(None)


@pytest.mark.parametrize("jump", ["jump SELF a", "jump in.deck a"])
def test_a_loop_that_only_steps_would_end_ends_with_the_frames(folders, jump, monkeypatch):
    """Once MD has its frames the deck's runs are skipped, so that its step never grows again."""
    flow.write_deck(folders[0], "plain")
    monkeypatch.chdir(folders[0])
    monkeypatch.setattr("mlgle_lammps.acquire.deck_files.PATIENCE", 0.2)
    loop = f'label a\nrun 50\nif "$(step) < 100000" then "{jump}"\nprint "end"\n'
    Path("in.deck").write_text(f"include head.lmp\nrun 1\n#mlgle production\n{loop}")
    wanted = FramesWanted(2, 12)
    _, outbox, ending = drive(None, every=20, wanted=wanted, run_on=True)
    assert [frame.last_step for frame in outbox.frames] == list(range(20, 260, 20))
    assert ending.status == "complete"
    assert any("in a loop that only more steps would end" in note for note in ending.notes)


def test_commands_given_as_a_string_would_not_pass(folders, monkeypatch):
    """A negative control: the way in which LAMMPS skips a jump to another file."""
    flow.write_deck(folders[0], "other_file")
    monkeypatch.chdir(folders[0])
    drive_plainly(Path("plain.log"))
    lmp = mpi.open_lammps(["-log", "string.log", "-screen", "none"], mpi.start().md_comm)
    lmp.commands_string(Path("in.deck").read_text())
    lmp.close()
    plain, string = said(Path("plain.log")), said(Path("string.log"))
    assert sum(line.startswith("stage, cycle") for line in plain) == 3
    assert not any(line.startswith("stage, cycle") for line in string)


def test_a_change_of_folder_that_the_text_hides_is_said(folders, monkeypatch):
    flow.write_deck(folders[0], "plain")
    monkeypatch.chdir(folders[0])
    Path("in.deck").write_text("include head.lmp\nvariable w file words.txt\ninclude ${w}.lmp\nrun 1\n")
    Path("alpha.lmp").write_text("shell cd ..\n")
    with pytest.raises(UserError, match="'shell cd' that the deck's text does not show"):
        drive(None)
