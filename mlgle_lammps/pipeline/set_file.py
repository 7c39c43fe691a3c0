"""The small file that makes a set of runs: decks and the values of their variables, and the models to train."""

from __future__ import annotations

import argparse
import re
import shlex
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.options.declaring import declared, flag
from mlgle_lammps.options.learn import MOST_TRAJECTORIES, LearnOptions
from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.surrogates.catalogue import SURROGATES, find_surrogate

PARTS = ("train", "test", "longer")
"""Runs that models learn from, unseen ones that they are judged by, and such as differ by their size too."""
UNSEEN = ("test", "longer")
_TOP = {"deck", "every", "variables", "parts", "runs", "models", "surrogate", "generate", "quantity", "charges", "kT"}
_SAID_BY_THE_SET = ("out", "overwrite", "seed", "surrogate")
_NAMED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")


@dataclass(frozen=True)
class PlannedRun:
    """One run of the set.

    Attributes:
        name: of its folder.
        part: one of ``PARTS``.
        deck: LAMMPS input script.
        every: MD steps between two frames.
        frames: to record; None for those of the deck's production.
        variables: (name, words) as LAMMPS's ``-var``.
    """

    name: str
    part: str
    deck: Path
    every: int
    frames: int | None
    variables: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class PlannedModel:
    """One model to train.

    Attributes:
        kind: name of its row in the tables.
        seed: of training.
        options: further words of ``mlgle replay``.
        time: of its trajectories; None for that of the set.
        parts: of unseen molecules that it moves.
    """

    kind: str
    seed: int
    options: tuple[str, ...]
    time: float | None = None
    parts: tuple[str, ...] = UNSEEN

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.kind}-{self.seed}"


@dataclass(frozen=True)
class SetFile:
    """What the file says.

    Attributes:
        path: of the file.
        runs: in their order.
        models: likewise.
        surrogate: that the models are of.
        time: of the generated trajectories, in the runs' unit.
        ensemble: trajectories of each molecule.
        save_every: steps of the model between two frames kept.
        quantity: what is compared with long MD: "rg2", or "ions" for the diffusion of ions.
        charges: of types of beads, where ions conduct.
        kT: in the decks' unit of energy, for conductivities.
    """

    path: Path
    runs: tuple[PlannedRun, ...]
    models: tuple[PlannedModel, ...]
    surrogate: str
    time: float
    ensemble: int
    save_every: int
    quantity: str
    charges: Mapping[str, float]
    kT: float = 1.0

    def of_part(self, part: str) -> tuple[PlannedRun, ...]:
        """Return the runs of a part."""
        return tuple(own for own in self.runs if own.part == part)


def read_set(path: Path) -> SetFile:
    """Return what a set's file says; raise UserError naming the first thing in it that cannot be meant."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {one_line(error)}") from None
    _require_keys(values, _TOP, str(path))
    runs = tuple(_run(entry, values, path, i) for i, entry in enumerate(_tables(values.get("runs"), f"{path}: runs")))
    if not runs:
        raise UserError(f"{path} lists no runs: write a [[runs]] table for each, with name, part and variables")
    if twice := sorted({own.name for own in runs if [other.name for other in runs].count(own.name) > 1}):
        raise UserError(f"{path}: two runs are called {twice[0]}")
    made = _mapping(values.get("generate", {}), f"{path}: generate")
    _require_keys(made, {"time", "ensemble", "save_every"}, f"{path}: generate")
    charges = _mapping(values.get("charges", {}), f"{path}: charges")
    quantity = values.get("quantity", "rg2")
    if quantity not in ("rg2", "ions"):
        raise UserError(f'{path}: quantity is {quantity!r}; write "rg2" or "ions"')
    surrogate = _surrogate(values.get("surrogate", "cg-gnn"), path)
    models = _models(values.get("models", {}), path, surrogate)
    return SetFile(
        path, runs, models, surrogate, _time(made.get("time", 100_000.0), f"{path}: generate.time"),
        _whole(made.get("ensemble", 4), f"{path}: generate.ensemble", most=MOST_TRAJECTORIES),
        _whole(made.get("save_every", 1), f"{path}: generate.save_every"), quantity,
        {name: float(_number(charge, f"{path}: charges.{name}", least=-1e3)) for name, charge in charges.items()},
        float(_number(values.get("kT", 1.0), f"{path}: kT", least=1e-30)),
    )  # fmt: skip


def _run(entry: JsonMapping, whole: JsonMapping, path: Path, number: int) -> PlannedRun:
    where = f"{path}: run {entry.get('name', number)}"
    _require_keys(entry, {"name", "part", "deck", "every", "frames", "variables"}, where)
    name, part = str(entry.get("name", "")), entry.get("part")
    if not name or not set(name) <= _NAMED or name.strip(".") == "":
        raise UserError(f"{where}: name {name!r} cannot be a folder's; letters, digits, '.', '_', '+' and '-' can")
    if part not in PARTS:
        raise UserError(f"{where}: part is {part!r}; write one of {', '.join(PARTS)}")
    own = _mapping(_mapping(whole.get("parts", {}), f"{path}: parts").get(part, {}), f"{path}: parts.{part}")
    _require_keys(own, {"every", "frames", "variables"}, f"{path}: parts.{part}")
    said = {**whole, **own, **entry}
    if "deck" not in said:
        raise UserError(f'{where}: no deck: write deck = "in.deck" at the top of the file, or in the run')
    variables: dict[str, object] = {}
    for table in (whole, own, entry):
        variables |= _mapping(table.get("variables", {}), f"{where}: variables")
    deck = path.parent / str(said["deck"])
    if not deck.is_file():
        raise UserError(f"{where}: there is no deck {deck}")
    frames = said.get("frames")
    return PlannedRun(
        name, part, deck, _whole(said.get("every", 100), f"{where}: every"),
        None if frames is None else _whole(frames, f"{where}: frames"),
        tuple((key, _words(value, f"{where}: variable {key}")) for key, value in variables.items()),
    )  # fmt: skip


def _surrogate(name: object, path: Path) -> str:
    """Return the name of a surrogate that learns from runs of many molecules."""
    many = ", ".join(own.name for own in SURROGATES.values() if own.learn_runs is not None)
    if not isinstance(name, str) or name not in SURROGATES:
        raise UserError(f"{path}: surrogate is {name!r}; there is no such surrogate; write one of {many}")
    if find_surrogate(name).learn_runs is None:
        raise UserError(f"{path}: surrogate is {name!r}, which learns from one run alone; write one of {many}")
    return name


def _models(values: object, path: Path, surrogate: str) -> tuple[PlannedModel, ...]:
    found = []
    for kind, entry in _mapping(values, f"{path}: models").items():
        where = f"{path}: models.{kind}"
        own = _mapping(entry, where)
        _require_keys(own, {"seeds", "options", "time", "parts"}, where)
        seeds = own.get("seeds", [1])
        if not isinstance(seeds, list) or not all(type(seed) is int and seed >= 0 for seed in seeds):
            raise UserError(f"{where}: seeds is {seeds!r}; write a list of whole numbers")
        if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
            raise UserError(f"{where}: seeds has {twice[0]} twice; write each once")
        if not kind or not set(kind) <= _NAMED:
            raise UserError(f"{where}: {kind!r} cannot be a folder's name")
        time = None if "time" not in own else _time(own["time"], f"{where}: time")
        parts = own.get("parts", list(UNSEEN))
        if not isinstance(parts, list) or not all(parts.count(part) == 1 and part in UNSEEN for part in parts):
            raise UserError(f"{where}: parts is {parts!r}; write a list of {', '.join(UNSEEN)}, each once")
        words = _words(own.get("options", ""), where)
        for seed in seeds:
            _require_options(words, surrogate, seed, f"{where}: options")
        found += [PlannedModel(kind, seed, words, time, tuple(parts)) for seed in seeds]
    return tuple(found)


class _Words(argparse.ArgumentParser):
    """Says what it cannot read as a ValueError."""

    def error(self, message: str) -> typing.NoReturn:
        """Raise ValueError."""
        raise ValueError(message)


def _require_options(words: Sequence[str], surrogate: str, seed: int, where: str) -> None:
    """Raise UserError where ``mlgle replay`` would not take the words, which it is given long after the MD."""
    own = find_surrogate(surrogate)
    try:
        given = vars(_learning_parser().parse_args(list(words)))
        if said := [flag(name) for name in _SAID_BY_THE_SET if name in given]:
            raise ValueError(f"{said[0]} is what the set says itself; leave it out")
        own.require_known(given)
        preset = own.preset(given.pop("preset", None)).name
        LearnOptions(Path(), surrogate=surrogate, seed=seed, preset=preset, **{**own.defaults, **given})
    except (UserError, ValueError) as error:
        raise UserError(f"{where}: {one_line(error)}") from None


def _learning_parser() -> argparse.ArgumentParser:
    """Return a parser of the options of learning, as ``mlgle replay`` has them, without defaults."""
    parser = _Words(add_help=False, argument_default=argparse.SUPPRESS)
    parser._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
    hints = typing.get_type_hints(LearnOptions)
    for entry, told in declared(LearnOptions):
        kind = hints[entry.name]
        if isinstance(kind, types.UnionType):
            kind = next(part for part in typing.get_args(kind) if part is not type(None))
        if kind is bool:
            parser.add_argument(flag(entry.name), action="store_true")
        else:
            parser.add_argument(flag(entry.name), type=kind, choices=told.choices or None)
    return parser


def _words(value: object, where: str) -> tuple[str, ...]:
    """Return the words of a value: text is split as a shell does."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UserError(f"{where} is {value!r}; write text or a number")
    try:
        return tuple(shlex.split(value)) if isinstance(value, str) else (repr(value),)
    except ValueError as error:
        raise UserError(f"{where}: {one_line(error)}") from None


def _number(value: object, where: str, least: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 1e15:
        raise UserError(f"{where} is {value!r}; write a number from {least:g} up")
    return value


def _whole(value: object, where: str, most: float = 1e15) -> int:
    if not isinstance(value, bool) and isinstance(value, int | float) and 1 <= value <= most and value == int(value):
        return int(value)
    raise UserError(f"{where} is {value!r}; write a whole number from 1 to {most:g}")


def _time(value: object, where: str) -> float:
    if not (time := float(_number(value, where))) > 0:
        raise UserError(f"{where} is {value!r}; write a time above 0")
    return time


def _tables(value: object, where: str) -> list[JsonMapping]:
    if value is not None and not isinstance(value, list):
        raise UserError(f"{where} is no list of tables: write [[runs]]")
    return [_mapping(entry, where) for entry in value or []]


def _mapping(value: object, where: str) -> JsonMapping:
    if not isinstance(value, dict):
        raise UserError(f"{where} is {value!r}; a table belongs there")
    return value


def _require_keys(values: JsonMapping, known: set[str], where: str) -> None:
    if unknown := sorted(set(values) - known):
        raise UserError(f"{where}: {unknown[0]} means nothing there; {', '.join(sorted(known))} do")
