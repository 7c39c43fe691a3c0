"""Surrogates by name, their presets and options; a second one that is made up."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mlgle_lammps.commands import generate
from mlgle_lammps.commands.parsers import parse_generate, parse_replay, parse_run
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.store.origin import write_origin
from mlgle_lammps.store.reader import FramesReader
from mlgle_lammps.surrogates import catalogue
from mlgle_lammps.surrogates.catalogue import COMMON_OPTIONS, SURROGATES, Preset, Surrogate, _cg_gnn_box_options

sys.path.insert(0, str(Path(__file__).parent))

from fuzz import material


def nothing(*arguments):
    raise AssertionError("not to be called")


@pytest.fixture
def walker(monkeypatch):
    """A surrogate that knows neither validation frames nor a preset of ML-GLE."""
    made = Surrogate("walker", (Preset("slow", ""), Preset("fast", "")), ("modes", "memory"), nothing, nothing, nothing)
    monkeypatch.setitem(catalogue.SURROGATES, "walker", made)
    return made


def learned(*arguments):
    return parse_replay(["stream.npz", *arguments])[2]


def test_every_option_is_somebodys_and_no_other_is_named():
    known = {*COMMON_OPTIONS, *(name for surrogate in SURROGATES.values() for name in surrogate.options)}
    assert known == set(LearnOptions.__dataclass_fields__)


def test_ml_gle_with_its_first_preset_is_the_default():
    assert (learned().surrogate, learned().preset) == ("ml-gle", "default")
    assert learned() == LearnOptions(Path("runs/stream-replay"))
    assert learned("--preset", "paper").preset == "paper"


def test_importing_the_catalogue_loads_no_library():
    code = "import sys, mlgle_lammps.surrogates.catalogue; sys.exit(any(m in sys.modules for m in ('torch', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_presets_and_options_are_those_of_the_surrogate(walker):
    assert learned("--surrogate", "walker").preset == "slow"
    assert learned("--surrogate", "walker", "--preset", "fast", "--memory", "9", "--seed", "2").memory == 9
    for words, said in (
        (("--preset", "paper"), "`preset` paper: walker has no such preset; there are: slow, fast"),
        (("--val-frames", "600"), "`val_frames`: not an option of `surrogate` walker"),  # also where it is the default
        (("--val-frames", "7", "--train-frames", "900"), "`train_frames`, `val_frames`: not an option"),
    ):
        with pytest.raises(UserError, match=said):
            learned("--surrogate", "walker", *words)
        with pytest.raises(UserError, match=said):
            parse_run(["in.melt", "--surrogate", "walker", *words])
    with pytest.raises(
        UserError, match="`surrogate` x: there is no such surrogate; there are: ml-gle, cg-gnn, nm-mb, walker"
    ):
        learned("--surrogate", "x")
    with pytest.raises(UserError, match="there are: ml-gle, cg-gnn, nm-mb, walker"):
        parse_generate(["run", "--surrogate", "x"])
    assert learned("--val-frames", "7").val_frames == 7


def test_boxes_of_several_species_are_learned_on_the_cpu():
    options = LearnOptions(Path("out"), surrogate="cg-gnn", device="cuda")
    with pytest.raises(UserError, match="`device` cuda: boxes of several species are learned on the CPU"):
        _cg_gnn_box_options(options)
    for device in ("auto", "cpu"):
        assert _cg_gnn_box_options(replace(options, device=device)).members


def begun(folder, *arguments):
    (folder / "run" / "checkpoint").mkdir(parents=True)
    write_origin(folder / "run" / "checkpoint", arguments, "digest")
    return ["--resume", str(folder / "run")]


def test_a_run_goes_on_with_what_it_was_begun_with(walker, tmp_path):
    resume = begun(tmp_path, "in.melt", "--preset", "paper", "--val-frames", "7")
    request = parse_run(resume)
    assert (request.learn.surrogate, request.learn.preset, request.changed) == ("ml-gle", "paper", ())
    assert parse_run([*resume, "--preset", "default"]).changed == ("preset",)
    assert parse_run([*resume, "--surrogate", "ml-gle", "--preset", "paper"]).changed == ()
    with pytest.raises(UserError, match="`val_frames`: not an option of `surrogate` walker"):
        parse_run([*resume, "--surrogate", "walker", "--val-frames", "8"])
    with pytest.raises(UserError, match="`preset` paper: walker has no such preset"):
        parse_run([*resume, "--surrogate", "walker", "--preset", "paper"])
    request = parse_run([*resume, "--surrogate", "walker"])
    assert (request.learn.preset, request.changed) == ("slow", ("surrogate",))


def test_a_run_goes_on_with_options_for_which_its_surrogate_has_defaults(tmp_path):
    resume = begun(tmp_path, "in.star", "--surrogate", "nm-mb", "--generate-steps", "500")
    for more, steps, boxes in (((), 500, 1), (("--generate-steps", "70"), 70, 1), (("--ensemble", "4"), 500, 4)):
        request = parse_run([*resume, *more])
        assert (request.learn.generate_steps, request.learn.ensemble) == (steps, boxes)


def test_a_run_goes_on_with_the_default_preset(walker, tmp_path):
    resume = begun(tmp_path, "in.melt")
    assert parse_run([*resume, "--preset", "default"]).changed == ()
    request = parse_run([*resume, "--surrogate", "walker"])
    assert (request.learn.surrogate, request.learn.preset, request.changed) == ("walker", "slow", ("surrogate",))


def test_generate_takes_the_model_of_the_surrogate_that_is_named(walker, tmp_path, capsys):
    run = material.write_model_run(tmp_path / "run")
    assert (run / "model.safetensors").is_file()
    again = [str(run), "--steps", "64", "--ensemble", "4", "--threads", "1"]
    assert generate.main([*again, "--surrogate", "walker"]) == 2
    assert "is a model of ml-gle, not of --surrogate walker" in capsys.readouterr().err
    for more in ([], ["--surrogate", "ml-gle"]):
        assert generate.main([*again, *more]) == 0
    with FramesReader(run / "generated.h5") as generated, FramesReader(run / "modes.h5") as recorded:
        assert generated.start_step == recorded.steps[-1]
        assert recorded.start_step is None


def test_a_run_of_before_is_generated_from(tmp_path):
    """The same from model.pt as from model.safetensors, which comes first where both are there."""
    run, seen = material.write_model_run(tmp_path / "run"), []
    for edit in (lambda: None, lambda: model_pt_instead(run)):
        edit()
        assert generate.main([str(run), "--steps", "64", "--ensemble", "4", "--threads", "1"]) == 0
        with FramesReader(run / "generated.h5") as generated:
            seen.append(generated.read(0, 64))
    assert seen[0].same_bits(seen[1])
    (run / "model.safetensors").write_bytes(b"")
    assert generate.main([str(run), "--steps", "64"]) == 2


def model_pt_instead(run):
    material.write_model_pt(run)
    (run / "model.safetensors").unlink()
