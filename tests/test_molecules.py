"""Surrogates of many molecules from the command line: learned from runs, moved on from unseen ones, held against MD."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mlgle_lammps.commands import compare, generate, replay, run
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.molecule_sizes import sizes_of
from mlgle_lammps.evaluate.molecules_against_md import compare_molecules
from mlgle_lammps.observe.bead_structure import squared_gyration_of
from mlgle_lammps.pipeline.molecules import read_runs
from mlgle_lammps.records import CHAINS, Frames, System
from mlgle_lammps.store.recording import open_recording
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.writer import FramesWriter
from mlgle_lammps.surrogates.catalogue import load_model

N_BEADS, DT = 20, 10.0


def write_run(
    folder, types, n_frames=120, n_molecules=1, seed=1, dt=DT, channels=("com", "modes", "beads"), n_beads=N_BEADS
):
    """Record an ideal chain whose beads relax as Rouse modes do, softer where its beads are of type B."""
    random = np.random.default_rng(seed)
    bond = 1.0 + 0.5 * (np.array(list(types)) == "B")
    p = np.arange(1, n_beads)
    u = np.cos(np.pi * np.outer(np.arange(n_beads) + 0.5, p) / n_beads)
    std = np.sqrt(bond.mean()) / (2 * np.sqrt(2 * n_beads) * np.sin(np.pi * p / (2 * n_beads)))
    a = np.exp(-DT * np.sin(np.pi * p / (2 * n_beads)) ** 2 * 4 / 3)
    z = random.standard_normal((n_frames, n_molecules, n_beads - 1, 3))
    for t in range(1, n_frames):
        z[t] = a[:, None] * z[t - 1] + np.sqrt(1 - a**2)[:, None] * z[t]
    beads = np.einsum("np,tmpx->tmnx", 2 * u, z * std[:, None])
    system = System(
        n_molecules, n_beads, 2, dt, 10, "lj", "tau", "sigma", "made", channels=channels, name=f"linear {n_beads}",
        types=tuple(types), masses=(float(n_beads),),
    )  # fmt: skip
    steps = np.arange(n_frames) * 10
    com = np.cumsum(random.standard_normal((n_frames, n_molecules, 3)), axis=0)
    values = {"com": com, "modes": (z * std[:, None])[:, :, :2].astype(np.float32), "beads": beads.astype(np.float32)}
    folder = RunFolder.create(folder)
    with FramesWriter(folder.modes, system) as writer:
        writer.append(Frames(steps, steps * 0, {CHAINS: {name: values[name] for name in channels}}))
    folder.write_result({"schema": 1, "status": "complete", "surrogate": "none", "D": None})
    return folder.path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model learned briefly from two molecules, by the command."""
    folder = tmp_path_factory.mktemp("learned")
    runs = [write_run(folder / f"run{i}", types, seed=i) for i, types in enumerate(("A" * 20, "AB" * 10))]
    words = [*map(str, runs), "--surrogate", "cg-gnn", "--beads-per-group", "5", "--members", "1", "--threads", "1"]
    assert replay.main([*words, "--step", "10", "--out", str(folder / "model")]) == 0
    return folder / "model"


def moved_on(model, *runs, out, more=()):
    words = [str(model), "--start", *map(str, runs), "--out", str(out), "--threads", "1", *more]
    return generate.main(words)


def test_a_model_of_runs_is_left_with_what_it_was_made_of(trained):
    result = json.loads((trained / "result.json").read_text())
    assert (result["status"], result["surrogate"], result["D"]) == ("complete", "cg-gnn", None)
    assert [own["name"] for own in result["runs"]] == ["run0", "run1"]
    assert load_model(trained / "model.safetensors").dt == DT


def test_unseen_molecules_move_on_from_their_own_first_frames(trained, tmp_path):
    unseen = write_run(tmp_path / "unseen", "BBBBBAAAAAAAAAABBBBB", n_frames=30, seed=8)
    other = write_run(tmp_path / "other", "A" * 10 + "B" * 10, n_frames=30, seed=9)
    assert moved_on(trained, unseen, out=tmp_path / "one", more=("--time", "300", "--ensemble", "3")) == 0
    recording = open_recording(tmp_path / "one" / "generated.h5")
    system, frames = recording.system, next(iter(recording.read()))
    assert (system.n_chains, system.n_beads, system.dt, system.channels) == (3, 4, DT, ("com", "beads", "rg2"))
    assert (len(frames), frames.channels[CHAINS]["rg2"].shape) == (30, (30, 3, 1))
    told = json.loads((tmp_path / "one" / "generated.json").read_text())
    assert (told["steps"], told["molecules"][0]["name"]) == (30, "unseen")
    # beside another molecule, each in a folder of its own name; every second step
    more = ("--time", "300", "--ensemble", "3", "--save-every", "2")
    assert moved_on(trained, unseen, other, out=tmp_path / "two", more=more) == 0
    both = [sizes_of(tmp_path / "two" / name / "generated.h5") for name in ("unseen", "other")]
    assert [own.squared_radius.dt for own in both] == [2 * DT, 2 * DT]
    assert [len(own.squared_radius.pieces) for own in both] == [3, 3]
    assert moved_on(trained, unseen, out=tmp_path / "one", more=("--overwrite", "--steps", "5", "--ensemble", "2")) == 0
    (tmp_path / "one" / "modes.h5").touch()  # MD's frames are never replaced
    assert moved_on(trained, unseen, out=tmp_path / "one", more=("--overwrite", "--steps", "5", "--ensemble", "2")) == 2
    assert (tmp_path / "one" / "modes.h5").exists()
    assert sizes_of(tmp_path / "one" / "generated.h5").squared_radius.n_frames == 10


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"types": "A" * 10 + "X" * 10}, "bead types X were in none of the runs"),
        ({"types": "A" * 6, "n_beads": 6}, "`beads_per_group` 5 leaves 1 group of a molecule of 6 beads"),
        ({"types": "A" * 20, "dt": 7.0}, "no multiple of 7"),
        ({"types": "A" * 20, "channels": ("com", "modes")}, "holds no beads"),
    ],
)
def test_a_start_that_the_model_was_not_made_for_is_refused_by_name(trained, tmp_path, capsys, changes, said):
    start = write_run(tmp_path / "strange", **{"n_frames": 20, **changes})
    out = tmp_path / "out"
    assert moved_on(trained, start, out=out) == 2
    error = capsys.readouterr().err
    assert said in error.replace("--beads-per-group", "`beads_per_group`")
    assert not (out / "generated.h5").exists()


def test_models_of_one_melt_and_of_many_molecules_are_told_apart(trained, tmp_path, capsys):
    assert generate.main([str(trained), "--out", str(tmp_path / "x.h5")]) == 2
    assert "name runs to move on from with --start" in capsys.readouterr().err
    assert run.main(["in.deck", "--surrogate", "cg-gnn"]) == 2
    assert "record each with --surrogate none" in capsys.readouterr().err
    assert replay.main([str(tmp_path / "none"), "--surrogate", "cg-gnn"]) == 2
    assert replay.main(["x", "--surrogate", "cg-gnn", "--memory", "9"]) == 2
    assert "--memory: not an option of --surrogate cg-gnn" in capsys.readouterr().err
    for words in (["--generate-steps", "9"], ["--save-every", "2"], ["--ensemble", "4"], ["--interactive"]):
        assert replay.main(["x", "--surrogate", "cg-gnn", *words]) == 2
        assert f"{words[0]}: not an option of --surrogate cg-gnn" in capsys.readouterr().err
    assert generate.main([str(trained), "--start", "x", "--molecules", "50"]) == 2
    assert "--start and --molecules do not go together" in capsys.readouterr().err


def test_first_frames_alone_are_read(tmp_path):
    path = write_run(tmp_path / "run", "A" * 20, n_frames=40)
    own = read_runs([path], 7)[0]
    assert (own.name, len(own.frames), set(own.frames.channels[CHAINS])) == ("run", 7, {"com", "beads"})


def test_generated_molecules_are_held_against_md(trained, tmp_path, capsys):
    md = write_run(tmp_path / "md", "AB" * 10, n_frames=600, n_molecules=2, seed=5)
    assert moved_on(trained, md, out=tmp_path / "made", more=("--time", "4000", "--ensemble", "4")) == 0
    assert compare.main([str(tmp_path / "made"), str(md), "--out", str(tmp_path / "page")]) == 0
    told = json.loads((tmp_path / "page" / "comparison.json").read_text())
    assert told["kind"] == "molecules against MD"
    assert told["rg2"]["md_mean"] == pytest.approx(sizes_of(md).squared_radius.all.mean())
    assert len(told["groups"]["md_segments"]) == 3
    assert (tmp_path / "page" / "report.html").exists()
    assert compare.main([str(tmp_path / "made"), "--out", str(tmp_path / "other")]) == 2
    for words in (["--directions", "xy"], ["--temperatures", "300", "340"]):
        assert compare.main([str(tmp_path / "made"), str(md), *words, "--out", str(tmp_path / "other")]) == 2
        assert f"{words[0]}: {tmp_path / 'made'} holds generated molecules" in capsys.readouterr().err


def test_md_grouped_as_generated_agrees_with_itself(tmp_path):
    """Groups made of MD's own beads stand for a perfect model."""
    md = write_run(tmp_path / "md", "A" * 20, n_frames=400, seed=6)
    recording = open_recording(md)
    frames = next(iter(recording.read()))
    beads = frames.channels[CHAINS]["beads"]
    groups = beads.reshape(400, 1, 4, 5, 3).mean(axis=3)
    system = replace(recording.system, n_beads=4, n_modes=0, channels=("com", "beads", "rg2"), types=(), masses=())
    values = {"com": frames.com, "beads": groups, "rg2": squared_gyration_of(beads)[..., None].astype(np.float32)}
    (tmp_path / "made").mkdir()
    with FramesWriter(tmp_path / "made" / "generated.h5", system) as writer:
        writer.append(Frames(frames.steps, frames.segments, {CHAINS: values}))
    found = compare_molecules(tmp_path / "made", md)
    assert found.groups is not None
    assert found.md_groups is not None
    assert found.sizes.mean.value == pytest.approx(found.sizes.md_mean.value, rel=1e-5)
    np.testing.assert_allclose(found.groups.inner, found.md_groups.inner, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found.groups.contacts, found.md_groups.contacts, atol=0.01)
    with pytest.raises(UserError, match="holds no beads"):
        compare_molecules(tmp_path / "made", write_run(tmp_path / "bare", "A" * 20, channels=("com", "modes")))
