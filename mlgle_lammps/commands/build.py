"""Write a start structure of a polymer melt: a LAMMPS data file of chains, stars, rings, or a blend of chains.

Chains are grown as random walks with the local statistics of the melt (`chains.random_walks`), so that end-to-end
distances are right from the start and need not relax by diffusion, and placed where the melt is thinnest
(`chains.start_structure`). Beads overlap: a push-off has to follow, see `lammps_inputs/pushoff.lmp`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.blueprints import Blueprint, linear, ring, star
from mlgle_lammps.chains.random_walks import Array, ChainModel, internal_distances
from mlgle_lammps.chains.start_structure import BOLTZMANN, box_length, place_molecules
from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.commands.from_fields import Parser, add_options, record
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.formats.melt_data import Molecule, molecules_text
from mlgle_lammps.options.build import SIZE, BuildOptions, angle_of, pair_of
from mlgle_lammps.resources.room import available_memory, readable_bytes
from mlgle_lammps.store.atomic import write_bytes_atomically

BYTES_PER_BEAD = 1200.0
"""Of memory, while the file is put together: measured with linear chains."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `mlgle build`."""
    parser = Parser(
        prog="mlgle build",
        description="Write a LAMMPS data file with a melt of chains, stars or rings, ready for a push-off.",
        epilog="Defaults with --units real are cis-1,4-polybutadiene, with --units lj the Kremer-Grest melt.",
    )
    add_options(parser, BuildOptions)
    return parser


def _blueprints(options: BuildOptions) -> list[Blueprint]:
    """Return what is to be built."""
    n_chains = options.chains or SIZE
    if options.star is not None:
        return [star(n_chains, *pair_of("`star`", options.star, ""))]
    if options.ring is not None:
        return [ring(n_chains, options.ring)]
    return [linear(*part) for part in options.lengths or [(n_chains, options.beads or SIZE)]]


def parse(argv: Sequence[str] | None = None) -> tuple[BuildOptions, ChainModel]:
    """Return the checked options and the chains' local statistics."""
    options = record(BuildOptions, make_parser().parse_args(argv))
    if options.file.exists() and not options.overwrite:
        raise UserError(f"{options.file} exists; give another name, or --overwrite")
    if options.file.exists() and not options.file.is_file():
        raise UserError(f"{options.file} is no ordinary file, which is not replaced; give another name")
    return options, statistics_of(options)


def statistics_of(options: BuildOptions) -> ChainModel:
    """Return the local statistics of chains, energies in units of kT."""
    thermal = BOLTZMANN[options.units] * options.number("temperature")
    angle = angle_of(options.word("angle"))
    model = ChainModel(
        bond=options.number("bond"), bond_distribution=options.word("bond_distribution"),
        bond_stiffness=options.number("bond_stiffness") / thermal,
        angle_stiffness=angle[0] / thermal if angle else 0.0, angle=np.deg2rad(angle[1]) if angle else np.pi,
        torsion=options.number("torsion"), closest=options.number("closest"),
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        if not np.all(np.isfinite(model.angles()[1])):  # sharper than its grid
            raise UserError(
                f"`angle` {options.word('angle')} at `temperature` {options.number('temperature'):g}: no angle is "
                "likely; lower K, or raise `temperature`"
            )
    return model


def _write(path: Path, text: str) -> None:
    try:
        write_bytes_atomically(path, text.encode())
    except RunFailure as error:
        raise UserError(str(error)) from None


def build(argv: Sequence[str] | None = None) -> str:
    """Write the data file that the options ask for; return a line that says what it holds.

    Raises:
        UserError: on bad options, an existing file without --overwrite, or one that cannot be written.
    """
    options, model = parse(argv)
    wanted, room = options.n_beads * BYTES_PER_BEAD, available_memory()
    if wanted > room.free:
        raise UserError(
            f"{options.n_beads} beads need {readable_bytes(wanted)} of memory, and {readable_bytes(room.free)} are "
            f"{room.limit}: lower `chains`, or the beads of a molecule"
        )
    kinds, mass, density = _blueprints(options), options.number("mass"), options.number("density")
    rng = np.random.default_rng(options.seed)
    box = box_length(sum(own.n_molecules * own.n_beads for own in kinds), density, mass, options.units)
    grown = [own.grow(model, rng) for own in kinds]
    placed = iter(place_molecules([beads for molecules in grown for beads in molecules], box, rng))
    molecules = []
    for own in kinds:
        angles = own.angles if options.word("angle") != "none" else np.empty((0, 3), dtype=np.int64)
        molecules += [Molecule(next(placed), own.edges, angles) for _ in range(own.n_molecules)]
    words = ", ".join(own.words for own in kinds)
    title = (
        f"LAMMPS data file, units {options.units}: {words}, "
        f"density {density:g}, seed {options.seed}, before push-off (mlgle build)"
    )
    _write(options.file, molecules_text(molecules, box, mass, title))
    sizes = ", ".join(_size(own, beads, model) for own, beads in zip(kinds, grown, strict=True))
    return f"{options.file}: {words}, box {box:.5g}, {sizes}"


def _size(kind: Blueprint, grown: Array, model: ChainModel) -> str:
    """Return how large the molecules are: end to end with what theory expects of chains, else the radius."""
    if len(kind.edges) == kind.n_beads - 1 and np.bincount(kind.edges.ravel()).max() <= 2:
        measured = float(np.mean(np.sum((grown[:, -1] - grown[:, 0]) ** 2, axis=-1)))
        return f"<R_ee^2> {measured:.5g} (expected {internal_distances(model, kind.n_beads - 1)[-1]:.5g})"
    centred = grown - grown.mean(axis=1, keepdims=True)
    return f"<Rg^2> {float(np.mean(np.sum(centred**2, axis=-1))):.5g}"


def _build(argv: Sequence[str]) -> int:
    sys.stdout.write(f"{build(argv)}\n")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Build a start structure; return the exit code."""
    return run_command("build", _build, argv)
