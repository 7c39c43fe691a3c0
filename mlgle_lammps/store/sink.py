"""A file that HDF5 can fail to write without taking the process along."""

from __future__ import annotations

import contextlib
import io
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back what Ctrl-C and SIGTERM raise until the block is done; also a decorator.

    HDF5 calls back into Python to write; an exception that a signal raises in there is lost, and the file with it.
    """
    held: list[tuple[int, FrameType | None]] = []
    before: dict[int, Callable[[int, FrameType | None], object]] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(handler := signal.getsignal(number)):
                before[number] = handler
                signal.signal(number, lambda number, frame: held.append((number, frame)))
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
        for kind, frame in held:
            before[kind](kind, frame)


class Sink(io.FileIO):
    """A file for HDF5 that keeps its first error instead of raising it.

    HDF5 cannot let go of a file that it failed to write to, and crashes at the end of the process. So it is told that
    all went well, and the writer looks at ``error`` after each call.
    """

    error: OSError | None = None

    def write(self, data: ReadableBuffer) -> int:
        """Write all of ``data``, or note the error; once there is one nothing more is written."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while self.error is None and done < len(view):
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.error = error
        return len(view)

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill ``buffer``, with zeros where writing had failed."""
        n = super().readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        view[n:] = bytes(len(view) - n)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the file's size, or note the error."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0
