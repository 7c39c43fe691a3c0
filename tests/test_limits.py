"""Disks that are full or read-only, folders with odd names, clocks that jump: one line, the stream kept, no hang."""

import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_run_mpi import DECKS, FRAMES, N_FRAMES, SMALL, finish, read_stream, run, start

from mlgle_lammps.store.journal import read_journal

ROOT = Path(__file__).parent.parent


@pytest.mark.mpi
@pytest.mark.lammps
@pytest.mark.parametrize("n_ranks", [1, 2])
@pytest.mark.parametrize(("most", "named", "kept"), [(200, "checkpoint/run.json", 0), (60_000, "modes.h5", N_FRAMES)])
def test_a_full_disk_ends_the_run_with_what_fitted(tmp_path, n_ranks, most, named, kept):
    """Files may grow to ``most`` bytes: the first file fails, or the last one, whose journal then stays."""
    out = tmp_path / "out"
    code, error = run(n_ranks, SMALL, *FRAMES, "--out", out, MOST_BYTES=str(most))
    assert code == 1, error
    complaints = [line for line in error.splitlines() if line.startswith("mlgle run: error: ")]
    assert len(complaints) == 1, error
    assert re.search(f"cannot write .*{named}: File too large", complaints[0])
    if kept:
        assert sum(len(chunk.steps) for chunk in read_journal(out / "checkpoint")) == kept


@pytest.mark.mpi
@pytest.mark.lammps
def test_a_result_folder_that_vanishes_ends_the_run(tmp_path):
    out = tmp_path / "out"
    process = start(2, SMALL, *FRAMES, "--handoff", "converged", "-var", "length", "100000000", "--out", out,
                    "--checkpoint-every", "100", HAND_OFF_AT="100000000")  # fmt: skip
    while not (out / "checkpoint" / "stream-000001.npz").exists():
        assert process.poll() is None
    while out.exists():
        shutil.rmtree(out, ignore_errors=True)
    code, error = finish(process)
    assert code == 1
    assert "mlgle run: error: " in error


@pytest.mark.parametrize("out", ["/proc/none", "/sys/none"])
@pytest.mark.mpi
def test_folders_that_cannot_be_made_are_named(out):
    code, error = run(1, SMALL, *FRAMES, "--out", out)
    assert code == 2
    assert re.fullmatch(f"mlgle run: error: cannot make the result folder {out}: .*; choose another --out\n", error)


ODD_NAMES = ("ü→é", "it's $x ${y}", '#a&b"c')


@pytest.mark.mpi
@pytest.mark.lammps
@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_of_folders_and_decks_do_no_harm(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (tmp_path / "data.small").write_text((DECKS / "data.small").read_text())
    deck = folder / f"in.{name}"
    deck.write_text(SMALL.read_text().replace("${deckdir}", str(tmp_path)))
    out = folder / "out"
    assert run(2, deck, *FRAMES, "--checkpoint-every", "10", "--out", out) == (0, "")
    assert len(read_stream(out)["step"]) == N_FRAMES


@pytest.mark.mpi
@pytest.mark.lammps
def test_names_that_lammps_cannot_take_are_refused(tmp_path):
    for name, message in (("100%", "LAMMPS takes % in a file name for a pattern"),
                          ("ü ü", "LAMMPS takes no name with both white space")):  # fmt: skip
        code, error = run(1, SMALL, *FRAMES, "--out", tmp_path / name)
        assert code == 2
        assert re.fullmatch(f"mlgle run: error: .*{message}.*; choose another --out\n", error)


@pytest.mark.mpi
@pytest.mark.lammps
def test_a_run_in_a_folder_beyond_ascii_goes_on(tmp_path):
    out = tmp_path / "ü→é"
    long = ("-var", "length", "100000000", "--handoff", "converged", "--checkpoint-every", "20")
    process = start(2, SMALL, *FRAMES, *long, "--out", out, HAND_OFF_AT="100000000")
    while not (out / "checkpoint" / "stream-000000.npz").exists():
        assert process.poll() is None
    process.terminate()
    code, error = finish(process)
    assert code == 0, error
    n_before = sum(len(chunk.steps) for chunk in read_journal(out / "checkpoint"))
    code, error = finish(start(2, "--resume", out, HAND_OFF_AT=str(n_before + 20)))
    assert code == 0, error
    steps = read_stream(out)["step"]
    assert len(steps) >= n_before + 20
    assert all(steps[1:] > steps[:-1])


def test_nothing_reads_a_clock_that_may_jump():
    """Waits and limits count on time.monotonic; the wall clock is read for Slurm's end of the job only."""
    found = {
        path.name: line.strip()
        for path in (ROOT / "mlgle_lammps").rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"\btime\.time\(|datetime|\btime\.ctime|localtime", line)
    }
    assert set(found) <= {"stop_requests.py"}, found
