"""Arguments of the commands, parsed into their options; a complaint is one line (UserError)."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mlgle_lammps.api.streams import stream_path
from mlgle_lammps.commands.from_fields import Parser, add_options, record
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.imd import is_address
from mlgle_lammps.options.compare import CompareOptions
from mlgle_lammps.options.deck import EVERY, DeckOptions, RunRequest
from mlgle_lammps.options.declaring import flag
from mlgle_lammps.options.generate import GenerateOptions, ReconstructOptions
from mlgle_lammps.options.learn import MADE_WITH_THE_RUN, NO_SURROGATE, LearnOptions
from mlgle_lammps.options.properties import PropertiesOptions
from mlgle_lammps.options.sets import SetsOptions
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.store.origin import ORIGIN, read_origin
from mlgle_lammps.surrogates.catalogue import SURROGATES, Surrogate, find_surrogate

RECORD_OPTIONS = ("out", "overwrite", "surrogate", "modes", "frames")
"""Options of learning that mean something where nothing is learned."""


def _add_learn_options(parser: Parser, surrogates: Sequence[Surrogate], unused: Iterable[str], also: str = "") -> None:
    """Add the options of learning; ``unused`` are taken, to be refused by name, and not shown."""
    names = ", ".join(surrogate.name for surrogate in surrogates) + also
    variants = "; ".join(f"{p.name}: {p.meaning}" for surrogate in surrogates for p in surrogate.presets)
    changes: dict[str, JsonObject] = {name: {"help": argparse.SUPPRESS} for name in unused} | {
        "surrogate": {"help": f"what learns: {names}"},
        "preset": {"help": f"variant of the surrogate ({variants})", "default": None},
    }
    add_options(parser, LearnOptions, changes)


def _learn_options(
    values: argparse.Namespace, out: Path, given: Iterable[str], before: Iterable[str] = ()
) -> LearnOptions:
    """Return the options of learning.

    ``given`` are the names of those that are not there by default, ``before`` of those that were given when a run began
    that now goes on.
    """
    if values.surrogate == NO_SURROGATE:
        _require_recording(given)
        return record(LearnOptions, values, out=values.out or out, preset=LearnOptions.preset)
    surrogate = find_surrogate(values.surrogate)
    given = tuple(given)
    surrogate.require_known(given)
    others = {name: value for name, value in surrogate.defaults.items() if name not in {*given, *before}}
    return record(LearnOptions, values, out=values.out or out, preset=surrogate.preset(values.preset).name, **others)


def _require_recording(given: Iterable[str]) -> None:
    """Raise UserError naming the options that were given and mean nothing where nothing is learned."""
    unknown = sorted((set(given) & set(LearnOptions.__dataclass_fields__)) - set(RECORD_OPTIONS))
    if unknown:
        listed = ", ".join(f"`{name}`" for name in unknown)
        raise UserError(f"{listed}: nothing is learned with `surrogate` {NO_SURROGATE}; leave it out")


def _run_parser() -> Parser:
    parser = Parser(prog="mlgle run", description="Run a LAMMPS deck and learn its chains' diffusion while it runs.")
    parser.add_argument(
        "-var", "--var", dest="variables", nargs="+", action="append", default=[], metavar="NAME VALUE",
        help="LAMMPS index variable, as in lmp -var; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with the run in this folder, whatever ended it; options "
        "that are given take the place of its own, where that is possible",
    )  # fmt: skip
    add_options(parser, DeckOptions, {"deck": {"nargs": "?"}, "wall_limit": {"type": _wall_seconds}})
    live = [surrogate for surrogate in SURROGATES.values() if surrogate.learn_runs is None]
    unused = {name for own in SURROGATES.values() for name in own.options} - {
        name for own in live for name in own.options
    }
    _add_learn_options(parser, live, unused, also=f"; {NO_SURROGATE}: beads and modes are recorded only")
    return parser


def _wall_seconds(text: str) -> float:
    """Return seconds; raise ArgumentTypeError where ``text`` is no time."""
    clock = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text)
    number = re.fullmatch(r"(\d+(?:\.\d*)?)([smhd])", text)
    seconds = 0.0
    if clock:
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        seconds = 86400.0 * days + 3600 * hours + 60 * minutes + rest
    elif number:
        seconds = float(number[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[number[2]]
    if not 0 < seconds < 1e10:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write HH:MM:SS, D-HH:MM:SS, 600s, 90m or 23.5h")
    return seconds


FIXED_ON_RESUME = (
    "deck", "variables", "every", "chain_group", "strict", "species", "length_bin", "out", "overwrite", "check",
    "stress", *MADE_WITH_THE_RUN,
)  # fmt: skip
NOT_LEARNT = ("resume", "checkpoint_every", "wall_limit", "on_trainer_failure", *FIXED_ON_RESUME)
MOST_STEPS = 2**31 - 1
"""LAMMPS runs no more at once (driver.LONGEST_RUN, which is not to be had without LAMMPS)."""


def parse_run(arguments: Sequence[str]) -> RunRequest:
    """Return what ``mlgle run`` is asked for; raise UserError on bad options, or on those that a run cannot change."""
    values = _run_parser().parse_intermixed_args(arguments)
    if values.resume is None:
        if values.deck is None:
            raise UserError(f"the deck is missing: {_swallowed(values.variables)}")
        given = _given(_run_parser(), arguments)
        request = _run_request(values, values.out or Path("runs") / values.deck.name, given)
        _refuse_own_names(request)
        _refuse_endless(request)
        return request
    given = _given(_run_parser(), arguments)
    if values.deck is None:
        given.pop("deck", None)
    before = read_origin(values.resume / "checkpoint")
    merged = _run_parser().parse_intermixed_args(list(before.arguments))
    if merged.deck is None:
        raise UserError(
            f"{values.resume / 'checkpoint' / ORIGIN} is damaged: its arguments name no deck, and the run cannot "
            "go on; start a run of its own"
        )
    if (name := before.changed_table()) is not None:
        raise UserError(
            f"{name}, which the deck's force field is read from, has changed since the run began: put it back, or "
            "start a run of its own"
        )
    own = {**vars(merged), "preset": _preset_of(merged)}
    if NO_SURROGATE in (merged.surrogate, given.get("surrogate", merged.surrogate)) != (merged.surrogate,) * 2:
        raise UserError(
            f"`surrogate` was {merged.surrogate} when the run began: let it end as it is, and replay what it recorded"
        )
    changed = []
    for name, value in given.items():
        old = own[name]
        if name in FIXED_ON_RESUME and value != old:
            option = {"deck": "the deck", "variables": "-var"}.get(name, flag(name))
            raise UserError(f"{option} cannot be changed when a run goes on: leave it out, or start a run of its own")
        if name not in NOT_LEARNT and value != old:
            changed.append(name)
        setattr(merged, name, value)
    if merged.surrogate != own["surrogate"] and "preset" not in given:
        merged.preset = None  # another surrogate has others
    merged.overwrite = merged.check = False
    return replace(
        _run_request(merged, values.resume, given, _given(_run_parser(), before.arguments)),
        resume=values.resume,
        digest=before.digest,
        changed=tuple(changed),
    )


def _swallowed(variables: Sequence[Sequence[str]]) -> str:
    """Return what to do about a deck that is missing, which may have become a value of a -var before it."""
    for name, *entries in reversed(variables):
        files = [word for word in entries if os.path.isfile(word)]
        words = files or [word for word in entries[1:] if not _is_number(word)]
        if words:
            return f"'{words[-1]}' was taken as a value of -var {name}; write the deck before -var .."
    return "mlgle run DECK, or --resume RUN (see mlgle run --help)"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _refuse_own_names(request: RunRequest) -> None:
    """Raise UserError where a variable has a name that the service gives itself; LAMMPS would keep the service's."""
    for name in request.deck.settings:
        if name in ("deckdir", "mlgle") or name.startswith("mlgle_"):
            raise UserError(f"-var {name}: mlgle run gives this variable itself; leave it out, or use another name")


def _refuse_endless(request: RunRequest) -> None:
    """Raise UserError where frames take more steps than LAMMPS runs at once."""
    learn, every, frames = request.learn, request.deck.every, request.target_frames
    held = not request.records_only and find_surrogate(learn.surrogate).constrained
    if held:
        frames = learn.production_frames
    elif every is None:
        every = EVERY
    if every is None or frames is None or (steps := (frames - 1) * every) <= MOST_STEPS:
        return
    what = "`frames`" if held or request.records_only else "`train_frames`, `val_frames` or `full_md`"
    raise UserError(
        f"{frames} frames with `every` {every} take {steps} steps, more than LAMMPS can run at once ({MOST_STEPS}): "
        f"lower `every`, {what}"
    )


def _preset_of(values: argparse.Namespace) -> str | None:
    """Return the preset that is meant, by its name; as it stands where nothing is learned."""
    if values.surrogate == NO_SURROGATE:
        return str(values.preset) if values.preset is not None else None
    return find_surrogate(values.surrogate).preset(values.preset).name


def _given(parser: Parser, arguments: Sequence[str]) -> dict[str, object]:
    """Return the options that are on the command line, without defaults; the parser is used up."""
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    return vars(parser.parse_intermixed_args(arguments))


def _run_request(values: argparse.Namespace, out: Path, given: Iterable[str], before: Iterable[str] = ()) -> RunRequest:
    variables = []
    for name, *entries in values.variables:
        if not entries:
            raise UserError(f"-var {name} has no value; write -var {name} VALUE")
        variables.append((name, tuple(entries)))
    values.out = out
    deck = record(DeckOptions, values, variables=tuple(variables))
    if values.surrogate != NO_SURROGATE and find_surrogate(values.surrogate).learn_runs is not None:
        raise UserError(
            f"`surrogate` {values.surrogate} learns from runs of many molecules: record each with `surrogate` "
            f"{NO_SURROGATE}, then mlgle replay RUN RUN .. --surrogate {values.surrogate}"
        )
    return RunRequest(deck, _learn_options(values, out, given, before))


def parse_replay(arguments: Sequence[str]) -> tuple[tuple[Path, ...], TrajectoryOptions, LearnOptions]:
    """Return the streams and options of ``mlgle replay``; raise UserError on bad ones."""
    values = _replay_parser().parse_intermixed_args(arguments)
    trajectory = record(TrajectoryOptions, values)
    first: Path = values.streams[0]
    whole = first if is_address(first) else first.resolve()
    name = whole.parent.name if whole.name == "modes.h5" else whole.name.removesuffix(".npz").removesuffix(".h5")
    out = Path("runs") / f"{name or 'stream'}-replay"
    given = _given(_replay_parser(), arguments)
    if late := [f"`{field}`" for field in MADE_WITH_THE_RUN if field in given]:
        raise UserError(f"{', '.join(late)}: decided when MD ran, and recorded as it was; leave it out")
    return tuple(values.streams), trajectory, _learn_options(values, out, given)


def _replay_parser() -> Parser:
    parser = Parser(prog="mlgle replay", description="Do on a recorded stream or a trajectory what run does live.")
    meaning = (
        "modes.h5, a run's folder, .npz with com, modes, dt; with --topology a trajectory (LAMMPS dump, also packed or "
        "one file a frame, H5MD, DCD, XTC, NetCDF ..) or imd://HOST:PORT of a running simulation; .pt with a tensor "
        "(time, chain, mode, 3), mode 0 the centre of mass; several pool independent runs and join the parts of one"
    )
    parser.add_argument("streams", type=stream_path, nargs="+", metavar="STREAM", help=meaning)
    add_options(parser, TrajectoryOptions)
    _add_learn_options(parser, list(SURROGATES.values()), MADE_WITH_THE_RUN)
    return parser


def parse_generate(arguments: Sequence[str]) -> GenerateOptions:
    """Return the options of ``mlgle generate``; raise UserError on bad ones."""
    values = _generate_parser().parse_args(arguments)
    if values.surrogate is not None:
        find_surrogate(values.surrogate)
    return record(GenerateOptions, values)


def _generate_parser() -> Parser:
    parser = Parser(prog="mlgle generate", description="Generate long trajectories from a run's model and modes.h5.")
    known = f"refuse a model of another ({', '.join(SURROGATES)}; default: any)"
    add_options(parser, GenerateOptions, {"surrogate": {"help": known}})
    return parser


def parse_reconstruct(arguments: Sequence[str]) -> ReconstructOptions:
    """Return the options of ``mlgle reconstruct``; raise UserError on bad ones."""
    return record(ReconstructOptions, _reconstruct_parser().parse_args(arguments))


def _reconstruct_parser() -> Parser:
    parser = Parser(prog="mlgle reconstruct", description="Write beads of a run's generated trajectories.")
    add_options(parser, ReconstructOptions)
    return parser


def parse_compare(arguments: Sequence[str]) -> CompareOptions:
    """Return the options of ``mlgle compare``; raise UserError on bad ones."""
    values = _compare_parser().parse_intermixed_args(arguments)
    name = values.runs[0].resolve().name
    return record(CompareOptions, values, out=values.out or Path("runs") / f"{name}-compare")


def _compare_parser() -> Parser:
    parser = Parser(
        prog="mlgle compare",
        description="Compare a run with full MD, or runs at several temperatures with one another.",
    )
    add_options(parser, CompareOptions)
    return parser


def parse_properties(arguments: Sequence[str]) -> PropertiesOptions:
    """Return the options of ``mlgle properties``; raise UserError on bad ones."""
    return record(PropertiesOptions, _properties_parser().parse_intermixed_args(arguments))


def _properties_parser() -> Parser:
    parser = Parser(
        prog="mlgle properties", description="Viscosity, moduli, scattering and motion of chains from a run."
    )
    add_options(parser, PropertiesOptions)
    return parser


def parse_sets(arguments: Sequence[str]) -> SetsOptions:
    """Return the options of ``mlgle sets``; raise UserError on bad ones."""
    return record(SetsOptions, _sets_parser().parse_intermixed_args(arguments))


def _sets_parser() -> Parser:
    parser = Parser(
        prog="mlgle sets",
        description="Run a set of decks, train models on some of them, and hold these against long MD of the others. "
        "What is done already is not done again: killed, it goes on with the same command.",
    )
    add_options(parser, SetsOptions)
    return parser


PARSERS: dict[str, Callable[[], Parser]] = {
    "run": _run_parser,
    "replay": _replay_parser,
    "generate": _generate_parser,
    "reconstruct": _reconstruct_parser,
    "compare": _compare_parser,
    "properties": _properties_parser,
    "sets": _sets_parser,
}
"""Command to what makes its parser; `build` has its own."""
