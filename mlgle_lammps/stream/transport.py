"""From the MD ranks to the trainer and back: messages, back-pressure, and the trainer's `FrameSource`.

The same `Outbox` and `Inbox` work over a queue between two threads and over MPI; only the link differs. Messages are
(kind, bytes); every frame is one small message. The trainer's receiver is a thread of its own, so that frames wait in
the trainer's memory and MD does not wait for training.
"""

from __future__ import annotations

import json
import math
import pickle
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.plain import AnyArray
from mlgle_lammps.records import CHANNELS, Ending, Frames, System
from mlgle_lammps.stream.links import POLL_SECONDS, Link

HELLO, FRAME, END, FAILED, HAND_OFF, STOP = range(1, 7)
HEADER = struct.Struct("=qq")


def pack_frame(frame: Frames, system: System) -> bytes:
    """Return one frame as bytes: step and segment, then its channels in the order in which the system names them."""
    values = [frame.channels[own.name][channel][0] for own in system.species for channel in own.channels]
    return HEADER.pack(frame.last_step, frame.last_segment) + b"".join(array.tobytes() for array in values)


def unpack_frame(payload: bytes, system: System) -> Frames:
    """Return the frame that `pack_frame` packed for a stream of ``system``."""
    step, segment = HEADER.unpack_from(payload)
    place = HEADER.size
    channels: dict[str, dict[str, AnyArray]] = {}
    for own in system.species:
        channels[own.name] = {}
        for channel in own.channels:
            shape, dtype = own.shape(channel), np.dtype(CHANNELS[channel][0])
            count = math.prod(shape)
            values = np.frombuffer(payload, dtype, count, place).reshape(1, *shape).copy()
            channels[own.name][channel] = values
            place += count * dtype.itemsize
    return Frames(np.array([step]), np.array([segment]), channels)


class Outbox:
    """The MD side of the stream.

    Attributes:
        handed_off: frames after which the trainer handed off, None before that.
        told_to_stop: the trainer wants no more frames at all.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._system: System | None = None
        self.handed_off: int | None = None
        self.told_to_stop = False

    @property
    def waits(self) -> int:
        """How often MD waited for a free buffer."""
        return self._link.waits

    def hello(self, system: System) -> None:
        """Say what the frames will be about; goes before the first frame."""
        self._system = system
        self._link.send(HELLO, pickle.dumps(system))

    def send(self, frame: Frames) -> None:
        """Send one frame, after `hello`."""
        if self._system is None:
            raise RuntimeError("a frame before the stream has said what it is about")
        self._link.send(FRAME, pack_frame(frame, self._system))

    def end(self, ending: Ending) -> None:
        """End the stream; the last message."""
        self._link.send(END, pickle.dumps(replace(ending, waits=self.waits)))

    def fail(self, message: str, exit_code: int = 1, *, alone: bool = False) -> None:
        """End the stream by a failure; ``alone``: only this rank knows and the others hang."""
        self._link.send(FAILED, json.dumps({"message": message, "exit_code": exit_code, "alone": alone}).encode())

    def listen(self) -> None:
        """Take what the trainer says; called now and then, also to move pending sends along."""
        while (message := self._link.poll()) is not None:
            if message[0] == HAND_OFF:
                self.handed_off = int(message[1])
            elif message[0] == STOP:
                self.told_to_stop = True

    def flush(self, seconds: float) -> bool:
        """Wait until all messages are with the trainer, at most so long."""
        return self._link.flush(seconds)


class Inbox:
    """The trainer's side of the stream, a `FrameSource`.

    Args:
        link: the way to the MD side.
        on_alone: called in the receiver thread when a rank failed alone, with its message; the run cannot end by
            itself then.
    """

    def __init__(self, link: Link, on_alone: Callable[[str], None] | None = None) -> None:
        self._link = link
        self._on_alone = on_alone
        self._changed = threading.Condition()
        self._frames: deque[Frames] = deque()
        self._system: System | None = None
        self._ending: Ending | None = None
        self._failure: tuple[str, int] | None = None
        self._handed_off = self._urgent = self._unwanted = False
        self._begun, self._closing = threading.Event(), threading.Event()
        self._on_arrival: Callable[[Frames], None] = lambda frame: None
        self._on_end: Callable[[Ending], None] = lambda ending: None
        self._on_idle: Callable[[], None] = lambda: None
        self._recorded: Iterator[Frames] = iter(())
        self._last_step = 0
        self.n_received = 0
        self.n_taken = 0
        self.alone = False
        self._receiver = threading.Thread(target=self._receive, name="mlgle-receiver", daemon=True)
        self._receiver.start()

    @property
    def system(self) -> System:
        """What the frames are about; valid after `wait_for_system`."""
        if self._system is None:
            raise RuntimeError("the stream has not said yet what it is about")
        return self._system

    @property
    def begun(self) -> bool:
        """Whether frames are let in."""
        return self._begun.is_set()

    @property
    def backlog(self) -> int:
        """Frames that have arrived and wait to be taken."""
        return len(self._frames)

    def broken(self) -> bool:
        """Whether the stream is known to have been interrupted or to have failed: finish soon, train no more."""
        return self._urgent

    def hurry(self) -> None:
        """Make `broken` true; may be called from a signal handler."""
        self._urgent = True

    def wait_for_system(self) -> System:
        """Block until the stream says what it is about.

        Raises:
            UserError: the run failed before that, with the exit code that the MD side gave.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._system is not None or self._failure is not None)
        if self._system is None and self._failure is not None:
            message, exit_code = self._failure
            raise (UserError if exit_code == UserError.exit_code else RunFailure)(message)
        return self.system

    def begin(
        self,
        on_arrival: Callable[[Frames], None] | None = None,
        on_end: Callable[[Ending], None] | None = None,
        on_idle: Callable[[], None] | None = None,
        recorded: Iterator[Frames] | None = None,
    ) -> None:
        """Let frames in.

        Args:
            on_arrival: hears of each frame first, in the receiver thread.
            on_end: hears in that thread how the stream ended, after the last frame.
            on_idle: called in that thread whenever nothing arrives.
            recorded: frames of a run that goes on, yielded before those that come.
        """
        self._on_arrival = on_arrival or self._on_arrival
        self._on_end = on_end or self._on_end
        self._on_idle = on_idle or self._on_idle
        self._recorded = recorded or self._recorded
        self._begun.set()

    def __iter__(self) -> Iterator[Frames]:
        """Yield the recorded frames, then others as they come; stop when the stream has ended and all are taken."""
        for frame in self._recorded:
            self.n_taken += 1
            yield frame
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frames or self._ending is not None)
                if not self._frames:
                    return
                frame = self._frames.popleft()
                self.n_taken += 1
            yield frame

    def hand_off(self) -> None:
        """Say that the model has its frames; the last one taken counts as the hand-off."""
        if not self._handed_off:
            self._handed_off = True
            self._link.send(HAND_OFF, str(self.n_taken).encode())

    def record_on(self, n_frames: int) -> None:
        """Let MD go on without a learner, and end after ``n_frames`` where only a learner could tell."""
        self._handed_off = self._unwanted = True
        self._link.send(HAND_OFF, str(max(self.n_taken, n_frames)).encode())
        self._frames.clear()

    def stop(self) -> None:
        """Ask MD to end at once; what still comes is let in, also where nobody has begun to listen."""
        self._begun.set()
        self._link.send(STOP, b"")

    def close(self) -> None:
        """End the receiver thread; needed before MPI is finalized."""
        self._closing.set()
        self._begun.set()
        self._receiver.join()

    def ending(self) -> Ending:
        """Return how the stream ended; wait for its end where frames still come."""
        with self._changed:
            self._changed.wait_for(lambda: self._ending is not None)
        assert self._ending is not None
        return self._ending

    def _receive(self) -> None:
        try:
            while self._ending is None and not self._closing.is_set():
                message = self._link.poll()
                if message is None:
                    self._on_idle()
                    time.sleep(POLL_SECONDS)
                else:
                    self._take(*message)
        except Exception as error:
            self.stop()
            self._failure = (one_line(error), RunFailure.exit_code)
            self._end(Ending(status="failed", message=one_line(error), step=self._last_step))
            self._drain()

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == HELLO:
            with self._changed:
                self._system = pickle.loads(payload)
                self._changed.notify_all()
            self._begun.wait()
        elif kind == FRAME:
            frame = unpack_frame(payload, self.system)
            self._on_arrival(frame)
            with self._changed:
                self.n_received += 1
                self._last_step = frame.last_step
                if not self._unwanted:
                    self._frames.append(frame)
                self._changed.notify_all()
        elif kind == END:
            self._end(pickle.loads(payload))
        elif kind == FAILED:
            self._fail(**json.loads(payload))

    def _fail(self, message: str, exit_code: int, alone: bool) -> None:
        self.alone = alone
        self._failure = (message, exit_code)
        if alone and self._on_alone is not None:
            self._on_alone(message)
        self._end(Ending(status="failed", message=message, step=self._last_step))

    def _end(self, ending: Ending) -> None:
        if ending.status != "complete":
            self._urgent = True
        try:
            self._on_end(ending)
        except Exception as error:
            ending = replace(ending, status="failed", message=ending.message or one_line(error))
        with self._changed:
            self._ending = ending
            self._changed.notify_all()

    def _drain(self) -> None:
        """Take and drop what still comes, so that MD can end."""
        while not self._closing.is_set():
            message = self._link.poll()
            if message is None:
                time.sleep(POLL_SECONDS)
            elif message[0] in (END, FAILED):
                return
