"""What a stream is about, as a file tells it: every value checked before anything rests on it."""

from __future__ import annotations

import math
from dataclasses import asdict, fields

from mlgle_lammps.directions import ALL_FREE, Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.trajectory import LONGEST, SHORTEST
from mlgle_lammps.plain import JsonMapping, JsonObject, JsonValue
from mlgle_lammps.records import CHAINS, CHANNELS, Species, System

MOST_SPECIES = 1000
LONGEST_UNIT, LONGEST_TEXT, MOST_NOTES = 40, 4096, 1000
"""Letters, and lines, that a description may have."""
LONGEST_CHAIN = 10**6
"""Beads; memory grows with them, so that a damaged number must not pass."""
MOST_BONDS = 8
"""Bonds per bead of a molecule; more come from a damaged file."""
ARCHITECTURE = ("name", "edges", "eigenvalues", "types", "masses")
"""Fields that say what molecules are; a System has them where they are not linear chains of one species."""


def described(system: System) -> JsonObject:
    """Return the fields of a System as they are written.

    Those of ``ARCHITECTURE``, and boxes, only where they say something.
    """
    values = asdict(system)
    for name in ARCHITECTURE:
        if values[name] in ("", (), None):
            del values[name]
    if values["boxes"] == 1:
        del values["boxes"]
    return values


def system_from_mapping(values: JsonMapping, where: str) -> System:
    """Return the System that a file describes; raise UserError naming the first value that cannot be one."""
    kept = {field.name: values[field.name] for field in fields(System) if field.name in values}
    for name in ("n_chains", "n_beads", "n_modes", "every"):
        value = kept.get(name)
        least, most = (0 if name == "n_modes" else 1), (LONGEST_CHAIN if name == "n_beads" else 2**31)
        if value is None and name in ("n_beads", "every"):
            kept.pop(name, None)
        elif not isinstance(value, int) or isinstance(value, bool) or not least <= value < most:
            raise UserError(
                f"{where}: {name} is {repr(value)[:40]} where a whole number from {least} to {most - 1} belongs"
            )
    boxes = kept.get("boxes", 1)
    if not isinstance(boxes, int) or isinstance(boxes, bool) or boxes < 1 or kept["n_chains"] % boxes:
        raise UserError(f"{where}: boxes is {repr(boxes)[:40]}, which does not divide {kept['n_chains']} molecules")
    kept.setdefault("n_beads", None)
    if kept["n_beads"] is not None and kept["n_modes"] >= kept["n_beads"]:
        raise UserError(f"{where}: {kept['n_modes']} modes of chains of {kept['n_beads']} beads, which have fewer")
    dt = kept.get("dt")
    if not isinstance(dt, int | float) or isinstance(dt, bool) or not SHORTEST < dt < LONGEST:
        raise UserError(f"{where}: dt is {repr(dt)[:40]} where a time above 0 belongs")
    kept["dt"] = float(dt)
    for name in ("units", "time_unit", "length_unit", "source"):
        if name in kept and not isinstance(kept[name], str):
            raise UserError(f"{where}: {name} is {repr(kept[name])[:40]} where text belongs")
        if name != "source" and not (len(kept.get(name, "")) <= LONGEST_UNIT and kept.get(name, "").isprintable()):
            raise UserError(f"{where}: {name} is {repr(kept[name])[:40]} where the name of a unit belongs")
    n_variances = None if kept["n_beads"] is None else kept["n_beads"] - 1
    kept["box"] = _numbers(kept.get("box"), "box", 6, where)
    kept["mode_variances"] = _numbers(kept.get("mode_variances"), "mode_variances", n_variances, where)
    if min((kept["box"] or (1.0,))[:3]) <= 0:
        raise UserError(f"{where}: the box is {kept['box']}, with an edge that is not above 0")
    if min(kept["mode_variances"] or (0.0,)) < 0:
        raise UserError(f"{where}: mode_variances has numbers below 0")
    for name, unknown in (("center_held", False), ("whole_molecules", False), ("ends_alike", True)):
        kept[name] = kept.get(name, unknown) in (True, 1)
    kept["channels"], kept["others"] = _channels_of(kept, where), _others_of(kept, where)
    kept["directions"] = _directions_of(kept, where)
    try:
        kept |= _architecture(kept, kept["n_chains"], kept["n_beads"])
        if not isinstance(kept.get("name", ""), str) or (kept.get("name") and not _named(kept["name"])):
            raise ValueError("name")
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {error} of the main species is not what belongs there") from None
    for name in ("notes", "left_out"):
        lines = kept.get(name) or ()
        listed = lines if isinstance(lines, list | tuple) else [lines]
        kept[name] = tuple(_printable(str(line)) for line in listed[:MOST_NOTES])
    if "source" in kept:
        kept["source"] = _printable(kept["source"])
    return System(**kept)


def _channels_of(values: JsonMapping, where: str) -> tuple[str, ...]:
    """Return the channels that a description names, those of today's streams where it names none."""
    found = values.get("channels", ("com", "modes"))
    names = tuple(found) if isinstance(found, list | tuple) else ()
    if "com" not in names or not _can_hold(Species(CHAINS, values["n_chains"], values["n_beads"], channels=names)):
        held = ", ".join(name for name in CHANNELS if name != "stress")
        raise UserError(f"{where}: channels is {repr(found)[:60]} where names of {held} belong (beads with n_beads)")
    return names


def _others_of(described: JsonMapping, where: str) -> tuple[Species, ...]:
    """Return the further species that a description names; raise UserError where one cannot be."""
    found = described.get("others", ())
    try:
        if not isinstance(found, list | tuple) or len(found) > MOST_SPECIES:
            raise TypeError
        others = [_species(entry) for entry in found]
    except (TypeError, KeyError, ValueError):
        raise UserError(f"{where}: others is {repr(found)[:60]}, which does not describe species") from None
    names = [CHAINS, *(own.name for own in others)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{where}: others names {twice[0]} twice ({CHAINS} is the main species)")
    return tuple(others)


def _directions_of(described: JsonMapping, where: str) -> Directions:
    """Return the directions that a description names, all where it names none."""
    found = described.get("directions", ALL_FREE)
    try:
        return found if isinstance(found, Directions) else Directions.from_plain(found)
    except ValueError as error:
        raise UserError(f"{where}: directions: {error}") from None


def _species(entry: JsonValue) -> Species:
    """Return a species from the values of its fields; raise TypeError, KeyError or ValueError where it cannot be."""
    values = asdict(entry) if isinstance(entry, Species) else dict(entry)
    counts = values["n_molecules"], values.get("n_beads")
    own = Species(**{**values, "channels": tuple(values["channels"]), **_architecture(values, *counts)})
    beads = 1 if own.n_beads is None else own.n_beads
    whole = all(type(n) is int for n in (own.n_molecules, own.n_modes, beads))
    if not whole or not (0 < own.n_molecules < 2**31 and 0 < beads < LONGEST_CHAIN and 0 <= own.n_modes < 2**31):
        raise ValueError("counts")
    if not _named(own.name) or not own.channels or not _can_hold(own):
        raise ValueError("name or channels")
    return own


def _named(name: object) -> bool:
    if not isinstance(name, str) or len(name) > LONGEST_UNIT:
        return False
    return bool(name.strip(". ")) and "/" not in name and name.isprintable()


def _architecture(values: JsonMapping, n_molecules: JsonValue, n_beads: JsonValue) -> JsonObject:
    """Return what a description says of molecules; raise TypeError or ValueError naming what cannot be."""
    edges = [tuple(pair) for pair in values.get("edges") or ()]
    ends = [end for pair in edges for end in pair]
    if any(len(pair) != 2 for pair in edges) or not all(type(end) is int and 0 <= end < n_beads for end in ends):
        raise ValueError("edges")
    if edges and (len(edges) > MOST_BONDS * n_beads or len(set(ends)) != n_beads):
        raise ValueError("edges")
    eigenvalues = tuple(values.get("eigenvalues") or ())
    if (
        (eigenvalues and len(eigenvalues) != n_beads - 1)
        or not _positive(eigenvalues)
        or bool(edges) != bool(eigenvalues)
    ):
        raise ValueError("eigenvalues")
    types, masses = tuple(values.get("types") or ()), tuple(values.get("masses") or ())
    if not all(isinstance(name, str) for name in types) or len(types) not in (0, n_beads):
        raise ValueError("types")
    if len(masses) not in (0, 1, n_molecules) or not _positive(masses):
        raise ValueError("masses")
    return {"edges": tuple(edges), "eigenvalues": eigenvalues, "types": types, "masses": masses}


def _positive(values: tuple[object, ...]) -> bool:
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf for value in values
    )


def _can_hold(own: Species) -> bool:
    """Whether frames can hold the channels that a species names, each once."""
    known = all(isinstance(name, str) and name in CHANNELS for name in own.channels)
    if not known or len(set(own.channels)) != len(own.channels):
        return False
    return ("beads" not in own.channels or own.n_beads is not None) and (
        "stress" not in own.channels or own.n_molecules == 1
    )


def _printable(text: str) -> str:
    """Return text without control characters, cut to a length that people read; paths may hold odd bytes."""
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else " " for c in text[:LONGEST_TEXT])


def _numbers(values: JsonValue, name: str, length: int | None, where: str) -> tuple[float, ...] | None:
    """Return a list of finite numbers as a tuple; raise UserError where it is something else."""
    if values is None:
        return None
    plain = [] if isinstance(values, str) else values
    good = isinstance(plain, list | tuple) and len(plain) == length
    if not good or not all(isinstance(value, int | float) and math.isfinite(value) for value in plain):
        raise UserError(f"{where}: {name} is not {length} numbers")
    return tuple(float(value) for value in plain)
