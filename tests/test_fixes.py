"""What a deck's fixes do to the chains whose D is wanted: hold their centre in place, change their bonds."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "decks"))
import flow
from test_flow import drive

from mlgle_lammps.acquire.deck import read_deck
from mlgle_lammps.acquire.fixes import holds_center
from mlgle_lammps.errors import UserError
from mlgle_lammps.statistics.moments import MomentAccumulator, Moments

pytestmark = pytest.mark.lammps

IDEAL = flow.HEAD.replace("pair_style soft 1.0\npair_coeff * * 5.0\n", "pair_style none\n")
LANGEVIN = "fix 2 all langevin 1.0 1.0 0.5 99\n"
HELD = {
    "recenter": LANGEVIN + "fix rc all recenter INIT INIT INIT\n",
    "momentum": LANGEVIN + "fix m all momentum 1 linear 1 1 1\n",
    "zero": "fix 2 all langevin 1.0 1.0 0.5 99 zero yes\n",
    "zero, after an unfix": LANGEVIN + "unfix 2\nfix 2 all langevin 1.0 1.0 0.5 99 zero yes\n",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flow.write_deck(tmp_path, "plain")
    return tmp_path


def moments_of(fixes: str, production: str = "", marked: bool = True) -> tuple[bool, Moments]:
    """Return whether the centre is held, and the displacements of ideal chains under some fixes."""
    marker = "#mlgle production\n" if marked else ""
    text = f"{IDEAL.replace(LANGEVIN, fixes)}{marker}{production}run 4000\n"
    Path("in.deck").write_text(text)
    driver, outbox, _ = drive(None, every=20)
    accumulator = MomentAccumulator(flow.N_CHAINS, 2, 16, center_held=driver.system.center_held)
    for frame in outbox.frames:
        accumulator.add(frame)
    return driver.system.center_held, accumulator.moments()


@pytest.fixture
def free(here):
    held, moments = moments_of(LANGEVIN)
    assert not held
    assert moments.center_diffuses
    return moments


@pytest.mark.parametrize("way", HELD)
def test_a_held_centre_gives_what_the_free_one_gives(free, way):
    """Ideal chains under the same noise: what they do about their common centre is the same, held or free."""
    held, moments = moments_of(HELD[way])
    assert held
    assert moments.center_diffuses
    np.testing.assert_allclose(moments.msd_com, free.msd_com, rtol=1e-6)
    np.testing.assert_allclose(moments.msd_modes, free.msd_modes, rtol=1e-4)


def test_without_being_told_it_would_be_too_small_by_one_chain(here):
    held, moments = moments_of(HELD["recenter"])
    untold = MomentAccumulator(flow.N_CHAINS, 2, 16)
    _, outbox, _ = drive(None, every=20)
    for frame in outbox.frames:
        untold.add(frame)
    assert held
    assert not untold.moments().center_diffuses
    share = untold.moments().msd_com / moments.msd_com
    np.testing.assert_allclose(share, (flow.N_CHAINS - 1) / flow.N_CHAINS, rtol=1e-12)


def test_a_fix_of_the_production_part_counts(free):
    held, moments = moments_of(LANGEVIN, production="fix rc all recenter INIT INIT INIT\n")
    assert held
    np.testing.assert_allclose(moments.msd_com, free.msd_com, rtol=1e-6)


@pytest.mark.parametrize(
    "fixes",
    [
        "fix rc all recenter INIT INIT INIT\n",
        "fix n all temp/berendsen 1.0 1.0 0.5\nfix m all momentum 1 linear 1 1 1\n",
        "fix rc all recenter INIT INIT INIT\n" + LANGEVIN + "unfix 2\n",
    ],
)
def test_where_momentum_is_conserved_no_factor_is_due(here, fixes):
    held, moments = moments_of(fixes)
    assert not held
    assert not moments.center_diffuses


@pytest.mark.parametrize(
    ("fix", "holds"),
    [
        (("m", "all", "momentum", "100", "linear", "1", "1", "0"), True),
        (("m", "all", "momentum", "100", "angular"), False),
        (("m", "all", "momentum", "100", "linear", "0", "0", "0", "angular"), False),
        (("m", "all", "momentum/kk", "100", "linear", "1", "1", "1"), True),
        (("m", "all", "recenter", "INIT", "NULL", "NULL"), True),
        (("m", "all", "nve"), False),
        (("l", "all", "langevin", "1", "1", "1", "7", "zero", "no"), False),
        (("l", "all", "langevin", "1", "1", "1", "7", "tally", "yes", "zero", "on"), True),
    ],
)
def test_which_fixes_hold_the_centre(fix, holds):
    langevin = ("l", "all", "langevin", "1", "1", "1", "7")
    styles = {"l": "langevin", fix[0]: fix[2]}
    assert holds_center(styles, (langevin, fix)) == holds
    assert not holds_center({"n": "nvt", fix[0]: "momentum"}, (fix,))


CHANGING = {
    "bond/swap": "fix b all bond/swap 10 0.5 1.3 777",
    "bond/break": "fix b all bond/break 10 1 2.0",
    "bond/create": "fix b all bond/create 10 1 1 0.1 1",
}


@pytest.mark.parametrize("style", CHANGING)
@pytest.mark.parametrize("marked", [True, False])
def test_a_fix_that_changes_bonds_is_refused_by_line(here, style, marked):
    marker = "#mlgle production\n" if marked else ""
    Path("in.deck").write_text(f"include head.lmp\n{CHANGING[style]}\n{marker}run 5\n")
    with pytest.raises(UserError, match=rf"in\.deck:2: fix {style} changes bonds during production"):
        read_deck(Path("in.deck"))
    Path("in.deck").write_text(f"include head.lmp\n#mlgle production\n{CHANGING[style]}\nrun 5\n")
    with pytest.raises(UserError, match=rf"in\.deck:3: fix {style} changes bonds during production"):
        read_deck(Path("in.deck"))


def test_one_that_the_text_does_not_show_is_refused_when_production_begins(here):
    deck = "include head.lmp\nvariable s file style.txt\nfix b all ${s} 10 1 2.0\nrun 2\n"
    Path("style.txt").write_text("bond/break\n")
    Path("in.deck").write_text(deck)
    with pytest.raises(UserError, match=r"in\.deck: fix b of style bond/break changes bonds"):
        drive(None)


def test_bonds_may_change_before_production(here):
    text = f"include head.lmp\n{CHANGING['bond/break']}\nrun 20\nunfix b\n#mlgle production\nrun 20\n"
    Path("in.deck").write_text(text.replace("2.0", "20.0"))
    _, _, ending = drive(None)
    assert not [line for line in ending.warnings if "bonds" in line]


def test_bonds_that_a_bond_style_breaks_are_said_at_the_end(here):
    """No fix is at work: bonds of style quartic break by themselves."""
    head = re.sub(r"bond_style.*\nbond_coeff.*\n", "bond_style quartic\nbond_coeff 1 1.0 -0.5 0.2 2.2 1.0\n", IDEAL)
    head = head.replace("pair_style none\n", "pair_style lj/cut 1.12\npair_coeff * * 0.0 1.0\n")
    head = head.replace("special_bonds lj 0 1 1", "special_bonds lj 1 1 1").replace("nve\n", "nve/limit 0.05\n")
    Path("in.deck").write_text(f"{head}#mlgle production\nrun 3000\n")
    _, _, ending = drive(None)
    found = [line for line in ending.warnings if "bonds changed during production" in line]
    assert len(found) == 1
    counts = re.search(r"(\d+) of (\d+) are gone and 0 are new", found[0])
    assert counts
    gone, of = map(int, counts.groups())
    assert 0 < gone <= of == flow.N_CHAINS * (flow.N_BEADS - 1)
