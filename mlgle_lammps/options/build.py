"""What `build` takes: molecules, their local statistics, and how densely they lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
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
MOST_BEADS = 10**8
"""Of a melt."""
LEAST, MOST = 1e-6, 1e6
"""Of numbers that must be positive; stiffnesses go up to ``MOST`` too."""
MOST_TORSION = 700.0
"""The largest whose exponential is a number."""


def _by_units(name: str) -> str:
    """Return both defaults of a field in words."""
    return ", ".join(f"{units} {values[name]}" for units, values in DEFAULTS.items())


@dataclass(frozen=True)
class BuildOptions:
    """What ``build`` takes; each field says what it means. What depends on units is None until it is asked for."""

    file: Path = option(meaning="data file to write", metavar="FILE", positional=True)
    chains: int | None = option(None, "molecules", metavar="N", least=1, most=MOST_BEADS, shown=str(SIZE))
    beads: int | None = option(None, "beads of a linear chain", metavar="N", least=2, most=MOST_BEADS, shown=str(SIZE))
    star: str | None = option(
        None, "stars instead, such as 4x10: 4 arms of 10 beads and a core", metavar="ARMSxBEADS", shown="chains"
    )
    ring: int | None = option(
        None, "rings instead, such as 50", metavar="BEADS", least=3, most=MOST_BEADS, shown="chains"
    )
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
        if any(beads < 2 for _, beads in self.lengths):
            raise UserError(f"`blend` {self.blend}: a chain has 2 beads or more")
        for name in ("density", "mass", "temperature", "bond"):
            if not LEAST <= self.number(name) <= MOST:
                raise UserError(f"`{name}` is {self.number(name):g}; it must be positive, from {LEAST:g} to {MOST:g}")
        self._require_statistics()
        if self.n_beads > MOST_BEADS:
            raise UserError(
                f"{self.n_beads} beads in all; the most that are built is {MOST_BEADS}: lower `chains`, or the "
                f"beads of a molecule"
            )

    def _require_statistics(self) -> None:
        """Raise UserError where the chains' local statistics contradict one another."""
        for name, least, most in (("bond_stiffness", 0.0, MOST), ("torsion", -MOST_TORSION, MOST_TORSION)):
            if not least <= self.number(name) <= most:
                raise UserError(f"`{name}` is {self.number(name):g}; give a number from {least:g} to {most:g}")
        angle_of(self.word("angle"))
        way, closest, bond = self.word("bond_distribution"), self.number("closest"), self.number("bond")
        if way == "harmonic" and self.number("bond_stiffness") < LEAST:
            raise UserError(f"`bond_distribution` harmonic needs `bond_stiffness` above 0, {LEAST:g} at least")
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
    def n_beads(self) -> int:
        """Beads of the melt."""
        n_chains = self.chains or SIZE
        if self.star is not None:
            n_arms, beads = pair_of("`star`", self.star, "")
            return n_chains * (1 + n_arms * beads)
        if self.ring is not None:
            return n_chains * self.ring
        return sum(n * beads for n, beads in self.lengths or [(n_chains, self.beads or SIZE)])

    @property
    def lengths(self) -> list[tuple[int, int]]:
        """Chains and beads of each part of a blend; empty for none."""
        parts = [] if self.blend is None else self.blend.split("+")
        return [pair_of("`blend`", part, "chains x beads, such as 20x20+10x40") for part in parts]


def angle_of(text: str) -> tuple[float, float] | None:
    """Return stiffness and angle in degrees from "K,THETA0", None from "none"; raise UserError where it is neither."""
    if text == "none":
        return None
    try:
        stiffness, degrees = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"`angle` {text}: give K,THETA0 such as 1.5,125, or none") from None
    if not 0 <= stiffness <= MOST or not 0 < degrees <= 180:
        raise UserError(f"`angle` {text}: K lies between 0 and {MOST:g}, THETA0 in (0, 180] degrees")
    return stiffness, degrees


def pair_of(name: str, text: str, example: str) -> tuple[int, int]:
    """Return two numbers from "AxB"; raise UserError where they are none."""
    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text.strip())
    if found is None or not int(found[1]) or not int(found[2]):
        raise UserError(f"{name} {text}: give {example}")
    return int(found[1]), int(found[2])
