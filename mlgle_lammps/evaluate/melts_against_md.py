"""Generated motions of molecules' centres held against MD of the same melt: one plan, so that all are seen alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate import centre_models, centres
from mlgle_lammps.observe.pair_distribution import intermolecular_distribution
from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.records import CHAINS, Frames, System, boxes_of, joined
from mlgle_lammps.statistics.centre_motion import frames_to_forget
from mlgle_lammps.store.reader import FramesReader
from mlgle_lammps.store.recording import checked_blocks, open_recording
from mlgle_lammps.store.run_folder import RunFolder

PIECES = 4
"""Into which what is compared is cut, for errors."""
ALIKE = 1e-3
"""Relative difference up to which two boxes, or two times between frames, are the same."""


@dataclass(frozen=True)
class MeltComparison:
    """Models of a melt beside MD.

    Attributes:
        md: what MD shows.
        models: what each model shows.
        scores: how they differ, by model, as under "nm_mb": {"models": ..} of result.json.
        system: what MD is about; dt is that of the frames that were looked at.
        reference: which MD.
        notes: what is worth knowing.
    """

    md: centres.CentreCurves
    models: Mapping[str, centres.CentreCurves]
    scores: Mapping[str, JsonMapping]
    system: System
    reference: str
    notes: tuple[str, ...] = ()


def holds_centres(path: Path) -> bool:
    """Whether a run's folder or a file holds generated motions of centres, momenta among them."""
    file = _generated(path)
    if not file.is_file() or file.suffix != ".h5":
        return False
    try:
        with FramesReader(file) as found:
            return found.generated and "momenta" in found.system.channels
    except UserError:  # said by whatever reads it in earnest
        return False


def compare_melts(paths: Sequence[Path], against: Path | None, learned_share: float) -> MeltComparison:
    """Return how models' motions compare with MD.

    Args:
        paths: run folders or generated files; a run's model is named by its preset, others by their files.
        against: MD, a run's folder or its frames; None for what the first run was not learned from.
        learned_share: of a run's production, that it was learned from.

    Raises:
        UserError: files that do not hold centres and momenta, another box, or too few frames.
    """
    made = {name: _read(path) for name, path in zip(_names(paths), map(_generated, paths), strict=True)}
    notes = []
    if against is None:
        if not paths[0].is_dir():
            raise UserError(f"{paths[0]} holds no MD: name some by `against`")
        system, frames = _read(RunFolder(paths[0]).modes)
        frames = [own[round(learned_share * len(own)) :] for own in frames]
        reference = (
            f"the last {1 - learned_share:.0%} of production in {paths[0]}, which its model was not learned from"
        )
        if len(paths) > 1:
            notes.append(
                f"models of other runs than {paths[0]} may have been learned from the MD that they are held to"
            )
    else:
        system, frames = _read(RunFolder(against).modes if against.is_dir() else against)
        reference = f"{against}, {system.source}"
    step = max(system.dt, *(own.dt for own, _ in made.values()))
    md = _every(frames, system, step, "MD")
    for name, (own, _) in made.items():
        _require_same_box(name, own, system)
    seen = replace(system, dt=step)
    plan = plan_of(md[0], seen, _kT([*paths, *([against] if against else [])], md[0], seen))
    curves = {name: _every(own_frames, own, step, name) for name, (own, own_frames) in made.items()}
    models, of_md = look(curves, md, plan, seen.source)
    return MeltComparison(of_md, models, centre_models.scores(models, of_md), seen, reference, tuple(notes))


def look(
    made: Mapping[str, Sequence[Frames]], md: Sequence[Frames], plan: centres.CentrePlan, source: str
) -> tuple[dict[str, centres.CentreCurves], centres.CentreCurves]:
    """Return what models and MD show.

    Args:
        made: frames of each model, box by box, as far apart as the plan's.
        md: likewise.
        plan: what is looked at.
        source: of the MD, for messages.

    Raises:
        UserError: what there is of MD, or of a model, is too short to compare.
    """
    needed = round(1.2 * plan.diffusion[1] / plan.dt)
    for name, boxes in {**made, "MD": md}.items():
        if not any(_runs(frames, needed) for frames in boxes):
            n_frames = len(boxes[0])
            raise UserError(
                f"{source}: models are compared over pieces of {needed} frames, and there are {n_frames} of {name}: "
                "ask for more `frames` of production or more `generate_steps`"
            )
    found = {name: centres.look_at(_pieces(frames, needed), plan) for name, frames in made.items()}
    return found, centres.look_at(_pieces(md, needed), plan)


def plan_of(frames: Frames, system: System, kT: float) -> centres.CentrePlan:
    """Return what is looked at, in units of the melt's own: its first neighbours, and how long velocities last."""
    forget = frames_to_forget(frames.channels[CHAINS]["momenta"]) * system.dt
    box = np.array((system.box or ())[:3])
    some = frames.com[:: max(len(frames) // 100, 1), :, None]
    peak, _ = intermolecular_distribution(some, box, 0.495 * float(box.min())).first_peak()
    masses = np.broadcast_to(np.array(system.masses), (system.n_chains,)).astype(np.float64)
    return centres.CentrePlan(
        system.dt, box, masses, kT, shells=((0.83 * peak, 0.91 * peak), (1.16 * peak, 1.24 * peak)),
        longest=28 * forget, diffusion=(28 * forget, 114 * forget),
        maps=tuple(share * 114 * forget for share in (0.0, 0.025, 0.06, 0.12, 0.25, 0.5, 1.0)),
    )  # fmt: skip


def _runs(frames: Frames, needed: int) -> list[np.ndarray]:
    """Return the indices of up to four pieces without a seam, each of ``needed`` frames or more."""
    found = []
    for segment in np.unique(frames.segments):
        first, after = np.searchsorted(frames.segments, [segment, segment + 1])
        n_pieces = min(PIECES, (after - first) // needed)
        found += np.array_split(np.arange(first, after), n_pieces) if n_pieces else []
    return found


def _pieces(boxes: Sequence[Frames], needed: int) -> list[centres.CentrePiece]:
    return [
        centres.CentrePiece(frames.channels[CHAINS]["com"][part], frames.channels[CHAINS]["momenta"][part])
        for frames in boxes
        for part in _runs(frames, needed)
    ]


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each model: its preset, or its folder's or file's name where that is not told or not alone."""
    presets = [str(RunFolder(path).read_result().get("preset", "")) if path.is_dir() else "" for path in paths]
    names = [
        preset if preset and presets.count(preset) == 1 else path.resolve().stem
        for preset, path in zip(presets, paths, strict=True)
    ]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two of the models would be called {twice}; rename one")
    return names


def _generated(path: Path) -> Path:
    return RunFolder(path).generated if path.is_dir() else path


def _read(path: Path) -> tuple[System, list[Frames]]:
    """Return all frames of a file with centres and momenta, box by box, and the system of one box.

    Raises:
        UserError: it holds none.
    """
    recording = open_recording(path)
    if "momenta" not in recording.system.channels:
        raise UserError(f"{path}: no momenta of centres are recorded; a run of the surrogate nm-mb records them")
    blocks = list(checked_blocks(recording))
    if not blocks:
        raise UserError(f"{path} holds no frame")
    system = recording.system
    one = replace(system, n_chains=system.n_chains // system.boxes, boxes=1)
    return one, boxes_of(joined(blocks), system.boxes)


def _every(boxes: Sequence[Frames], system: System, step: float, name: str) -> list[Frames]:
    """Return frames ``step`` apart; raise UserError where that is no multiple of the time between them."""
    ratio = step / system.dt
    if abs(ratio - round(ratio)) > ALIKE * ratio:
        raise UserError(f"frames of {name} are {system.dt:g} apart, others {step:g}: no multiple of it")
    return [frames[:: round(ratio)] for frames in boxes]


def _require_same_box(name: str, own: System, md: System) -> None:
    """Raise UserError where a model's box or molecules are not MD's."""
    if own.n_chains != md.n_chains:
        raise UserError(f"{name} has {own.n_chains} molecules and MD {md.n_chains}: generate as many with `molecules`")
    edges, wanted = (np.array((system.box or (np.nan,) * 3)[:3]) for system in (own, md))
    if not np.allclose(edges, wanted, rtol=ALIKE):
        raise UserError(f"{name} is in a box of {edges}, MD in one of {wanted}: not the same density")


def _kT(paths: Sequence[Path], md: Frames, system: System) -> float:
    """Return kT of the melt: that of constrained runs where a run tells it, or else of MD's own momenta."""
    for path in paths:
        if not RunFolder(path).result.is_file():
            continue
        told = RunFolder(path).read_result().get("nm_mb") or {}
        if values := (told.get("constrained") or {}).get("kT"):
            return float(np.mean(values))
    momenta, masses = md.channels[CHAINS]["momenta"], np.array(system.masses)[..., None]
    free = 3 * (system.n_chains - 1)
    return float((momenta**2 / masses).sum((1, 2)).mean() / free)
