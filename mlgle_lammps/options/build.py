"""What `build` takes: molecules, their local statistics, and how densely they lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.declaring import option, require_limits

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
"""By unit style: cis-1,4-polybutadiene, and the Kremer-Grest melt."""
SIZE = 100
"""Chains, and beads of a chain, where nothing else is said."""


def _by_units(name: str) -> str:
    """Return both defaults of a field in words."""
    return ", ".join(f"{units} {values[name]}" for units, values in DEFAULTS.items())


@dataclass(frozen=True)
class BuildOptions:
    """What ``build`` takes; each field says what it means. What depends on units is None until it is asked for."""

    file: Path = option(meaning="data file to write", metavar="FILE", positional=True)
    chains: int | None = option(None, "molecules", metavar="N", least=1, shown=str(SIZE))
    beads: int | None = option(None, "beads of a linear chain", metavar="N", least=2, shown=str(SIZE))
    star: str | None = option(
        None, "stars instead, such as 4x10: 4 arms of 10 beads and a core", metavar="ARMSxBEADS", shown="chains"
    )
    ring: int | None = option(None, "rings instead, such as 50", metavar="BEADS", shown="chains")
    blend: str | None = option(
        None, "chains of several lengths, such as 20x20+10x40", metavar="NxBEADS+..", shown="one length"
    )
    density: float | None = option(None, "g/cm3; lj: beads per volume", shown=_by_units("density"))
    units: str = option("real", "LAMMPS unit style", choices=tuple(DEFAULTS))
    mass: float | None = option(None, "of a bead, g/mol", shown=_by_units("mass"))
    temperature: float | None = option(None, "of the chain statistics, K", shown=_by_units("temperature"))
    bond: float | None = option(None, "length in the chain statistics, A", metavar="R0", shown=_by_units("bond"))
    bond_stiffness: float | None = option(
        None, "K of E = K (r - r0)^2, kcal/mol/A^2", metavar="K", shown=_by_units("bond_stiffness")
    )
    bond_distribution: str | None = option(
        None, "gaussian: ideal Rouse chains, <r^2> = R0^2", choices=("harmonic", "fixed", "gaussian"),
        shown=_by_units("bond_distribution"),
    )  # fmt: skip
    angle: str | None = option(
        None, "E = K (theta - theta0)^2, kcal/mol/rad^2 and degrees, or none", metavar="K,THETA0",
        shown=_by_units("angle"),
    )  # fmt: skip
    torsion: float | None = option(
        None, "torsions ~ exp(kappa cos phi), phi = 0 trans", metavar="KAPPA", shown=_by_units("torsion")
    )
    closest: float | None = option(
        None, "least distance of next-nearest bonded beads", metavar="R", shown=_by_units("closest")
    )
    seed: int = option(1, "of all that is drawn", least=0)
    overwrite: bool = option(False, "replace a file that exists")

    def __post_init__(self) -> None:
        require_limits(self)
        kinds = [name for name in ("star", "ring", "blend") if getattr(self, name) is not None]
        if len(kinds) > 1:
            raise UserError(f"`{kinds[0]}` and `{kinds[1]}`: give one of them")
        for name in ("beads",) if kinds in (["star"], ["ring"]) else ("beads", "chains") if kinds else ():
            if getattr(self, name) is not None:
                raise UserError(f"`{name}` does not go with `{kinds[0]}`, which says it")
        if self.star is not None and pair_of("`star`", self.star, "arms x beads, such as 4x10")[0] < 3:
            raise UserError(f"`star` {self.star}: a star has 3 arms or more; with fewer it is a chain")
        if self.ring is not None and self.ring < 3:
            raise UserError(f"`ring` is {self.ring}; a ring has 3 beads or more")
        if any(beads < 2 for _, beads in self.lengths):
            raise UserError(f"`blend` {self.blend}: a chain has 2 beads or more")
        for name in ("density", "mass", "temperature", "bond"):
            if not (self.number(name) > 0 and isfinite(self.number(name))):
                raise UserError(f"`{name}` is {self.number(name):g}; it must be positive")
        self._require_statistics()

    def _require_statistics(self) -> None:
        """Raise UserError where the chains' local statistics contradict one another."""
        way, closest, bond = self.word("bond_distribution"), self.number("closest"), self.number("bond")
        if way == "harmonic" and not self.number("bond_stiffness") > 0:
            raise UserError("`bond_distribution` harmonic needs `bond_stiffness` above 0")
        if way == "gaussian" and (self.word("angle") != "none" or self.number("torsion") or closest):
            raise UserError("`bond_distribution` gaussian goes with `angle` none `torsion` 0 `closest` 0")
        if not 0 <= closest < 2 * bond:
            raise UserError(f"`closest` is {closest:g}; it lies between 0 and twice the bond, {2 * bond:g}")

    def number(self, name: str) -> float:
        """Return a number, or its default in these units."""
        value = getattr(self, name)
        return float(DEFAULTS[self.units][name] if value is None else value)

    def word(self, name: str) -> str:
        """Return a word, or its default in these units."""
        value = getattr(self, name)
        return str(DEFAULTS[self.units][name] if value is None else value)

    @property
    def lengths(self) -> list[tuple[int, int]]:
        """Chains and beads of each part of a blend; empty for none."""
        parts = [] if self.blend is None else self.blend.split("+")
        return [pair_of("`blend`", part, "chains x beads, such as 20x20+10x40") for part in parts]


def pair_of(name: str, text: str, example: str) -> tuple[int, int]:
    """Return two numbers from "AxB"; raise UserError where they are none."""
    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text.strip())
    if found is None or not int(found[1]) or not int(found[2]):
        raise UserError(f"{name} {text}: give {example}")
    return int(found[1]), int(found[2])
