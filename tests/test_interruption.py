"""SIGTERM to mpirun while the real pipeline takes frames, trains or generates: partial results, soon."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlgle_lammps.store.reader import FramesReader

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
WINDOWS = ("--every", "20", "--memory", "8", "--modes", "4", "--ensemble", "10", "--threads", "1")
LONG_MD = (*WINDOWS, "--train-frames", "90000", "--val-frames", "1000")
LONG_GENERATION = (*WINDOWS, "--train-frames", "40", "--val-frames", "20", "--generate-steps", "3000000",
                   "--save-every", "100000")  # fmt: skip


def wait_for(condition, process, seconds=180):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()[-2000:]
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("n_ranks", "windows", "mark"),
    [(1, LONG_MD, "result.json"), (2, LONG_MD, "result.json"), (2, LONG_GENERATION, "generated.h5.tmp")],
)
def test_sigterm_leaves_a_readable_stream_and_a_partial_result(tmp_path, n_ranks, windows, mark):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [str(BIN / "mpirun"), "-n", str(n_ranks), sys.executable, "-m", "mlgle_lammps.run",
         "tests/decks/in.small", *windows, "--out", str(out)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for((out / mark).exists, process)
    process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    _, error = process.communicate(timeout=120)
    assert time.monotonic() - start < 30
    assert "Traceback" not in error
    assert "interrupted" in error
    result = json.loads((out / "result.json").read_text())
    assert result["status"] == "partial"
    assert "interrupted" in result["message"]
    assert result["D"]["value"] == result["D_online"][-1]["value"]
    with FramesReader(out / "modes.h5") as reader:
        assert len(reader.steps) == result["n_frames"] >= 9
    assert not list(out.glob("*.tmp"))


def service(*arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_run_stopped_while_it_generates_goes_on_to_what_a_replay_gives(tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "mlgle_lammps.run", "tests/decks/in.small", *LONG_GENERATION, "--out", str(out)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for((out / "generated.h5.tmp").exists, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    before = json.loads((out / "result.json").read_text())
    service("mlgle_lammps.run", "--resume", out, "--generate-steps", 200, "--save-every", 1)
    service("mlgle_lammps.replay", out / "modes.h5", *WINDOWS[2:], "--train-frames", "40", "--val-frames", "20",
            "--generate-steps", "200", "--out", tmp_path / "again")  # fmt: skip
    result, again = (json.loads((folder / "result.json").read_text()) for folder in (out, tmp_path / "again"))
    assert (before["status"], result["status"]) == ("partial", "complete")
    for name in ("D", "alpha", "D_generated"):
        assert result[name] == again[name]
    assert result["D"] == before["D"]
    for mode, same in zip(result["modes"], again["modes"], strict=True):
        assert mode["val_nll"] == same["val_nll"]
