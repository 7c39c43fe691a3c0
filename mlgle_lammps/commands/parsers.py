"""Arguments of the commands, parsed into their options; a complaint is one line (UserError)."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.compare import CompareOptions
from mlgle_lammps.options.deck import TRAINER_FAILURES, DeckOptions, RunRequest
from mlgle_lammps.options.generate import FORMATS, GenerateOptions, ReconstructOptions
from mlgle_lammps.options.learn import DEVICES, HANDOFF_POLICIES, LearnOptions
from mlgle_lammps.options.properties import PropertiesOptions
from mlgle_lammps.options.trajectory import UNIT_STYLES, TrajectoryOptions
from mlgle_lammps.store.origin import read_origin
from mlgle_lammps.surrogates.catalogue import SURROGATES, find_surrogate

DIRECTIONS = (
    "directions that chains are free to diffuse in, such as xy in a film (default: found from walls and from motion)"
)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line with exit code 2; -1e-3 is a number to it, as to LAMMPS."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as always, after a look at what no file name can hold."""
        if any("\0" in word for word in args or ()):
            self.error("a word of the command line holds a NUL character")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UserError(f"{message} (see {self.prog} --help)")


def _add_learn_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, metavar="DIR", help="result folder (default: runs/<name of the input>)")
    add("--overwrite", action="store_true", help="replace a result folder that exists")
    add("--surrogate", default=next(iter(SURROGATES)), metavar="NAME", help=f"what learns: {', '.join(SURROGATES)}")
    variants = "; ".join(f"{p.name}: {p.meaning}" for surrogate in SURROGATES.values() for p in surrogate.presets)
    add("--preset", metavar="NAME", help=f"variant of the surrogate ({variants})")
    add("--modes", type=int, default=12, metavar="K", help="modes 1..K (default 12)")
    add("--memory", type=int, default=128, metavar="FRAMES", help="m; t_max = m Δt (default 128)")
    add("--train-frames", type=int, default=1000, metavar="FRAMES", help="default 1000")
    add("--val-frames", type=int, default=600, metavar="FRAMES", help="default 600")
    add("--handoff", choices=HANDOFF_POLICIES, default="train", help="when the integrator takes over (default train)")
    add("--target-ci", type=float, default=0.1, metavar="FRACTION",
        help="relative half-width of D's interval for --handoff converged (default 0.1)")  # fmt: skip
    add("--full-md", type=int, default=0, metavar="FRAMES", help="frames after the hand-off, for a reference D")
    add("--generate-steps", type=int, default=100_000, metavar="STEPS", help="default 100000; 0 for none")
    add("--save-every", type=int, default=1, metavar="STEPS", help="keep every n-th generated step (default 1)")
    add("--ensemble", type=int, default=300, metavar="N", help="generated trajectories (default 300)")
    add("--directions", metavar="XYZ", help=DIRECTIONS)
    add("--device", choices=DEVICES, default="auto", help="where networks train and run")
    add("--seed", type=int, default=1)
    add("--threads", type=int, default=0, metavar="N", help="torch threads (default: the cores that MD leaves)")


def _learn_options(values: argparse.Namespace, default_out: Path, given: Iterable[str]) -> LearnOptions:
    """Return the options of learning; ``given`` are the names of those that are not there by default."""
    surrogate = find_surrogate(values.surrogate)
    surrogate.require_known(given)
    return LearnOptions(
        out=values.out or default_out, overwrite=values.overwrite, surrogate=surrogate.name,
        preset=surrogate.preset(values.preset).name, modes=values.modes,
        memory=values.memory, train_frames=values.train_frames, val_frames=values.val_frames,
        handoff=values.handoff, target_ci=values.target_ci, full_md=values.full_md,
        generate_steps=values.generate_steps, save_every=values.save_every, ensemble=values.ensemble,
        device=values.device, seed=values.seed, threads=values.threads, directions=values.directions,
    )  # fmt: skip


def _run_parser() -> _Parser:
    parser = _Parser(prog="mlgle run", description="Run a LAMMPS deck and learn its chains' diffusion while it runs.")
    add = parser.add_argument
    add("deck", type=Path, nargs="?", metavar="DECK", help="LAMMPS input script")
    add("-var", "--var", dest="variables", nargs="+", action="append", default=[], metavar="NAME VALUE",
        help="LAMMPS index variable, as in lmp -var; repeatable")  # fmt: skip
    add("--every", type=int, default=2000, metavar="STEPS", help="Δt: MD steps between two frames (default 2000)")
    add("--chain-group", metavar="GROUP", help="LAMMPS group that holds the backbone beads (default: all bonded beads)")
    add("--strict", action="store_true", help="refuse a system of which a part would be left out")
    add("--check", action="store_true", help="print chains, memory, disk and expected MD time, and exit")
    add("--resume", type=Path, metavar="RUN", help="go on with the run in this folder, whatever ended it; options "
        "that are given take the place of its own, where that is possible")  # fmt: skip
    add("--checkpoint-every", type=int, default=200, metavar="FRAMES", help="frames between two restart files of "
        "LAMMPS (default 200; 0: where production begins and where it ends only)")  # fmt: skip
    add("--wall-limit", type=_wall_seconds, metavar="TIME", help="end with all saved before so much wall time, as "
        "HH:MM:SS, 90m or 23.5h (default: Slurm's limit, where there is one)")  # fmt: skip
    add("--on-trainer-failure", choices=TRAINER_FAILURES, default="stop", help="where learning fails, MD stops "
        "(default) or goes on recording")  # fmt: skip
    add("--stress", type=int, default=0, metavar="STEPS", help="correlate the pressure tensor of each so many-th step, "
        "for viscosity and moduli (1: of each step; default: not at all)")  # fmt: skip
    _add_learn_arguments(parser)
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


FIXED_ON_RESUME = ("deck", "variables", "every", "chain_group", "strict", "out", "overwrite", "check", "stress")
NOT_LEARNT = ("resume", "checkpoint_every", "wall_limit", "on_trainer_failure", *FIXED_ON_RESUME)


def parse_run(arguments: Sequence[str]) -> RunRequest:
    """Return what ``mlgle run`` is asked for; raise UserError on bad options, or on those that a run cannot change."""
    values = _run_parser().parse_intermixed_args(arguments)
    if values.resume is None:
        if values.deck is None:
            raise UserError("the deck is missing: mlgle run DECK, or --resume RUN (see mlgle run --help)")
        given = _given(_run_parser(), arguments)
        return _run_request(values, values.out or Path("runs") / values.deck.name, given)
    given = _given(_run_parser(), arguments)
    if values.deck is None:
        given.pop("deck", None)
    before = read_origin(values.resume / "checkpoint")
    merged = _run_parser().parse_intermixed_args(list(before.arguments))
    own = {**vars(merged), "preset": find_surrogate(merged.surrogate).preset(merged.preset).name}
    changed = []
    for name, value in given.items():
        old = own[name]
        if name in FIXED_ON_RESUME and value != old:
            option = {"deck": "the deck", "variables": "-var"}.get(name, f"--{name.replace('_', '-')}")
            raise UserError(f"{option} cannot be changed when a run goes on: leave it out, or start a run of its own")
        if name not in NOT_LEARNT and value != old:
            changed.append(name)
        setattr(merged, name, value)
    if merged.surrogate != own["surrogate"] and "preset" not in given:
        merged.preset = None  # another surrogate has others
    merged.overwrite = merged.check = False
    return replace(
        _run_request(merged, values.resume, given),
        resume=values.resume,
        digest=before.digest,
        changed=tuple(changed),
    )


def _given(parser: _Parser, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the options that are on the command line, without defaults; the parser is used up."""
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    return vars(parser.parse_intermixed_args(arguments))


def _run_request(values: argparse.Namespace, out: Path, given: Iterable[str]) -> RunRequest:
    variables = []
    for name, *entries in values.variables:
        if not entries:
            raise UserError(f"-var {name} has no value; write -var {name} VALUE")
        variables.append((name, tuple(entries)))
    deck = DeckOptions(
        deck=values.deck, variables=tuple(variables), every=values.every, chain_group=values.chain_group,
        strict=values.strict, check=values.check, checkpoint_every=values.checkpoint_every,
        wall_limit=values.wall_limit, on_trainer_failure=values.on_trainer_failure, stress=values.stress,
    )  # fmt: skip
    values.out = out
    return RunRequest(deck, _learn_options(values, out, given))


def parse_replay(arguments: Sequence[str]) -> tuple[tuple[Path, ...], TrajectoryOptions, LearnOptions]:
    """Return the streams and options of ``mlgle replay``; raise UserError on bad ones."""
    values = _replay_parser().parse_intermixed_args(arguments)
    trajectory = TrajectoryOptions(**{field.name: getattr(values, field.name) for field in fields(TrajectoryOptions)})
    first: Path = values.streams[0]
    whole = first.resolve()
    name = whole.parent.name if whole.name == "modes.h5" else whole.name.removesuffix(".npz").removesuffix(".h5")
    out = Path("runs") / f"{name or 'stream'}-replay"
    return tuple(values.streams), trajectory, _learn_options(values, out, _given(_replay_parser(), arguments))


def _replay_parser() -> _Parser:
    parser = _Parser(prog="mlgle replay", description="Do on a recorded stream or a trajectory what run does live.")
    meaning = (
        "modes.h5, a run's folder, .npz with com, modes, dt; with --topology a trajectory (LAMMPS dump, also packed or "
        "one file a frame, H5MD, DCD, XTC, NetCDF ..); .pt with a tensor (time, chain, mode, 3), mode 0 the centre of "
        "mass; several pool independent runs and join the parts of one"
    )
    parser.add_argument("streams", type=Path, nargs="+", metavar="STREAM", help=meaning)
    _add_trajectory_arguments(parser)
    _add_learn_arguments(parser)
    return parser


def _add_trajectory_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("trajectories")
    add = group.add_argument
    add("--topology", type=Path, metavar="DATA", help="LAMMPS data file (or another topology) with the bonds")
    add("--select", metavar="SELECTION", help="backbone atoms, in MDAnalysis' language: 'type 1' (default: all bonded)")
    add("--dt", type=float, metavar="TIME", help="time between two frames of the file")
    add("--timestep", type=float, metavar="TIME", help="time step of the MD, where frames know their steps")
    add("--units", choices=UNIT_STYLES, default="unknown", help="LAMMPS units of the file and of --dt")
    add("--skip", type=int, default=0, metavar="FRAMES", help="leave out frames at the start (default 0)")
    add("--stride", type=int, default=1, metavar="N", help="take every n-th frame (default 1)")
    add("--unwrapped", action="store_true", help="positions are unwrapped already: take them as they are")
    add("--group", metavar="NAME", help="H5MD's group of particles (default: the one that fits the topology)")


def parse_generate(arguments: Sequence[str]) -> GenerateOptions:
    """Return the options of ``mlgle generate``; raise UserError on bad ones."""
    parser = _Parser(prog="mlgle generate", description="Generate long trajectories from a run's model and modes.h5.")
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a result folder; with --temperature one that compare wrote of several "
        "temperatures")  # fmt: skip
    add("--temperature", type=float, metavar="T", help="of the trajectories, which nobody need have run: the nearest "
        "run's model, its times scaled by a_T and its sizes interpolated")  # fmt: skip
    add("--steps", type=int, default=100_000)
    add("--ensemble", type=int, default=300, metavar="N")
    add("--save-every", type=int, default=1, metavar="STEPS")
    add("--seed", type=int, default=1)
    add("--device", choices=DEVICES, default="auto")
    add("--out", type=Path, metavar="FILE", help="file to write (default RUN/generated.h5)")
    add("--threads", type=int, default=0, metavar="N")
    add("--surrogate", metavar="NAME", help=f"refuse a model of another ({', '.join(SURROGATES)}; default: any)")
    values = parser.parse_args(arguments)
    if values.surrogate is not None:
        find_surrogate(values.surrogate)
    return GenerateOptions(
        run=values.run, steps=values.steps, ensemble=values.ensemble, save_every=values.save_every,
        seed=values.seed, device=values.device, out=values.out, threads=values.threads, surrogate=values.surrogate,
        temperature=values.temperature,
    )  # fmt: skip


def parse_reconstruct(arguments: Sequence[str]) -> ReconstructOptions:
    """Return the options of ``mlgle reconstruct``; raise UserError on bad ones."""
    parser = _Parser(prog="mlgle reconstruct", description="Write beads of a run's generated trajectories.")
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a result folder with generated.h5 and modes.h5")
    add("--format", choices=FORMATS, default="lammps-dump")
    add("--trajectories", type=int, metavar="N", help="chains (default: as many as the MD has)")
    add("--every", type=int, metavar="N", help="use each n-th frame of generated.h5 (default: about 1000 in all)")
    add("--start", type=int, default=0, metavar="FRAME", help="first frame used (default 0)")
    add("--stop", type=int, metavar="FRAME", help="one after the last frame used; data files hold the last one")
    add("--out", type=Path, metavar="FILE", help="file to write (default RUN/reconstructed.*)")
    add("--overwrite", action="store_true", help="replace the file")
    add("--seed", type=int, default=1, help="of the fast modes that are drawn")
    add("--beads", type=int, metavar="N", help="beads per chain, where modes.h5 does not say")
    add("--mass", type=float, metavar="MASS", help="of a bead, for data files (default: left to the deck)")
    values = parser.parse_args(arguments)
    return ReconstructOptions(**{field.name: getattr(values, field.name) for field in fields(ReconstructOptions)})


def parse_compare(arguments: Sequence[str]) -> CompareOptions:
    """Return the options of ``mlgle compare``; raise UserError on bad ones."""
    parser = _Parser(
        prog="mlgle compare",
        description="Compare a run with full MD, or runs at several temperatures with one another.",
    )
    add = parser.add_argument
    add("runs", type=Path, nargs="+", metavar="RUN", help="RUN alone (against its own MD); RUN FULL_RUN (a longer "
        "run of the same melt, its modes.h5, or an .npz); STREAM MD (any generated.h5, modes.h5, .npz or folder "
        "without a result against MD); RUN1 RUN2 .. at different temperatures")  # fmt: skip
    add("--temperatures", type=float, nargs="+", default=(), metavar="T",
        help="of the runs, in their order (default: their -var T, or else the kinetic ones in their logs)")  # fmt: skip
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the comparison (default: runs/<name of the first run>-compare)",
    )
    add("--directions", metavar="XYZ", help=DIRECTIONS)
    add("--overwrite", action="store_true", help="replace a comparison that exists")
    add("--at", type=float, nargs="+", default=(), metavar="T", help="temperatures, run or not, at which D, η and τ_1 "
        "are asked of all runs together")  # fmt: skip
    values = parser.parse_intermixed_args(arguments)
    name = values.runs[0].resolve().name
    return CompareOptions(
        runs=tuple(values.runs), temperatures=tuple(values.temperatures), overwrite=values.overwrite,
        out=values.out or Path("runs") / f"{name}-compare", directions=values.directions,
        at=tuple(values.at),
    )  # fmt: skip


def parse_properties(arguments: Sequence[str]) -> PropertiesOptions:
    """Return the options of ``mlgle properties``; raise UserError on bad ones."""
    parser = _Parser(
        prog="mlgle properties", description="Viscosity, moduli, scattering and motion of chains from a run."
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a result folder, or a recorded stream")
    add("--out", type=Path, metavar="DIR", help="folder for properties.json, properties.html and properties/ (default: "
        "the run's own)")  # fmt: skip
    add("--temperature", type=float, metavar="T", help="of the melt (default: of its log, or the deck's variable T)")
    add("--volume", type=float, metavar="V", help="of the box, where the recording has none")
    add("--q", type=float, nargs="+", default=[], metavar="Q", help="scattering vectors, 1/length (default: by Rg)")
    add("--beads", type=int, metavar="N", help="beads per chain, where the recording does not say")
    add("--bead-mass", type=float, metavar="MASS", help="g/mol, for the molar mass in RepTate's files")
    add("--sum-beads", action="store_true", help="sum scattering over bead positions too: those of MD where all modes "
        "are streamed, and those of generated.h5")  # fmt: skip
    values = parser.parse_intermixed_args(arguments)
    return PropertiesOptions(
        run=values.run, out=values.out, temperature=values.temperature, volume=values.volume, q=tuple(values.q),
        beads=values.beads, bead_mass=values.bead_mass, sum_beads=values.sum_beads,
    )  # fmt: skip
