"""Decks with loops and a changing working directory, launched as a user launches them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "decks"))
import flow
from test_resume import journalled, segments_of
from test_run_mpi import BIN, RECORDER, read_ending, read_stream, wait_for

from mlgle_lammps.store.journal import chunk_paths

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]

FRAMES = ("--every", "10", "--memory", "4", "--modes", "2", "--val-frames", "100", "--checkpoint-every", "20")
HEAD = flow.HEAD.replace("special", "variable steps index 200\nspecial", 1)
LOOP = "variable k loop 1000\nlabel again\nrun ${steps}\nnext k\njump SELF again\n"
DECK = f"""{HEAD}
shell mkdir prod
shell cd prod
run 20
compute t all temp
fix o all ave/time 10 1 10 c_t ave running file t.txt overwrite
fix a all ave/correlate 1 5 10 c_t file c.txt
fix h all ave/time 10 1 10 c_t file h.txt
#mlgle production
{LOOP}"""


def launch(folder: Path, n_ranks: int, *arguments: object) -> subprocess.Popen[str]:
    words = [str(BIN / "mpirun"), "-n", str(n_ranks), sys.executable, RECORDER, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen(words, cwd=folder, env=environment, stdout=-1, stderr=-1, text=True)


def ends(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, error = process.communicate(timeout=180)
    assert "Traceback" not in error
    return process.returncode, error


def begin(folder: Path) -> None:
    flow.write_deck(folder, "plain")
    (folder / "in.deck").write_text(DECK)


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_a_deck_may_change_the_working_directory(tmp_path, n_ranks):
    begin(tmp_path)
    assert ends(launch(tmp_path, n_ranks, "in.deck", *FRAMES, "--train-frames", 50, "--out", "out")) == (0, "")
    stream = read_stream(tmp_path / "out")
    assert np.array_equal(stream["step"], np.arange(20, 20 + 1500, 10))
    assert {path.name for path in (tmp_path / "prod").iterdir()} == {"t.txt", "c.txt", "h.txt"}
    assert not read_ending(tmp_path / "out")["warnings"]


def test_it_goes_on_there_and_what_overwrites_its_file_goes_on_overwriting(tmp_path):
    begin(tmp_path)
    out = tmp_path / "out"
    process = launch(tmp_path, 2, "in.deck", *FRAMES, "--train-frames", 10**6, "--out", "out")
    wait_for(lambda: len(chunk_paths(out / "checkpoint")) >= 2 or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    code, error = ends(process)
    assert code == 0, error
    n_before = len(journalled(out))
    lines_before = len((tmp_path / "prod" / "h.txt").read_text().splitlines())
    assert ends(launch(tmp_path, 2, "--resume", "out", "--train-frames", n_before)) == (0, "")
    stream = read_stream(out)
    assert np.array_equal(stream["step"], np.arange(20, 20 + 10 * (n_before + 100), 10))
    assert segments_of(out) == [0, n_before]
    overwritten = (tmp_path / "prod" / "t.txt").read_text().splitlines()
    assert [line.startswith("#") for line in overwritten] == [True, True, False]
    assert len((tmp_path / "prod" / "h.txt").read_text().splitlines()) > lines_before
    assert (tmp_path / "prod" / "c.part2.txt").stat().st_size > 0
