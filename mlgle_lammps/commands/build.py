"""Write a start structure of a polymer melt: a LAMMPS data file of any number and length of chains.

Chains are grown as random walks with the local statistics of the melt (`chains.random_walks`), so that end-to-end
distances are right from the start and need not relax by diffusion, and placed where the melt is thinnest
(`chains.start_structure`). Beads overlap: a push-off has to follow, see `lammps_inputs/pushoff.lmp`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.random_walks import ChainModel, grow_chains, internal_distances
from mlgle_lammps.chains.start_structure import BOLTZMANN, box_length, place_chains
from mlgle_lammps.commands.from_fields import Parser
from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.formats.melt_data import data_text
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


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="mlgle build",
        description="Write a LAMMPS data file with a melt of linear chains, ready for a push-off.",
        epilog="Defaults with --units real are cis-1,4-polybutadiene, with --units lj the Kremer-Grest melt.",
    )
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="data file to write")
    add("--chains", type=int, default=100, metavar="N", help="default 100")
    add("--beads", type=int, default=100, metavar="N", help="beads of a chain (default 100)")
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


def _check(values: argparse.Namespace) -> None:
    """Raise UserError on sizes that make no melt, or on a file that is in the way."""
    for name, least in {"chains": 1, "beads": 2, "seed": 0}.items():
        if getattr(values, name) < least:
            raise UserError(f"--{name} is {getattr(values, name)}; the least that makes sense is {least}")
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
    values = _parser().parse_args(argv)
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
    rng = np.random.default_rng(values.seed)
    box = box_length(values.chains * values.beads, values.density, values.mass, values.units)
    chains = place_chains(grow_chains(model, values.chains, values.beads, rng), box, rng)
    title = (
        f"LAMMPS data file, units {values.units}: {values.chains} chains x {values.beads} beads, "
        f"density {values.density:g}, seed {values.seed}, before push-off (mlgle build)"
    )
    _write(values.file, data_text(chains, box, values.mass, values.angle != "none", title))
    measured = float(np.mean(np.sum((chains[:, -1] - chains[:, 0]) ** 2, axis=-1)))
    expected = internal_distances(model, values.beads - 1)[-1]
    return (
        f"{values.file}: {values.chains} chains x {values.beads} beads, box {box:.5g}, "
        f"<R_ee^2> {measured:.5g} (expected {expected:.5g})"
    )


def main(argv: list[str] | None = None) -> int:
    """Build a start structure; return the exit code."""
    try:
        print(build(argv))
    except UserError as error:
        print(f"mlgle build: error: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    return 0
