"""What follows constrained runs: replay, the result, generated centres and refusals; a walk stands in for the model."""

from __future__ import annotations

import importlib
import json
import sys
import types
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_constrained_file import make_run

from mlgle_lammps.commands import compare, generate, replay
from mlgle_lammps.records import CHAINS, Frames, System
from mlgle_lammps.store.constrained_file import ConstrainedFacts, read_constrained, write_constrained
from mlgle_lammps.store.reader import FramesReader
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.writer import FramesWriter
from mlgle_lammps.surrogates import catalogue

N, FRAMES, BOX = 5, 1200, 9.0
SYSTEM = System(
    N, 73, 0, 0.1, 10, "lj", "tau", "sigma", "in.star", box=(BOX, BOX, BOX, 0.0, 0.0, 0.0),
    channels=("com", "momenta"), masses=(73.0,), name="star",
)  # fmt: skip


def walk(n_frames, n_molecules=N, seed=1, first=0):
    rng = np.random.default_rng(seed)
    momenta = rng.normal(size=(n_frames, n_molecules, 3)) * 73
    com = rng.uniform(0, BOX, (n_molecules, 3)) + np.cumsum(momenta / 73, axis=0) * 0.1
    steps = 10 * np.arange(first, first + n_frames, dtype=np.int64)
    return Frames(steps, np.zeros(n_frames, np.int64), {CHAINS: {"com": com, "momenta": momenta}})


@dataclass
class Walk:
    """A motion and a model in one."""

    last: np.ndarray
    preset: str = "default"
    kT: float = 73.0
    kernel: None = None
    potential: ClassVar = types.SimpleNamespace(forces=None)
    surrogate: str = "nm-mb"
    notes: tuple[str, ...] = ("a walk",)
    box: np.ndarray = field(default_factory=lambda: np.full(3, BOX))
    asked: dict = field(default_factory=dict)

    def save(self, path):
        path.write_text("walk")

    def learned_up_to(self, frame):
        return np.array_equal(frame.com[-1], self.last)

    def start(self, frames, seed, **asked):
        return replace(self, asked={"n": asked["n_trajectories"], "seed": seed, **asked})

    def start_box(self, seed, *, molecules, boxes, device):
        return replace(self, box=np.full(3, BOX * 2), asked={"n": boxes * molecules, "seed": seed})

    def advance(self, steps):
        made = walk(steps, self.asked["n"], self.asked["seed"])
        for first in range(0, steps, 50):
            block = made[first : first + 50]
            yield Frames(np.arange(first + 1, first + len(block) + 1), block.segments, block.channels)


@pytest.fixture
def stand_ins(monkeypatch):
    """Modules of the model's half, and what they were given."""
    given: dict[str, Any] = {}

    def train(held, frames, system, settings, should_stop):
        given.update(held=held, frames=frames, settings=settings)
        return Walk(frames.com[-1].copy(), settings.preset)

    parts: dict[str, dict[str, Any]] = {
        "surrogates.nm_mb.trainer": {"train": train, "TrainSettings": lambda **own: types.SimpleNamespace(**own)},
        "surrogates.nm_mb.held_out": {"SHARE": 3, "shares": lambda *judged: {"configurations": len(judged[2])}},
        "surrogates.nm_mb.constrained_data": {"configuration_of": lambda run: run},
        "surrogates.nm_mb.model": {"NmMbModel": types.SimpleNamespace(load=lambda path: given["model"])},
    }  # fmt: skip
    for name, content in parts.items():
        module = types.ModuleType(f"mlgle_lammps.{name}")
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        package, _, leaf = module.__name__.rpartition(".")
        monkeypatch.setattr(importlib.import_module(package), leaf, module, raising=False)
    return given


@pytest.fixture
def made(tmp_path):
    """A run's folder with frames and constrained runs."""
    folder = RunFolder.create(tmp_path / "made")
    with FramesWriter(folder.modes, SYSTEM) as writer:
        writer.append(walk(FRAMES))
    folder.constrained.mkdir()
    for number in range(3):
        write_constrained(folder.constrained / f"{number:04d}.h5", [make_run(number, N)], ConstrainedFacts())
    return folder


def learned(made, tmp_path, *words):
    out = tmp_path / "again"
    arguments = (str(made.path), "--surrogate", "nm-mb", "--device", "cpu", "--out", str(out), *words)
    return replay.main(arguments), RunFolder(out)


def test_replay_learns_from_frames_and_constrained_runs(made, tmp_path, stand_ins):
    code, out = learned(
        made, tmp_path, "--preset", "gle", "--seed", "4", "--generate-steps", "600", "--save-every", "2"
    )
    assert code == 0
    result = out.read_result()
    assert (result["status"], result["surrogate"], result["preset"]) == ("complete", "nm-mb", "gle")
    assert result["nm_mb"]["constrained"]["configurations"] == 3
    assert result["nm_mb"]["constrained"]["steps"] == [1000, 1001, 1002]
    assert result["notes"] == ["a walk"]
    assert {"D", "D_online", "modes", "handoff", "timing", "versions"} <= result.keys()
    assert (stand_ins["settings"].preset, stand_ins["settings"].seed) == ("gle", 4)
    assert len(stand_ins["held"].runs) == 2
    assert result["nm_mb"]["held_out"] == {"configurations": 1}
    whole = walk(FRAMES)
    assert stand_ins["frames"].same_bits(whole[:840])  # what is judged by was not learned from
    assert len(read_constrained(out.constrained).runs) == 3
    with FramesReader(out.generated) as generated:
        assert generated.generated
        assert generated.system.channels == ("com", "momenta")
        assert generated.steps.tolist() == list(range(2, 601, 2))
        assert generated.system.dt == pytest.approx(0.2)
    assert result["nm_mb"]["models"]["gle"]["pieces"] == [4, 2]


def test_models_are_compared_side_by_side(made, tmp_path, stand_ins, capfd):
    words = ("--generate-steps", "600")
    _, first = learned(made, tmp_path, "--preset", "gle", *words)
    assert first.read_result()["nm_mb"]["held_out"] == {"configurations": 1}
    assert "gle: VACF off by" in first.report.read_text()
    other = tmp_path / "other.h5"
    other.write_bytes(first.generated.read_bytes())
    out = tmp_path / "side"
    common = ("--out", str(out), "--overwrite")
    assert compare.main([str(first.path), str(other), *common, "--against", str(made.path)]) == 0
    found = json.loads((out / "comparison.json").read_text())
    assert list(found["models"]) == ["gle", "other"]
    assert found["models"]["gle"] == found["models"]["other"]
    assert found["models"]["gle"]["pieces"] == [4, 4]
    assert abs(found["models"]["gle"]["D_ratio"] - 1) < 5 * found["models"]["gle"]["D_ratio_se"]
    _, three = learned(made, tmp_path / "three", "--preset", "m-dpd", "--ensemble", "3", *words)
    assert three.read_result()["nm_mb"]["models"]["m-dpd"]["pieces"][0] == 12  # boxes are told apart
    assert (out / "report.html").read_text().count("<img") == 5
    for arguments, said in (
        ((str(other),), "holds no MD"),
        ((str(first.path), str(made.modes)), "is named by --against"),
        ((str(first.path), "--against", str(tmp_path)), "no such file"),
        ((str(made.path), "--against", str(made.path)), "holds no generated centres"),
        ((str(first.path), "--directions", "xy"), "--directions: "),
        ((str(first.path), str(other), "--temperatures", "1", "2"), "--temperatures: "),
    ):
        capfd.readouterr()
        assert compare.main([*arguments, *common]) == 2
        assert said in capfd.readouterr().err


def test_too_few_generated_frames_are_a_warning_and_no_failure(made, tmp_path, stand_ins):
    code, out = learned(made, tmp_path, "--generate-steps", "10")
    assert code == 0
    assert out.read_result()["nm_mb"]["models"] == {}
    assert "--generate-steps" in " ".join(out.read_result()["warnings"])
    again = tmp_path / "none"
    assert replay.main([str(made.path), "--surrogate", "nm-mb", "--generate-steps", "0", "--out", str(again)]) == 0
    assert not (again / "generated.h5").exists()
    assert (again / "model.safetensors").exists()


def test_what_cannot_be_replayed_is_one_line(made, tmp_path, stand_ins, capfd):
    for words, said in (
        ((str(made.path), "--surrogate", "ml-gle"), "the frames have no modes, only com, momenta"),
        ((str(made.path), "--surrogate", "nm-mb", "--frames", "20"), "--frames: decided when MD ran"),
        ((str(made.path), "--surrogate", "nm-mb", "--modes", "2"), "--modes: not an option of --surrogate nm-mb"),
        ((str(made.path), str(made.path), "--surrogate", "nm-mb"), "learns from one run"),
        ((str(tmp_path), "--surrogate", "nm-mb"), "holds no constrained runs"),
    ):
        assert replay.main([*words, "--out", str(tmp_path / "new")]) == 2
        error = capfd.readouterr().err
        assert said in error
        assert len(error.strip().splitlines()) == 1
        assert not (tmp_path / "new").exists()
    (made.constrained / "0001.h5").write_bytes(b"damaged")
    assert replay.main([str(made.path), "--surrogate", "nm-mb", "--out", str(tmp_path / "new")]) == 2
    assert "0001.h5" in capfd.readouterr().err


def test_generate_makes_the_runs_box_or_another(made, tmp_path, stand_ins, monkeypatch, capfd):
    stand_ins["model"] = Walk(walk(FRAMES).com[839])
    made.model.write_text("walk")
    monkeypatch.setattr(catalogue, "_surrogate_of", lambda path: "nm-mb")
    common = (str(made.path), "--steps", "60", "--save-every", "3", "--seed", "7")
    for words, n, edge, start in ((("--molecules", "40"), 40, 2 * BOX, None), ((), N, BOX, 8390)):
        path = tmp_path / f"{n}.h5"
        assert generate.main([*common, *words, "--out", str(path)]) == 0
        with FramesReader(path) as read:
            assert read.system.box is not None
            assert (read.system.n_chains, read.system.box[:3]) == (n, (edge, edge, edge))
            assert (len(read.steps), read.start_step) == (20, start)
    for words, n in ((("--molecules", "40"), 40), ((), N)):
        path = tmp_path / f"three-{n}.h5"
        assert generate.main([*common, *words, "--ensemble", "3", "--out", str(path)]) == 0
        with FramesReader(path) as read:
            assert (read.system.n_chains, read.system.boxes) == (3 * n, 3)
    assert generate.main([*common, "--temperature", "2", "--out", str(tmp_path / "T.h5")]) == 2
    stand_ins["model"] = Walk(np.zeros((N, 3)))
    assert generate.main([*common, "--out", str(tmp_path / "other.h5")]) == 2
    assert "does not hold the frames" in capfd.readouterr().err


def test_result_json_is_written_before_learning_that_may_fail(made, tmp_path, stand_ins, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no")

    monkeypatch.setattr(sys.modules["mlgle_lammps.surrogates.nm_mb.trainer"], "train", fail)
    assert learned(made, tmp_path)[0] != 0
    result = json.loads((tmp_path / "again" / "result.json").read_text())
    assert result["status"] == "partial"
    assert result["nm_mb"]["constrained"]["configurations"] == 3
