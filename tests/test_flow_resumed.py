"""Flow-control decks that go on from a restart file written in the midst of production come to the same end."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "decks"))
import flow

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.continuation import continued
from mlgle_lammps.acquire.deck import Deck, read_deck
from mlgle_lammps.acquire.deck_files import DeckFiles
from mlgle_lammps.acquire.flow import ENTER

pytestmark = pytest.mark.lammps

QUIET = flow.HEAD.replace("fix 2 all langevin 1.0 1.0 0.5 99\n", "atom_modify sort 0 0.0\nrestart 1 md.*.restart\n")
NOT_HERE = {"respa_before_production"}  # of which LAMMPS writes no restart file at every step


def run_to_the_end(deck: Deck, folder: Path, checkpoint: Path) -> tuple[int, int, np.ndarray]:
    """Run a deck's files as the driver does; return the steps at which production began and ended, and positions."""
    comm = mpi.start().md_comm
    lmp = mpi.open_lammps(["-log", "none", "-screen", "none", *deck.arguments()], comm)
    files = DeckFiles(lmp, comm, checkpoint)
    first = deck.first_file()
    assert first is not None
    files.run("deck.before.lmp", first, deck.other_files)
    begin = lmp.extract_global("ntimestep")
    lmp.command(f"variable {ENTER} string 1")
    files.run("deck.production.lmp", deck.production_file(), deck.other_files)
    step = lmp.extract_global("ntimestep")
    ids, found = lmp.numpy.extract_atom("id"), lmp.numpy.extract_atom("x")
    n = lmp.extract_setting("nlocal")
    positions = found[:n][np.argsort(ids[:n])].copy()
    lmp.close()
    return begin, step, positions


@pytest.mark.parametrize("name", sorted(set(flow.MARKED) - NOT_HERE))
def test_a_deck_goes_on_to_the_same_end(tmp_path, name, monkeypatch):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    flow.write_deck(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    restarts = QUIET.replace("md.*", f"{checkpoint}/md.*")
    Path("head.lmp").write_text(restarts)
    deck = read_deck(Path("in.deck"))
    begin, end, positions = run_to_the_end(deck, tmp_path, checkpoint)
    monkeypatch.chdir(tmp_path)
    assert end > begin
    for step in sorted({begin, begin + 1, (begin + end) // 2, end - 1}):
        going_on = continued(deck, checkpoint / f"md.{step}.restart", begin, 1)
        _, last, again = run_to_the_end(going_on.deck, tmp_path, checkpoint)
        monkeypatch.chdir(tmp_path)
        assert last == end, step
        np.testing.assert_allclose(again, positions, rtol=0, atol=1e-12)
