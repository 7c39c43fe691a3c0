"""Forces, momenta and further species go through every store and every way bit for bit; damage is one line."""

import json
from dataclasses import asdict, replace

import h5py
import numpy as np
import pytest

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import CHANNELS, Ending, Frames, Species, System, joined
from mlgle_lammps.resources.needs import frame_bytes
from mlgle_lammps.store.journal import Journal, read_chunk, read_journal
from mlgle_lammps.store.reader import FramesReader
from mlgle_lammps.store.recorded import RecordedSource
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.writer import FramesWriter
from mlgle_lammps.stream.links import ThreadLink
from mlgle_lammps.stream.ring_buffer import RingBuffer
from mlgle_lammps.stream.transport import HEADER, Inbox, Outbox, pack_frame, unpack_frame

IONS, WHOLE = Species("ions", 7, 1, 0, ("com",)), Species("whole system", 1, None, 0, ("stress",))
STARS = Species("stars", 3, 6, 2, ("com", "modes", "beads"))
SYSTEM = System(
    4, 10, 3, 0.5, every=5, source="in.mixture", channels=("com", "modes", "forces", "momenta"),
    others=(IONS, STARS, WHOLE),
)  # fmt: skip
PLAIN = replace(SYSTEM, channels=("com", "modes"), others=())


def make_frames(n=100, system=SYSTEM):
    """Frames with numbers of all signs and sizes in every channel, two segments."""
    rng = np.random.default_rng(8)
    channels = {
        own.name: {
            name: (rng.standard_normal((n, *own.shape(name))) * 10.0 ** rng.integers(-9, 9)).astype(CHANNELS[name][0])
            for name in own.channels
        }
        for own in system.species
    }
    steps = 5 * np.arange(n)
    return Frames(steps, (steps >= 200).astype(np.int64), channels)


FRAMES = make_frames()


def journal_of(folder, frames=FRAMES, system=SYSTEM):
    run = RunFolder.create(folder)
    journal = run.open_journal(system)
    journal.append(frames)
    journal.close()
    return run


def write_h5(path, frames=FRAMES, system=SYSTEM):
    with FramesWriter(path, system) as writer:
        writer.append(frames)
    return path


# --- every bit of every channel


def test_the_journal_and_the_file_made_of_it_return_every_bit(tmp_path):
    run = journal_of(tmp_path / "run")
    assert joined(list(read_journal(run.checkpoint))).same_bits(FRAMES)
    run.assemble_modes()
    with FramesReader(run.modes) as reader:
        assert reader.system == SYSTEM
        assert reader.read(0, 100).same_bits(FRAMES)
        assert reader.read(17, 31).same_bits(FRAMES[17:31])
    with h5py.File(run.modes) as file:
        assert sorted(file["mlgle"]) == ["com", "forces", "modes", "momenta", "species", "step"]
        assert sorted(file["mlgle/species/stars"]) == ["beads", "com", "modes"]
        assert file["mlgle/species/whole system/stress"].shape == (100, 1, 3, 3)


@pytest.mark.parametrize("kind", ["file", "killed run"])
def test_a_recording_of_it_is_replayed_bit_for_bit_into_the_same_file(tmp_path, kind):
    run = journal_of(tmp_path / "run")
    path = write_h5(tmp_path / "modes.h5")
    source = RecordedSource([path if kind == "file" else run.path])
    assert replace(source.system, source=SYSTEM.source) == SYSTEM
    again = journal_of(tmp_path / "again", joined(list(source)))
    again.assemble_modes()
    with FramesReader(again.modes) as reader:
        assert reader.read(0, 100).same_bits(FRAMES)


def test_recordings_with_different_channels_are_pooled_by_those_that_all_have(tmp_path):
    poorer = replace(SYSTEM, channels=("com", "forces", "modes"), others=(STARS, replace(IONS, n_molecules=6)))
    paths = [write_h5(tmp_path / "a.h5"), write_h5(tmp_path / "b.h5", make_frames(system=poorer), poorer)]
    for pair in (paths, paths[::-1]):
        source = RecordedSource(pair)
        frames = joined(list(source))
        assert (set(source.system.channels), source.system.others) == ({"com", "modes", "forces"}, (STARS,))
        assert {species: set(own) for species, own in frames.channels.items()} == {
            "chains": {"com", "modes", "forces"}, "stars": {"com", "modes", "beads"},
        }  # fmt: skip
        journal_of(tmp_path / f"run of {pair[0].name}", frames, source.system).assemble_modes()


def test_frames_pass_the_transport_bit_for_bit():
    for frame in FRAMES[:3]:
        payload = pack_frame(frame, SYSTEM)
        assert len(payload) == HEADER.size + sum(values.nbytes for _, _, values in frame.arrays())
        assert unpack_frame(payload, SYSTEM).same_bits(frame)
    md_side, trainer_side = ThreadLink.pair()
    inbox, outbox = Inbox(trainer_side), Outbox(md_side)
    outbox.hello(SYSTEM)
    inbox.begin()
    for frame in FRAMES:
        outbox.send(frame)
    outbox.end(Ending())
    assert joined(list(inbox)).same_bits(FRAMES)
    inbox.close()


def test_a_ring_buffer_holds_the_channels_that_are_wanted():
    everything, few = RingBuffer(40, SYSTEM.species), RingBuffer(40, [Species("chains", 4, channels=("forces",)), IONS])
    everything.append(FRAMES)
    few.append(FRAMES)
    assert everything.window().same_bits(FRAMES[60:])
    window = few.window(7)
    assert {species: list(own) for species, own in window.channels.items()} == {"chains": ["forces"], "ions": ["com"]}
    assert window.channels["ions"]["com"].tobytes() == FRAMES[93:].channels["ions"]["com"].tobytes()
    with pytest.raises(ValueError, match=r"step 500 has com None of ions, the buffer holds \(7, 3\)"):
        few.append(Frames(np.array([500]), np.array([1]), {"chains": FRAMES[99:].channels["chains"]}))


def test_a_frame_takes_as_many_bytes_as_it_is_said_to(tmp_path):
    for system in (SYSTEM, PLAIN):
        size = write_h5(tmp_path / "m.h5", make_frames(8192, system), system).stat().st_size
        assert 1.0 < size / (8192 * frame_bytes(system)) < 1.03


# --- what does not belong


def test_frames_that_lack_a_channel_or_have_one_more_are_refused(tmp_path):
    poorer = make_frames(system=PLAIN)
    with FramesWriter(tmp_path / "a.h5", SYSTEM) as writer, pytest.raises(ValueError, match="do not fit"):
        writer.append(poorer)
    with FramesWriter(tmp_path / "b.h5", PLAIN) as writer, pytest.raises(ValueError, match="do not fit"):
        writer.append(FRAMES)
    run = RunFolder.create(tmp_path / "run")
    with pytest.raises(ValueError, match=r"forces \(4, 3\) of chains in a stream"):
        Journal(run.checkpoint, PLAIN).append(FRAMES)
    with pytest.raises(ValueError, match=r"frames lack \[\('chains', 'forces'\)"):
        Journal(run.checkpoint, SYSTEM).append(poorer)
    assert list(read_journal(run.checkpoint)) == []
    with pytest.raises(ValueError, match="different channels"):
        joined([FRAMES, poorer])


def others(**changes):
    """The description of one further species, changed; None takes an entry out."""
    values = asdict(IONS) | changes
    return {"others": [{name: value for name, value in values.items() if value is not None}]}


DAMAGED = {
    "unknown channel": {"channels": ["com", "modes", "velocities"]},
    "no centres": {"channels": ["modes", "forces"]},
    "twice a channel": {"channels": ["com", "modes", "com"]},
    "channels a word": {"channels": "com"},
    "channels numbers": {"channels": [1, 2]},
    "channels lists": {"channels": [["com"]]},
    "stress of many": {"channels": ["com", "modes", "stress"]},
    "others a number": {"others": 7},
    "others null": {"others": None},
    "others of null": {"others": [None]},
    "others of words": {"others": ["ions"]},
    "others of lists": {"others": [[1, 2]]},
    "too many others": {"others": [asdict(replace(IONS, name=f"i{i}")) for i in range(1001)]},
    "the same name": {"others": [asdict(IONS), asdict(IONS)]},
    "the main species": others(name="chains"),
    "no name": others(name=""),
    "a path": others(name="../../mlgle"),
    "the folder above": others(name=".."),
    "a long name": others(name="x" * 41),
    "a name with lines": others(name="a\nb"),
    "a name of NUL": others(name="a\0b"),
    "a number for a name": others(name=5),
    "no molecules": others(n_molecules=0),
    "many molecules": others(n_molecules=2**70),
    "half a molecule": others(n_molecules=1.5),
    "true molecules": others(n_molecules=True),
    "no count": others(n_molecules=None),
    "beads below 0": others(n_beads=-1),
    "beads beyond memory": others(n_beads=10**9),
    "modes below 0": others(n_modes=-1),
    "more fields": others(charge=1),
    "channels of ions unknown": others(channels=["com", "charge"]),
    "no channels of ions": others(channels=[]),
    "channels of ions a number": others(channels=4),
    "channels of ions a word": others(channels="com"),
    "beads uncounted": {"others": [{**asdict(IONS), "n_beads": None, "channels": ["com", "beads"]}]},
}


def refused(path):
    with pytest.raises(UserError) as caught:
        list(RecordedSource([path]))
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_descriptions_of_channels_and_species_are_one_line(tmp_path, name):
    run = journal_of(tmp_path / "run", FRAMES[:3])
    described = run.checkpoint / "system.json"
    described.write_text(json.dumps(json.loads(described.read_text()) | DAMAGED[name]))
    line = refused(run.path)
    assert "channels is" in line or "others" in line
    path = write_h5(tmp_path / "m.h5", FRAMES[:3])
    with h5py.File(path, "r+") as file:
        layout = json.loads(file["mlgle"].attrs["layout"]) | DAMAGED[name]
        file["mlgle"].attrs["layout"] = np.bytes_(json.dumps(layout).encode())
    line = refused(path)
    assert "channels is" in line or "others" in line


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"others": [asdict(replace(IONS, n_molecules=8)), asdict(STARS), asdict(WHOLE)]}, "(100, 7, 3)"),
        ({"channels": ["com", "modes", "forces", "momenta", "beads"]}, "beads"),
        ({"others": [asdict(replace(IONS, name="anions"))]}, "anions"),
    ],
)
def test_a_description_of_other_frames_is_one_line(tmp_path, described, words):
    run = journal_of(tmp_path / "run")
    stated = run.checkpoint / "system.json"
    stated.write_text(json.dumps(json.loads(stated.read_text()) | described))
    line = refused(run.path)
    assert words in line or "arrays of" in line
    path = write_h5(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        layout = json.loads(file["mlgle"].attrs["layout"]) | described
        file["mlgle"].attrs["layout"] = np.bytes_(json.dumps(layout).encode())
    assert words in refused(path)


@pytest.mark.parametrize("layout", [b"[]", b"7", b"{", b"\xff", b"[" * 100_000])
def test_a_layout_that_is_no_description_is_one_line(tmp_path, layout):
    path = write_h5(tmp_path / "m.h5", FRAMES[:3])
    with h5py.File(path, "r+") as file:
        file["mlgle"].attrs["layout"] = np.bytes_(layout) if len(layout) < 60_000 else np.bytes_(layout[:60_000])
    assert "damaged" in refused(path)


@pytest.mark.parametrize("name", ["forces", "species/ions/com", "species/whole system/stress", "species"])
def test_datasets_of_further_channels_are_checked_as_those_of_old(tmp_path, name):
    path = write_h5(tmp_path / "m.h5")

    def again(change):
        write_h5(path)
        with h5py.File(path, "r+") as file:
            change(file)
        return refused(path)

    def elsewhere(link):
        def change(file):
            del file[f"mlgle/{name}"]
            file[f"mlgle/{name}"] = link

        return change

    assert "is missing" in again(lambda file: file.__delitem__(f"mlgle/{name}"))
    assert "not followed" in again(elsewhere(h5py.ExternalLink("/etc/passwd", "/x")))
    assert "not followed" in again(elsewhere(h5py.SoftLink("/mlgle/com")))
    if name != "species":
        assert "frame 70 has" in again(lambda file: file[f"mlgle/{name}"].__setitem__((70, 0, 0), np.nan))
        assert "shape" in again(lambda file: file[f"mlgle/{name}"].resize(99, axis=0))


def test_a_chunk_without_a_channel_that_the_journal_has_is_one_line(tmp_path):
    run = journal_of(tmp_path / "run")
    path = run.checkpoint / "stream-000000.npz"
    for name in ("forces", "ions/com", "whole system/stress"):
        with np.load(path) as archive:
            whole = dict(archive)
        np.savez(path, **{key: values for key, values in whole.items() if key != name})
        with pytest.raises(UserError, match=f"no array '{name}'"):
            read_chunk(path, SYSTEM)
        np.savez(path, **whole)
    assert read_chunk(path, SYSTEM).same_bits(FRAMES[:64])
