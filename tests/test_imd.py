"""A running simulation as a stream: the same frames and D as its own recording, and what can go wrong on the way."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import mlgle_lammps as ml
from mlgle_lammps.chains.modes import chain_modes
from mlgle_lammps.commands.parsers import parse_replay
from mlgle_lammps.commands.replay import main as replay
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.imd import address_of, is_address
from mlgle_lammps.formats.live import open_imd
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import joined

pytestmark = pytest.mark.light

ROOT = Path(__file__).parent.parent
N_CHAINS, N_BEADS, BOX = 12, 6, 30.0
HANDSHAKE, SESSION, GO, DISCONNECT, TIME, SHAPE, COORDINATES = 4, 10, 3, 0, 12, 13, 2


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server(threading.Thread):
    """An IMD server of version 3 that sends what it is told to: (step, time, positions) or raw bytes, then closes."""

    def __init__(self, entries, *, timed=True, boxed=True, wrapped=True, version=3, greeting=None, pause=0.0):
        super().__init__(daemon=True)
        self._entries, self._timed, self._boxed, self._wrapped = entries, timed, boxed, wrapped
        self._version, self._greeting, self._pause = version, greeting, pause
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.name = f"imd://127.0.0.1:{self.port}"
        self.sent = 0
        self.start()

    def run(self):
        connection, _ = self._listening.accept()
        with self._listening, connection, contextlib.suppress(OSError):  # the client has what it wants
            self._serve(connection)

    def _serve(self, connection):
        if self._greeting is not None:
            connection.sendall(self._greeting)
            return
        connection.sendall(struct.pack("!i", HANDSHAKE) + struct.pack("<i", self._version))
        if self._version == 3:
            told = (self._timed, False, self._boxed, True, self._wrapped, False, False)
            connection.sendall(struct.pack("!ii", SESSION, 7) + bytes(map(int, told)))
        connection.recv(8)
        for entry in self._entries:
            connection.sendall(entry if isinstance(entry, bytes) else self.packet(*entry))
            self.sent += 1
            time.sleep(self._pause)

    def packet(self, step, moment, positions):
        parts = []
        if self._timed and self._version == 3:
            parts.append(struct.pack("!ii", TIME, 1) + struct.pack("<ddq", 0.01, moment, step))
        if self._boxed and self._version == 3:
            cell = np.diag([BOX] * 3).astype("<f4").tobytes()
            parts.append(struct.pack("!ii", SHAPE, 1) + cell)
        parts.append(struct.pack("!ii", COORDINATES, len(positions)) + positions.astype("<f4").tobytes())
        return b"".join(parts)


def walk(n_frames=60, seed=5):
    """Unwrapped positions (time, atom, 3) of chains of ideal bonds that move a little, and their data file's text."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, BOX, (N_CHAINS, 1, 3)) + rng.normal(0, 0.5, (N_CHAINS, N_BEADS, 3)).cumsum(axis=1)
    moves = rng.normal(0, 0.1, (n_frames, N_CHAINS, N_BEADS, 3)) + rng.normal(0, 0.3, (n_frames, N_CHAINS, 1, 3))
    return (start + moves.cumsum(axis=0)).reshape(n_frames, -1, 3)


@pytest.fixture(scope="module")
def topology(tmp_path_factory):
    """A data file whose atoms are not in order."""
    n = N_CHAINS * N_BEADS
    order = np.random.default_rng(1).permutation(n)
    atoms = [f"{i + 1} {i // N_BEADS + 1} 1 0 0 0" for i in order]
    bonds = [(i + 1, i + 2) for i in range(n) if (i + 1) % N_BEADS]
    lines = [
        "chains\n", f"{n} atoms\n{len(bonds)} bonds\n1 atom types\n1 bond types\n",
        *(f"0 {BOX} {a}lo {a}hi" for a in "xyz"), "\nMasses\n\n1 1.0\n\nAtoms # bond\n", *atoms, "\nBonds\n",
        *(f"{k + 1} 1 {i} {j}" for k, (i, j) in enumerate(bonds)),
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("imd") / "chains.data"
    path.write_text("\n".join(lines) + "\n")
    return path


def frames_of(positions, every=10):
    return [(every * i, 0.01 * every * i, here % BOX) for i, here in enumerate(positions)]


def expected(positions):
    beads = positions.reshape(len(positions), N_CHAINS, N_BEADS, 3)
    return beads.mean(axis=2), chain_modes(beads, 3)[:, :, 1:]


def test_frames_are_those_that_were_sent(topology):
    positions = walk()
    server = Server(frames_of(positions))
    stream = ml.read_stream(server.name, topology=topology, units="lj", n_modes=3)
    com, modes = expected(positions)
    assert (stream.system.dt, stream.system.every, stream.system.n_beads) == (pytest.approx(0.1), 10, N_BEADS)
    assert stream.frames.steps.tolist() == list(range(0, 600, 10))
    rounding = 4 * BOX * 2.0**-24  # of positions in single precision, and of their images
    assert np.abs((stream.com - stream.com[0]) - (com - com[0])).max() < rounding
    assert np.abs(stream.modes - modes).max() < rounding


def test_unwrapped_frames_need_no_box(topology):
    positions = walk()
    entries = [(step, moment, here) for (step, moment, _), here in zip(frames_of(positions), positions, strict=True)]
    stream = ml.read_stream(Server(entries, wrapped=False, boxed=False).name, topology=topology, n_modes=3)
    np.testing.assert_allclose(stream.com, expected(positions)[0], atol=1e-5)
    assert any("does not say its units" in note for note in stream.system.notes)


def test_skip_and_stride_are_those_of_files(topology):
    positions = walk()
    stream = ml.read_stream(Server(frames_of(positions)).name, topology=topology, n_modes=3, skip=5, stride=3)
    assert stream.frames.steps.tolist() == list(range(50, 600, 30))
    com = expected(positions)[0][5::3]
    assert np.abs((stream.com - stream.com[0]) - (com - com[0])).max() < 1e-5


def test_a_gap_begins_a_segment_and_repeats_are_left_out(topology):
    entries = frames_of(walk())
    entries = [*entries[:10], entries[9], *entries[15:]]
    source = open_imd(address_of(Server(entries).name), TrajectoryOptions(topology), 3)
    frames = joined(list(source))
    assert frames.steps.tolist() == [*range(0, 100, 10), *range(150, 600, 10)]
    assert frames.segments.tolist() == [0] * 10 + [1] * 45
    told = " ".join(source.ending().warnings)
    assert "missing in 1 places" in told
    assert "1 frames that repeat" in told


def test_version_2_has_no_time_and_says_so(topology):
    entries = frames_of(walk())
    with pytest.raises(UserError, match=r"give `timestep`.* or `dt`"):
        ml.read_stream(Server(entries, version=2).name, topology=topology, unwrapped=True)
    whole = [(0, 0.0, here) for here in walk()]
    stream = ml.read_stream(Server(whole, version=2).name, topology=topology, unwrapped=True, dt=0.5, n_modes=3)
    assert (stream.system.dt, len(stream)) == (0.5, 60)


def test_no_time_in_version_3_either(topology):
    with pytest.raises(UserError, match="does not say the time between two frames"):
        ml.read_stream(Server(frames_of(walk()), timed=False).name, topology=topology)


def test_a_simulation_is_let_go_when_enough_has_come(topology):
    server = Server(frames_of(walk(4000)), pause=0.002)
    source = open_imd(address_of(server.name), TrajectoryOptions(topology), 3, limit=30)
    assert sum(len(frame) for frame in source) == 30
    assert source.ending().warnings == tuple(w for w in source.ending().warnings if "closed" not in w)
    server.join(5.0)
    assert not server.is_alive()
    assert server.sent < 4000


def test_a_server_that_ends_in_mid_frame_leaves_what_came(topology, tmp_path, capsys):
    entries = frames_of(walk())
    server = Server(entries)
    cut = server.packet(*entries[50])[:-40]
    server._entries[:] = [*entries[:50], cut]
    options = "--memory 8 --train-frames 60 --val-frames 20 --modes 3 --generate-steps 0 --threads 1".split()  # noqa: SIM905
    arguments = [server.name, "--topology", str(topology), *options, "--out", str(tmp_path / "run")]
    assert replay(arguments) == 0
    run = ml.open_run(tmp_path / "run")
    assert len(run.stream()) == 50
    assert any("closed the connection after 50 frames, at step 490" in line for line in run.warnings)
    assert any("the stream ended at 50 frames, before 80 frames" in line for line in run.warnings)


def test_too_few_frames_are_kept_all_the_same(topology, tmp_path, capsys):
    options = ["--memory", "32", "--train-frames", "60", "--val-frames", "20", "--modes", "3"]
    server = Server(frames_of(walk())[:20])
    assert replay([server.name, "--topology", str(topology), *options, "--out", str(tmp_path / "run")]) == 2
    assert "20 frames, and --memory 32 needs 33" in capsys.readouterr().err
    assert len(ml.read_stream(tmp_path / "run")) == 20


def test_frames_that_cannot_be_unwrapped_end_the_stream_and_those_before_are_kept(topology):
    positions = walk()
    positions[40:, ::2] += 12.0
    source = open_imd(address_of(Server(frames_of(positions)).name), TrajectoryOptions(topology), 3)
    assert sum(len(frame) for frame in source) == 40
    assert any("the 40 frames before that are kept" in line for line in source.ending().warnings)


@pytest.mark.parametrize(("greeting", "words"), [
    (b"SSH-2.0-nothing\r\n", "no IMD server"), (b"", "does not say that it is an IMD server"),
])  # fmt: skip
def test_what_is_no_imd_server_is_refused(topology, tmp_path, capsys, greeting, words):
    server = Server([], greeting=greeting)
    assert replay([server.name, "--topology", str(topology), "--out", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err
    assert words in line
    assert line.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_no_server(topology, tmp_path, capsys):
    name = f"imd://127.0.0.1:{free_port()}"
    assert replay([name, "--topology", str(topology), "--out", str(tmp_path / "run")]) == 2
    assert f"{name}: nobody listens there" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("version", [2, 3])
def test_a_topology_that_does_not_fit(topology, version):
    entries = [(step, moment, here[:-1]) for step, moment, here in frames_of(walk())]
    with pytest.raises(UserError, match=f"the {N_CHAINS * N_BEADS} atoms of the topology|topology has 72: they do not"):
        ml.read_stream(Server(entries, version=version).name, topology=topology, dt=1.0)


def test_one_frame_is_no_stream(topology):
    with pytest.raises(UserError, match="closed the connection after 1 frame; a stream needs more"):
        ml.read_stream(Server(frames_of(walk())[:1]).name, topology=topology)


def test_addresses(topology):
    assert str(parse_replay(["imd://somewhere:8888", "--topology", "x"])[0][0]) == "imd://somewhere:8888"
    assert parse_replay(["imd://somewhere:8888"])[2].out == Path("runs/imd-somewhere-8888-replay")
    assert not is_address("imd.dump")
    for wrong in ("imd://somewhere", "imd://:80", "imd://somewhere:0", "imd://somewhere:99999", "imd://a b:80"):
        with pytest.raises(UserError, match="imd://HOST:PORT"):
            address_of(wrong)
    with pytest.raises(UserError, match="name the simulation's LAMMPS data file"):
        ml.read_stream("imd://127.0.0.1:1")
    with pytest.raises(UserError, match="learn from it alone"):
        ml.read_stream("imd://127.0.0.1:1", "other.npz", topology=topology)


def test_without_imdclient_it_is_said(topology, monkeypatch):
    monkeypatch.setitem(sys.modules, "imdclient", None)
    with pytest.raises(UserError, match=r"pip install 'mlgle_lammps\[live\]'"):
        ml.read_stream("imd://127.0.0.1:1", topology=topology)


DECK = """
include {folder}/kremer.lmp
#mlgle production
fix out all imd {port} version 3 trate 50 time on box on coordinates on velocities off forces off
run 1000000
"""
RECORD = """
import numpy as np
import mlgle_lammps as ml
from mlgle_lammps.records import joined
with ml.Simulation("in.deck", every=50, n_frames=120, variables={{"data": "{data}"}}) as md:
    frames = joined(list(md))
np.savez("journal.npz", com=frames.com, modes=frames.modes, steps=frames.steps)
"""


@pytest.mark.lammps
def test_a_kremer_grest_melt_has_the_d_of_its_own_recording(tmp_path):
    """LAMMPS sends each frame that the driver records; what differs is that positions travel in single precision."""
    data, port = ROOT / "lammps_inputs" / "kg.data", free_port()
    (tmp_path / "kremer.lmp").write_text(data.with_name("in.kg").read_text().replace("index 20000", "index 200"))
    (tmp_path / "in.deck").write_text(DECK.format(folder=tmp_path, port=port))
    md = subprocess.Popen(
        [sys.executable, "-c", RECORD.format(data=data)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        stream = followed(f"imd://localhost:{port}", topology=data, units="lj")
        output = md.communicate(timeout=120)[0]
    finally:
        if md.poll() is None:
            os.killpg(md.pid, signal.SIGKILL)
    assert md.returncode == 0, output
    journal = np.load(tmp_path / "journal.npz")
    steps, here, there = np.intersect1d(stream.frames.steps, journal["steps"], return_indices=True)
    assert len(steps) >= 118
    assert stream.system.dt == pytest.approx(0.5)
    moved, own = (com - com[0] for com in (stream.com[here], journal["com"][there]))
    modes, own_modes = stream.modes[here], journal["modes"][there]
    assert np.abs(moved - own).max() < 2e-6
    assert np.abs(modes - own_modes).max() < 2e-6
    fits = [ml.fit_diffusion(com, z, 0.5, n_beads=25, memory=32).D for com, z in ((moved, modes), (own, own_modes))]
    assert fits[0].value == pytest.approx(fits[1].value, rel=1e-6)
    assert fits[0].ci95 == pytest.approx(fits[1].ci95, rel=1e-6)


def followed(name, **options):
    """Return the stream of a server that is about to start."""
    until = time.monotonic() + 60
    while True:
        try:
            return ml.read_stream(name, **options)
        except UserError as error:
            if "nobody listens" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.2)
