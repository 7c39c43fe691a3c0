"""A run that is ended, by a signal or by a kill, goes on with ``--resume``; launched as a user launches it."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_run_mpi import SMALL, read_ending, read_stream, run, start, variant, wait_for

from mlgle_lammps.acquire.checkpoint import Checkpoints, MdRecord, newest_whole, read_record
from mlgle_lammps.commands.parsers import parse_run
from mlgle_lammps.errors import UserError
from mlgle_lammps.store.journal import chunk_paths, read_journal
from mlgle_lammps.store.origin import write_origin

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]

FRAMES = ("--every", "10", "--memory", "4", "--modes", "5", "--checkpoint-every", "20", "--val-frames", "200")
EXACT = (("atom_style  bond", "atom_style  bond\natom_modify sort 0 0.0"),
         ("fix         2 all langevin 1.0 1.0 0.5 99\n", "fix         2 all temp/berendsen 1.0 1.0 0.5\n"))  # fmt: skip


def interrupt(process, out, n_chunks, number):
    """Send a signal to mpirun, or to all ranks for SIGKILL, once so many chunks are journalled."""
    wait_for(lambda: len(chunk_paths(out / "checkpoint")) >= n_chunks or process.poll() is not None)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    return process.returncode, error


def journalled(out):
    return np.concatenate([chunk.steps for chunk in read_journal(out / "checkpoint")])


@pytest.mark.parametrize("n_ranks", [1, 3])
def test_stopped_by_a_signal_a_run_goes_on_where_it_was(tmp_path, n_ranks):
    out = tmp_path / "with space"
    frames = ("--train-frames", "3000")
    code, error = interrupt(start(n_ranks, SMALL, *FRAMES, *frames, "--out", out), out, 2, signal.SIGTERM)
    assert (code, "Traceback" in error) == (0, False)
    launcher = "" if n_ranks == 1 else f"mpirun -n {n_ranks} "
    assert error.endswith(f"go on with: {launcher}python -m mlgle_lammps.run --resume '{out}'\n")
    before = journalled(out)
    record = read_record(out / "checkpoint")
    assert before[-1] <= record.restarts[-1].step < before[-1] + 10
    code, error = run(n_ranks, "--resume", out, "--train-frames", str(len(before) + 100))
    assert (code, error) == (0, "")
    stream = read_stream(out)
    assert np.array_equal(stream["step"], np.arange(50, 50 + 10 * (len(before) + 300), 10))
    assert segments_of(out) == [0, len(before)]
    assert read_ending(out)["status"] == "complete"
    assert "went on from the restart file" in " ".join(read_ending(out)["ending_notes"])
    assert not list((out / "checkpoint").iterdir())
    log = (out / "log.lammps").read_text()
    assert (
        log.count("fix         2 all langevin 1.0 1.0 0.5 99") == log.count("fix 2 all langevin 1.0 1.0 0.5 100") == 1
    )


def test_a_killed_run_without_noise_goes_on_to_the_last_bit(tmp_path):
    n_ranks = 3
    deck = variant(tmp_path, replace=EXACT)
    frames = (*FRAMES, "--train-frames", "100", "--val-frames", "100", "--every", "100", "-var", "length", "15000")
    out, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    process = start(n_ranks, deck, *frames, "--out", out)
    wait_for(lambda: len(chunk_paths(out / "checkpoint")) >= 1)
    os.kill(int(rank_of(process.pid)), signal.SIGKILL)
    process.communicate(timeout=120)
    assert len(journalled(out)) < 200
    assert read_record(out / "checkpoint").restarts[-1].step > 100
    assert run(n_ranks, "--resume", out, timeout=240) == (0, "")
    assert run(n_ranks, deck, *frames, "--out", unbroken, timeout=240)[0] == 0
    one, other = read_stream(out), read_stream(unbroken)
    for name in ("step", "com", "modes"):
        assert np.array_equal(one[name], other[name]), name
    assert segments_of(out) == segments_of(unbroken) == [0]
    assert "exactly" in " ".join(read_ending(out)["ending_notes"])


def segments_of(out):
    with h5py.File(out / "modes.h5") as file:
        return file["mlgle"].attrs["segments"].tolist()


def rank_of(launcher):
    """Return the process number of a rank below ``mpirun``."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if b"run_with_recorder" in (path / "cmdline").read_bytes() and int(path.name) != launcher:
                parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
                grand = int(Path(f"/proc/{parent}/stat").read_text().rsplit(")", 1)[1].split()[1])
                if launcher in (parent, grand):
                    return path.name
        except OSError:
            continue
    raise AssertionError("no rank found")


def test_changed_options_are_honoured_or_refused_by_name(tmp_path):
    out = tmp_path / "out"
    assert interrupt(start(2, SMALL, *FRAMES, "--train-frames", "3000", "--out", out), out, 2, signal.SIGTERM)[0] == 0
    for option, name in ((("--every", "20"), "--every"), (("-var", "length", "7"), "-var"), (("--strict",), "--strict"),
                         (("other.deck",), "the deck"), (("--out", "x"), "--out")):  # fmt: skip
        with pytest.raises(UserError, match=f"^{name} cannot be changed"):
            parse_run(["--resume", str(out), *option])
    code, error = run(2, "--resume", out, "--modes", "9")
    assert code == 2
    assert "--modes cannot be raised" in error
    n_frames = len(journalled(out))
    assert run(2, "--resume", out, "--every", "10", "--train-frames", "30", "--val-frames", "20") == (0, "")
    assert read_ending(out)["n_frames"] == n_frames  # MD had enough of them: nothing was run
    with pytest.raises(UserError, match="holds no checkpoint"):
        parse_run(["--resume", str(out)])


def test_a_changed_deck_or_missing_restart_file_is_named(tmp_path):
    deck, out = variant(tmp_path), tmp_path / "out"
    assert interrupt(start(1, deck, *FRAMES, "--train-frames", "3000", "--out", out), out, 2, signal.SIGTERM)[0] == 0
    text = deck.read_text()
    deck.write_text(text.replace("10.0", "11.0"))
    code, error = run(1, "--resume", out)
    assert (code, error.count("\n")) == (2, 1)
    assert "has changed since the run began" in error
    deck.write_text(text)
    for path in (out / "checkpoint").glob("md-*.restart"):
        path.write_bytes(path.read_bytes()[:-10])
    code, error = run(1, "--resume", out)
    assert (code, error.count("\n")) == (2, 1)
    assert "no restart file that is whole" in error
    assert len(journalled(out)) > 100


def test_a_record_without_a_deck_is_named_and_own_variables_of_before_go_on(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    write_origin(tmp_path / "checkpoint", ("--every", "10"), "digest")
    for more in ((), ("in.deck",)):
        with pytest.raises(UserError, match=r"run\.json is damaged: its arguments name no deck"):
            parse_run(["--resume", str(tmp_path), *more])
    write_origin(tmp_path / "checkpoint", ("in.deck", "-var", "deckdir", "x", "--every", "2000000"), "digest")
    assert parse_run(["--resume", str(tmp_path)]).deck.every == 2_000_000


def test_a_changed_table_of_the_force_field_is_named(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    table = tmp_path / "soft table"
    table.write_text("1")
    write_origin(tmp_path / "checkpoint", ("in.deck",), "digest", (str(table),))
    assert parse_run(["--resume", str(tmp_path)])
    table.write_text("2")
    with pytest.raises(UserError, match="soft table, which the deck's force field is read from, has changed"):
        parse_run(["--resume", str(tmp_path)])
    path = tmp_path / "checkpoint" / "run.json"
    old = json.loads(path.read_text())
    del old["tables"]
    path.write_text(json.dumps(old))
    assert parse_run(["--resume", str(tmp_path)])


def test_two_runs_cannot_share_a_folder(tmp_path):
    out = tmp_path / "out"
    process = start(1, SMALL, *FRAMES, "--train-frames", "100000", "--out", out)
    wait_for(lambda: (out / "checkpoint" / "md.json").exists())
    for options in (("--resume", out), (SMALL, *FRAMES, "--train-frames", "10", "--out", out, "--overwrite")):
        code, error = run(1, *options)
        assert (code, "in use by a run" in error) == (2, True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_a_wall_limit_ends_the_run_with_all_saved(tmp_path):
    out = tmp_path / "out"
    begin = time.monotonic()
    endless = ("--every", "200", "--train-frames", "90000", "--wall-limit", "12s")
    code, error = run(2, SMALL, *FRAMES, *endless, "--out", out, timeout=180)
    assert (code, "go on with" in error) == (0, True)
    assert time.monotonic() - begin < 40
    assert read_ending(out)["status"] == "interrupted"
    assert read_record(out / "checkpoint").restarts


def test_md_is_recorded_to_its_end_where_learning_fails(tmp_path):
    n_ranks, out = 2, tmp_path / "out"
    options = (SMALL, *FRAMES, "--train-frames", "400", "--on-trainer-failure", "record", "--out", out)
    code, error = run(n_ranks, *options, LEARN_RAISES="1")
    assert code == 1
    assert "the learner broke" in error
    assert len(journalled(out)) == 600
    assert run(n_ranks, "--resume", out) == (0, "")
    assert read_ending(out)["n_frames"] == 600


def test_a_run_killed_before_its_first_frame_begins_again(tmp_path):
    deck, out = variant(tmp_path, replace=[("run         50", "run 150000")]), tmp_path / "out"
    process = start(1, deck, *FRAMES, "--train-frames", "20", "--out", out)
    wait_for(lambda: (out / "log.lammps").exists())
    os.kill(int(rank_of(process.pid)), signal.SIGKILL)
    process.communicate(timeout=120)
    assert not chunk_paths(out / "checkpoint")
    assert run(1, "--resume", out, timeout=180) == (0, "")
    assert read_ending(out)["n_frames"] == 220


# --- the record of restart files


@pytest.fixture
def kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, MdRecord(50, 0, 2, 20250722, 0.0))
    for step in (100, 200, 300):
        (tmp_path / "md.a").write_bytes(b"restart at %d" % step)
        checkpoints.take("md.a", step, step / 10)
    return tmp_path, checkpoints


def test_the_two_newest_restart_files_are_kept(kept):
    folder, checkpoints = kept
    assert sorted(path.name for path in folder.iterdir()) == ["md-200.restart", "md-300.restart", "md.json"]
    assert read_record(folder) == checkpoints.record
    assert [entry.step for entry in checkpoints.record.restarts] == [200, 300]


def test_a_damaged_restart_file_gives_way_to_the_one_before(kept):
    folder, checkpoints = kept

    def newest(*until):
        found = newest_whole(folder, checkpoints.record, *until)
        assert found is not None
        return found.step

    assert newest() == 300
    assert newest(299) == 200
    assert newest(10) == 300  # better a gap than nothing
    (folder / "md-300.restart").write_bytes(b"restart at 3OO")
    assert newest() == 200
    (folder / "md-200.restart").unlink()
    assert newest_whole(folder, checkpoints.record) is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"schema": 2}, "schema 2"), ({"begin": -1}, "begin is -1"), ({"md_s": "x"}, "md_s is 'x'"),
        ({"restarts": 3}, "restarts is 3 where a list belongs"), ({"epoch": True}, "epoch is True"),
        ({"restarts": [{"name": "../../etc/passwd", "step": 1, "size": 1, "crc32": 1}]}, "not the name of a restart"),
    ],
)  # fmt: skip
def test_a_damaged_record_is_named(kept, change, complaint):
    folder, _ = kept
    path = folder / "md.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=complaint):
        read_record(folder)
