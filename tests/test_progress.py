"""Progress outside a terminal: log lines with what is done and the time left."""

from __future__ import annotations

import logging

import pytest

from mlgle_lammps.resources import progress


def test_the_time_left_is_at_the_present_pace(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """Frames that a resumed run has from its checkpoint come at once; those after them take a minute each."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with caplog.at_level(logging.INFO, "mlgle"), progress.Progress("hand-off", 100) as bar:
        bar.advance(80)
        for _ in range(10):
            clock[0] += 60.0
            bar.advance()
    left = [record.getMessage().rsplit("about ", 1)[1] for record in caplog.records]
    assert left == ["0 s left", "15 min left", "10 min left"]
