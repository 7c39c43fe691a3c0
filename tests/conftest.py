"""What all tests stand on."""

import signal
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in background jobs of shells; programs under test inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def unrendered(monkeypatch):
    """Make pictures up to the last line, and write empty files for them: rendering takes longer than all else."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **options: Path(path).write_bytes(b""))
