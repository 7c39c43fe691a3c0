"""A selection of bad input, small enough for every run of the tests; `make fuzz` does the hundreds."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from mlgle_lammps.commands import parsers
from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.surrogates.catalogue import load_model
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel

sys.path.insert(0, str(Path(__file__).parent))
from fuzz import deck_cases, generation, model_cases, options, stream_cases
from fuzz.damage import damaged_bytes
from fuzz.processes import Outcome
from fuzz.verdicts import judge

STREAMS = {
    "modes.h5": (
        "sound", "10^12 frames", "com behind an external link", "com of other files", "com from /dev/zero",
        "com is NaN once", "steps beyond 2^63", "modes never move", "dt 1e-300", "com is 1e308 once", "texts very deep",
    ),
    ".npz": ("com is pickled code", "com of 10^12 frames", "com with code for a header", "dt true"),
    "journal": ("a chunk of pickles", "a chunk missing", "system.json a FIFO"),
}  # fmt: skip
MODELS = {
    "model.pt": (
        "sound", "malicious, of torch", "malicious, of old torch", "malicious entry",
        "a pickle that calls posix.system", "history of 10^12 frames", "lags of 10^12", "windows 0", "/dev/zero",
        "deep",
    ),
    "model.safetensors": (
        "sound", "sound, published", "malicious, of torch", "a pickle that calls posix.system", "lags of 10^12",
        "weights NaN", "unstable core", "/dev/zero", "header deep", "header of 2^62 bytes", "shape of 10^12",
        "grown to 1 TB",
    ),
}  # fmt: skip
DECKS = ("a bond text", "a FIFO", "quit built")


def fuzz(tmp_path, *names):
    """Run the named cases in a process of its own; return its table by kind and the defects."""
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--only", *names, "--folder", tmp_path / "fuzz", "--json", tmp_path / "f.json"],
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert (tmp_path / "f.json").exists(), done.stderr[-2000:]
    return done.returncode, json.loads((tmp_path / "f.json").read_text())


@pytest.mark.slow
def test_streams_and_models_that_lie_are_refused_in_one_line(tmp_path):
    streams = [f"{kind}/{name}" for kind, names in STREAMS.items() for name in names]
    models = [f"{kind}/{name}" for kind, names in MODELS.items() for name in names]
    code, found = fuzz(tmp_path, *streams, *models)
    assert found["defects"] == []
    assert code == 0
    assert {found["verdicts"][f"{kind}/sound"] for kind in ("modes.h5", *MODELS)} == {"harmless"}
    assert sum(word == "refused" for word in found["verdicts"].values()) >= 25


@pytest.mark.lammps
def test_decks_that_cannot_work_are_refused_in_one_line(tmp_path):
    code, found = fuzz(tmp_path, *(f"deck/{n}" for n in DECKS))
    assert found["defects"] == []
    assert (code, set(found["verdicts"].values())) == (0, {"refused"})


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Outcome(None, "", 60.0, 0.0), "hung"),
        (Outcome(1, "Traceback (most recent call last):", 1.0, 0.0), "traceback"),
        (Outcome(70, "mlgle run: internal error: x", 1.0, 0.0), "traceback"),
        (Outcome(-11, "", 1.0, 0.0), "traceback"),
        (Outcome(2, "", 1.0, 0.0), "wrong"),
        (Outcome(2, "mlgle run: error: a\nmlgle run: error: b", 1.0, 0.0), "wrong"),
        (Outcome(2, "mlgle run: error: " + "a" * 2000, 1.0, 0.0), "wrong"),
        (Outcome(2, "mlgle run: error: a\0b", 1.0, 0.0), "wrong"),
        (Outcome(0, "", 1.0, 4000.0), "wrong"),
        (Outcome(2, "mlgle run: error: a", 1.0, 0.0), "refused"),
        (Outcome(0, "", 1.0, 100.0), "harmless"),
    ],
)
def test_verdicts_see_what_is_wrong(outcome, word):
    """Negative controls: each way to fail is told from a refusal."""
    assert judge(outcome, None).word == word


def test_a_result_far_from_the_sound_one_is_not_harmless(tmp_path):
    sound = {"status": "complete", "D": {"value": 1.0}, "warnings": ["3 chains only"]}
    words = {}
    for D, warnings in ((1.5, []), (9.0, ["4 chains only"]), (9.0, ["not at equilibrium"]), (None, [])):
        (tmp_path / "result.json").write_text(json.dumps(sound | {"D": {"value": D}, "warnings": warnings}))
        words[D, *warnings] = judge(Outcome(0, "", 1.0, 1.0), tmp_path, sound).word
    assert list(words.values()) == ["harmless", "other", "warned", "wrong"]


def load_ml_gle(path):
    model = load_model(path)
    assert isinstance(model, MlGleModel)
    return model


def tensors_of(model):
    assert isinstance(model.dynamics, ModeModel)
    assert model.dynamics.networks is not None
    return model.dynamics.networks.tensors


@pytest.mark.parametrize(("file", "write"), model_cases.WRITERS.items(), ids=model_cases.WRITERS)
def test_no_damaged_byte_of_a_model_is_read(tmp_path, file, write):
    """Models that are still read after random damage are those that were saved, to the last bit."""
    path = write(tmp_path / "run") / file
    sound = path.read_bytes()
    expected = load_ml_gle(path)
    n_read = 0
    for seed in range(150):
        path.write_bytes(damaged_bytes(sound, seed)[0])
        try:
            found = load_ml_gle(path)
        except UserError:
            continue
        n_read += 1
        assert found.history.tobytes() == expected.history.tobytes()
        networks = tensors_of(found)
        assert all(torch.equal(networks[name], tensor) for name, tensor in tensors_of(expected).items())
    assert n_read < 20


def test_there_are_hundreds():
    names = [[f"{c.kind}/{c.name}" for c in cases] for cases in (
        [*deck_cases.named_cases()], [*stream_cases.named_cases(), *model_cases.named_cases()])]  # fmt: skip
    assert all(len(found) == len(set(found)) >= 200 for found in names)


@pytest.mark.parametrize("command", options.COMMANDS)
def test_odd_values_of_options_are_options_or_one_line(command):
    @settings(max_examples=60, deadline=None, derandomize=True, database=None,
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip
    @given(options.command_lines(command))
    def holds(arguments):
        complaint = ""
        code: str | int | None = 0
        try:
            getattr(parsers, f"parse_{command}")(arguments)
        except UserError as error:
            complaint = one_line(error)
        except SystemExit as ending:  # --help, or what begins like it
            code = ending.code
        assert complaint.isprintable()
        assert code == 0

    holds()


@pytest.mark.parametrize("number", [1, 7, 8, 12, 14, 15, 18])
def test_models_of_every_kind_stay_within_bounds_or_say_which_mode_left(number):
    name, make = list(generation.models(seed=1))[number]
    outcome = generation.run_long(make(), 512, 6, seed=1)
    assert outcome.sound, (name, outcome)
    assert outcome.steps == 512 or outcome.refusal


def test_what_is_not_sound_is_seen():
    """Negative controls: NaN, a variance beyond its bound, a refusal that names no mode; a core that is unstable."""
    good = generation.Outcome(9, True, 4.0, 0.9, 1.1, "", 1.0)
    assert good.sound
    for change in ({"finite": False}, {"high": 30.0}, {"low": 0.01}, {"refusal": "something"}):
        assert not replace(good, **change).sound
    model = generation.random_core("any", 5, 1)
    core = replace(model.core, coefficients=np.full_like(model.core.coefficients, 1.01 / 5))
    outcome = generation.run_long(replace(model, core=core), 512, 6, seed=1)
    assert outcome.refusal or not outcome.sound
