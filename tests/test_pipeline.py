"""The whole way behind the ring buffer, on Rouse streams: results, their schema, replay, and what goes wrong."""

import itertools
import json

import h5py
import numpy as np
import pytest

from mlgle_lammps.chains.rouse import RouseSource, rouse_diffusion
from mlgle_lammps.commands import generate, replay
from mlgle_lammps.commands.replay import Journalled
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.pipeline.learning import learn
from mlgle_lammps.records import Ending, Frames, joined
from mlgle_lammps.store.reader import FramesReader
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.surrogates.ml_gle import trainer
from mlgle_lammps.surrogates.recorded import uninterrupted_end

QUICK = [
    "--memory",
    "16",
    "--train-frames",
    "80",
    "--val-frames",
    "40",
    "--generate-steps",
    "200",
    "--ensemble",
    "12",
    "--threads",
    "1",
]
DT = 0.5


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """700 frames of a Rouse melt as an .npz."""
    frames = joined(list(RouseSource(12, 16, 4, 700, DT, seed=3)))
    path = tmp_path_factory.mktemp("stream") / "rouse.npz"
    np.savez(path, com=frames.com, modes=frames.modes, dt=DT)
    return path


@pytest.fixture(scope="module")
def run(stream, tmp_path_factory):
    """A finished result folder with a reference from later frames."""
    out = tmp_path_factory.mktemp("runs") / "rouse"
    assert replay.main([str(stream), "--out", str(out), "--full-md", "500", *QUICK]) == 0
    return out


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def test_result_has_the_schema(run):
    result = result_of(run)
    assert result["schema"] == 1
    assert result["status"] == "complete"
    assert set(result["D"]) >= {"value", "ci95", "units", "method"}
    assert [set(point) for point in result["D_online"]] == [{"frames", "value", "ci95"}] * len(result["D_online"])
    assert set(result["fit"]) >= {"lags", "chi2", "dof", "p"}
    assert [mode["mode"] for mode in result["modes"]] == [1, 2, 3, 4]
    per_mode = {"mode", "relaxation_time", "val_nll", "model", "stationary_variance_ratio"}
    assert all(set(mode) >= per_mode for mode in result["modes"])
    assert set(result["handoff"]) == {"policy", "frames", "step", "wall_s"}
    assert set(result["timing"]) >= {"md_s", "callback_s", "train_s", "generate_s", "total_s"}
    missing = {"alpha", "beta", "k", "m", "dt", "time_unit", "length_unit", "warnings", "seed", "versions"} - set(
        result
    )
    assert not missing
    assert result["D_full_md"] is not None
    assert result["handoff"]["frames"] == 120


def test_online_estimates_begin_at_m_plus_1_and_follow_every_5_percent(run):
    frames = [point["frames"] for point in result_of(run)["D_online"]]
    assert frames[0] == 17
    assert frames[-1] == 120
    assert all(b <= np.ceil(1.05 * a) for a, b in itertools.pairwise(frames))


def test_D_agrees_with_the_known_one(run):
    result = result_of(run)
    se = result["D"]["se"]
    assert abs(result["D"]["value"] - rouse_diffusion(16)) < 4 * se
    assert result["alpha"] == pytest.approx(np.sqrt(2 * result["D"]["value"]), rel=1e-12)


def test_files_are_all_there_and_readable(run):
    assert {p.name for p in run.iterdir()} >= {
        "result.json",
        "modes.h5",
        "model.safetensors",
        "generated.h5",
        "report.html",
    }
    with FramesReader(run / "modes.h5") as reader:
        assert len(reader.steps) == 620
        assert reader.n_mode_frames == 620
    with h5py.File(run / "generated.h5") as file:
        assert file["mlgle/modes"].shape == (200, 12, 4, 3)
        assert file["mlgle/com"].dtype == np.float32


def test_replay_of_the_recorded_stream_gives_the_same_numbers_and_networks(run, tmp_path):
    again = tmp_path / "again"
    assert replay.main([str(run / "modes.h5"), "--out", str(again), "--full-md", "500", *QUICK]) == 0
    first, second = result_of(run), result_of(again)
    for key in ("D", "D_online", "D_full_md", "D_generated", "modes", "fit"):
        assert first[key] == second[key]
    assert second["variables"] == {}
    with h5py.File(run / "generated.h5") as a, h5py.File(again / "generated.h5") as b:
        np.testing.assert_array_equal(a["mlgle/modes"][:], b["mlgle/modes"][:])


def test_generate_from_the_folder_alone_gives_what_the_run_gave(run, tmp_path):
    out = tmp_path / "more.h5"
    assert generate.main([str(run), "--steps", "200", "--ensemble", "12", "--out", str(out), "--threads", "1"]) == 0
    with h5py.File(run / "generated.h5") as a, h5py.File(out) as b:
        np.testing.assert_array_equal(a["mlgle/modes"][:], b["mlgle/modes"][:])
        np.testing.assert_array_equal(a["mlgle/com"][:], b["mlgle/com"][:])


def test_save_every_thins_the_file(run, tmp_path):
    out = tmp_path / "thin.h5"
    arguments = ["--steps", "200", "--ensemble", "12", "--save-every", "7", "--out", str(out)]
    assert generate.main([str(run), *arguments]) == 0
    with h5py.File(run / "generated.h5") as a, h5py.File(out) as b:
        np.testing.assert_array_equal(a["mlgle/com"][6::7], b["mlgle/com"][:])
        np.testing.assert_array_equal(b["mlgle/step"][:], np.arange(7, 201, 7))


@pytest.mark.parametrize(("policy", "frames"), [("tmax", 17), ("train", 120)])
def test_hand_off_policies_count_frames(stream, tmp_path, policy, frames):
    out = tmp_path / policy
    assert replay.main([str(stream), "--out", str(out), "--handoff", policy, *QUICK]) == 0
    result = result_of(out)
    assert result["handoff"] == {**result["handoff"], "policy": policy, "frames": frames}
    assert all(mode["model"] for mode in result["modes"])


def test_converged_hands_off_when_the_interval_is_narrow_enough(stream, tmp_path):
    out = tmp_path / "converged"
    assert replay.main([str(stream), "--out", str(out), "--handoff", "converged", "--target-ci", "0.3", *QUICK]) == 0
    result = result_of(out)
    widths = [(p["ci95"][1] - p["ci95"][0]) / 2 / p["value"] for p in result["D_online"]]
    assert widths[-1] <= 0.3
    assert all(width > 0.3 for width in widths[:-1])


def test_frames_after_the_hand_off_never_enter_D(stream, run, tmp_path):
    out = tmp_path / "without"
    assert replay.main([str(stream), "--out", str(out), *QUICK]) == 0
    assert result_of(out)["D"] == result_of(run)["D"]
    assert result_of(out)["D_full_md"] is None


def test_paper_preset_runs_and_says_so(stream, tmp_path):
    out = tmp_path / "paper"
    assert replay.main([str(stream), "--out", str(out), "--preset", "paper", *QUICK]) == 0
    result = result_of(out)
    assert (result["surrogate"], result["preset"]) == ("ml-gle", "paper")
    assert result["fit"]["lags"] == [1, 8, 16]
    assert "published" in result["modes"][0]["model"]


def test_several_streams_pool(stream, tmp_path):
    out = tmp_path / "pooled"
    other = joined(list(RouseSource(12, 16, 4, 700, DT, seed=4)))
    np.savez(tmp_path / "other.npz", com=other.com, modes=other.modes, dt=DT)
    never = ["--handoff", "converged", "--target-ci", "0.001", "--modes", "2"]
    assert replay.main([str(stream), str(tmp_path / "other.npz"), "--out", str(out), *never, *QUICK]) == 0
    result = result_of(out)
    assert result["n_frames"] == 1400
    assert any("ended at 1400 frames" in warning for warning in result["warnings"])


class Broken(RouseSource):
    """A stream that fails after its frames."""

    def broken(self):
        return True

    def ending(self):
        return Ending(status="failed", message="lost atoms", step=99)


def test_a_failed_stream_leaves_a_partial_result(tmp_path):
    folder = RunFolder.create(tmp_path / "failed")
    options = LearnOptions(tmp_path / "failed", memory=16, train_frames=80, val_frames=40, modes=4)
    assert learn(Journalled(Broken(12, 16, 4, 60, DT, 1), folder), options, folder) == 1
    result = result_of(folder.path)
    assert result["status"] == "partial"
    assert result["D_online"][-1]["frames"] == 60
    assert result["D"]["value"] == result["D_online"][-1]["value"]
    with FramesReader(folder.modes) as reader:
        assert len(reader.steps) == 60


def bad_calls(stream, tmp_path):
    (tmp_path / "exists").mkdir()
    garbage = tmp_path / "garbage.h5"
    garbage.write_bytes(b"not HDF5" * 100)
    return {
        "no such file": ["missing.h5"],
        "garbage.h5": [str(garbage)],
        "exists": [str(stream), "--out", str(tmp_path / "exists")],
        "--memory 90": [str(stream), "--memory", "90"],
        "700 frames": [str(stream), "--memory", "800", "--train-frames", "900"],
        "--target-ci": [str(stream), "--target-ci", "7"],
        "--modes": [str(stream), "--modes", "0"],
        "there are: default, paper": [str(stream), "--preset", "best"],
        "there are: ml-gle": [str(stream), "--surrogate", "best"],
    }


def test_bad_input_is_one_line_and_exit_code_2(stream, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for expected, arguments in bad_calls(stream, tmp_path).items():
        assert replay.main([*QUICK, *arguments]) == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert len(errors) == 1
        assert expected in errors[0]
    assert generate.main(["nowhere"]) == 2
    assert not (tmp_path / "runs" / "rouse-replay").exists()


def test_one_chain_is_refused(tmp_path, capsys):
    frames = joined(list(RouseSource(1, 16, 4, 50, DT, seed=3)))
    path = tmp_path / "one.npz"
    np.savez(path, com=frames.com, modes=frames.modes, dt=DT)
    assert replay.main([str(path), "--out", str(tmp_path / "out"), *QUICK]) == 2
    assert "1 chain" in capsys.readouterr().err


def test_generate_overwrites_nothing_but_generated_h5(run, capsys):
    before = (run / "modes.h5").read_bytes()
    assert generate.main([str(run), "--steps", "10", "--out", str(run / "modes.h5")]) == 2
    assert "exists" in capsys.readouterr().err
    assert (run / "modes.h5").read_bytes() == before


def test_short_generation_has_no_D_and_says_so(stream, tmp_path):
    out = tmp_path / "short"
    arguments = [*QUICK, "--memory", "4", "--handoff", "tmax", "--generate-steps", "1"]
    assert replay.main([str(stream), "--out", str(out), *arguments]) == 0
    result = result_of(out)
    assert result["D_generated"] is None
    assert any("raise --generate-steps" in warning for warning in result["warnings"])


def test_generation_that_no_memory_holds_leaves_the_rest(stream, tmp_path):
    out = tmp_path / "vast"
    vast = ["--generate-steps", str(10**12), "--save-every", str(10**10)]
    assert replay.main([str(stream), "--out", str(out), *QUICK, "--memory", "4", "--handoff", "tmax", *vast]) == 1
    result = result_of(out)
    assert (result["status"], result["D_generated"]) == ("partial", None)
    assert any("nothing was generated: " in line and "of memory" in line for line in result["warnings"])
    assert result["D"]["value"] > 0


def test_histories_do_not_cross_a_seam():
    segments = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 2])
    frames = Frames.of_chains(np.arange(10), segments, np.zeros((10, 1, 3)), np.zeros((10, 1, 1, 3), np.float32))
    assert uninterrupted_end(frames, 4).steps.tolist() == [4, 5, 6, 7, 8]
    with pytest.raises(UserError, match="lower `memory`"):
        uninterrupted_end(frames, 6)


def test_modes_are_learned_from_some_of_many_chains_and_D_from_all(stream, run, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "TRAINED_CHAINS", 5)
    out = tmp_path / "few"
    assert replay.main([str(stream), "--out", str(out), *QUICK]) == 0
    few, all_chains = result_of(out), result_of(run)
    assert "the modes' dynamics were learned from 4 of 12 chains, D from all" in few["notes"]
    assert few["D"] == all_chains["D"]
    assert few["modes"] != all_chains["modes"]
    assert not any("learned from" in note for note in all_chains["notes"])
