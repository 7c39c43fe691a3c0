"""What asks a run to end early: signals, a limit of wall time, the death of the MPI launcher."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
SAVING_SECONDS = 60.0  # kept of the wall limit
LAUNCHER_SECONDS = 1.0  # between two looks at the launcher


class StopRequests:
    """Listens for requests to end; they set a flag, and a thread of its own acts on each of them.

    That thread sees a signal also while LAMMPS is busy in C, where Python's handlers wait.

    Args:
        act: called with each request; also from the main thread, from a signal handler.
        act_apart: called after that in the listener's own thread.

    Attributes:
        requested: the run should end.
    """

    def __init__(self, act: Callable[[], None], act_apart: Callable[[], None]) -> None:
        self.requested = False
        self._act, self._act_apart = act, act_apart
        self._receiving, self._sending = socket.socketpair()

    def listen(self, seconds: float | None) -> None:
        """Start to listen.

        Args:
            seconds: until the limit of wall time; None for none. A part of it is left for saving.
        """
        for number in SIGNALS:
            signal.signal(number, lambda number, frame: self._request())
        self._sending.setblocking(False)
        signal.set_wakeup_fd(self._sending.fileno())
        threading.Thread(target=self._watch, name="mlgle-signals", daemon=True).start()
        if seconds is not None:
            until = max(seconds - min(SAVING_SECONDS, seconds / 4), 0.1)
            timer = threading.Timer(until, self._sending.send, args=(b"\0",))
            timer.daemon = True
            timer.start()

    def watch_launcher(self, on_death: Callable[[], None]) -> None:
        """Call ``on_death`` in a thread when the process that started this one has died."""
        parent = os.getppid()

        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(LAUNCHER_SECONDS)
            self._request()
            on_death()

        threading.Thread(target=watch, name="mlgle-launcher", daemon=True).start()

    def _request(self) -> None:
        self.requested = True
        self._act()

    def _watch(self) -> None:
        while self._receiving.recv(1):
            self._request()
            self._act_apart()


def slurm_seconds_left() -> float | None:
    """Return the seconds that Slurm leaves this job, None where it does not say."""
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    left = float(end) - time.time() if end.isdigit() else 0.0
    return left if left > 0 else None
