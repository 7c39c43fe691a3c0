"""What a deck must be like so that its molecules' centres can be held, refused by name where it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from mlgle_lammps.acquire.continuation import NOISE_IN_PAIRS
from mlgle_lammps.acquire.fixes import NOISE, plain
from mlgle_lammps.chains.topology import Chains
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Int64, System

INTEGRATORS = {"nve"}
SET_ASIDE = re.compile(
    r"^(nve|nvt|temp/(rescale|berendsen|csvr)|momentum|recenter|print|vector|halt|balance|ave/.*|store/.*|external)$"
)
"""Fixes that production may have, and that have nothing to do while centres are held: plain dynamics is done there."""
KEPT = re.compile(r"^(property/atom|[A-Z].*)$")
"""Fixes that stay; those in capitals are LAMMPS's own, such as where ``compute msd`` keeps its origin."""
THERMOSTATS = re.compile(r"^(nvt|temp/(rescale|berendsen|csvr))$")
FRICTION = (
    "friction and noise would be part of the memory that is to be learned: produce with 'fix nve', after a run with "
    "the thermostat that is unfixed before production begins"
)


def refuse_what_cannot_be_held(
    system: System, chains: Chains, n_atoms: int, fixes: Mapping[str, str], pair_style: tuple[str, ...]
) -> tuple[str, ...]:
    """Return what is worth knowing of a system whose centres will be held, one line each.

    Args:
        system: of the frames.
        chains: its molecules.
        n_atoms: of the whole system.
        fixes: id -> style of those that production has.
        pair_style: words of the deck's pair style.

    Raises:
        UserError: friction or noise in production, fixes that are not known to leave centres alone, more than one
            species, single atoms, or a box that is not periodic and rectangular.
    """
    styles = {name: plain(style) for name, style in fixes.items()}
    for name, style in styles.items():
        if style in NOISE or style == "viscous" or style.startswith("dpd/"):
            raise UserError(f"fix {name} of style {style} adds friction during production: {FRICTION}")
    if noisy := next((word for word in map(plain, pair_style) if word in NOISE_IN_PAIRS), None):
        raise UserError(f"pair style {noisy} adds friction during production: {FRICTION}")
    for name, style in styles.items():
        if not SET_ASIDE.match(style) and not KEPT.match(style):
            raise UserError(
                f"fix {name} of style {style} during production: it is not known what it does to centres that are "
                "held; constrained runs know of nve, nvt, temp/rescale, temp/berendsen, temp/csvr, and fixes that "
                "only look on"
            )
    _refuse_other_species(system, chains, n_atoms)
    if system.box is None or any(system.box[3:]):
        raise UserError("constrained runs need a box that is periodic in all directions and has no tilt")
    thermostats = [f"{style} (fix {name})" for name, style in styles.items() if THERMOSTATS.match(style)]
    return tuple(f"production has the thermostat {told}; constrained runs have none" for told in thermostats)


def _refuse_other_species(system: System, chains: Chains, n_atoms: int) -> None:
    """Raise UserError where not every atom belongs to a molecule of the main species."""
    if chains.others:
        names = ", ".join(f"{own.species.n_molecules} '{own.species.name}'" for own in chains.others)
        raise UserError(
            f"beside {system.n_chains} '{system.main_name}' there are {names}: what is learned is the memory of one "
            "species of molecules alone, all of whose centres are held; a solvent of single atoms has no centres that "
            "could be held, and left free it would be part of the memory"
        )
    counted = sum(len(ids) for ids in molecules_of(chains))
    if counted != n_atoms:
        raise UserError(
            f"{n_atoms - counted} of {n_atoms} atoms belong to no molecule of the main species '{system.main_name}': "
            "centres can be held only where all molecules are of one species"
        )


def molecules_of(chains: Chains) -> list[Int64]:
    """Return the atom ids of each molecule of the main species, in the order of its centres."""
    assert chains.main is not None
    found = []
    for block in chains.main.blocks:
        side = np.empty(0, dtype=np.int64) if block.centres is None else block.centres.side.chain
        found += [np.concatenate([ids, block.side[side == number]]) for number, ids in enumerate(block.ids)]
    return found
