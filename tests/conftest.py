"""What all tests stand on."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in background jobs of shells; programs under test inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ:  # two workers share the cores: threads of torch and BLAS would only wait
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Keep each module's tests in one worker, which share its fixtures, and all that launch ranks in one: they spin."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        group = "ranks" if item.get_closest_marker("mpi") else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))


def _unrendered(self, path, **options):
    Path(path).write_bytes(b"")


@pytest.fixture
def unrendered(monkeypatch):
    """Make pictures up to the last line, and write empty files for them: rendering takes longer than all else."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", _unrendered)


@pytest.fixture(scope="module", autouse=True)
def _light(request):
    """In modules with the marker ``light``, whose tests look at neither, render nothing and train networks briefly."""
    if request.node.get_closest_marker("light") is None:
        yield
        return
    from mlgle_lammps.surrogates.ml_gle.mode_trainer import TrainOptions

    brief = partial(TrainOptions, max_updates=25, updates_per_round=2, batch=256)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", _unrendered)
        patch.setattr("mlgle_lammps.surrogates.ml_gle.trainer.TrainOptions", brief)
        yield
