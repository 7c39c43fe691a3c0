"""The model's file: what was saved comes back to the bit, also from model.pt; anything else is one line."""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.records import Frames, ModeReport
from mlgle_lammps.surrogates import model_file
from mlgle_lammps.surrogates.catalogue import load_model
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.equivariant import Networks
from mlgle_lammps.surrogates.ml_gle.linear_core import core_from_reflection
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.published import network
from mlgle_lammps.surrogates.ml_gle.published.model import PublishedModes

sys.path.insert(0, str(Path(__file__).parent))

from fuzz import material

ARCHITECTURE = equivariant.Architecture.within(16)
NAN = float("nan")


def small_model(preset="default"):
    generator = torch.Generator().manual_seed(1)
    sigma, increment = np.array([2.0, 1.0]), np.array([0.3, 0.2])
    reports = (ModeReport(1, "AR(2)", 1.5, NAN, {"order": 2}), ModeReport(2, "AR(1)+network", 1.0, 1.1, {"gain": None}))
    dynamics: ModeModel | PublishedModes
    if preset == "paper":
        weights = network.initial_weights(16, 2, generator)
        dynamics = PublishedModes(16, sigma, increment, weights, reports, ("a note",))
    else:
        core = core_from_reflection(np.array([[0.9, 0.1], [0.5, 0.0]]), (2, 1), np.ones(2))
        weights = equivariant.initial_weights(ARCHITECTURE, 1, generator)
        weights = {name: w + 0.1 * torch.randn(w.shape, generator=generator) for name, w in weights.items()}
        networks = Networks((1,), ARCHITECTURE, weights | equivariant.neutral_scales(ARCHITECTURE, 1))
        dynamics = ModeModel(16, sigma, increment, core, networks, reports, ("a note",))
    history = np.random.default_rng(5).standard_normal((16, 4, 2, 3)).astype(np.float32)
    return MlGleModel(dynamics, 0.3, -0.1, 2.0, "tau", "sigma", history)


def assert_same(found, model):
    assert (found.surrogate, found.preset, found.memory, found.n_modes) == ("ml-gle", model.preset, 16, 2)
    assert (found.alpha, found.beta_sq, found.dt, found.time_unit, found.length_unit) == (
        0.3,
        -0.1,
        2.0,
        "tau",
        "sigma",
    )
    assert found.notes == ("a note",)
    assert [r.details for r in found.reports] == [r.details for r in model.reports]
    assert math.isnan(found.reports[0].core_nll)
    assert found.reports[1] == model.reports[1]
    np.testing.assert_array_equal(found.history, model.history)
    ours, theirs = found.dynamics.to_plain(), model.dynamics.to_plain()
    assert ours.keys() == theirs.keys()
    for name in ours:
        if name != "tensors":
            assert np.array_equal(ours[name], theirs[name]), name
    assert all(torch.equal(tensor, theirs["tensors"][name]) for name, tensor in ours["tensors"].items())
    assert ours["tensors"].keys() == theirs["tensors"].keys()


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_file_gives_back_the_model(tmp_path, preset):
    model = small_model(preset)
    model.save(tmp_path / "model.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    assert_same(load_model(tmp_path / "model.safetensors", "ml-gle"), model)


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_model_pt_of_before_is_read(tmp_path, preset):
    model = small_model(preset)
    torch.save(material.plain_of_before(model), tmp_path / "model.pt")
    assert_same(load_model(tmp_path / "model.pt", "ml-gle"), model)


def test_a_full_disk_leaves_the_old_file_and_one_line(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    small_model().save(path)
    before = path.read_bytes()

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailure, match="No space left"):
        small_model("paper").save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


class Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_bad_files_of_before_end_in_one_line_and_run_nothing(tmp_path):
    victim = tmp_path / "owned"
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Malice(victim)))
    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps(Malice(victim)))
    torch.save({"format": "mlgle surrogate", "schema": 1, "x": Malice(victim)}, tmp_path / "zip.pt")
    (tmp_path / "noise.pt").write_bytes(b"not a model at all")
    torch.save({"schema": 1}, tmp_path / "other.pt")
    torch.save({"format": "mlgle surrogate", "schema": 99}, tmp_path / "future.pt")
    torch.save({"format": "mlgle surrogate", "schema": 1}, tmp_path / "empty.pt")
    for name in (
        "pickle.pt",
        "pickle.safetensors",
        "zip.pt",
        "noise.pt",
        "other.pt",
        "future.pt",
        "empty.pt",
        "none.pt",
    ):
        refused(tmp_path / name)
    assert not victim.exists()


def refused(path, match=None, surrogate=None):
    with pytest.raises(UserError, match=match) as caught:
        load_model(path, surrogate)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize("method", ["is_file", "open", "read_bytes"])
def test_a_model_that_may_not_be_read_is_not_to_be_trained_again(tmp_path, monkeypatch, method):
    small_model().save(tmp_path / "model.safetensors")

    def denied(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, method, denied)  # root may read all
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read: permission denied; make the file"):
        model_file.read_model(tmp_path / "model.safetensors", "ml-gle")


def rewritten(path, change):
    """Save the model with its values and tensors changed, the checksum right."""
    found = model_file.read_model(path, "ml-gle")
    change(found.values, found.tensors)
    model_file.write_model(path, "ml-gle", found.values, found.tensors)


@pytest.mark.parametrize(
    "change",
    [
        lambda values, tensors: tensors.update(history=tensors["history"][:8]),
        lambda values, tensors: tensors.update({"network.w1": tensors["network.w1"][:, :3].clone()}),
        lambda values, tensors: tensors.update({"network.other": torch.zeros(2)}),
        lambda values, tensors: tensors.pop("sigma"),
        lambda values, tensors: tensors.update(sigma=tensors["sigma"] * NAN),
        lambda values, tensors: tensors.update(sigma=tensors["sigma"].to(torch.complex64)),
        lambda values, tensors: tensors.update(sigma=tensors["sigma"].to(torch.int64)),
        lambda values, tensors: values.update(alpha="0.3"),
        lambda values, tensors: values.update(alpha=1e300),
        lambda values, tensors: values.update(orders=[2, 500]),
        lambda values, tensors: values.update(preset="best"),
        lambda values, tensors: values.update(preset="paper"),
        lambda values, tensors: values.update(memory=10**9),
        lambda values, tensors: values.pop("dt"),
        lambda values, tensors: values.update(reports=[{"mode": 1}]),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused(tmp_path, change):
    path = tmp_path / "model.safetensors"
    small_model().save(path)
    rewritten(path, lambda values, tensors: None)
    assert_same(load_model(path), small_model())
    rewritten(path, change)
    refused(path, "damaged")


def with_header(path, header):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    text = header(data[8 : 8 + length]) if callable(header) else header
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def _metadata(**changes):
    def change(text):
        values = json.loads(text)
        values["__metadata__"] |= changes
        return json.dumps(values).encode()

    return change


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b"", "not a readable"),
        (b"[" * 10**5, "not a readable"),
        (b"[1]", "not a readable"),
        (b"{}", "not a readable"),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1e30]}}', "not a readable"),
        (b'{"a": 1}', "not a readable"),
        (b"\xff" * 100, "not a readable"),
        (_metadata(format="x"), "not a model"),
        (_metadata(schema="3"), "schema '3'"),
        (_metadata(surrogate="other"), "does not have; it has: ml-gle"),
        (_metadata(sha256="0" * 64), "checksum"),
        (_metadata(sha256=5), "damaged"),
        (_metadata(values="{"), "not a readable|checksum"),
        (lambda text: text.replace(b"F64", b"I64"), "checksum"),
        (lambda text: text.replace(b"sigma_increment", b"sigma_incremenT"), "checksum"),
    ],
)  # fmt: skip
def test_headers_that_are_damaged_or_huge_are_refused(tmp_path, header, match):
    path = tmp_path / "model.safetensors"
    small_model().save(path)
    with_header(path, header)
    refused(path, match)


def test_sizes_that_lie_are_refused_unread(tmp_path):
    path = tmp_path / "model.safetensors"
    small_model().save(path)
    data = path.read_bytes()
    path.write_bytes(struct.pack("<Q", 2**62) + data[8:])
    refused(path, "header claims")
    path.write_bytes(data[: len(data) // 2])
    refused(path, "not a readable")
    path.write_bytes(data)
    os.truncate(path, 2**40)
    refused(path, "not a readable")
    size = 2**42
    told = {"format": "mlgle model", "schema": "2", "surrogate": "ml-gle", "values": "", "sha256": ""}
    tensor = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    header = {"__metadata__": told, "history": tensor}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + size)  # sparse: as long as it claims
    refused(path, "GB, and")


def test_a_flipped_bit_anywhere_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    small_model().save(path)
    sound = path.read_bytes()
    n_read = 0
    for place in np.random.default_rng(1).integers(0, 8 * len(sound), 300).tolist() + list(range(0, 8 * 2000, 53)):
        changed = bytearray(sound)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(changed))
        try:
            found = load_model(path)
        except UserError:
            continue
        n_read += 1  # padding of the header
        assert_same(found, small_model())
    assert n_read < 10


def test_a_model_of_another_surrogate_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    model_file.write_model(path, "nm-mb", {}, {"a": torch.zeros(1)})
    refused(path, "model of nm-mb, not of `surrogate` ml-gle", "ml-gle")
    refused(path, "is damaged")
    model_file.write_model(path, "other", {}, {"a": torch.zeros(1)})
    refused(path, "does not have; it has: ml-gle")
    refused(path, "there are: ml-gle", "nonsense")


def test_the_last_frame_learned_from_is_known_again():
    model = small_model()
    steps, com = np.arange(16), np.zeros((16, 4, 3))
    frames = Frames.of_chains(steps, 0 * steps, com, model.history)
    assert model.learned_up_to(frames[15:16])
    assert not model.learned_up_to(frames[14:15])
    assert not model.learned_up_to(Frames.of_chains(steps, 0 * steps, com, None)[15:16])
