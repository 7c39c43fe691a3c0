"""Which surrogates there are: the one place that knows them by name. Nothing of theirs is loaded before it is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlgle_lammps.chains.laplacian import modes_taken
from mlgle_lammps.diffusion.forms import FitForm
from mlgle_lammps.directions import Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.records import Frames, GleFit, System
from mlgle_lammps.surrogates import cg_gnn, ml_gle, nm_mb
from mlgle_lammps.surrogates.ml_gle import published

if TYPE_CHECKING:
    from mlgle_lammps.surrogates.cg_gnn.box_options import BoxOptions
    from mlgle_lammps.surrogates.cg_gnn.options import CgGnnOptions
    from mlgle_lammps.surrogates.contract import Model, Trainer

COMMON_OPTIONS = (
    "out", "overwrite", "surrogate", "preset", "handoff", "target_ci", "full_md", "generate_steps", "save_every",
    "ensemble", "device", "seed", "threads", "directions", "interactive",
)  # fmt: skip
"""Options that mean the same for every surrogate."""
OLD_SUFFIX = ".pt"
"""Of model files of before, which are all of ML-GLE."""


@dataclass(frozen=True)
class Preset:
    """A variant of a surrogate.

    Attributes:
        name: that --preset takes.
        meaning: a few words for --help.
        fit_form: form of the GLE fit that goes with it.
        remedy: what to do where it generates badly, beside giving more frames; empty for nothing.
        dimensions: numbers of free directions that it can learn from.
    """

    name: str
    meaning: str
    fit_form: FitForm = "default"
    remedy: str = ""
    dimensions: tuple[int, ...] = (1, 2, 3)

    def require_dimensions(self, directions: Directions) -> None:
        """Raise UserError where it cannot learn from so few directions."""
        if directions.n not in self.dimensions:
            raise UserError(
                f"`preset` {self.name}: its networks are of three dimensions, and chains are free in "
                f"{directions.free} alone: use `preset` default"
            )


LearnRuns = Callable[[Sequence[tuple[System, Frames, str]], LearnOptions, Callable[[str], None]], "Model"]
"""Runs with their systems and names, options, and who hears of progress -> a model."""


@dataclass(frozen=True)
class Surrogate:
    """A surrogate by name.

    Attributes:
        name: that --surrogate takes.
        presets: its variants, the first is the default.
        options: fields of LearnOptions that it knows, beside ``COMMON_OPTIONS``.
        trainer: makes a trainer; see ``make_trainer``.
        load: reads a model file.
        rehearse: returns a line that says how long learning and generating will take.
        learn_runs: learns from recorded runs of many molecules, each with its own name; None where the surrogate
            learns from one stream.
        channels: of a frame of the main species, which the driver fills.
        constrained: it learns from runs in which centres are held, which follow production.
        foreign: common options that mean nothing to it.
        defaults: values of options that nobody gave, where they are others than usual.
    """

    name: str
    presets: tuple[Preset, ...]
    options: tuple[str, ...]
    trainer: Callable[[LearnOptions, System, Callable[[], GleFit | None], Callable[[], bool]], Trainer]
    load: Callable[[Path], Model]
    rehearse: Callable[[System, LearnOptions], str]
    learn_runs: LearnRuns | None = None
    channels: tuple[str, ...] = ("com", "modes")
    constrained: bool = False
    foreign: tuple[str, ...] = ()
    defaults: JsonMapping = field(default_factory=dict)

    def preset(self, name: str | None) -> Preset:
        """Return a variant, the default one for None; raise UserError naming those there are."""
        if name is None:
            return self.presets[0]
        for preset in self.presets:
            if preset.name == name:
                return preset
        there = ", ".join(preset.name for preset in self.presets)
        raise UserError(f"`preset` {name}: {self.name} has no such preset; there are: {there}")

    def require_known(self, options: Iterable[str]) -> None:
        """Raise UserError naming the options that were given and mean nothing to it."""
        fields = set(LearnOptions.__dataclass_fields__)
        unknown = sorted((set(options) & fields) - ({*COMMON_OPTIONS, *self.options} - set(self.foreign)))
        if unknown:
            listed = ", ".join(f"`{name}`" for name in unknown)
            raise UserError(f"{listed}: not an option of `surrogate` {self.name}; leave it out")


def _cg_gnn_trainer(
    options: LearnOptions, system: System, fit: Callable[[], GleFit | None], should_stop: Callable[[], bool]
) -> Trainer:
    from mlgle_lammps.surrogates.cg_gnn.trainer import CgGnnTrainer

    return CgGnnTrainer(_cg_gnn_options(options), system, should_stop)


def _cg_gnn_options(options: LearnOptions) -> CgGnnOptions:
    from mlgle_lammps.surrogates.cg_gnn.options import ENERGY, CgGnnOptions

    if options.refine is not None:
        raise UserError("`refine` is for boxes of several species, and these are molecules by themselves; leave it out")
    found = CgGnnOptions(
        preset=options.preset, beads_per_group=options.beads_per_group, grouping=options.grouping,
        step=CgGnnOptions.step if options.step is None else options.step, members=options.members, seed=options.seed,
        device=options.device,
    )  # fmt: skip
    if options.updates is None:
        return found
    if found.preset == ENERGY:
        raise UserError(
            f"`updates`: preset {ENERGY} is fitted in closed form; leave the option out, or `preset` network"
        )
    plan = found.training_plan
    share = options.updates / max(plan.updates, 1)
    shorter = replace(plan, updates=options.updates, horizon_updates=math.ceil(plan.horizon_updates * share))
    return replace(found, plan=shorter)


def _cg_gnn_box_options(options: LearnOptions) -> BoxOptions:
    from mlgle_lammps.surrogates.cg_gnn.box_options import REFINE, BoxOptions

    if options.device != "auto" and not options.device.startswith("cpu"):
        raise UserError(f"`device` {options.device}: boxes of several species are learned on the CPU; leave it out")
    found = BoxOptions(
        options.preset, options.beads_per_group, options.grouping, options.step,
        BoxOptions.members if options.members is None else options.members, options.seed,
        REFINE if options.refine is None else options.refine,
    )  # fmt: skip
    if options.updates is None:
        return found
    return replace(found, mobility=replace(found.mobility, updates=options.updates))


def _cg_gnn_model(path: Path) -> Model:
    from mlgle_lammps.surrogates.cg_gnn.either_model import load_either

    return load_either(path)


def _cg_gnn_runs(
    runs: Sequence[tuple[System, Frames, str]], options: LearnOptions, report: Callable[[str], None]
) -> Model:
    from mlgle_lammps.surrogates.cg_gnn.box_trainer import has_several_species, train_boxes
    from mlgle_lammps.surrogates.cg_gnn.coarse_runs import BeadRun
    from mlgle_lammps.surrogates.cg_gnn.trainer import train

    if has_several_species([system for system, _, _ in runs]):
        return train_boxes(runs, _cg_gnn_box_options(options), report)
    return train([BeadRun(*run) for run in runs], _cg_gnn_options(options), report=report)


def _cg_gnn_rehearsal(system: System, options: LearnOptions) -> str:
    return "learning is not rehearsed"


def _ml_gle_trainer(
    options: LearnOptions, system: System, fit: Callable[[], GleFit | None], should_stop: Callable[[], bool]
) -> Trainer:
    from mlgle_lammps.surrogates.ml_gle.trainer import MlGleTrainer

    return MlGleTrainer(options, system, fit, should_stop)


def _ml_gle_model(path: Path) -> Model:
    from mlgle_lammps.surrogates.ml_gle.model import MlGleModel

    return MlGleModel.load(path)


def _ml_gle_rehearsal(system: System, options: LearnOptions) -> str:
    from mlgle_lammps.surrogates.ml_gle.rehearsal import rehearsal_line, rehearse

    return rehearsal_line(rehearse(system.n_chains, modes_taken(options.modes, system.species[0]), options), options)


def _nm_mb_trainer(
    options: LearnOptions, system: System, fit: Callable[[], GleFit | None], should_stop: Callable[[], bool]
) -> Trainer:
    raise UserError(f"{nm_mb.NAME} learns from constrained runs, not from a window of frames: mlgle run DECK")


def _nm_mb_model(path: Path) -> Model:
    from mlgle_lammps.surrogates.nm_mb.model import NmMbModel

    return NmMbModel.load(path)


def _nm_mb_rehearsal(system: System, options: LearnOptions) -> str:
    from mlgle_lammps.surrogates.nm_mb.rehearsal import rehearsal_line, rehearse

    return rehearsal_line(rehearse(system, options), options)


SURROGATES = {
    ml_gle.NAME: Surrogate(
        ml_gle.NAME,
        (
            Preset("default", "linear cores with networks where they are worth it"),
            Preset("paper", "the published networks and fit", "published", published.REMEDY, (3,)),
        ),
        ("modes", "memory", "train_frames", "val_frames"),
        _ml_gle_trainer,
        _ml_gle_model,
        _ml_gle_rehearsal,
    ),
    cg_gnn.NAME: Surrogate(
        cg_gnn.NAME,
        (
            Preset("default", "an energy of groups in closed form, Langevin steps by their modes", dimensions=(3,)),
            Preset("network", "equivariant networks on linear cores, noise by modes of the groups", dimensions=(3,)),
            Preset("published", "the published network, hours on a GPU", dimensions=(3,)),
            Preset("published-small", "the same, small", dimensions=(3,)),
            Preset("deterministic", "the same without noise", dimensions=(3,)),
        ),
        ("beads_per_group", "grouping", "step", "updates", "members", "refine"),
        _cg_gnn_trainer,
        _cg_gnn_model,
        _cg_gnn_rehearsal,
        _cg_gnn_runs,
        ("com", "beads"),
        foreign=(
            "handoff",
            "target_ci",
            "full_md",
            "directions",
            "generate_steps",
            "save_every",
            "ensemble",
            "interactive",
        ),
    ),
    nm_mb.NAME: Surrogate(
        nm_mb.NAME,
        (
            Preset("default", "many-body memory of molecules and pairs, range half the box, up to the longest lag"),
            Preset("paper", "the letter's form, range and loss"),
            Preset("nm-mb", "the letter's form with range half the box and a loss that resolves the tail"),
            Preset("nm-dpd", "pairwise memory"),
            Preset("m-dpd", "pairwise friction without memory"),
            Preset("gle", "one memory for all molecules, of the velocities' autocorrelation"),
        ),
        ("frames", "configurations", "constrained_steps", "force_every", "longest_lag", "pair_range"),
        _nm_mb_trainer,
        _nm_mb_model,
        _nm_mb_rehearsal,
        channels=("com", "momenta"),
        constrained=True,
        foreign=("handoff", "target_ci", "full_md", "directions", "interactive"),
        defaults={"generate_steps": 10_000, "ensemble": 1},
    ),
}
"""By name; the first is the default."""


def find_surrogate(name: str) -> Surrogate:
    """Return a surrogate; raise UserError naming those there are."""
    if name not in SURROGATES:
        raise UserError(f"`surrogate` {name}: there is no such surrogate; there are: {_names()}")
    return SURROGATES[name]


def find_preset(options: LearnOptions) -> Preset:
    """Return the surrogate's variant that is asked for; raise UserError where there is none."""
    return find_surrogate(options.surrogate).preset(options.preset)


def make_trainer(
    options: LearnOptions,
    system: System,
    fit: Callable[[], GleFit | None],
    should_stop: Callable[[], bool] = lambda: False,
) -> Trainer:
    """Return the trainer of the surrogate and preset that are asked for.

    Args:
        options: of learning.
        system: of the frames.
        fit: returns the last GLE fit; asked when training is finished.
        should_stop: asked between updates; True ends training with the best so far.

    Raises:
        UserError: no such surrogate or preset, or no such device.
    """
    find_preset(options)
    return find_surrogate(options.surrogate).trainer(options, system, fit, should_stop)


def load_model(path: Path, surrogate: str | None = None) -> Model:
    """Return the model in a file of any surrogate, also of before.

    Args:
        path: the file.
        surrogate: that it has to be of; None for any.

    Raises:
        UserError: a file that is missing, damaged, of another kind, or of another surrogate.
    """
    if surrogate is not None:
        find_surrogate(surrogate)
    found = _surrogate_of(path)
    if surrogate is not None and found != surrogate:
        raise UserError(f"{path} is a model of {found}, not of `surrogate` {surrogate}; leave the option out")
    if found not in SURROGATES:
        raise UserError(f"{path} is a model of a surrogate that this program does not have; it has: {_names()}")
    return SURROGATES[found].load(path)


def _surrogate_of(path: Path) -> str:
    if path.suffix == OLD_SUFFIX:
        return ml_gle.NAME
    from mlgle_lammps.surrogates.model_file import read_surrogate

    return read_surrogate(path)


def _names() -> str:
    return ", ".join(SURROGATES)


def rehearsal_line(system: System, options: LearnOptions) -> str:
    """Return a line that says how long learning and generating will take, by doing a little of both."""
    return find_surrogate(options.surrogate).rehearse(system, options)
