"""Options are declared once: the records' fields are what the command lines are made of."""

import argparse
import ast
import re
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlgle_lammps.commands import parsers
from mlgle_lammps.commands.from_fields import Parser, add_options, record
from mlgle_lammps.commands.generate import main as generate
from mlgle_lammps.directions import ALL_FREE
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.compare import CompareOptions
from mlgle_lammps.options.deck import DeckOptions
from mlgle_lammps.options.declaring import as_flags, declared, option, require_limits
from mlgle_lammps.options.generate import GenerateOptions, ReconstructOptions
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.pipeline import generation
from mlgle_lammps.report.page import traffic_light
from mlgle_lammps.resources.room import Room

PACKAGE = Path(parsers.__file__).parent.parent


@dataclass(frozen=True)
class Made:
    """One field of each kind."""

    file: Path = option(meaning="the file", positional=True)
    n_steps: int = option(7, "steps", metavar="STEPS", least=2, most=9)
    ratio: float | None = option(None, "of both", shown="whatever fits")
    kind: str = option("a", "of thing", choices=("a", "b"))
    many: tuple[float, ...] = option((), "several")
    exact: bool = option(False, "to the bit")
    hidden: int = 3

    def __post_init__(self):
        require_limits(self)


@pytest.fixture
def parser():
    made = Parser(prog="made")
    add_options(made, Made)
    return made


def test_a_record_comes_back_from_its_defaults_and_from_every_option(parser):
    assert record(Made, parser.parse_args(["x"])) == Made(Path("x"))
    words = ["x", "--n-steps", "8", "--ratio", "-1e-3", "--kind", "b", "--many", "1", "2.5", "--exact"]
    assert record(Made, parser.parse_args(words)) == Made(Path("x"), 8, -1e-3, "b", (1.0, 2.5), True)
    assert record(Made, parser.parse_args(["x"]), hidden=5) == Made(Path("x"), hidden=5)


def test_the_help_says_every_default_once(parser):
    told = " ".join(parser.format_help().split())
    for words in ("--n-steps STEPS steps (default 7)", "of both (default: whatever fits)", "of thing (default a)",
                  "several ", "to the bit", "the file"):  # fmt: skip
        assert words in f"{told} "
    assert told.count("default") == 3
    assert "hidden" not in told


@pytest.mark.parametrize(("words", "line"), [
    (["--n-steps", "1"], "`n_steps` is 1; the least that makes sense is 2"),
    (["--n-steps", "10"], "`n_steps` is 10; the most that is taken is 9"),
    (["--kind", "c"], "argument --kind: invalid choice: 'c'"),
    (["--n-steps", "x"], "argument --n-steps: invalid int value: 'x'"),
])  # fmt: skip
def test_what_is_out_of_bounds_is_one_line(parser, words, line):
    with pytest.raises(UserError, match=line.replace("--", "[-][-]")):
        record(Made, parser.parse_args(["f", *words]))


def test_a_choice_that_no_parser_saw_is_checked_too():
    with pytest.raises(UserError, match="'c'; choose from a, b"):
        Made(Path("x"), kind="c")


@pytest.mark.parametrize(("command", "kinds"), [
    ("run", [DeckOptions, LearnOptions]), ("replay", [TrajectoryOptions, LearnOptions]),
    ("generate", [GenerateOptions]), ("reconstruct", [ReconstructOptions]), ("compare", [CompareOptions]),
])  # fmt: skip
def test_a_command_without_options_asks_for_the_defaults_of_the_records(command, kinds):
    found = getattr(parsers, f"parse_{command}")(["input"])
    found = (
        [found.deck, found.learn] if command == "run" else [f for f in found[1:]] if command == "replay" else [found]
    )
    for options, kind in zip(found, kinds, strict=True):
        assert type(options) is kind
        for entry in fields(kind):
            if entry.default is not MISSING:
                assert getattr(options, entry.name) == entry.default, entry.name


@pytest.mark.parametrize("kind", [
    DeckOptions, LearnOptions, TrajectoryOptions, GenerateOptions, ReconstructOptions, CompareOptions,
])  # fmt: skip
def test_every_field_says_what_it_means_and_has_a_default_within_its_bounds(kind):
    told = dict((entry.name, (entry, details)) for entry, details in declared(kind))
    assert {entry.name for entry in fields(kind)} - set(told) <= {"variables"}
    for entry, details in told.values():
        assert details.meaning
        assert "%" not in details.meaning + details.shown  # argparse would fill it in
        if details.least is not None and entry.default is not None:
            assert entry.default is not MISSING
            assert details.least <= entry.default <= details.most


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: TrajectoryOptions(dt=1e-300), "`dt` is 1e-300"),
        (lambda: TrajectoryOptions(dt=1e300), "`dt` is 1e+300"),
        (lambda: TrajectoryOptions(timestep=float("nan")), "`timestep` is nan"),
        (
            lambda: TrajectoryOptions(length_bin=1.0),
            "a relative width from 0 (none) to below 1",
        ),
        (lambda: GenerateOptions(Path("x"), steps=10**18), "`steps` is 1000000000000000000; the most"),
        (lambda: GenerateOptions(Path("x"), ensemble=10**7), "`ensemble` is 10000000; the most"),
        (lambda: GenerateOptions(Path("x"), time=1e300, start=(Path("y"),)), "`time` is 1e+300"),
        (lambda: LearnOptions(Path("x"), generate_steps=10**18), "`generate_steps` is 1000000000000000000; the most"),
        (lambda: LearnOptions(Path("x"), ensemble=10**7), "`ensemble` is 10000000; the most"),
    ],
)
def test_what_no_real_use_reaches_is_refused_by_name(make, line):
    with pytest.raises(UserError, match=re.escape(line)):
        make()


def test_more_steps_than_memory_holds_are_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "available_memory", lambda: Room(1e6, 0.0, "free"))
    model: Any = SimpleNamespace(n_modes=3, directions=ALL_FREE)
    nothing: Any = None
    with pytest.raises(UserError, match=r"1000000 steps of 10 trajectories need .* or more, and 1 MB are free"):
        generation.generate_to_file(
            model, nothing, nothing, tmp_path / "x.h5", steps=10**6, ensemble=10, save_every=1, seed=1, device="cpu",
            threads=1,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("D", [0.0, -1.0, float("nan")])
def test_a_D_that_is_not_above_0_is_red(D):
    light = traffic_light({"status": "complete", "D": {"value": D}})
    assert light.colour == "red"
    assert "not above 0" in light.reasons[0]


def test_a_field_without_declaration_is_not_an_argument():
    made = argparse.ArgumentParser()
    add_options(made, DeckOptions)
    assert "variables" not in made.parse_args(["deck"])


def test_a_library_speaks_of_fields_and_a_command_of_flags(tmp_path, capsys):
    with pytest.raises(UserError) as caught:
        GenerateOptions(tmp_path, steps=2, save_every=3)
    assert str(caught.value) == "`save_every` 3 is above `steps` 2: no step would be kept"
    assert as_flags(str(caught.value)) == "--save-every 3 is above --steps 2: no step would be kept"
    assert generate([str(tmp_path), "--steps", "2", "--save-every", "3"]) == 2
    assert (
        capsys.readouterr().err == "mlgle generate: error: --save-every 3 is above --steps 2: no step would be kept\n"
    )


def test_no_error_of_the_library_speaks_of_flags():
    """Those that are raised; what is a warning of a run goes to people who typed a command."""
    said = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in ("commands", "cli.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and node.exc is not None:
                texts = [part.value for part in ast.walk(node.exc) if isinstance(part, ast.Constant)]
                said += [
                    (path.name, text) for text in texts if isinstance(text, str) and re.search(r"(^|\s)--[a-z]", text)
                ]
    assert said == []
