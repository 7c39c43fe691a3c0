"""Write a start structure of a polymer melt: a LAMMPS data file of chains, stars, rings, or a blend of chains.

Chains are grown as random walks with the local statistics of the melt (`chains.random_walks`), so that end-to-end
distances are right from the start and need not relax by diffusion, and placed where the melt is thinnest
(`chains.start_structure`). Beads overlap: a push-off has to follow, see `lammps_inputs/pushoff.lmp`.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.blueprints import Blueprint, linear, ring, star
from mlgle_lammps.chains.random_walks import Array, ChainModel, internal_distances
from mlgle_lammps.chains.start_structure import BOLTZMANN, box_length, place_molecules
from mlgle_lammps.commands.from_fields import Parser
from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.formats.melt_data import Molecule, molecules_text
from mlgle_lammps.options.declaring import as_flags
from mlgle_lammps.store.atomic import write_bytes_atomically

BOND_DISTRIBUTIONS = ("harmonic", "fixed", "gaussian")
# Local statistics as measured in the equilibrated melts. For polybutadiene bonds are shorter and angles smaller than
# the force field's own terms (4.65 A, 1.1 kcal/mol/rad^2, 125) make them: the melt's cohesion folds the chains.
DEFAULTS: dict[str, dict[str, float | str]] = {
    "real": {
        "density": 0.90, "mass": 54.09, "temperature": 300.0, "bond": 4.46, "bond_stiffness": 1.74, "angle": "0.28,150",
        "bond_distribution": "harmonic", "torsion": 0.14, "closest": 0.0,
    },
    "lj": {
        "density": 0.85, "mass": 1.0, "temperature": 1.0, "bond": 0.97, "bond_stiffness": 0.0, "angle": "none",
        "bond_distribution": "fixed", "torsion": 0.0, "closest": 1.02,
    },
}  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `mlgle build`."""
    parser = Parser(
        prog="mlgle build",
        description="Write a LAMMPS data file with a melt of chains, stars or rings, ready for a push-off.",
        epilog="Defaults with --units real are cis-1,4-polybutadiene, with --units lj the Kremer-Grest melt.",
    )
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="data file to write")
    add("--chains", type=int, metavar="N", help="molecules (default 100)")
    add("--beads", type=int, metavar="N", help="beads of a linear chain (default 100)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--star", metavar="ARMSxBEADS", help="stars instead, such as 4x10: 4 arms of 10 beads and a core")
    kind.add_argument("--ring", type=int, metavar="BEADS", help="rings instead, such as 50")
    kind.add_argument("--blend", metavar="NxBEADS+..", help="chains of several lengths, such as 20x20+10x40")
    add("--density", type=float, help="g/cm3 (0.90); with --units lj beads per volume (0.85)")
    add("--units", choices=("real", "lj"), default="real")
    add("--mass", type=float, help="of a bead: g/mol (54.09), lj 1")
    add("--temperature", type=float, help="of the chain statistics: K (300), lj 1")
    add("--bond", type=float, metavar="R0", help="bond length of the chain statistics (4.46 A, lj 0.97)")
    add("--bond-stiffness", type=float, metavar="K", help="of E = K (r - r0)^2 (1.74 kcal/mol/A^2)")
    add("--bond-distribution", choices=BOND_DISTRIBUTIONS, help="gaussian: ideal Rouse chains, <r^2> = R0^2")
    add("--angle", metavar="K,THETA0", help="E = K (theta - theta0)^2, kcal/mol/rad^2 and degrees (0.28,150); or none")
    add("--torsion", type=float, metavar="KAPPA", help="torsions ~ exp(kappa cos phi), phi = 0 trans (0.14, lj 0)")
    add("--closest", type=float, metavar="R", help="least distance of next-nearest bonded beads (0, lj 1.02)")
    add("--seed", type=int, default=1)
    add("--overwrite", action="store_true", help="replace a file that exists")
    return parser


def _angle(text: str) -> tuple[float, float] | None:
    """Return stiffness and angle in radians from "K,THETA0", None from "none"."""
    if text == "none":
        return None
    try:
        stiffness, degrees = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--angle {text}: give K,THETA0 such as 1.5,125, or none") from None
    if stiffness < 0 or not 0 < degrees <= 180:
        raise UserError(f"--angle {text}: K must not be negative, THETA0 lies in (0, 180] degrees")
    return stiffness, np.deg2rad(degrees)


def _pair(option: str, text: str, example: str) -> tuple[int, int]:
    """Return two numbers from "AxB"."""
    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text.strip())
    if found is None or not int(found[1]) or not int(found[2]):
        raise UserError(f"{option} {text}: give {example}")
    return int(found[1]), int(found[2])


def _blueprints(values: argparse.Namespace) -> list[Blueprint]:
    """Return what is to be built; raise UserError where the options do not say one thing."""
    kind = next((name for name in ("star", "ring", "blend") if getattr(values, name) is not None), None)
    for name in ("beads",) if kind in ("star", "ring") else ("beads", "chains") if kind else ():
        if getattr(values, name) is not None:
            raise UserError(f"--{name} does not go with --{kind}, which says it")
    n_chains = 100 if values.chains is None else values.chains
    if n_chains < 1:
        raise UserError(f"--chains is {n_chains}; the least that makes sense is 1")
    if kind == "star":
        n_arms, arm_beads = _pair("--star", values.star, "arms x beads, such as 4x10")
        if n_arms < 3:
            raise UserError(f"--star {values.star}: a star has 3 arms or more; with fewer it is a chain")
        return [star(n_chains, n_arms, arm_beads)]
    if kind == "ring":
        if values.ring < 3:
            raise UserError(f"--ring is {values.ring}; a ring has 3 beads or more")
        return [ring(n_chains, values.ring)]
    if kind == "blend":
        parts = [_pair("--blend", part, "chains x beads, such as 20x20+10x40") for part in values.blend.split("+")]
        if any(beads < 2 for _, beads in parts):
            raise UserError(f"--blend {values.blend}: a chain has 2 beads or more")
        return [linear(*part) for part in parts]
    n_beads = 100 if values.beads is None else values.beads
    if n_beads < 2:
        raise UserError(f"--beads is {n_beads}; the least that makes sense is 2")
    return [linear(n_chains, n_beads)]


def _check(values: argparse.Namespace) -> None:
    """Raise UserError on numbers that make no melt, or on a file that is in the way."""
    if values.seed < 0:
        raise UserError(f"--seed is {values.seed}; the least that makes sense is 0")
    for name in ("density", "mass", "temperature", "bond"):
        if not (getattr(values, name) > 0 and np.isfinite(getattr(values, name))):
            raise UserError(f"--{name} is {getattr(values, name):g}; it must be positive")
    if values.bond_distribution == "harmonic" and not values.bond_stiffness > 0:
        raise UserError("--bond-distribution harmonic needs --bond-stiffness above 0")
    if values.bond_distribution == "gaussian" and (values.angle != "none" or values.torsion or values.closest):
        raise UserError("--bond-distribution gaussian goes with --angle none --torsion 0 --closest 0")
    if not 0 <= values.closest < 2 * values.bond:
        raise UserError(f"--closest is {values.closest:g}; it lies between 0 and twice the bond, {2 * values.bond:g}")
    if values.file.exists() and not values.overwrite:
        raise UserError(f"{values.file} exists; give another name, or --overwrite")


def parse(argv: list[str] | None = None) -> tuple[argparse.Namespace, ChainModel]:
    """Return the checked options, defaults filled in, and the chains' local statistics."""
    values = make_parser().parse_args(argv)
    for name, default in DEFAULTS[values.units].items():
        if getattr(values, name) is None:
            setattr(values, name, default)
    _check(values)
    thermal = BOLTZMANN[values.units] * values.temperature
    angle = _angle(values.angle)
    model = ChainModel(
        bond=values.bond, bond_distribution=values.bond_distribution, bond_stiffness=values.bond_stiffness / thermal,
        angle_stiffness=angle[0] / thermal if angle else 0.0, angle=angle[1] if angle else np.pi,
        torsion=values.torsion, closest=values.closest,
    )  # fmt: skip
    return values, model


def _write(path: Path, text: str) -> None:
    try:
        write_bytes_atomically(path, text.encode())
    except RunFailure as error:
        raise UserError(str(error)) from None


def build(argv: list[str] | None = None) -> str:
    """Write the data file that the options ask for; return a line that says what it holds.

    Raises:
        UserError: on bad options, an existing file without --overwrite, or one that cannot be written.
    """
    values, model = parse(argv)
    kinds = _blueprints(values)
    rng = np.random.default_rng(values.seed)
    box = box_length(sum(own.n_molecules * own.n_beads for own in kinds), values.density, values.mass, values.units)
    grown = [own.grow(model, rng) for own in kinds]
    placed = iter(place_molecules([beads for molecules in grown for beads in molecules], box, rng))
    molecules = []
    for own in kinds:
        angles = own.angles if values.angle != "none" else np.empty((0, 3), dtype=np.int64)
        molecules += [Molecule(next(placed), own.edges, angles) for _ in range(own.n_molecules)]
    words = ", ".join(own.words for own in kinds)
    title = (
        f"LAMMPS data file, units {values.units}: {words}, "
        f"density {values.density:g}, seed {values.seed}, before push-off (mlgle build)"
    )
    _write(values.file, molecules_text(molecules, box, values.mass, title))
    sizes = ", ".join(_size(own, beads, model) for own, beads in zip(kinds, grown, strict=True))
    return f"{values.file}: {words}, box {box:.5g}, {sizes}"


def _size(kind: Blueprint, grown: Array, model: ChainModel) -> str:
    """Return how large the molecules are: end to end with what theory expects of chains, else the radius."""
    if len(kind.edges) == kind.n_beads - 1 and np.bincount(kind.edges.ravel()).max() <= 2:
        measured = float(np.mean(np.sum((grown[:, -1] - grown[:, 0]) ** 2, axis=-1)))
        return f"<R_ee^2> {measured:.5g} (expected {internal_distances(model, kind.n_beads - 1)[-1]:.5g})"
    centred = grown - grown.mean(axis=1, keepdims=True)
    return f"<Rg^2> {float(np.mean(np.sum(centred**2, axis=-1))):.5g}"


def main(argv: list[str] | None = None) -> int:
    """Build a start structure; return the exit code."""
    try:
        print(build(argv))
    except UserError as error:
        print(f"mlgle build: error: {as_flags(one_line(error))}", file=sys.stderr)
        return error.exit_code
    return 0
