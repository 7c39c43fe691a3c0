import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.records import Ending, Estimate, Frames, System
from mlgle_lammps.store.journal import Journal, chunk_paths, read_journal
from mlgle_lammps.store.reader import FramesReader
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.writer import FramesWriter, GeneratedWriter, generated_bytes

SYSTEM = System(
    n_chains=4, n_beads=10, n_modes=3, dt=0.5, every=5, units="real", time_unit="fs", length_unit="Angstrom",
    source="in.melt", notes=("chain 7 left out", "Δt is 5 steps"),
)  # fmt: skip


def make_frames(n=150, handoff=100, restart=60):
    random = np.random.default_rng(3)
    return [
        Frames.single(
            step=5 * i + (3 if i >= restart else 0),
            segment=2 if i >= restart else 0,
            com=random.normal(size=(4, 3)) * 1e3,
            modes=random.normal(size=(4, 3, 3)).astype(np.float32) if i < handoff else None,
        )
        for i in range(n)
    ]


def assert_chunks_hold(chunks, frames):
    got = [frame for chunk in chunks for frame in chunk]
    assert len(got) == len(frames)
    assert all(a.same_bits(b) for a, b in zip(got, frames, strict=True))


# --- the folder


def test_a_folder_is_made_with_its_parents_and_opened_again(tmp_path):
    made = RunFolder.create(tmp_path / "a b" / "ü" / "run")
    assert RunFolder.open(made.path).path == made.path
    assert made.checkpoint.is_dir()


def test_a_folder_that_exists_is_refused_even_when_empty(tmp_path):
    with pytest.raises(UserError, match=r"exists; give `overwrite` .* `out`"):
        RunFolder.create(tmp_path)


def test_overwrite_removes_our_files_only(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.write_result({"schema": 1})
    (folder.path / "notes.txt").write_text("mine")
    again = RunFolder.create(tmp_path / "run", overwrite=True)
    assert not again.result.exists()
    assert (again.path / "notes.txt").read_text() == "mine"
    again.write_result({"schema": 2})
    again.remove()
    assert [p.name for p in again.path.iterdir()] == ["notes.txt"]


def test_overwritten_results_come_back_when_the_new_run_comes_to_nothing(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.write_result({"seed": 1})
    folder.figures.mkdir()
    (folder.figures / "msd.png").write_bytes(b"picture")
    for _ in range(2):
        again = RunFolder.create(tmp_path / "run", overwrite=True)
        assert sorted(p.name for p in again.path.iterdir()) == [".mlgle", ".mlgle-previous", "checkpoint"]
        again.open_journal(SYSTEM)
        again = RunFolder.create(tmp_path / "run", overwrite=True)  # as after a kill
        again.remove()
        assert again.read_result() == {"seed": 1}
        assert (again.figures / "msd.png").read_bytes() == b"picture"
    again = RunFolder.create(tmp_path / "run", overwrite=True)
    again.write_result({"seed": 2})
    assert again.read_result() == {"seed": 2}
    assert sorted(p.name for p in again.path.iterdir()) == [".mlgle", "checkpoint", "result.json"]


def test_overwrite_leaves_somebody_elses_folder_alone(tmp_path):
    (tmp_path / "result.json").write_text("mine")
    with pytest.raises(UserError, match="not made by mlgle"):
        RunFolder.create(tmp_path, overwrite=True)
    assert (tmp_path / "result.json").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_way_is_named(tmp_path, overwrite):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / "file" / "deep" / "run"):
        with pytest.raises(UserError, match="file"):
            RunFolder.create(path, overwrite)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_parent_that_cannot_be_written_gives_one_line():
    with pytest.raises(UserError) as caught:
        RunFolder.create(Path("/proc/1/nowhere/run"))
    assert "choose another `out`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_read_only_parent_gives_one_line(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="Permission denied; choose another `out`"):
        RunFolder.create(tmp_path / "run")


def test_remove_takes_the_whole_folder_of_a_run_without_data(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.open_journal(SYSTEM)
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_opening_what_is_no_result_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such"):
        RunFolder.open(tmp_path / "absent")
    with pytest.raises(UserError, match="not a result folder"):
        RunFolder.open(tmp_path)


# --- result.json


def test_result_is_plain_json_in_the_order_of_the_schema(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.write_result(
        {
            "extra": np.array([1.0, np.nan]),
            "alpha": np.float32(0.5),
            "D": {"value": np.inf, "ci95": (np.float64(1.0), 2.0)},
            "D_full_md": Estimate(1.0, 0.1, (0.8, 1.2), "slope"),
            "seed": np.int64(3),
            "out": Path("x"),
            "schema": 1,
        }
    )
    text = folder.result.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    result = json.loads(text)
    assert list(result) == ["schema", "D", "D_full_md", "alpha", "seed", "extra", "out"]
    assert result["D"] == {"value": None, "ci95": [1.0, 2.0]}
    assert result["extra"] == [1.0, None]
    assert result["D_full_md"]["ci95"] == [0.8, 1.2]
    assert folder.read_result() == result
    assert sorted(p.name for p in folder.path.iterdir()) == [".mlgle", "checkpoint", "result.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_result_gives_one_line(tmp_path, content):
    folder = RunFolder.create(tmp_path / "run")
    folder.result.write_bytes(content)
    with pytest.raises(UserError, match=r"result\.json"):
        folder.read_result()


# --- journal and modes.h5


def test_journal_and_assembled_file_return_every_bit(tmp_path):
    folder, frames = RunFolder.create(tmp_path / "run"), make_frames()
    journal = folder.open_journal(SYSTEM)
    for frame in frames:
        journal.append(frame)
    journal.close()
    assert_chunks_hold(read_journal(folder.checkpoint), frames)
    assert folder.assemble_modes(Ending(status="interrupted", message="SIGTERM")) == folder.modes
    assert len(chunk_paths(folder.checkpoint)) == 3
    folder.discard_checkpoints()
    assert list(folder.checkpoint.iterdir()) == []
    with FramesReader(folder.modes) as reader:
        assert reader.system == SYSTEM
        assert reader.n_mode_frames == 100
        assert_chunks_hold([reader.read(0, 100), reader.read(100, 150, with_modes=False)], frames)
    with h5py.File(folder.modes) as file:
        group = file["mlgle"]
        assert group["modes"].shape == (100, 4, 3, 3)
        assert group.attrs["segments"].tolist() == [0, 60]
        assert group.attrs["segment_numbers"].tolist() == [0, 2]
        assert (group.attrs["dt"], group.attrs["units"], group.attrs["status"]) == (0.5, "real", "interrupted")
        assert file["h5md"].attrs["version"].tolist() == [1, 1]
        assert file["particles/chains/position/value"] == file["mlgle/com"]  # the same object, not a copy
        assert file["particles/chains/position/time"][1] == 0.5


def test_a_journal_that_is_never_closed_keeps_all_but_the_last_frames(tmp_path):
    frames = make_frames(150, handoff=150)
    journal = Journal(tmp_path, SYSTEM, frames_per_chunk=16, seconds=1e9)
    for frame in frames:
        journal.append(frame)
    (tmp_path / "stream-000009.tmp").write_bytes(b"half a chu")
    assert_chunks_hold(read_journal(tmp_path), frames[: 150 // 16 * 16])
    journal.flush()
    assert_chunks_hold(read_journal(tmp_path), frames)


def test_slow_frames_are_written_as_they_come_into_few_files(tmp_path):
    frames = make_frames(40)
    journal = Journal(tmp_path, SYSTEM, frames_per_chunk=16, seconds=-1.0)
    for i, frame in enumerate(frames):
        journal.append(frame)
        assert_chunks_hold(read_journal(tmp_path), frames[: i + 1])
    assert len(chunk_paths(tmp_path)) == 3


def test_a_journal_goes_on_behind_what_is_there(tmp_path):
    frames = make_frames(50)
    for part in (frames[:20], frames[20:]):
        journal = Journal(tmp_path, SYSTEM)
        for frame in part:
            journal.append(frame)
        journal.close()
    assert_chunks_hold(read_journal(tmp_path), frames)


def test_a_killed_writer_leaves_a_readable_record(tmp_path):
    script = f"""
        import os, signal
        from pathlib import Path
        from mlgle_lammps.chains.rouse import RouseSource
        from mlgle_lammps.store.run_folder import RunFolder
        source = RouseSource(4, 10, 3, 1000, 1.0, seed=5)
        journal = RunFolder.create(Path({str(tmp_path / "run")!r})).open_journal(source.system)
        for i, frame in enumerate(source):
            journal.append(frame)
            if i == 500:
                os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False).returncode == -9
    folder = RunFolder.open(tmp_path / "run")
    folder.assemble_modes()
    expected = list(RouseSource(4, 10, 3, 1000, 1.0, seed=5))[: 501 // 64 * 64]
    with FramesReader(folder.modes) as reader:
        assert_chunks_hold([reader.read(0, len(reader.steps))], expected)


def test_nothing_to_assemble_is_not_an_error(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.open_journal(SYSTEM).close()
    assert folder.assemble_modes() is None


def test_a_damaged_chunk_is_named_and_all_chunks_stay(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    journal = Journal(folder.checkpoint, SYSTEM, frames_per_chunk=16)
    for frame in make_frames(48):
        journal.append(frame)
    paths = chunk_paths(folder.checkpoint)
    data = bytearray(paths[1].read_bytes())
    data[len(data) // 2] ^= 1
    paths[1].write_bytes(data)
    with pytest.raises(UserError, match="stream-000001"):
        folder.assemble_modes()
    assert chunk_paths(folder.checkpoint) == paths
    assert not folder.modes.exists()
    assert not list(folder.path.glob("*.tmp"))


LIMITED = """
    import resource, signal, sys
    from pathlib import Path
    from mlgle_lammps.chains.rouse import RouseSource
    from mlgle_lammps.errors import RunFailure
    from mlgle_lammps.store.writer import GeneratedWriter
    from mlgle_lammps.store.journal import Journal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    source = RouseSource(40, 10, 3, 200, 1.0, seed=5)
    folder = Path(sys.argv[1])
    try:
        if sys.argv[2] == "journal":
            journal = Journal(folder, source.system)
            for frame in source:
                journal.append(frame)
        else:
            with GeneratedWriter(folder / "generated.h5", source.system, 40, 200) as writer:
                for frame in source:
                    writer.append(frame)
    except RunFailure as failure:
        print(failure)
        raise SystemExit(failure.exit_code)
"""


@pytest.mark.parametrize("what", ["journal", "generated"])
def test_a_file_that_cannot_grow_gives_one_line_and_leaves_no_half_file(tmp_path, what):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(tmp_path), what],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("cannot write")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert {p.name for p in tmp_path.iterdir()} <= {"system.json"}


# --- generated.h5


def test_generated_file_has_the_announced_size_and_the_layout_of_the_stream(tmp_path):
    random = np.random.default_rng(1)
    com = random.normal(size=(4000, 6, 3))
    modes = random.normal(size=(4000, 6, 3, 3)).astype(np.float32)
    frames = Frames.of_chains(np.arange(4, 16001, 4), np.zeros(4000, dtype=int), com, modes)
    path = tmp_path / "generated.h5"
    with GeneratedWriter(path, SYSTEM, 6, 4000, save_every=4, attributes={"seed": 9}) as writer:
        for start in range(0, 4000, 130):
            writer.append(frames[start : start + 130])
            assert not path.exists()
    assert 0.95 < os.path.getsize(path) / writer.expected_bytes < 1.1
    with FramesReader(path) as reader:
        chunk = reader.read(0, 4000)
        assert reader.system.dt == SYSTEM.dt * 4
        assert reader.system.n_chains == 6
        assert reader.steps[:2].tolist() == [4, 8]
        assert chunk.com.astype(np.float32).tobytes() == com.astype(np.float32).tobytes()
        assert chunk.modes.tobytes() == modes.astype(np.float32).tobytes()
    with h5py.File(path) as file:
        assert file["mlgle/com"].dtype == np.float32
        assert file["mlgle"].attrs["seed"] == 9
        assert file["particles/chains/position/time"][0] == 4 * SYSTEM.dt


def test_generation_that_breaks_leaves_no_file(tmp_path):
    def generate():
        with GeneratedWriter(tmp_path / "generated.h5", SYSTEM, 6, 40) as writer:
            writer.append(Frames.single(1, 0, np.zeros((6, 3)), np.zeros((6, 3, 3), np.float32)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        generate()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_noticed_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match=r"raise `save_every`"):
        GeneratedWriter(tmp_path / "generated.h5", SYSTEM, 10**6, 10**9)
    assert list(tmp_path.iterdir()) == []
    assert generated_bytes(100_000, 300, 12) == pytest.approx(100_000 * 300 * 13 * 3 * 4, rel=1e-3)


def test_the_writer_refuses_frames_that_do_not_fit(tmp_path):
    with FramesWriter(tmp_path / "modes.h5", SYSTEM) as writer:
        writer.append(Frames.single(0, 0, np.zeros((4, 3)), None))
        with pytest.raises(ValueError, match="after frames without"):
            writer.append(Frames.single(5, 0, np.zeros((4, 3)), np.zeros((4, 3, 3), np.float32)))
        with pytest.raises(ValueError, match="do not fit"):
            writer.append(Frames.single(5, 0, np.zeros((5, 3)), None))


def test_an_unwritable_place_is_a_run_failure(tmp_path):
    with pytest.raises(RunFailure, match="cannot write"):
        FramesWriter(tmp_path / "absent" / "modes.h5", SYSTEM)
    with pytest.raises(RunFailure, match="cannot write"):
        Journal(tmp_path / "absent", SYSTEM)


def test_a_journal_with_a_gap_is_not_gone_on_with(tmp_path):
    """What lies behind the gap would be written over."""
    for number in (0, 1, 3):
        (tmp_path / f"stream-{number:06d}.npz").touch()
    with pytest.raises(UserError, match=r"stream-000002\.npz is missing and stream-000003\.npz is there"):
        chunk_paths(tmp_path)
    (tmp_path / "stream-000003.npz").unlink()
    assert len(chunk_paths(tmp_path)) == 2
    (tmp_path / "stream-000000.npz").unlink()
    with pytest.raises(UserError, match="stream-000000"):
        chunk_paths(tmp_path)
