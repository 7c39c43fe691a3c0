"""Ways for messages (kind, bytes) between MD and trainer: queues between two threads, or MPI between two ranks."""

from __future__ import annotations

import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import Protocol

from mlgle_lammps.stream.communicator import Post, Request

POLL_SECONDS = 0.002
POOL_BUFFERS = 64  # that many sends may always be in flight
POOL_BYTES = 64 * 2**20  # and more of them up to this size

Message = tuple[int, bytes]


class Link(Protocol):
    """One side's way to the other."""

    @property
    def waits(self) -> int:
        """How often `send` had to wait for a free buffer."""
        ...

    def send(self, kind: int, payload: bytes) -> None:
        """Send a message; order is kept."""
        ...

    def poll(self) -> Message | None:
        """Return the next message, None where there is none; move pending sends along."""
        ...

    def flush(self, seconds: float) -> bool:
        """Wait until all is sent, at most so long; return whether it is."""
        ...


class ThreadLink:
    """A side of a pair of queues within one process."""

    waits = 0

    def __init__(self, outgoing: SimpleQueue[Message], incoming: SimpleQueue[Message]) -> None:
        self._outgoing, self._incoming = outgoing, incoming

    @classmethod
    def pair(cls) -> tuple[ThreadLink, ThreadLink]:
        """Return the two sides."""
        one: SimpleQueue[Message] = SimpleQueue()
        other: SimpleQueue[Message] = SimpleQueue()
        return cls(one, other), cls(other, one)

    def send(self, kind: int, payload: bytes) -> None:
        """Put a message into the queue."""
        self._outgoing.put((kind, payload))

    def poll(self) -> Message | None:
        """Return the next message, if there is one."""
        try:
            return self._incoming.get_nowait()
        except Empty:
            return None

    def flush(self, seconds: float) -> bool:
        """Return True: a queue takes everything at once."""
        return True


class RankLink:
    """One rank's way to another over MPI; sends do not block until the pool of buffers is full (64 MiB).

    Args:
        communicator: an mpi4py communicator used for nothing else.
        peer: rank to send to; messages are taken from any rank.
    """

    def __init__(self, communicator: Post, peer: int) -> None:
        self._communicator, self._peer = communicator, peer
        self._pending: deque[tuple[Request, int]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self.waits = 0

    def send(self, kind: int, payload: bytes) -> None:
        """Start sending; where all buffers are in flight, wait and count that."""
        self._collect()
        if self._full():
            self.waits += 1
            while self._full():
                time.sleep(POLL_SECONDS / 4)
                self._collect()
        with self._lock:
            self._pending.append((self._communicator.isend((kind, payload), dest=self._peer), len(payload)))
            self._bytes += len(payload)

    def poll(self) -> Message | None:
        """Return the next message, if there is one."""
        self._collect()
        waiting = self._communicator.improbe()
        return None if waiting is None else waiting.recv()

    def flush(self, seconds: float) -> bool:
        """Wait until all sends are complete."""
        until = time.monotonic() + seconds
        while self._pending and time.monotonic() < until:
            self._collect()
            time.sleep(POLL_SECONDS / 2)
        return not self._pending

    def _collect(self) -> None:
        with self._lock:
            while self._pending and self._pending[0][0].test()[0]:
                self._bytes -= self._pending.popleft()[1]

    def _full(self) -> bool:
        return len(self._pending) >= POOL_BUFFERS and self._bytes >= POOL_BYTES
