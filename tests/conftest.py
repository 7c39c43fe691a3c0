"""What all tests stand on."""

import os
import signal
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in background jobs of shells; programs under test inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ:  # two workers share the cores: threads of torch and BLAS would only wait
    os.environ.setdefault("OMP_NUM_THREADS", "1")


THOROUGH = Path(__file__).with_name("thorough.txt")


def _matches(entry, item):
    """Tell whether an entry of thorough.txt, FILE or FILE::PATTERN, is of a test."""
    file, _, pattern = entry.partition("::")
    return item.path.name == file and (not pattern or fnmatchcase(item.name, pattern.replace("[", "[[]")))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what thorough.txt lists, before tests are chosen by their marks."""
    entries = [line for line in THOROUGH.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    n_files = len(list(THOROUGH.parent.glob("test_*.py")))
    whole = len({item.path for item in items}) > 0.9 * n_files  # some are skipped where a library is missing
    for entry in entries:
        found = [item for item in items if _matches(entry, item)]
        if not found and whole:
            raise pytest.UsageError(f"{THOROUGH.name}: {entry} is no test")
        for item in found:
            item.add_marker(pytest.mark.thorough)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep each file's tests in one worker, which share its fixtures, and all that launch ranks in one: they spin."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::")[0]
            return "ranks" if "mark.mpi" in (config.rootpath / file).read_text(encoding="utf-8") else file

    return ByFile(config, log)


def _unrendered(self, path, **options):
    Path(path).write_bytes(b"")


@pytest.fixture
def unrendered(monkeypatch):
    """Make pictures up to the last line, and write empty files for them: rendering takes longer than all else."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", _unrendered)


def _train_briefly(patch):
    from mlgle_lammps.surrogates.ml_gle.mode_trainer import TrainOptions

    brief = partial(TrainOptions, max_updates=25, updates_per_round=2, batch=256)
    patch.setattr("mlgle_lammps.surrogates.ml_gle.trainer.TrainOptions", brief)


@pytest.fixture
def brief_training(monkeypatch):
    """Train networks for a few updates only."""
    _train_briefly(monkeypatch)


@pytest.fixture(scope="module", autouse=True)
def _light(request):
    """In modules with the marker ``light``, whose tests look at neither, render nothing and train networks briefly."""
    if request.node.get_closest_marker("light") is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", _unrendered)
        _train_briefly(patch)
        yield
