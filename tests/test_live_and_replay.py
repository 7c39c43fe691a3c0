"""A live run with full MD behind the hand-off, and its replay: what both store is the same, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from mlgle_lammps.store.reader import FramesReader

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
LEARNING = ("--memory", 4, "--train-frames", 20, "--val-frames", 8, "--modes", 6, "--full-md", 17,
            "--generate-steps", 0, "--threads", 1)  # fmt: skip
HANDED_OFF, FRAMES = 28, 45


def command(*words, n_ranks=1):
    """Run a command of the package as a user does; it has to succeed."""
    launcher = [BIN / "mpirun", "-n", n_ranks] if n_ranks > 1 else []
    line = [str(word) for word in (*launcher, sys.executable, "-m", *words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


def datasets(path):
    """Return all datasets of a file by name: type, shape and bytes."""
    found = {}

    def look(name, thing):
        if isinstance(thing, h5py.Dataset):
            found[name] = (thing.dtype.str, thing.shape, thing[()].tobytes())

    with h5py.File(path) as file:
        file.visititems(look)
    return found


@pytest.mark.parametrize(
    "n_ranks", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
def test_a_live_run_with_full_md_and_its_replay_store_the_same_bits(tmp_path, n_ranks):
    live, again = tmp_path / "live", tmp_path / "again"
    deck = ROOT / "tests" / "decks" / "in.small"
    command("mlgle_lammps.run", deck, "--every", 10, *LEARNING, "--out", live, n_ranks=n_ranks)
    command("mlgle_lammps.replay", live / "modes.h5", *LEARNING, "--out", again)
    ours, theirs = datasets(live / "modes.h5"), datasets(again / "modes.h5")
    assert ours.keys() >= {"mlgle/com", "mlgle/modes", "mlgle/step"}
    assert ours == theirs
    with FramesReader(live / "modes.h5") as reader:
        assert (len(reader.steps), reader.n_mode_frames) == (FRAMES, FRAMES)
        assert not reader.read(HANDED_OFF, FRAMES).same_bits(reader.read(HANDED_OFF - 1, FRAMES - 1))
    first, second = (json.loads((folder / "result.json").read_text()) for folder in (live, again))
    assert first["handoff"]["frames"] == HANDED_OFF
    for name in ("D", "D_online", "D_full_md", "fit", "modes"):
        assert first[name] == second[name]
