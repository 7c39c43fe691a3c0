"""What a notebook imports: light, without effects on the process, with the numbers of the commands."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import mlgle_lammps as ml
from mlgle_lammps.api.streams import chain_modes
from mlgle_lammps.chains.rouse import RouseSource, rouse_diffusion
from mlgle_lammps.commands.generate import main as generate_command
from mlgle_lammps.commands.replay import main as replay_command
from mlgle_lammps.directions import Directions
from mlgle_lammps.records import joined

pytestmark = pytest.mark.light

ROOT = Path(__file__).parent.parent
SHORT = {"memory": 8, "train_frames": 60, "val_frames": 20, "modes": 3, "generate_steps": 200, "ensemble": 6}

EFFECTS = """
import os, signal, sys, threading
{before}
def state():
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    return dict(os.environ), handlers, threading.active_count(), os.getcwd(), signal.set_wakeup_fd(-1){more}
before = state()
{work}
assert state() == before, "something changed"
loaded = [name for name in ("torch", "lammps", "mpi4py", "matplotlib", "scipy", "h5py") if name in sys.modules]
print(*loaded)
"""


def python(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_import_changes_nothing_and_loads_nothing_heavy():
    assert python(EFFECTS.format(before="", more="", work="import mlgle_lammps; dir(mlgle_lammps)")) == []


def test_importing_the_programs_changes_nothing_either():
    names = ("run", "replay", "cli", "commands.run")
    found = python(EFFECTS.format(before="", more="", work="import " + ", ".join(f"mlgle_lammps.{n}" for n in names)))
    assert not {"torch", "matplotlib"} & set(found)
    assert "mpi4py.MPI" not in found


def test_importing_every_module_changes_nothing():
    """Thread counts among it; torch is there before, for its own sake."""
    work = """
import importlib, pkgutil, mlgle_lammps
for found in pkgutil.walk_packages(mlgle_lammps.__path__, "mlgle_lammps."):
    importlib.import_module(found.name)
assert not {"mpi4py.MPI", "lammps"} & set(sys.modules)
"""
    python(EFFECTS.format(before="import torch", more=", torch.get_num_threads()", work=work))


def test_a_change_is_seen():
    with pytest.raises(AssertionError, match="something changed"):
        python(EFFECTS.format(before="", more="", work="os.environ['OMP_NUM_THREADS'] = '7'"))


def test_the_import_takes_no_time():
    """CPU seconds, less those of an empty program: a loaded machine is not at fault."""
    code = "import time; start = time.process_time(); import mlgle_lammps; print(time.process_time() - start)"
    assert min(float(python(code)[0]) for _ in range(3)) < 0.3


def test_every_name_is_there():
    assert set(ml.__all__) <= set(dir(ml))
    for name in ml.__all__:
        assert getattr(ml, name) is not None
        assert importlib.util.find_spec(f"mlgle_lammps.{name}") is None  # else importing that would take its place
    homes = [name for names in ml._HOMES.values() for name in names]
    assert sorted([*homes, "__version__"]) == sorted(ml.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ml.nonsense  # noqa: B018


def rouse(seed=3, n_frames=80, n_modes=3):
    source = RouseSource(12, 16, n_modes, n_frames, 0.5, seed=seed)
    return source, joined(list(source))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on a Rouse stream with more modes than are learned, and the stream."""
    frames = rouse(n_modes=5)[1]
    stream = ml.stream_of_arrays(frames.com, frames.modes, 0.5, n_beads=16, time_unit="tau", length_unit="sigma")
    out = tmp_path_factory.mktemp("api") / "run"
    return ml.learn(stream, out, **SHORT), stream


def test_arrays_are_fitted_as_frames_are(tmp_path):
    D = []
    for seed in range(12):
        _, frames = rouse(seed, 200)
        D.append(ml.fit_diffusion(frames.com, frames.modes, 0.5, n_beads=16, memory=32).D.value)
    error = np.std(D, ddof=1) / np.sqrt(len(D))
    assert abs(np.mean(D) - rouse_diffusion(16)) < 4 * error
    assert abs(np.mean(D) - rouse_diffusion(16, friction=2.0)) > 4 * error


@pytest.mark.parametrize(("changes", "words"), [
    ({"com": np.zeros((5, 4, 2))}, r"com \(5, 4, 2\)"), ({"com": np.zeros((4, 4, 3))}, "equally many frames"),
    ({"dt": 0.0}, "dt is 0; give a time above 0"), ({"modes": np.full((5, 4, 2, 3), np.nan)}, "not finite"),
    ({"segments": [0, 0, 1, 0, 1]}, "none below"), ({"segments": [0]}, "one number per frame"),
    ({"memory": 4}, "the fit needs 3"), ({"directions": "xw"}, "`directions` xw"),
    ({"n_beads": 2}, "N beads have N - 1 modes"),
])  # fmt: skip
def test_arrays_of_other_shapes_are_refused(changes, words):
    good = {"com": np.zeros((5, 4, 3)), "modes": np.zeros((5, 4, 2, 3)), "dt": 1.0, "memory": 3}
    if "memory" in changes:
        good = {**good, "com": np.zeros((2, 4, 3)), "modes": np.zeros((2, 4, 2, 3))}
    with pytest.raises(ml.UserError, match=words):
        ml.fit_diffusion(**{**good, **changes})


@pytest.mark.parametrize("memory", [-1, 0, 2])
def test_a_fit_to_too_few_lags_is_refused(memory):
    with pytest.raises(ml.UserError, match=f"`memory` is {memory}; give 3 lags or more"):
        ml.fit_diffusion(np.zeros((5, 4, 3)), np.zeros((5, 4, 2, 3)), 1.0, memory=memory)


def test_D_of_a_film_is_that_of_its_plane():
    """Two directions of a fluid have its D; with the third at rest, three have two thirds of it."""
    _, frames = rouse(5, 200)
    com, modes = frames.com.copy(), frames.modes.copy()
    com[..., 2] = modes[..., 2] = 0
    plane = ml.fit_diffusion(com, modes, 0.5, n_beads=16, memory=32, directions="xy").D
    assert abs(plane.value - rouse_diffusion(16)) < 4 * plane.se
    space = ml.fit_diffusion(com, modes, 0.5, n_beads=16, memory=32).D
    assert space.value == pytest.approx(2 / 3 * plane.value, rel=0.05)
    stream = ml.stream_of_arrays(com, modes, 0.5, n_beads=16)
    film = replace(stream, system=replace(stream.system, directions=Directions.named("xy")))
    assert plane == film.fit_diffusion(memory=32).D


def test_a_stream_is_fitted_by_what_it_says_of_its_molecules():
    _, frames = rouse(5, 200)
    stream = ml.stream_of_arrays(frames.com, frames.modes, 0.5, n_beads=16)
    assert stream.fit_diffusion(memory=32).D == ml.fit_diffusion(stream.com, stream.modes, 0.5, n_beads=16, memory=32).D
    for system in (replace(stream.system, ends_alike=False), replace(stream.system, whole_molecules=True)):
        other = replace(stream, system=system)
        assert other.fit_diffusion(memory=32).D != stream.fit_diffusion(memory=32).D


def test_modes_of_too_few_beads_are_refused():
    beads = np.random.default_rng(1).normal(size=(2, 5, 3))
    np.testing.assert_array_equal(chain_modes(beads, 4), ml.chain_modes(beads, 4))
    for n_modes in (-1, 5, 9):
        with pytest.raises(ml.UserError, match=f"n_modes is {n_modes}; 5 beads have modes 0 to 4"):
            chain_modes(beads, n_modes)
    with pytest.raises(ml.UserError, match="give"):
        chain_modes(beads[..., :2], 2)


def test_learning_gives_what_the_command_gives(run, tmp_path):
    found, stream = run
    np.savez(tmp_path / "stream.npz", com=stream.com, modes=stream.modes, dt=0.5, n_beads=16)
    flags = [word for name, value in SHORT.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert replay_command([str(tmp_path / "stream.npz"), *flags, "--out", str(tmp_path / "out")]) == 0
    again = ml.open_run(tmp_path / "out")
    assert again.D.value == found.D.value
    assert again.D.ci95 == found.D.ci95
    assert [mode.val_nll for mode in again.modes] == [mode.val_nll for mode in found.modes]


def test_a_run_is_records_and_arrays(run):
    found, stream = run
    assert found.D.ci95[0] < found.D.value < found.D.ci95[1]
    assert [mode.mode for mode in found.modes] == [1, 2, 3]
    frames, D, interval = found.D_online
    assert frames[-1] == 80
    assert D[-1] == found.D.value
    assert tuple(interval[-1]) == found.D.ci95
    assert found.stream().frames.same_bits(stream.frames)
    assert found.system.n_beads is None or found.system.n_beads == 16
    assert found.md.msd.shape == found.md.msd_se.shape
    assert found.ensemble.n_chains == 6
    assert found.generated().modes.shape == (200, 6, 3, 3)
    np.testing.assert_allclose(stream.time, 0.5 * np.arange(80))


def test_an_ensemble_in_memory_is_that_of_the_file(run, tmp_path):
    found, _ = run
    made = ml.generate_ensemble(found, steps=30, ensemble=4, save_every=3, seed=5)
    path = tmp_path / "own.h5"
    arguments = ["--steps", "30", "--ensemble", "4", "--save-every", "3", "--seed", "5", "--out", str(path)]
    assert generate_command([str(found.path), *arguments]) == 0
    written = ml.read_stream(path)
    np.testing.assert_allclose(made.com, written.com, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(made.modes, written.modes)
    assert made.system.dt == written.system.dt == 1.5
    other = ml.generate_ensemble(found, steps=30, ensemble=4, save_every=3, seed=6)
    assert np.abs(other.modes - made.modes).max() > 0.01


def test_errors_speak_of_fields(run, tmp_path):
    with pytest.raises(ml.UserError, match="read_stream has no argument nonsense"):
        ml.read_stream(tmp_path, nonsense=1)
    with pytest.raises(TypeError, match="nonsense"):
        ml.learn(run[1], tmp_path / "x", nonsense=1)
    for own, said in (
        ({"frames": 300}, "`frames`: decided when MD ran"),
        ({"beads_per_group": 5}, "`beads_per_group`: not an option of `surrogate` ml-gle"),
        ({"surrogate": "nm-mb", "memory": 9}, "`memory`: not an option of `surrogate` nm-mb"),
        ({"surrogate": "nm-mb"}, "`surrogate` nm-mb learns from folders of runs"),
        ({"surrogate": "cg-gnn"}, "`surrogate` cg-gnn learns from folders of runs"),
    ):
        with pytest.raises(ml.UserError, match=said):
            ml.learn(run[1], tmp_path / "x", **own)
    assert not (tmp_path / "x").exists()


def test_what_generating_into_the_memory_does_not_use_is_refused(run, monkeypatch):
    for name, value in (("temperature", 370.0), ("molecules", 9), ("out", "x.h5"), ("nonsense", 1)):
        with pytest.raises(ml.UserError, match=f"`{name}`: generate_ensemble takes steps, ensemble"):
            ml.generate_ensemble(run[0], steps=4, **{name: value})
    monkeypatch.setattr(ml.Run, "model", lambda self: SimpleNamespace(surrogate="nm-mb"))
    with pytest.raises(ml.UserError, match="molecules of nm-mb move together"):
        ml.generate_ensemble(run[0], steps=4, ensemble=2)


def test_curves_are_along_the_directions_of_D(run):
    found, _ = run
    film = replace(found, directions=Directions.named("xy"))
    assert (film.md.moments.n_dimensions, film.ensemble.moments.n_dimensions) == (2, 2)
    np.testing.assert_allclose(film.md.msd, ml.compare_with_md(film).streams["MD"].msd)
    assert film.md.msd[9] < found.md.msd[9]


def test_four_pictures_in_axes_of_ones_own(run):
    found, _ = run
    axes = Figure().subplots(2, 2)
    ml.plot_D(axes[0, 0], found)
    ml.plot_msd(axes[0, 1], found)
    ml.plot_msd(axes[0, 1], found, label="generated", stream=found.ensemble)
    ml.plot_correlation(axes[1, 0], found)
    ml.plot_relaxation_times(axes[1, 1], found)
    curve = axes[0, 0].get_lines()[0]
    np.testing.assert_array_equal(curve.get_ydata(), found.D_online[1])
    assert [line.get_label() for line in axes[0, 1].get_lines()][::2] == ["MD", "generated"]
    np.testing.assert_array_equal(axes[0, 1].get_lines()[0].get_ydata(), found.md.msd[1:])
    assert [text.get_text() for text in axes[1, 0].get_legend().get_texts()] == ["mode 1", "mode 2", "mode 3"]
    assert "tau" in axes[1, 1].get_ylabel()
    with pytest.raises(ml.UserError, match="has no modes 9"):
        ml.plot_correlation(axes[1, 0], found, [9])


def test_a_run_is_held_against_its_md(run):
    found, _ = run
    compared = ml.compare_with_md(found)
    assert any("fit" in way for way in compared.estimates)
    np.testing.assert_allclose(compared.streams[compared.base].msd, found.md.msd)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    _, frames = rouse(1, 320)
    np.savez(tmp_path / "stream.npz", com=frames.com, modes=frames.modes, dt=0.5, n_beads=16)
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    lines = [line for source in sources for line in source.splitlines() if line.strip()]
    assert len(lines) <= 15
    assert sum(source.count('"runs/demo"') for source in sources) == 1
    names: dict[str, Any] = {}
    for source in sources:
        exec(source.replace('"runs/demo"', '"stream.npz"'), names)
    assert names["fit"].D.ci95[0] < rouse_diffusion(16) < names["fit"].D.ci95[1]
    assert names["run"].D_generated is not None
    assert names["ensemble"].modes.shape == (500, 20, 3, 3)
    assert all(axes.get_lines() for axes in names["axes"].flat)
