import io
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Ending, joined
from mlgle_lammps.store import recording
from mlgle_lammps.store.recorded import RecordedSource
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.writer import FramesWriter
from mlgle_lammps.stream.ring_buffer import RingBuffer

ROUSE = RouseSource(5, 12, 4, 120, 0.5, seed=2, every=10)
FRAMES = list(ROUSE)
COM, MODES = joined(FRAMES).com, joined(FRAMES).modes


def write_h5(path, frames=FRAMES, system=ROUSE.system):
    with FramesWriter(path, system) as writer:
        for f in frames:
            writer.append(f)
    return path


def write_npz(path, **arrays):
    whole: dict[str, Any] = {"com": COM, "modes": MODES, "dt": 0.5}
    np.savez(path, **(whole | arrays))
    return path


def write_run(folder, assembled):
    run = RunFolder.create(folder)
    journal = run.open_journal(ROUSE.system)
    for frame in FRAMES:
        journal.append(frame)
    journal.flush()
    if assembled:
        run.assemble_modes()
    return folder


def without_modes(frame):
    return frame.first_modes(0)


def assert_same(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.com.dtype == np.float64
        assert a.modes.dtype == np.float32
        assert a.same_bits(b)


def refused(path, **options):
    """Return the one line with which ``path`` is refused, when opened or while it is read."""
    with pytest.raises(UserError) as caught:
        list(RecordedSource([path], **options))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


# --- what is recorded comes back


@pytest.mark.parametrize("block_bytes", [1, 2000, 2**25])
@pytest.mark.parametrize("kind", ["h5", "run", "killed"])
def test_frames_come_back_bit_for_bit(tmp_path, monkeypatch, kind, block_bytes):
    monkeypatch.setattr(recording, "BLOCK_BYTES", block_bytes)
    path = write_h5(tmp_path / "m.h5") if kind == "h5" else write_run(tmp_path / "run", kind == "run")
    source = RecordedSource([path])
    assert source.system == replace(ROUSE.system, source=source.system.source)
    assert_same(list(source), FRAMES)
    assert source.ending().status == "complete"
    assert source.ending().step == FRAMES[-1].last_step


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("block_bytes", [1, 2000, 2**25])
def test_npz_comes_back_with_steps_counted(tmp_path, monkeypatch, save, block_bytes):
    monkeypatch.setattr(recording, "BLOCK_BYTES", block_bytes)
    save(tmp_path / "s.npz", com=COM, modes=MODES, dt=0.5, n_beads=12)
    source = RecordedSource([tmp_path / "s.npz"])
    assert (source.system.dt, source.system.n_beads, source.system.every) == (0.5, 12, 1)
    assert_same(list(source), [replace(f, steps=np.array([i])) for i, f in enumerate(FRAMES)])


def test_npz_keeps_its_uninterrupted_pieces(tmp_path):
    pieces = np.repeat([0, 2], [3, len(COM) - 3])
    write_npz(tmp_path / "s.npz", segments=pieces)
    got = joined(list(RecordedSource([tmp_path / "s.npz"])))
    assert len(np.unique(got.segments, return_counts=True)[1]) == 2
    assert np.array_equal(np.diff(got.segments) > 0, np.diff(pieces) > 0)
    write_npz(tmp_path / "bad.npz", segments=pieces[::-1].copy())
    with pytest.raises(UserError, match="never falling"):
        list(RecordedSource([tmp_path / "bad.npz"]))


def test_quantized_modes_are_scaled_mode_by_mode(tmp_path):
    scale = np.array([1e-3, 2e-3, 5e-4, 1e-4], dtype=np.float32)
    quantized = np.rint(MODES / scale[:, np.newaxis]).astype(np.int16)
    np.savez(tmp_path / "s.npz", com=COM.astype(np.float32), modes_q=quantized, scale=scale, dt=np.array(0.5))
    got = list(RecordedSource([tmp_path / "s.npz"]))
    assert np.abs(joined(got).modes - MODES).max() <= 0.51e-3 * 2
    assert got[3].modes[0, 1, 2, 0] == np.float32(int(quantized[3, 1, 2, 0]) * float(scale[2]))
    assert np.array_equal(joined(got).com, COM.astype(np.float32))


def test_frames_are_copies_that_can_be_written(tmp_path):
    for path in (write_h5(tmp_path / "m.h5"), write_npz(tmp_path / "s.npz")):
        frame = next(iter(RecordedSource([path])))
        assert frame.com.base is None
        frame.modes[:] = 0


def test_text_attributes_of_other_writers_are_read(tmp_path):
    path = write_h5(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        del file["mlgle"].attrs["texts"]
        file["mlgle"].attrs["time_unit"] = "fs"
    assert RecordedSource([path]).system == replace(ROUSE.system, time_unit="fs", source=str(path))


def test_after_the_hand_off_frames_come_as_they_were_recorded(tmp_path):
    """With their modes, and without them from files of before."""
    trimmed = FRAMES[:50] + [without_modes(f) for f in FRAMES[50:]]
    for path, recorded in ((tmp_path / "m.h5", FRAMES), (tmp_path / "t.h5", trimmed)):
        source, got = RecordedSource([write_h5(path, recorded)]), []
        for frame in source:
            got.append(frame)
            if len(got) == 50:
                source.hand_off()
        assert_same(got, recorded)
        assert not source.broken()


def test_a_stream_that_is_left_early_has_ended_where_it_was_left(tmp_path):
    source = RecordedSource([write_h5(tmp_path / "m.h5")])
    for frame in source:
        if frame.last_step == 200:
            break
    assert source.ending() == Ending(step=200)


def test_frames_without_modes_before_the_hand_off_are_left_out_and_counted(tmp_path):
    source = RecordedSource([write_h5(tmp_path / "t.h5", FRAMES[:50] + [without_modes(f) for f in FRAMES[50:]])])
    assert_same(list(source), FRAMES[:50])
    assert "70 recorded frames have no modes" in source.ending().warnings[0]


def test_a_limit_ends_the_stream_and_says_so(tmp_path):
    path = write_h5(tmp_path / "m.h5")
    source = RecordedSource([path], limit=30)
    assert_same(list(source), FRAMES[:30])
    assert "goes on after the 30 frames" in source.ending().message
    source = RecordedSource([path], limit=120)
    assert len(list(source)) == 120
    assert source.ending().message == ""


def test_modes_are_lowered_with_a_note(tmp_path):
    path = write_h5(tmp_path / "m.h5")
    fewer = RecordedSource([path], n_modes=2)
    assert fewer.system.n_modes == 2
    assert_same(list(fewer), [f.first_modes(2) for f in FRAMES])
    more = RecordedSource([path], n_modes=12)
    assert more.system.n_modes == 4
    assert "lowered from 12 to 4" in more.system.notes[-1]


# --- several recordings


def test_recordings_are_pooled_as_segments_that_a_ring_buffer_takes(tmp_path):
    two = [replace(f, segments=f.segments + 4 + (i >= 60), steps=f.steps + 7 * (i >= 60)) for i, f in enumerate(FRAMES)]
    paths = [
        write_h5(tmp_path / "m.h5"),
        write_npz(tmp_path / "s.npz"),
        write_h5(tmp_path / "two.h5", two),
        write_run(tmp_path / "run", assembled=False),
    ]
    source = RecordedSource(paths)
    got = list(source)
    assert len(got) == 480
    assert [f.last_segment for f in got] == [0] * 120 + [1] * 120 + [2] * 60 + [3] * 60 + [4] * 120
    buffer = RingBuffer(480, source.system.species, stride=source.system.every)
    for frame in got:
        buffer.append(frame)
    assert np.array_equal(buffer.window().modes, np.concatenate([MODES] * 4))
    assert np.array_equal(buffer.window().com, np.concatenate([COM] * 4))


def test_pooling_takes_the_modes_that_all_have(tmp_path):
    paths = [write_h5(tmp_path / "m.h5"), write_npz(tmp_path / "s.npz", modes=MODES[:, :, :3])]
    source = RecordedSource(paths)
    assert source.system.n_modes == 3
    assert {f.modes.shape for f in source} == {(1, 5, 3, 3)}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"dt": 0.25}, "dt 0.25"),
        ({"com": COM[:, :3], "modes": MODES[:, :3]}, "n_chains 3"),
        ({"n_beads": 30}, "n_beads 30"),
        ({"time_unit": "fs"}, "time_unit fs"),
    ],
)
def test_recordings_of_different_melts_are_not_pooled(tmp_path, arrays, words):
    paths = [write_h5(tmp_path / "m.h5"), write_npz(tmp_path / "s.npz", **arrays)]
    with pytest.raises(UserError, match=words) as caught:
        RecordedSource(paths)
    assert "s.npz" in str(caught.value)
    assert "m.h5" in str(caught.value)


def test_rounding_of_dt_does_not_keep_recordings_apart(tmp_path):
    dt = ROUSE.system.dt
    paths = [write_h5(tmp_path / "m.h5"), write_npz(tmp_path / "s.npz", dt=dt * (1 + 3e-7))]
    assert RecordedSource(paths).system.dt == dt
    with pytest.raises(UserError, match="has dt"):
        RecordedSource([paths[0], write_npz(tmp_path / "t.npz", dt=dt * (1 + 1e-5))])


# --- what cannot be a stream is refused in one line


def test_missing_files_and_folders_are_named(tmp_path):
    assert "no such file" in refused(tmp_path / "absent.h5")
    assert "neither modes.h5 nor a journal" in refused(tmp_path)
    run = RunFolder.create(tmp_path / "run")
    run.open_journal(ROUSE.system)
    assert "before its first frame" in refused(tmp_path / "run")


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_other_content_is_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    for content in (b"", b"hello\n" * 100, b"PK\x03\x04" + bytes(100), b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(content)
        assert "not a readable" in refused(path)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_truncated_files_are_refused_at_any_length(tmp_path, suffix):
    whole = (write_h5 if suffix == ".h5" else write_npz)(tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"x{suffix}"
    for length in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:length])
        refused(path)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_flipped_bytes_never_give_anything_but_frames_or_one_line(tmp_path, suffix):
    whole = (write_h5 if suffix == ".h5" else write_npz)(tmp_path / f"whole{suffix}").read_bytes()
    path, random = tmp_path / f"x{suffix}", np.random.default_rng(5)
    n_refused = n_read = 0
    for _ in range(150):
        damaged = bytearray(whole)
        head = random.random() < 0.7
        for place in random.integers(0, 4000 if head else len(whole), size=3):
            damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            assert len(list(RecordedSource([path]))) <= 120
        except UserError as error:
            n_refused += str(error).count("\n") == 0
        else:
            n_read += 1
    assert n_refused > 20
    assert n_refused + n_read == 150


def spoil(array, index, value):
    copy = array.copy()
    copy[index] = value
    return copy


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"com": COM[:100]}, "do not agree"),
        ({"com": COM[:, :, :2]}, "do not agree"),
        ({"modes": MODES[:, :4]}, "do not agree"),
        ({"com": COM[0]}, "real numbers of shape"),
        ({"modes": MODES.astype(np.int64)}, "real numbers of shape"),
        ({"com": COM.astype(complex)}, "real numbers of shape"),
        ({"com": COM.astype(str)}, "real numbers of shape"),
        ({"modes": MODES[:, :, :0]}, "no modes"),
        ({"com": COM[:0], "modes": MODES[:0]}, "no frame"),
        ({"com": COM[:, :0], "modes": MODES[:, :0]}, "do not agree"),
        ({"com": spoil(COM, (70, 2, 1), np.nan)}, "frame 70 has com that are not finite"),
        ({"modes": spoil(MODES, (119, 2, 1, 0), np.inf)}, "frame 119 has modes that are not finite"),
        ({"dt": 0.0}, "dt is 0.0"),
        ({"dt": np.nan}, "dt is nan"),
        ({"dt": np.array([0.5, 0.5])}, "where one value belongs"),
        ({"dt": "fast"}, "dt is 'fast'"),
        ({"n_beads": 0.5}, "n_beads is 0.5"),
        ({"com": np.asfortranarray(COM)}, "Fortran order"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, arrays, words):
    assert words in refused(write_npz(tmp_path / "s.npz", **arrays))


@pytest.mark.parametrize("name", ["com", "modes", "dt"])
def test_missing_arrays_are_named(tmp_path, name):
    arrays: dict[str, Any] = {"com": COM, "modes": MODES, "dt": 0.5}
    del arrays[name]
    np.savez(tmp_path / "s.npz", **arrays)
    assert f"no array '{name}'" in refused(tmp_path / "s.npz")


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_a_pickle_in_an_npz_is_refused_and_not_run(tmp_path):
    target = tmp_path / "owned"
    np.savez(tmp_path / "s.npz", com=np.array([Malicious(target)], dtype=object), modes=MODES, dt=0.5)
    assert "never loaded" in refused(tmp_path / "s.npz")
    with zipfile.ZipFile(tmp_path / "raw.npz", "w") as archive:
        archive.writestr("com.npy", pickle.dumps(Malicious(target)))
    refused(tmp_path / "raw.npz")
    assert not target.exists()
    pickle.loads(pickle.dumps(Malicious(target)))
    assert target.exists()  # it would have worked


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_npz_that_claims_a_trillion_frames_is_refused(tmp_path, compression):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 5, 3)})
    with zipfile.ZipFile(tmp_path / "s.npz", "w", compression) as archive:
        archive.writestr("com.npy", header.getvalue() + bytes(1000))
    assert "declares 120000000000000 bytes" in refused(tmp_path / "s.npz")


def test_an_h5_that_claims_a_trillion_frames_is_refused(tmp_path):
    path = write_h5(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        file["mlgle/com"].resize(10**12, axis=0)
        file["mlgle/modes"].resize(10**12, axis=0)
        file["mlgle/step"].resize(10**12, axis=0)
    assert "the file holds" in refused(path)


def replace_dataset(file, name, **options):
    del file["mlgle"][name]
    file["mlgle"].create_dataset(name, **options)


def damage_link(file):
    del file["mlgle/modes"]
    file["mlgle/modes"] = h5py.ExternalLink("/etc/passwd", "/x")


def damage_soft_link(file):
    del file["mlgle/modes"]
    file["mlgle/modes"] = h5py.SoftLink("/mlgle/nowhere")


def damage_virtual(file):
    layout = h5py.VirtualLayout(shape=(120, 5, 4, 3), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(120, 5, 4, 3))
    del file["mlgle/modes"]
    file["mlgle"].create_virtual_dataset("modes", layout)


def damage_external(file):
    del file["mlgle/com"]
    file["mlgle"].create_dataset(
        "com", shape=(120, 5, 3), dtype="f8", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: f.__delitem__("mlgle"), "no group /mlgle"),
        (lambda f: f.__delitem__("mlgle/com"), "com is missing"),
        (lambda f: f["mlgle"].attrs.__delitem__("dt"), "dt is None"),
        (lambda f: f["mlgle"].attrs.__setitem__("dt", -1.0), "dt is -1.0"),
        (lambda f: f["mlgle"].attrs.__setitem__("texts", np.bytes_(b'{"units": 3}')), "units is 3"),
        (lambda f: f["mlgle"].attrs.__setitem__("texts", np.bytes_(b'{"units": ')), "damaged"),
        (lambda f: f["mlgle"].attrs.__setitem__("texts", np.bytes_(b"[]")), "damaged"),
        (lambda f: f["mlgle"].attrs.__setitem__("segments", [0, 500]), "segments"),
        (lambda f: f["mlgle"].attrs.__setitem__("segments", [0.0, np.nan]), "segments"),
        (lambda f: f["mlgle/step"].__setitem__(70, 690), "step 690 of frame 70"),
        (lambda f: f["mlgle/step"].__setitem__(70, 701), "frame 70 at step 701"),
        (lambda f: f["mlgle/com"].__setitem__((70, 0, 0), np.nan), "frame 70 has com"),
        (lambda f: f["mlgle/modes"].__setitem__((70, 0, 0), np.inf), "frame 70 has modes"),
        (lambda f: replace_dataset(f, "step", data=np.arange(60)), "do not agree"),
        (lambda f: replace_dataset(f, "modes", data=MODES[:, :3]), "do not agree"),
        (lambda f: replace_dataset(f, "modes", data=MODES[0]), "4 axes"),
        (lambda f: replace_dataset(f, "com", data=COM.astype("S8")), "3 axes"),
        (lambda f: replace_dataset(f, "com", shape=(120, 5, 3), dtype="f8"), "the file holds 0"),
        (damage_link, "not followed"),
        (damage_soft_link, "not followed"),
        (damage_virtual, "not followed"),
        (damage_external, "not followed"),
    ],
)
def test_a_damaged_h5_is_refused_in_one_line(tmp_path, damage, words):
    path = write_h5(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        damage(file)
    assert words in refused(path)


def test_no_stream_leaves_a_file_open(tmp_path):
    write_h5(tmp_path / "m.h5")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UserError):
        RecordedSource([tmp_path / "m.h5", tmp_path / "absent.npz"])
    list(RecordedSource([tmp_path / "m.h5"], limit=3))
    assert len(os.listdir("/proc/self/fd")) == before
