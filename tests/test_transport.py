"""The stream between two threads: what the trainer's source promises. (Over MPI: test_run_mpi.py.)"""

import threading
import time

import numpy as np
import pytest

from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.records import Ending, Frames, System
from mlgle_lammps.stream import links
from mlgle_lammps.stream.links import RankLink, ThreadLink
from mlgle_lammps.stream.transport import FRAME, Inbox, Outbox, pack_frame, unpack_frame

SYSTEM = System(n_chains=3, n_beads=10, n_modes=2, dt=0.5)


def make_frame(step):
    generator = np.random.default_rng(step)
    com = generator.normal(size=(3, 3))
    return Frames.single(step, 0, com, generator.normal(size=(3, 2, 3)).astype(np.float32))


@pytest.fixture
def ends():
    md_side, trainer_side = ThreadLink.pair()
    inbox = Inbox(trainer_side)
    yield Outbox(md_side), inbox
    inbox.close()


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_packing_is_exact():
    frame = make_frame(123456789012)
    again = unpack_frame(pack_frame(frame, SYSTEM), SYSTEM)
    assert (again.last_step, again.last_segment) == (123456789012, 0)
    assert again.same_bits(frame)
    again.com[0] = 0.0  # a copy that may be written to


def test_frames_pass_the_journal_first_and_come_in_order(ends):
    outbox, inbox = ends
    outbox.hello(SYSTEM)
    for step in range(5):
        outbox.send(make_frame(step))
    outbox.end(Ending(step=4, md_s=2.0))
    assert inbox.wait_for_system() == SYSTEM
    journalled: list[Frames] = []
    closed: list[int] = []
    inbox.begin(journalled.append, lambda ending: closed.append(len(journalled)))
    frames = list(inbox)
    assert [frame.last_step for frame in frames] == [frame.last_step for frame in journalled] == [0, 1, 2, 3, 4]
    assert closed == [5]
    assert (inbox.ending().status, inbox.ending().md_s, inbox.broken()) == ("complete", 2.0, False)


def test_frames_wait_in_memory_and_keep_their_modes_after_the_hand_off(ends):
    outbox, inbox = ends
    outbox.hello(SYSTEM)
    journalled: list[Frames] = []
    inbox.begin(journalled.append)
    for step in range(6):
        outbox.send(make_frame(step))
    wait_for(lambda: inbox.backlog == 6)
    frames = iter(inbox)
    assert [next(frames).last_step for _ in range(2)] == [0, 1]
    inbox.hand_off()
    inbox.hand_off()
    outbox.listen()
    assert outbox.handed_off == 2
    assert next(frames).same_bits(make_frame(2))
    outbox.end(Ending())
    assert all(frame.same_bits(make_frame(step)) for step, frame in enumerate(frames, start=3))
    assert len(journalled) == 6
    assert all(frame.same_bits(make_frame(step)) for step, frame in enumerate(journalled))


@pytest.mark.parametrize(("exit_code", "kind"), [(2, UserError), (1, RunFailure)])
def test_failure_before_the_first_frame_has_its_exit_code(ends, exit_code, kind):
    outbox, inbox = ends
    outbox.fail("the deck is bad", exit_code)
    with pytest.raises(kind, match="the deck is bad"):
        inbox.wait_for_system()


def test_failure_in_mid_stream_ends_iteration_after_the_frames(ends):
    outbox, inbox = ends
    outbox.hello(SYSTEM)
    outbox.send(make_frame(7))
    outbox.fail("lost atoms")
    inbox.wait_for_system()
    inbox.begin()
    assert [frame.last_step for frame in inbox] == [7]
    assert inbox.broken()
    assert (inbox.ending().status, inbox.ending().message, inbox.ending().step) == ("failed", "lost atoms", 7)


def test_journal_that_cannot_be_written_stops_md(ends):
    outbox, inbox = ends

    def full(frame):
        raise RunFailure("cannot write: no space left on device")

    outbox.hello(SYSTEM)
    inbox.wait_for_system()
    inbox.begin(full)
    outbox.send(make_frame(1))
    assert list(inbox) == []
    assert "no space left" in inbox.ending().message
    outbox.listen()
    assert outbox.told_to_stop


def test_recorded_frames_come_before_those_that_arrive(ends):
    outbox, inbox = ends
    outbox.hello(SYSTEM)
    inbox.wait_for_system()
    inbox.begin(recorded=iter([make_frame(1), make_frame(2)]))
    outbox.send(make_frame(3))
    outbox.end(Ending())
    steps = []
    for frame in inbox:
        steps.append(frame.last_step)
        if frame.last_step == 2:
            inbox.hand_off()
        assert frame.same_bits(make_frame(frame.last_step))
    outbox.listen()
    assert (steps, outbox.handed_off) == ([1, 2, 3], 2)


def test_frames_that_nobody_takes_are_journalled_only(ends):
    outbox, inbox = ends
    outbox.hello(SYSTEM)
    inbox.wait_for_system()
    journalled: list[Frames] = []
    inbox.begin(journalled.append)
    inbox.record_on(5)
    for step in range(7):
        outbox.send(make_frame(step))
    outbox.end(Ending())
    assert inbox.ending().status == "complete"
    assert (len(journalled), inbox.backlog) == (7, 0)
    outbox.listen()
    assert outbox.handed_off == 5


def test_ending_waits_for_the_end(ends):
    outbox, inbox = ends
    outbox.hello(SYSTEM)
    inbox.begin()
    threading.Timer(0.2, lambda: outbox.end(Ending(status="interrupted", message="signal"))).start()
    begin = time.monotonic()
    assert inbox.ending().status == "interrupted"
    assert time.monotonic() - begin > 0.15
    assert inbox.broken()


class SlowRequest:
    """A send that is complete after so many looks at it."""

    def __init__(self, looks):
        self.looks = looks

    def test(self):
        self.looks -= 1
        return self.looks < 0, None


class SlowCommunicator:
    """An MPI communicator whose receiver is busy."""

    def __init__(self, looks):
        self.looks, self.sent = looks, []

    def isend(self, message, dest):
        self.sent.append((message, dest))
        return SlowRequest(self.looks)

    def improbe(self):
        return None


@pytest.mark.parametrize(("looks", "n_waits"), [(0, 0), (3, 0), (100, 5)])
def test_back_pressure_is_counted(monkeypatch, looks, n_waits):
    """64 sends may be in flight, and more while they are small; what comes on top waits and is counted."""
    monkeypatch.setattr(links, "POOL_BYTES", 65)
    communicator = SlowCommunicator(looks)
    link = RankLink(communicator, peer=1)
    for number in range(70):
        link.send(FRAME, bytes([number]))
    assert communicator.sent == [((FRAME, bytes([number])), 1) for number in range(70)]
    if n_waits:
        assert 0 < link.waits <= n_waits
    else:
        assert link.waits == 0
    assert link.flush(20.0)
