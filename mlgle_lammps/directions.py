"""Which of x, y and z the chains are free to diffuse in: the one record of it between all stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.plain import AnyArray, JsonObject, JsonValue

AXES = "xyz"
LONGEST_REASON = 400


@dataclass(frozen=True)
class Directions:
    """The free directions, and why others are closed.

    Whoever learns, fits or generates works on the d columns of the free directions and on nothing else; recordings
    keep all three.

    Attributes:
        free: "xyz", or those of its letters that are free, in that order.
        reasons: (letter, why) of each closed direction.
        given: somebody said so; else walls or the motion did.
    """

    free: str = AXES
    reasons: tuple[tuple[str, str], ...] = ()
    given: bool = False

    def __post_init__(self) -> None:
        closed = "".join(axis for axis in AXES if axis not in self.free)
        if self.free != "".join(axis for axis in AXES if axis in self.free) or dict(self.reasons).keys() != set(closed):
            raise ValueError(f"{self.free!r} free and {self.reasons} closed are not the directions {AXES}")

    @classmethod
    def named(cls, text: str) -> Directions:
        """Return the directions that somebody named, such as "xy"; raise UserError where these are none."""
        letters = text.lower()
        if not letters or set(letters) - set(AXES) or len(set(letters)) < len(letters):
            raise UserError(f"`directions` {text}: give those that are free as letters of xyz, each once, such as xy")
        free = "".join(axis for axis in AXES if axis in letters)
        reasons = tuple((axis, f"not among --directions {free}") for axis in AXES if axis not in letters)
        return cls(free, reasons, given=True)

    @classmethod
    def closed_by(cls, reasons: Mapping[str, str]) -> Directions:
        """Return the directions that are free where some are closed, each for its reason."""
        return cls().closing(reasons)

    @classmethod
    def from_plain(cls, values: JsonValue) -> Directions:
        """Return the directions that a file describes; raise ValueError where these cannot be."""
        try:
            free, given = values["free"], values["given"]
            reasons = tuple((axis, why) for axis, why in values["reasons"])
        except (TypeError, KeyError, ValueError):
            raise ValueError(f"{repr(values)[:60]} does not describe directions") from None
        texts = [free, *(word for reason in reasons for word in reason)]
        if type(given) is not bool or not all(isinstance(word, str) and word.isprintable() for word in texts):
            raise ValueError(f"{repr(values)[:60]} does not describe directions")
        if max(map(len, texts)) > LONGEST_REASON:
            raise ValueError("a reason why a direction is closed is too long")
        return cls(free, reasons, given)

    @property
    def n(self) -> int:
        """Number d of free directions."""
        return len(self.free)

    @property
    def closed(self) -> dict[str, str]:
        """Each closed direction and why it is."""
        return dict(self.reasons)

    @property
    def columns(self) -> slice:
        """The free columns of an axis of x, y, z; a slice for every choice, so that taking them copies nothing."""
        first, last = AXES.index(self.free[0]), AXES.index(self.free[-1])
        return slice(first, last + 1, max(1, (last - first) // max(1, self.n - 1)))

    def closing(self, reasons: Mapping[str, str]) -> Directions:
        """Return directions of which further ones are closed."""
        found = {axis: why[:LONGEST_REASON] for axis, why in {**reasons, **self.closed}.items()}
        free = "".join(axis for axis in AXES if axis not in found)
        return Directions(free, tuple((axis, found[axis]) for axis in AXES if axis in found), self.given)

    def embedded(self, values: AnyArray) -> AnyArray:
        """Return (.., d) as (.., 3), zero in closed directions."""
        if values.shape[-1] == len(AXES):
            return values
        whole = np.zeros((*values.shape[:-1], len(AXES)), dtype=values.dtype)
        whole[..., self.columns] = values
        return whole

    def plain(self) -> JsonObject:
        """Return what a file holds."""
        return {"free": self.free, "reasons": [list(reason) for reason in self.reasons], "given": self.given}

    def summary(self) -> JsonObject:
        """Return what result.json says."""
        return {"free": self.free, "closed": self.closed, "given": self.given}

    def sentence(self) -> str:
        """Return one line for people."""
        listed = ", ".join(self.free) or "none"
        closed = "; ".join(f"{axis} is closed: {why}" for axis, why in self.reasons)
        if self.given:
            return f"free directions: {listed} (--directions)"
        return f"free directions: {listed}" + (f"; {closed}" if closed else "")


ALL_FREE = Directions()


def no_direction(directions: Directions) -> str:
    """Return what is said where no direction is free."""
    whys = "; ".join(f"{axis}: {why}" for axis, why in directions.reasons)
    return f"the chains are confined in every direction ({whys}), so that there is no D: give `directions` for one"
