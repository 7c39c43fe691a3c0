"""The whole service on real LAMMPS, launched as a user launches it: exact answers, equal bits, replay."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from mlgle_lammps.chains.rouse import rouse_diffusion, rouse_mode_variance, rouse_relaxation_time

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def launch(command, *arguments, ranks=None, timeout=600):
    launcher = [str(BIN / "mpirun"), "-n", str(ranks)] if ranks else []
    done = subprocess.run(
        [*launcher, sys.executable, "-m", f"mlgle_lammps.{command}", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def rouse(tmp_path_factory):
    """The Rouse deck through the service with the default windows."""
    out = tmp_path_factory.mktemp("rouse") / "run"
    launch("run", "lammps_inputs/in.rouse", "--every", 140, "--generate-steps", 1000, "--out", out, ranks=2)
    return result_of(out)


def rouse_scores(result, friction=1.0):
    """Return |found - exact| in standard errors: D, mode variances, relaxation times."""
    n_beads, p = 20, np.array([mode["mode"] for mode in result["modes"]])

    def column(name):
        return np.array([mode[name] for mode in result["modes"]])

    D = result["D"]
    variances = (column("md_variance") - rouse_mode_variance(p, n_beads)) / column("md_variance_se")
    times = column("md_relaxation_time") - rouse_relaxation_time(p, n_beads, friction=friction)
    return (
        abs(D["value"] - rouse_diffusion(n_beads, friction=friction)) / D["se"],
        np.abs(variances).max(),
        np.abs(times / column("md_relaxation_time_se")).max(),
    )


def test_rouse_deck_gives_the_exact_answer(rouse):
    assert max(rouse_scores(rouse)) < 4
    assert rouse["D"]["se"] < 0.04 * rouse["D"]["value"]
    assert rouse["fit"]["p"] > 0.001


def test_friction_wrong_by_20_percent_fails_the_same_check(rouse):
    for friction in (0.8, 1.2):
        D, _, times = rouse_scores(rouse, friction)
        assert D > 4
        assert times > 4


def test_rouse_generated_modes_are_those_of_the_formulas(rouse):
    p = np.array([mode["mode"] for mode in rouse["modes"]])
    generated = np.array([mode["relaxation_time"] for mode in rouse["modes"]])
    errors = np.array([mode["md_relaxation_time_se"] for mode in rouse["modes"]])
    known = rouse_relaxation_time(p, 20)
    assert np.all(np.abs(generated - known) < 4 * errors + 0.03 * known)
    ratios = np.array([mode["stationary_variance_ratio"] for mode in rouse["modes"]])
    assert np.all(np.abs(ratios - 1) < 0.12)


SHORT = ("--every", 50, "--memory", 16, "--train-frames", 60, "--val-frames", 30, "--generate-steps", 100,
         "--ensemble", 10, "--full-md", 20, "-var", "relax", 200)  # fmt: skip


@pytest.fixture(scope="module")
def kremer_grest(tmp_path_factory):
    """A short Kremer-Grest run at one and at two ranks."""
    folder = tmp_path_factory.mktemp("kg")
    for ranks in (1, 2):
        launch("run", "lammps_inputs/in.kg", *SHORT, "--out", folder / str(ranks), "--threads", 1, ranks=ranks)
    return folder


def test_thread_and_trainer_rank_record_the_same_bits_and_learn_the_same(kremer_grest):
    with h5py.File(kremer_grest / "1" / "modes.h5") as one, h5py.File(kremer_grest / "2" / "modes.h5") as two:
        for name in ("com", "modes", "step"):
            np.testing.assert_array_equal(one["mlgle"][name][:], two["mlgle"][name][:])
    first, second = result_of(kremer_grest / "1"), result_of(kremer_grest / "2")
    for key in ("D", "D_online", "modes", "D_generated"):
        assert first[key] == second[key]


def test_replay_gives_what_the_run_gave(kremer_grest, tmp_path):
    again = tmp_path / "again"
    replayed = SHORT[2:-3]
    launch("replay", kremer_grest / "2" / "modes.h5", *replayed, "--out", again, "--threads", 1)
    first, second = result_of(kremer_grest / "2"), result_of(again)
    assert second["D"]["value"] == pytest.approx(first["D"]["value"], rel=1e-9)
    for a, b in zip(first["modes"], second["modes"], strict=True):
        assert a["val_nll"] == b["val_nll"]
    assert (kremer_grest / "2" / "report.html").stat().st_size > 10_000
