"""parity.json of a set of electrolytes: D of ions and conductivity of models and of short MD, against long MD."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.ion_transport import IonTransport, collisions_in_time, ion_transport, read_ions
from mlgle_lammps.evaluate.parity import scores
from mlgle_lammps.pipeline.ion_baselines import composition_baselines
from mlgle_lammps.pipeline.set_file import PlannedRun, SetFile
from mlgle_lammps.pipeline.set_tasks import generated_folder, run_folder
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Estimate, Frames, System
from mlgle_lammps.report.parity_plot import ParityRow, draw_parity
from mlgle_lammps.report.result import versions
from mlgle_lammps.store.atomic import write_bytes_atomically
from mlgle_lammps.store.run_folder import plain

LEAST_VALUES = 3
PARTS = 10
"""Pieces of time in which collisions are counted."""


def write_ions(plan: SetFile, out: Path) -> list[str]:
    """Write parity.json and a figure into the set's folder; return lines for people.

    Raises:
        UserError: no charges in the set's file, or no unseen electrolyte has its MD.
    """
    if not plan.charges:
        raise UserError(f'{plan.path}: quantity "ions" needs a table [charges] with the charge of each type')
    known = {run.name: read_ions(run_folder(out, run), plan.charges) for run in plan.of_part("test") if _has(out, run)}
    if not known:
        raise UserError(f"{out}: no unseen electrolyte has its MD")
    long = {name: ion_transport(system, frames, plan.charges, plan.kT) for name, (system, frames) in known.items()}
    training = [
        ion_transport(*read_ions(run_folder(out, run), plan.charges), plan.charges, plan.kT)
        for run in plan.of_part("train") if _has(out, run)
    ]  # fmt: skip
    reference = [(name, kind, D) for name, own in long.items() for kind, D in own.D.items() if D is not None]
    baselines: JsonObject = {}
    rows: list[ParityRow] = []
    if training:
        length = float(np.median([own.time for own in training]))
        for label, time in (("md_training_length", length), ("md_twice_training_length", 2 * length)):
            pieces = {name: _beginning(plan, *known[name], time) for name in known}
            entry, row = _against(label, pieces, reference)
            baselines[label] = entry | {"time": time}
            rows += row
        unseen = {name: system for name, (system, _) in known.items()}
        for label, found_D in composition_baselines(training, unseen, plan.charges).items():
            baselines[label], row = _against(label, found_D, reference)
            rows += row
    models: JsonObject = {}
    for model in plan.models:
        folder = generated_folder(out, model) / "test"
        files = {name: (folder / name if len(known) > 1 else folder) / "generated.h5" for name in known}
        if all(path.exists() for path in files.values()):
            streams = {name: read_ions(path, plan.charges) for name, path in files.items()}
            made = {name: ion_transport(*own, plan.charges, plan.kT) for name, own in streams.items()}
            models[model.name], row = _against(model.name, made, reference)
            models[model.name]["collisions"] = {
                name: _collisions(*own, long[name].closest) for name, own in streams.items()
            }
            rows += row
    found = {
        "schema": 1, "quantity": "ions", "set": str(plan.path), "charges": dict(plan.charges), "kT": plan.kT,
        "molecules": {name: own.summary() for name, own in long.items()}, "models": models, "baselines": baselines,
        "versions": versions(),
    }  # fmt: skip
    text = json.dumps(plain(found), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes_atomically(out / "parity.json", (text + "\n").encode())
    if reference and rows:
        unit = next(iter(long.values())).system
        draw_parity(out / "figures", "parity_ions", [D for _, _, D in reference], rows, "D of ions",
                    f"{unit.length_unit}²/{unit.time_unit}", squared=False)  # fmt: skip
    lines = [f"{name} {kind}: D = {D.value:.4g} ± {D.se:.2g}" for name, kind, D in reference]
    lines += [_line(name, own) for name, own in (*models.items(), *baselines.items())]
    return [*lines, f"wrote {out / 'parity.json'}"]


def _collisions(system: System, frames: Frames, closest: Mapping[tuple[str, str], float]) -> dict[str, list[float]]:
    """Return pairs closer than long MD ever has them, per ion, in each tenth of the time; by pairs of species."""
    return {
        "-".join(pair): [float(own.mean()) for own in np.array_split(near, min(PARTS, len(near)))]
        for pair, distance in closest.items()
        for near in (collisions_in_time(system, frames, pair, distance),)
    }


def _has(out: Path, run: PlannedRun) -> bool:
    return (run_folder(out, run) / "modes.h5").exists()


def _beginning(plan: SetFile, system: System, frames: Frames, time: float) -> IonTransport:
    return ion_transport(system, frames[: max(16, round(time / system.dt))], plan.charges, plan.kT)


def _against(
    label: str, found: dict[str, IonTransport], reference: Sequence[tuple[str, str, Estimate]]
) -> tuple[JsonObject, list[ParityRow]]:
    """Return what parity.json says of one way to the ions' D, and its row in the picture where it has one."""
    values = [found[name].D[kind] for name, kind, _ in reference]
    entry: JsonObject = {"molecules": {name: own.summary() for name, own in found.items()}}
    both = [(own, D) for own, (_, _, D) in zip(values, reference, strict=True) if own is not None]
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
