"""Sets of decks: the file that lists them, the tasks that it makes, what of them is done, and parity.json."""

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlgle_lammps.commands import sets
from mlgle_lammps.commands.parsers import parse_replay, parse_sets
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.molecule_sizes import sizes_of
from mlgle_lammps.pipeline.set_file import read_set
from mlgle_lammps.pipeline.set_parity import write_parity
from mlgle_lammps.pipeline.set_tasks import Runner, Task, generated_folder, run_folder, tasks_of
from mlgle_lammps.records import CHAINS, Frames, System
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.writer import FramesWriter

pytestmark = pytest.mark.light
DECK = Path(__file__).parent.parent / "lammps_inputs/sequences/in.copolymer"
HEAD = """
deck = "in.copolymer"
every = 50
[variables]
relax = 100
[parts.train]
frames = 5
[parts.test]
frames = 7
variables = { relax = 200, steps = 400 }
[models.default]
seeds = [1, 2]
options = "--preset default --members 1"
[generate]
time = 500
ensemble = 2
"""


def written(folder, runs=(("a", "train", "A B C D B"), ("b", "test", "D C B A A")), head=HEAD):
    (folder / "in.copolymer").write_text(DECK.read_text())
    tables = "".join(
        f'[[runs]]\nname = "{name}"\npart = "{part}"\nvariables = {{ sequence = "{text}" }}\n'
        for name, part, text in runs
    )
    (folder / "set.toml").write_text(head + tables)
    return folder / "set.toml"


def test_the_files_tables_are_laid_over_one_another(tmp_path):
    plan = read_set(written(tmp_path))
    first, second = plan.runs
    assert (first.name, first.part, first.every, first.frames) == ("a", "train", 50, 5)
    assert first.variables == (("relax", ("100",)), ("sequence", ("A", "B", "C", "D", "B")))
    assert second.frames == 7
    assert dict(second.variables) == {"relax": ("200",), "steps": ("400",), "sequence": ("D", "C", "B", "A", "A")}
    assert [(own.name, own.options) for own in plan.models] == [
        (f"default-{seed}", ("--preset", "default", "--members", "1")) for seed in (1, 2)
    ]
    assert (plan.time, plan.ensemble, plan.quantity) == (500.0, 2, "rg2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = [", "is not TOML"),
        ("", "lists no runs"),
        ("decks = 1", "decks means nothing there"),
        ('[[runs]]\nname = "a"\npart = "rest"', "run a: part is 'rest'; write one of train, test, longer"),
        ('[[runs]]\nname = "a/b"\npart = "test"', "cannot be a folder's"),
        ('[[runs]]\nname = "a"\npart = "test"', "no deck"),
        ('deck = "in.none"\n[[runs]]\nname = "a"\npart = "test"', "there is no deck"),
        ('deck = "set.toml"\nevery = 0\n[[runs]]\nname = "a"\npart = "test"', "every is 0"),
        ('deck = "set.toml"\n[models.m]\nseeds = ["x"]\n[[runs]]\nname = "a"\npart = "test"', "models.m: seeds is"),
        ('deck = "set.toml"\nvariables = 3\n[[runs]]\nname = "a"\npart = "test"', "a table belongs there"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path, text, said):
    (tmp_path / "set.toml").write_text(text)
    with pytest.raises(UserError, match=said):
        read_set(tmp_path / "set.toml")
    twice = written(tmp_path, (("a", "train", "A"), ("a", "test", "A")))
    with pytest.raises(UserError, match="two runs are called a"):
        read_set(twice)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("--members 1", "--foo", "models.default: options: unrecognized arguments: --foo"),
        ("--members 1", "--members x", "invalid int value"),
        ("--members 1", "--members 65", "`members` is 65"),
        ("--members 1", "--seed 3", "--seed is what the set says itself"),
        ("--members 1", "--modes 3", "not an option of `surrogate` cg-gnn"),
        ("preset default", "preset nope", "`preset` nope: cg-gnn has no such preset"),
        ("[1, 2]", "[1, 1]", "seeds has 1 twice"),
        ("[1, 2]", f"[{2**63}]", "`seed` is"),
        ("every = 50", "every = 200.9", "every is 200.9; write a whole number"),
        ("frames = 7", "frames = 6.9", "frames is 6.9; write a whole number"),
        ("ensemble = 2", "ensemble = 0", "generate.ensemble is 0; write a whole number from 1"),
        ("time = 500", "time = 0", "generate.time is 0; write a time above 0"),
        ("every = 50", 'every = 50\nsurrogate = "x"', "surrogate is 'x'; there is no such surrogate"),
        ("every = 50", 'every = 50\nsurrogate = "ml-gle"', "'ml-gle', which learns from one run alone"),
        ("seeds =", 'parts = ["test", "test"]\nseeds =', "each once"),
    ],
)
def test_mistakes_in_models_are_refused_before_any_md(tmp_path, before, after, said):
    read_set(written(tmp_path))
    assert before in HEAD
    with pytest.raises(UserError, match=re.escape(said)):
        read_set(written(tmp_path, head=HEAD.replace(before, after)))


@pytest.mark.parametrize("path", sorted(DECK.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_options_of_models_are_read_as_replay_reads_them(path):
    for own in read_set(path).models:
        parse_replay(["run", "--surrogate", "cg-gnn", *own.options])


def test_the_tasks_are_commands_that_know_whether_they_are_done(tmp_path):
    plan, out = read_set(written(tmp_path)), tmp_path / "out"
    md, train, generate = (tasks_of(plan, out, stage) for stage in ("md", "train", "generate"))
    assert [own.name for own in (*md, *train, *generate)] == [
        "a",
        "b",
        "default-1",
        "default-2",
        "default-1/test",
        "default-2/test",
    ]
    assert md[0].words[:4] == ("run", str(tmp_path / "in.copolymer"), "--surrogate", "none")
    assert "-var sequence A B C D B" in " ".join(md[0].words)
    assert train[0].words[:4] == ("replay", str(out / "md/train/a"), "--surrogate", "cg-gnn")
    assert generate[1].words[:4] == ("generate", str(out / "models/default-2"), "--start", str(out / "md/test/b"))
    assert not md[0].done
    folder = md[0].folder
    (folder / "checkpoint").mkdir(parents=True)
    assert md[0].command[-1] == "--overwrite"
    (folder / "checkpoint" / "stream-000000.npz").touch()
    assert md[0].command == ("run", "--resume", str(folder))
    for status, done in (("partial", False), ("complete", True)):
        (folder / "result.json").write_text(json.dumps({"status": status}))
        assert md[0].done is done


def test_options_are_checked():
    assert parse_sets(["x.toml", "--stage", "md", "--task", "3"]).task == 3
    for words, said in ((["--stage", "mad"], "no such stage"), (["--task", "1"], "name it with `stage`"),
                        (["--stage", "evaluate", "--task", "5"], "`task`: stage evaluate is done in one")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            parse_sets(["x.toml", *words])


@pytest.mark.mpi
@pytest.mark.lammps
def test_md_of_a_set_is_done_once_and_goes_on_where_it_was_killed(tmp_path, capsys):
    path, out = written(tmp_path), tmp_path / "out"
    words = [sys.executable, "-m", "mlgle_lammps.sets", str(path), "--out", str(out), "--stage", "md", "--jobs", "1"]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    folder = out / "md" / "train" / "a"
    until = time.monotonic() + 60
    while not (folder / "result.json").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in (0, 143)
    stamp = (folder / "result.json").stat().st_mtime_ns
    assert subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert (folder / "result.json").stat().st_mtime_ns == stamp
    assert [len(sizes_of(out / "md" / part).squared_radius.all) for part in ("train/a", "test/b")] == [5, 7]
    assert sets.main([str(path), "--out", str(out), "--stage", "md", "--list"]) == 0
    assert capsys.readouterr().out == "md 0 a done\nmd 1 b done\n"


def test_a_task_that_fails_is_named_with_its_last_words(tmp_path):
    good, bad = (
        Task("md", name, tmp_path / name, ("build", "x", word), (), tmp_path / name / "result.json")
        for name, word in (("good", "--help"), ("bad", "--nonsense"))
    )
    with pytest.raises(UserError, match="2 of 2 tasks failed, first md good"):
        Runner(tmp_path, 2).run([good, bad])
    assert "--nonsense" in (tmp_path / "log" / "md-bad.log").read_text()


# ------------------------------------------------------------------ parity


def write_sizes(path, values, types, beads=None, dt=5.0):
    """Write frames that say nothing but their Rg²."""
    n_frames, n = values.shape
    channels = ("com", "beads", "rg2")
    system = System(n, 2, 0, dt, 1, "lj", "tau", "sigma", "made", channels=channels, types=types, name="pair")
    steps = np.arange(n_frames)
    own = {"com": np.zeros((n_frames, n, 3)), "beads": np.zeros((n_frames, n, 2, 3), np.float32)}
    own["rg2"] = values[..., None].astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FramesWriter(path, system) as writer:
        writer.append(Frames(steps, steps * 0, {CHAINS: own}))


def fluctuating(mean, n_frames, n, seed, tau=10.0, std=3.0):
    random, a = np.random.default_rng(seed), np.exp(-1 / tau)
    x = random.standard_normal((n_frames, n))
    for t in range(1, n_frames):
        x[t] = a * x[t - 1] + np.sqrt(1 - a**2) * x[t]
    return mean + std * x


def test_parity_json_has_models_and_baselines_with_their_scores(tmp_path):
    names = [f"m{i}" for i in range(8)]
    runs = [("t0", "train", "A B"), *((name, "test", "A B") for name in names)]
    plan, out = read_set(written(tmp_path, runs)), tmp_path / "out"
    random = np.random.default_rng(3)
    means = random.uniform(15, 45, 8)  # nothing to do with types
    write_sizes(run_folder(out, plan.runs[0]) / "modes.h5", fluctuating(30.0, 200, 1, 1), ("A", "B"))
    for i, (run, mean) in enumerate(zip(plan.runs[1:], means, strict=True)):
        kinds = ("A", "A") if i % 2 else ("A", "B")
        write_sizes(run_folder(out, run) / "modes.h5", fluctuating(mean, 2400, 1, 10 + i), kinds)
        for model in plan.models:
            good = fluctuating(mean, 2000, 2, 100 * model.seed + i)
            write_sizes(generated_folder(out, model) / "test" / run.name / "generated.h5", good, ())
    # in a folder with a marker each, as runs have it
    for run in plan.runs:
        (run_folder(out, run) / ".mlgle").touch()
    lines = write_parity(plan, out)
    found = json.loads((out / "parity.json").read_text())
    model = found["models"]["default"]
    assert model["r2"] > 0.97
    assert abs(model["bias"]) < 0.03
    assert 0.9 < model["fluctuation_ratio"] < 1.1
    assert 0.7 < model["relaxation_ratio"] < 1.3
    assert len(model["r2_by_seed"]) == 2
    assert set(model["seeds"]["1"]["molecules"]) == set(names)
    assert found["baselines"]["composition_fit"]["r2"] < 0.5
    short, twice = (found["baselines"][name] for name in ("md_training_length", "md_twice_training_length"))
    assert short["time"] == 1000.0
    assert short["pieces"] == 12
    assert short["mae"] > twice["mae"] > model["mae"]
    assert found["best_r2"] > model["r2"] - 0.02
    assert len(found["molecules"]) == 8
    assert any(line.startswith("default") for line in lines)
    with pytest.raises(UserError, match="unseen molecules have MD"):
        write_parity(replace(plan, runs=plan.runs[:3]), out)


def test_a_small_model_is_seen_to_be_low(tmp_path):
    """A negative control: sizes half as large, without fluctuation."""
    runs = [(f"m{i}", "test", "A B") for i in range(5)]
    plan, out = read_set(written(tmp_path, runs)), tmp_path / "out"
    for i, run in enumerate(plan.runs):
        mean = 20.0 + 5 * i
        write_sizes(run_folder(out, run) / "modes.h5", fluctuating(mean, 2000, 1, i), ("A", "B"))
        for model in plan.models:
            path = generated_folder(out, model) / "test" / run.name / "generated.h5"
            write_sizes(path, fluctuating(mean / 2, 2000, 2, 50 + i, std=0.2), ())
    write_parity(plan, out)
    model = json.loads((out / "parity.json").read_text())["models"]["default"]
    assert model["bias"] == pytest.approx(-0.5, abs=0.05)
    assert model["fluctuation_ratio"] < 0.1
    assert model["r2"] < 0


def test_the_folder_of_a_run_is_one_of_this_program(tmp_path):
    plan = read_set(written(tmp_path))
    folder = RunFolder.create(run_folder(tmp_path / "out", plan.runs[0]))
    assert folder.path == tmp_path / "out" / "md" / "train" / "a"
