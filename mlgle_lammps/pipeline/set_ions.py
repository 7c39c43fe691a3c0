"""parity.json of a set of electrolytes: D of ions and conductivity of models and of short MD, against long MD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.ion_transport import IonTransport, collisions_in_time, ion_transport, read_ions
from mlgle_lammps.evaluate.parity import scores
from mlgle_lammps.pipeline.ion_baselines import composition_baselines
from mlgle_lammps.pipeline.parity_file import add_part, write_table
from mlgle_lammps.pipeline.set_file import UNSEEN, SetFile
from mlgle_lammps.pipeline.set_tasks import generated_folder, run_folder
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Estimate, Frames, System
from mlgle_lammps.report.parity_plot import ParityRow, draw_parity
from mlgle_lammps.report.result import versions

Reference = Sequence[tuple[str, str, Estimate | None]]
"""Run, kind of ion, and D in MD."""
LEAST_VALUES = 3
PARTS = 10
"""Pieces of time in which collisions are counted."""


def write_ions(plan: SetFile, out: Path) -> list[str]:
    """Write parity.json and figures into the set's folder; return lines for people.

    Raises:
        UserError: no charges in the set's file, or no unseen electrolyte has its MD.
    """
    if not plan.charges:
        raise UserError(f'{plan.path}: quantity "ions" needs a table [charges] with the charge of each type')
    training = list(_transport(plan, _known(plan, out, "train")).values())
    found: JsonObject = {
        "schema": 1, "quantity": "ions", "set": str(plan.path), "charges": dict(plan.charges), "kT": plan.kT,
        "versions": versions(),
    }  # fmt: skip
    lines: list[str] = []
    for part in UNSEEN:
        known = _known(plan, out, part)
        if not known:
            if part == "test":
                raise UserError(f"{out}: no unseen electrolyte has its MD")
            continue
        table, said = _table(plan, out, part, known, training)
        add_part(found, part, table)
        lines += said
    write_table(out, found)
    return [*lines, f"wrote {out / 'parity.json'}"]


def _known(plan: SetFile, out: Path, part: str) -> dict[str, tuple[System, Frames]]:
    """Return the runs of a part that have their MD."""
    return {
        run.name: read_ions(run_folder(out, run), plan.charges)
        for run in plan.of_part(part)
        if (run_folder(out, run) / "modes.h5").exists()
    }


def _table(
    plan: SetFile, out: Path, part: str, known: Mapping[str, tuple[System, Frames]], training: Sequence[IonTransport]
) -> tuple[JsonObject, list[str]]:
    """Return what parity.json says of a part, and lines for people; draw the figure."""
    long = _transport(plan, known)
    reference = [(name, kind, D) for name, own in long.items() for kind, D in own.D.items() if D is not None]
    baselines, rows = _baselines(plan, known, training, reference)
    models, more = _models(plan, out, part, long, reference)
    rows += more
    if reference and rows:
        unit = next(iter(long.values())).system
        draw_parity(out / "figures", "parity_ions" if part == "test" else f"parity_ions_{part}",
                    [D for _, _, D in reference], rows, "D of ions", f"{unit.length_unit}²/{unit.time_unit}",
                    squared=False)  # fmt: skip
    lines = [f"{name} {kind}: D = {D.value:.4g} ± {D.se:.2g}" for name, kind, D in reference]
    lines += [_line(name, own) for name, own in (*models.items(), *baselines.items())]
    molecules = {name: own.summary() for name, own in long.items()}
    return {"molecules": molecules, "models": models, "baselines": baselines}, lines


def _transport(plan: SetFile, streams: Mapping[str, tuple[System, Frames]]) -> dict[str, IonTransport]:
    return {name: ion_transport(*own, plan.charges, plan.kT) for name, own in streams.items()}


def _baselines(
    plan: SetFile, known: Mapping[str, tuple[System, Frames]], training: Sequence[IonTransport], reference: Reference
) -> tuple[JsonObject, list[ParityRow]]:
    """Return MD of the training's length and of twice that, against the rest of MD, and what composition says."""
    found: JsonObject = {}
    rows: list[ParityRow] = []
    if not training:
        return found, rows
    length = float(np.median([own.time for own in training]))
    for label, time in (("md_training_length", length), ("md_twice_training_length", 2 * length)):
        counts = {name: max(16, round(time / system.dt)) for name, (system, _) in known.items()}
        if any(len(known[name][1]) < 2 * n for name, n in counts.items()):
            continue  # no rest that is as long
        pieces = _transport(plan, {name: (system, frames[: counts[name]]) for name, (system, frames) in known.items()})
        rest = _transport(plan, {name: (system, frames[counts[name] :]) for name, (system, frames) in known.items()})
        entry, row = _against(label, pieces, [(name, kind, rest[name].D[kind]) for name, kind, _ in reference])
        found[label] = entry | {"time": time}
        rows += row
    unseen = {name: system for name, (system, _) in known.items()}
    for label, found_D in composition_baselines(training, unseen, plan.charges).items():
        found[label], row = _against(label, found_D, reference)
        rows += row
    return found, rows


def _models(
    plan: SetFile, out: Path, part: str, long: Mapping[str, IonTransport], reference: Reference
) -> tuple[JsonObject, list[ParityRow]]:
    """Return the models that have moved all known electrolytes of a part."""
    found: JsonObject = {}
    rows: list[ParityRow] = []
    for model in plan.models:
        folder = generated_folder(out, model) / part
        several = len(plan.of_part(part)) > 1  # each then has a folder of its own
        files = {name: (folder / name if several else folder) / "generated.h5" for name in long}
        if all(path.exists() for path in files.values()):
            streams = {name: read_ions(path, plan.charges) for name, path in files.items()}
            found[model.name], row = _against(model.name, _transport(plan, streams), reference)
            found[model.name]["collisions"] = {
                name: _collisions(*own, long[name].closest) for name, own in streams.items()
            }
            rows += row
    return found, rows


def _collisions(system: System, frames: Frames, closest: Mapping[tuple[str, str], float]) -> dict[str, list[float]]:
    """Return pairs closer than long MD ever has them, per ion, in each tenth of the time; by pairs of species."""
    return {
        "-".join(pair): [float(own.mean()) for own in np.array_split(near, min(PARTS, len(near)))]
        for pair, distance in closest.items()
        for near in (collisions_in_time(system, frames, pair, distance),)
    }


def _against(label: str, found: Mapping[str, IonTransport], reference: Reference) -> tuple[JsonObject, list[ParityRow]]:
    """Return what parity.json says of one way to the ions' D, and its row in the picture where it has one."""
    values = [found[name].D[kind] for name, kind, _ in reference]
    entry: JsonObject = {"molecules": {name: own.summary() for name, own in found.items()}}
    both = [(own, D) for own, (_, _, D) in zip(values, reference, strict=True) if own is not None and D is not None]
    entry["without_D"] = len(values) - len(both)
    if both:
        ratios = np.array([own.value / D.value for own, D in both])
        entry |= {
            "ratio": float(np.exp(np.log(ratios).mean())),
            "worst_ratio": float(ratios[np.argmax(abs(ratios - 1))]),
        }
    if len(both) < max(LEAST_VALUES, len(values)):
        return entry, []
    score = scores([D for _, D in both], [own.value for own, _ in both])
    x, errors = (np.array([getattr(own, name) for own, _ in both]) for name in ("value", "se"))
    return entry | asdict(score), [ParityRow(label.replace("_", " "), x, errors, score.r2)]


def _line(name: str, entry: JsonObject) -> str:
    if "ratio" not in entry:
        return f"{name}: no D"
    r2 = f", r2 {entry['r2']:.2f}" if "r2" in entry else ""
    return f"{name}: D over long MD {entry['ratio']:.2f}, worst {entry['worst_ratio']:.2f}{r2}"
