"""Damaged, hostile and mistaken input: one line, exit code 2 or 1, nothing lost, nothing wrong in silence."""

import gzip
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mlgle_lammps.commands import compare, reconstruct
from mlgle_lammps.commands import execution as command
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.full_md import find_full_md
from mlgle_lammps.evaluate.run_results import open_run, read_estimate
from mlgle_lammps.evaluate.trajectories import read_trajectory
from mlgle_lammps.formats.h5md_particles import has_mode_stream
from mlgle_lammps.formats.lammps_dump import read_dump
from mlgle_lammps.formats.trajectory import open_tensor
from mlgle_lammps.observe.temperature import NotDetermined, fit_arrhenius
from mlgle_lammps.options.trajectory import TrajectoryOptions

sys.path.insert(0, str(Path(__file__).parent))
import test_compare
import test_reconstruct
from test_trajectories import frames_of, walkers, write_dump, write_h5md, write_topology


@pytest.fixture(scope="module")
def melt(tmp_path_factory):
    """Folder, positions, ids, topology and text of a sound dump."""
    folder = tmp_path_factory.mktemp("melt")
    positions, ids = walkers()
    topology = write_topology(folder / "chains.data", ids)
    return folder, topology, write_dump(folder / "good.dump", positions, ids).read_text()


def edited(text, number, change):
    """Change the last atom's row, as a list of words, of one frame."""
    frames = text.split("ITEM: TIMESTEP")
    lines = frames[number].rstrip("\n").split("\n")
    lines[-1] = " ".join(change(lines[-1].split()))
    frames[number] = "\n".join(lines) + "\n"
    return "ITEM: TIMESTEP".join(frames)


def put(place, value):
    def change(text):
        return edited(text, 6, lambda words: [*words[:place], value, *words[place + 1 :]])

    return change


def later(old, new):
    """Replace in all but the first frame."""

    def change(text):
        first = text.index("ITEM: TIMESTEP", 5)
        return text[:first] + text[first:].replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(0, "nan"), "frame 5, step 500: an atom id or image flag is not a whole number"),
        (put(0, "1e30"), "not a whole number"),
        (put(0, "1.5"), "not a whole number"),
        (put(4, "nan"), "not a whole number"),
        (put(4, "0.5"), "not a whole number"),
        (put(0, "-3"), "frame 5 has 31 of the chains' 32 beads"),
        (put(1, "nan"), r"frame 5: the position of atom \d+ is not a finite number"),
        (put(1, "1e400"), "is not a finite number"),
        (later("0 6.0", "0 0"), "a box of 0, 0, 0"),
        (later("0 6.0", "6 0"), "a box of -6"),
        (later("0 6.0", "nan 6"), "the box is nan 6"),
        (later("0 6.0", "0 6 1"), "the box is 0 6 1"),
        (later("pp pp pp", "pp pp"), "boundaries pp pp"),
        (later("ITEM: BOX BOUNDS pp pp pp\n0 6.0\n0 6.0\n0 6.0\n", ""), "no step, number of atoms or box"),
        (later("ITEM: TIMESTEP\n300\n", ""), "no step, number of atoms or box"),
        (later("ITEM: NUMBER OF ATOMS\n32\n", ""), "no step, number of atoms or box"),
        (later("ATOMS\n32", "ATOMS\n1000000000000"), "32 of 1000000000000 atoms"),
        (later("ATOMS\n32", "ATOMS\n" + "9" * 40), "999 atoms"),
        (later("ATOMS\n32", "ATOMS\n-5"), "-5 atoms"),
        (lambda text: "", "is empty"),
        (lambda text: "\n", "cannot be read"),
    ],
)
def test_damaged_dumps_are_refused(melt, tmp_path, change, message):
    path = tmp_path / "t.dump"
    path.write_text(change(melt[2]))
    with pytest.raises(UserError, match=message) as caught:
        frames_of(path, topology=melt[1], dt=1.0)
    assert len(str(caught.value)) < 400


def test_a_count_of_atoms_is_not_believed_for_longer_than_a_frame(melt, tmp_path):
    """The lines that are held when the claim turns out to be wrong are those of one frame."""
    path = tmp_path / "t.dump"
    path.write_text(later("ATOMS\n32", "ATOMS\n1000000000000")(melt[2]))
    frames = read_dump(path, print)
    next(frames)
    with pytest.raises(UserError, match="32 of 1000000000000 atoms"):
        next(frames)


def test_a_compressed_dump_that_was_cut_off_loses_its_end_only(melt, tmp_path):
    path = tmp_path / "t.dump.gz"
    packed = gzip.compress(melt[2].encode())
    path.write_bytes(packed[: len(packed) // 2])
    _, found, _, _, told = frames_of(path, topology=melt[1], dt=1.0)
    assert 2 < len(found) < 12
    assert "that frame is left out" in told[0]
    damaged = bytearray(packed)
    damaged[-6] ^= 0xFF  # the checksum
    path.write_bytes(bytes(damaged))
    with pytest.raises(UserError, match="CRC check failed"):
        frames_of(path, topology=melt[1], dt=1.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("28 bonds", "29 bonds", "counts 29 bonds, and 28 could be read"),
        ("32 atoms", "33 atoms", "counts 33 atoms, and 32"),
        ("\n28 1 ", "\n28 1 77 ", "counts 28 bonds, and 27 could be read"),
    ],
)
def test_topologies_that_are_not_whole_are_refused(melt, tmp_path, old, new, message):
    path = tmp_path / "x.data"
    path.write_text(melt[1].read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        frames_of(melt[0] / "good.dump", topology=path, dt=1.0)


def replaced(name, data=None, **options):
    def change(group):
        if name in group:
            del group[name]
        if data is not None or options:
            group.create_dataset(name, data=data, **options)

    return change


def huge(name, shape, chunks):
    return replaced(name, shape=shape, chunks=chunks, dtype="i4" if name != "position/value" else "f4")


NAN_TIMES = np.where(np.arange(12) == 5, np.nan, np.arange(12.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([replaced("position/value", np.zeros((12, 32)))], r"has shape \(12, 32\), not \(any, any, 3\)"),
        ([replaced("position/value", np.zeros((12, 32, 3), complex))], "is not an array of numbers"),
        ([huge("position/value", (10**12, 32, 3), (1, 32, 3))], "declares 384000000000000 bytes"),
        ([huge("position/value", (12, 10**9, 3), (1, 1000, 3))], "declares 144000000000 bytes"),
        ([huge("image/value", (12, 32, 10**11), (1, 32, 1000))], "has shape"),
        ([huge("box/edges", (10**11,), (1000,))], "has shape"),
        ([replaced("image/value", np.zeros((5, 32, 3), int))], "has shape"),
        ([replaced("image/value", np.full((12, 32, 3), 0.5))], "not an array of whole numbers"),
        ([replaced("id/value", np.full((12, 32), np.nan))], "not an array of whole numbers"),
        ([replaced("id/value", np.full((12, 32), 2**64 - 1, np.uint64))], "frame 0 has 0 of the chains' 32 beads"),
        ([replaced("position/step", np.arange(5))], "has shape"),
        ([replaced("position/step", np.arange(12) * 0.5)], "not an array of whole numbers"),
        ([replaced("position/step"), replaced("position/time", NAN_TIMES)], "frame 5 has no place in time"),
        ([replaced("box/edges", np.zeros(3))], "span no box"),
        ([replaced("box/edges", np.ones((3, 3)))], "span no box"),
        ([lambda group: group["box"].attrs.modify("boundary", ["foo"] * 3)], "boundary is foo"),
    ],
)
def test_absurd_h5md_is_refused_without_allocating(melt, tmp_path, changes, message):
    path = tmp_path / "t.h5md"
    write_h5md(path, list(read_dump(melt[0] / "good.dump", print)))
    with h5py.File(path, "r+") as file:
        for change in changes:
            change(file["particles/all"])
    with pytest.raises(UserError, match=message):
        frames_of(path, topology=melt[1])


def test_a_scrambled_tree_of_an_hdf5_file_is_no_internal_error(melt, tmp_path):
    path = tmp_path / "t.h5md"
    write_h5md(path, list(read_dump(melt[0] / "good.dump", print)))
    path.write_bytes(path.read_bytes().replace(b"TREE", b"EERT").replace(b"SNOD", b"DONS").replace(b"HEAP", b"PEAH"))
    assert not has_mode_stream(path)
    with pytest.raises(UserError, match=r"t\.h5md"):
        frames_of(path, topology=melt[1])


@pytest.mark.parametrize("name", ["all", "all/position", "all/position/value", "all/image/value", "all/position/step"])
def test_links_out_of_an_h5md_trajectory_are_not_followed(melt, tmp_path, name):
    path, other = tmp_path / "t.h5md", tmp_path / "other.h5md"
    for file in (path, other):
        write_h5md(file, list(read_dump(melt[0] / "good.dump", print)))
    assert frames_of(path, topology=melt[1])
    with h5py.File(path, "r+") as file:
        del file[f"particles/{name}"]
        file[f"particles/{name}"] = h5py.ExternalLink(str(other), f"/particles/{name}")
    with pytest.raises(UserError, match="links to other files are not followed"):
        frames_of(path, topology=melt[1])


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_code_in_torch_files_does_nothing(tmp_path):
    for legacy in (False, True):
        torch.save(Hostile(tmp_path / "ran"), tmp_path / "t.pt", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(UserError, match="Python objects, which are never loaded"):
            open_tensor(tmp_path / "t.pt", TrajectoryOptions(dt=1.0))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(1).expand(10**9, 4, 6, 3), "larger than the file"),
        (torch.zeros(9, 4, 6, 3, device="meta"), "plain real numbers"),
        (torch.zeros(9, 4, 6, 3).to(torch.float8_e4m3fn), "plain real numbers"),
        (torch.zeros(9, 4, 6, 3, dtype=torch.complex64), "plain real numbers"),
    ],
)
def test_tensors_that_are_none_are_refused(tmp_path, tensor, message):
    torch.save(tensor, tmp_path / "t.pt")
    with pytest.raises(UserError, match=message):
        open_tensor(tmp_path / "t.pt", TrajectoryOptions(dt=1.0))


def test_a_stride_does_not_skip_what_unwrapping_needs(tmp_path):
    """Chains that go half the box in 10 frames: right with any stride of frames that the file has."""
    positions, ids = walkers(n_frames=40)
    topology = write_topology(tmp_path / "chains.data", ids)
    path = write_dump(tmp_path / "t.dump", positions, ids, images=False)
    _, every, *_ = frames_of(path, topology=topology, dt=1.0)
    _, tenth, *_ = frames_of(path, topology=topology, dt=1.0, stride=10)
    np.testing.assert_array_equal(tenth, every[::10])
    assert np.abs(np.diff(tenth[:, :, 0], axis=0)).max() > 1.5
    sparse = write_dump(tmp_path / "s.dump", positions[::10], ids, images=False)
    with pytest.raises(UserError, match="too far to tell its image"):
        frames_of(sparse, topology=topology, dt=1.0)


# ------------------------------------------------------------------ reconstruct


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return test_reconstruct.make_run(tmp_path_factory.mktemp("made") / "run", frames=30)


def one_line(capsys, *arguments, status=2, main=reconstruct.main):
    assert main([str(argument) for argument in arguments]) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if ": error: " in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("name", ["generated.h5", "modes.h5", "model.pt", "result.json"])
def test_reconstruct_does_not_write_over_the_run(made, capsys, name):
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    assert "is a file of the run itself" in one_line(capsys, made, "--out", made / name, "--overwrite")
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


def test_reconstruct_replaces_files_only(made, tmp_path, capsys):
    (tmp_path / "link").symlink_to("/dev/null")
    assert "is not a file" in one_line(capsys, made, "--out", tmp_path / "link", "--overwrite")
    assert "is not a file" in one_line(capsys, made, "--out", tmp_path, "--overwrite")


@pytest.mark.parametrize(("name", "data"), [("generated.h5", "modes"), ("modes.h5", "modes"), ("modes.h5", "com")])
def test_reconstruct_refuses_what_is_not_finite(made, tmp_path, capsys, name, data):
    folder = shutil.copytree(made, tmp_path / "run")
    with h5py.File(folder / name, "r+") as file:
        file["mlgle"][data][-1, 0, 0] = np.nan
    assert "not finite" in one_line(capsys, folder)
    assert not list(folder.glob("*.tmp"))
    assert not list(folder.glob("reconstruct*"))


@pytest.mark.parametrize(("name", "value"), [("box", [0.0] * 6), ("box", [-1.0] * 6), ("mode_variances", [-1.0] * 19)])
def test_impossible_descriptions_are_refused(made, tmp_path, capsys, name, value):
    folder = shutil.copytree(made, tmp_path / "run")
    with h5py.File(folder / "modes.h5", "r+") as file:
        file["mlgle"].attrs[name] = value
    assert name in one_line(capsys, folder)


def test_generated_chains_of_another_melt_are_refused(made, tmp_path, capsys):
    folder = shutil.copytree(made, tmp_path / "run")
    shutil.copy(folder / "modes.h5", folder / "generated.h5")
    assert "was not generated from" in one_line(capsys, folder)


def start(folder, *options, **process):
    command_line = [sys.executable, "-m", "mlgle_lammps.reconstruct", folder, "--every", 1, *options]
    return subprocess.Popen([str(c) for c in command_line], stderr=subprocess.PIPE, text=True, **process)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return test_reconstruct.make_run(tmp_path_factory.mktemp("long") / "run", frames=1500)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("form", ["lammps-dump", "h5md"])
def test_a_signal_leaves_no_half_written_file(long, number, code, form):
    process = start(long, "--format", form, "--trajectories", 40)
    deadline = time.monotonic() + 30
    while not list(long.glob("*.tmp")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    lines = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == code
    assert lines[-1] in ("mlgle reconstruct: terminated", "mlgle reconstruct: interrupted")
    assert not any("Traceback" in line for line in lines)
    assert sorted(path.name for path in long.iterdir()) == ["generated.h5", "modes.h5"]


@pytest.mark.parametrize("form", ["lammps-dump", "h5md"])
def test_a_full_disk_is_one_line_and_exit_code_1(long, form):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    process = start(long, "--format", form, "--trajectories", 40, preexec_fn=limit)
    lines = process.communicate(timeout=180)[1].splitlines()
    assert process.returncode == 1
    assert lines[-1].endswith("File too large")
    assert sorted(path.name for path in long.iterdir()) == ["generated.h5", "modes.h5"]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (OSError(28, "No space left on device", "x.png"), 1, "No space left on device: 'x.png'"),
        (MemoryError("9 TiB"), 1, "not enough memory"),
        (ValueError("a bug"), 70, "internal error"),
    ],
)
def test_failures_of_the_machine_are_not_called_bugs(capsys, monkeypatch, error, status, words):
    monkeypatch.delenv("MLGLE_DEBUG", raising=False)

    def fail(arguments):
        raise error

    assert command.run_command("x", fail, []) == status
    assert words in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


# ------------------------------------------------------------------ compare


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        test_compare.make_run(folder / name, seed=seed, n_frames=260, handoff=260)
        for seed, name in ((1, "a"), (2, "b"))
    ]


def with_result(run, path, **changes):
    shutil.copytree(run, path)
    result = json.loads((path / "result.json").read_text()) | changes
    (path / "result.json").write_text(json.dumps(result))
    return path


D = {"value": 1.0, "se": 0.1, "ci95": [0.8, 1.2], "method": "x"}


@pytest.mark.parametrize(
    "change",
    [{"value": True}, {"value": 10**400}, {"value": 2.0}, {"ci95": 3}, {"ci95": [1.2, 0.8]}, {"ci95": {"a": 1, "b": 2}},
     {"value": "1"}, {"ci95": [float("nan"), 1.2]}],
)  # fmt: skip
def test_estimates_that_are_none(change):
    assert read_estimate(D) is not None
    assert read_estimate(D | change) is None


@pytest.mark.parametrize("se", [-1.0, float("nan"), "x", 10**400])
def test_an_error_that_is_none_is_taken_from_the_interval(se):
    found = read_estimate(D | {"se": se})
    assert found is not None
    assert found.se == pytest.approx(0.4 / 3.92)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"D": 5}, "holds no D"),
        ({"k": "x"}, "k is 'x'"),
        ({"m": -3}, "m is '-3'"),
        ({"handoff": [1]}, "handoff is"),
        ({"handoff": {"frames": 1e300}}, "handoff.frames is"),
        ({"timing": {"md_s": "long"}}, "timing.md_s is 'long'"),
        ({"fit": {"p": "x"}}, "fit.p is 'x'"),
        ({"warnings": "x"}, "warnings are no lines"),
        ({"n_chains": 7}, "do not belong together"),
        ({"surrogate": "<b>$x$"}, "surrogate is '<b>"),
        ({"surrogate": ["ml-gle"]}, "surrogate is"),
    ],
)
def test_wrong_types_in_a_result_are_named(runs, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        open_run(with_result(runs[0], tmp_path / "x", **changes))


def test_compare_replaces_comparisons_only(runs, tmp_path, capsys):
    before = sorted(path.name for path in runs[1].iterdir())
    line = one_line(capsys, runs[0], "--out", runs[1], "--overwrite", main=compare.main)
    assert "is a run's folder, which is not replaced" in line
    assert sorted(path.name for path in runs[1].iterdir()) == before


def test_a_run_has_one_temperature(runs, tmp_path, capsys):
    arguments = (runs[0], runs[0], "--temperatures", 1, 2, "--out", tmp_path / "out")
    assert "given twice" in one_line(capsys, *arguments, main=compare.main)


def test_generated_chains_are_no_reference(runs, tmp_path, capsys):
    line = one_line(capsys, runs[0], runs[0] / "generated.h5", "--out", tmp_path / "out", main=compare.main)
    assert "holds generated trajectories, not MD" in line
    assert not (tmp_path / "out").exists()


def npz_of(source, path, stretch):
    with h5py.File(source / "modes.h5") as file:
        com, modes = file["mlgle/com"][stretch], file["mlgle/modes"][stretch]
    np.savez(path, com=com.astype(np.float32), modes=modes, dt=1.0, n_beads=test_compare.BEADS)
    return path


@pytest.mark.parametrize("stretch", [slice(0, 260), slice(0, 150), slice(50, 260), slice(0, 260, 2)])
def test_frames_that_were_fitted_are_no_reference_wherever_they_are(runs, tmp_path, stretch):
    """The whole, a part, another start, another stride: none is independent of D, so there is no z-score."""
    run = open_run(runs[0])
    md = read_trajectory(run.folder.path, 0, run.handoff_frames)
    plain = find_full_md(run, md, npz_of(runs[0], tmp_path / "part.npz", stretch))
    assert plain.trajectory is None
    assert "nothing to compare with" in plain.notes[0]


def test_what_comes_before_the_fitted_frames_is_a_reference(runs, tmp_path):
    run = open_run(runs[0])
    md = read_trajectory(run.folder.path, 200, 260)
    plain = find_full_md(run, md, npz_of(runs[0], tmp_path / "all.npz", slice(0, 260)))
    assert plain.trajectory is not None
    assert plain.trajectory.n_frames == 200
    assert plain.source.endswith("200 frames before those that D was fitted to")
    assert "holds 60 frames that D was fitted to" in plain.notes[0]
    other = find_full_md(run, md, runs[1])  # negative control: another run shares none
    assert other.trajectory is not None
    assert other.trajectory.n_frames == 260
    assert other.notes == ()


@pytest.mark.parametrize("temperatures", [(300.0, 300.0000001), (1e-3, 1e300)])
def test_temperatures_that_fix_nothing(temperatures):
    with pytest.raises(NotDetermined, match="do not fix it"):
        fit_arrhenius(np.array(temperatures), np.array([1.0, 2.0]), np.array([0.1, 0.1]))
