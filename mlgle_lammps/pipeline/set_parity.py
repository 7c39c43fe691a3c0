"""parity.json of a set: what each model and each baseline says of unseen molecules, against long MD of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.molecule_sizes import (
    MoleculeSizes,
    SizeDifference,
    described,
    geometric_mean,
    size_difference,
    sizes_of,
)
from mlgle_lammps.evaluate.parity import (
    Scores,
    best_r2,
    composition_fit,
    composition_predictions,
    mean_scores,
    scores,
)
from mlgle_lammps.pipeline.molecules import GENERATED
from mlgle_lammps.pipeline.parity_file import add_part, write_table
from mlgle_lammps.pipeline.set_file import UNSEEN, PlannedModel, PlannedRun, SetFile
from mlgle_lammps.pipeline.set_tasks import generated_folder, run_folder
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Estimate
from mlgle_lammps.report.parity_plot import ParityRow, draw_parity
from mlgle_lammps.report.result import versions
from mlgle_lammps.statistics.series import Series

logger = logging.getLogger("mlgle")
SCHEMA = 1
LEAST_MOLECULES = 3


@dataclass(frozen=True)
class Known:
    """A molecule with its MD.

    Attributes:
        name: of its run.
        sizes: in MD.
        mean: <Rg²>.
    """

    name: str
    sizes: MoleculeSizes
    mean: Estimate


def write_parity(plan: SetFile, out: Path) -> list[str]:
    """Write parity.json and figures into the set's folder; return lines for people.

    Raises:
        UserError: fewer than three unseen molecules have their MD.
    """
    if plan.quantity == "ions":
        from mlgle_lammps.pipeline.set_ions import write_ions

        return write_ions(plan, out)
    training = _known(out, plan.of_part("train"))
    found: JsonObject = {"schema": SCHEMA, "quantity": "rg2", "set": str(plan.path), "versions": versions()}
    lines: list[str] = []
    for part in UNSEEN:
        unseen = _known(out, plan.of_part(part))
        if len(unseen) < LEAST_MOLECULES:
            if part == "test":
                raise UserError(f"{out}: {len(unseen)} unseen molecules have MD; {LEAST_MOLECULES} are needed")
            continue
        table, rows = _table(plan, out, part, unseen, training)
        add_part(found, part, table)
        lines += _lines(part, table)
        draw_parity(out / "figures", f"parity_{part}", [own.mean for own in unseen], rows, "<Rg²>",
                    unseen[0].sizes.system.length_unit)  # fmt: skip
    write_table(out, found)
    return [*lines, f"wrote {out / 'parity.json'} and {out / 'figures'}"]


def _known(out: Path, runs: Sequence[PlannedRun]) -> list[Known]:
    found = []
    for run in runs:
        folder = run_folder(out, run)
        if (folder / "modes.h5").exists():
            sizes = sizes_of(folder)
            found.append(Known(run.name, sizes, sizes.squared_radius.mean()))
    return found


def _table(
    plan: SetFile, out: Path, part: str, unseen: Sequence[Known], training: Sequence[Known]
) -> tuple[JsonObject, list[ParityRow]]:
    """Return what parity.json says of a part, and what is drawn of it."""
    reference = [own.mean for own in unseen]
    baselines, rows = _baselines(unseen, training)
    models: JsonObject = {}
    for kind in dict.fromkeys(model.kind for model in plan.models):
        entry, row = _model(plan, out, part, unseen, kind)
        if entry is not None and row is not None:
            models[kind] = entry
            rows.append(row)
    times = [own.sizes.squared_radius.relaxation() for own in unseen]
    system = unseen[0].sizes.system
    table = {
        "length_unit": system.length_unit,
        "time_unit": system.time_unit,
        "best_r2": best_r2(reference),
        "molecules": [
            {
                "name": own.name, "n_beads": own.sizes.system.n_beads, "composition": own.sizes.composition,
                "time": own.sizes.squared_radius.total_time, "rg2": own.mean.value, "rg2_se": own.mean.se,
                "fluctuation": own.sizes.squared_radius.fluctuation().value,
                "relaxation_time": None if time is None else time.value,
                "relaxation_time_se": None if time is None else time.se,
            }
            for own, time in zip(unseen, times, strict=True)
        ],
        "models": models,
        "baselines": baselines,
        "without_trajectories": [
            own.name
            for own in plan.models
            if part in own.parts and not (generated_folder(out, own) / part / GENERATED).exists()
        ],
    }  # fmt: skip
    return table, rows


def _model(
    plan: SetFile, out: Path, part: str, unseen: Sequence[Known], kind: str
) -> tuple[JsonObject | None, ParityRow | None]:
    """Return the entry of a kind of model, the mean over its seeds, and its row in the picture."""
    by_seed: JsonObject = {}
    differences: list[list[SizeDifference]] = []
    for model in plan.models:
        if model.kind == kind and (own := _differences(out, part, unseen, model)) is not None:
            differences.append(own)
            by_seed[str(model.seed)] = _entry(unseen, own)
    if not differences:
        return None, None
    reference = [own.mean for own in unseen]
    every = [scores(reference, [one.mean.value for one in own]) for own in differences]
    entry = _scored(mean_scores(every)) | _ratios([one for own in differences for one in own])
    entry |= {"r2_by_seed": [own.r2 for own in every], "seeds": by_seed}
    values = np.array([[one.mean.value for one in own] for own in differences])
    errors = np.array([[one.mean.se for one in own] for own in differences])
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(len(unseen))
    row = ParityRow(f"{plan.surrogate} {kind}", values.mean(axis=0), np.hypot(spread, errors.mean(axis=0)), entry["r2"])
    return entry, row


def _differences(out: Path, part: str, unseen: Sequence[Known], model: PlannedModel) -> list[SizeDifference] | None:
    folder = generated_folder(out, model) / part
    paths = [folder / own.name / "generated.h5" for own in unseen]
    if not all(path.exists() for path in paths):
        return None
    return [
        size_difference(sizes_of(path).squared_radius, own.sizes.squared_radius)
        for path, own in zip(paths, unseen, strict=True)
    ]


def _entry(unseen: Sequence[Known], differences: Sequence[SizeDifference]) -> JsonObject:
    found = scores([own.mean for own in unseen], [own.mean.value for own in differences])
    molecules = {own.name: described(one) for own, one in zip(unseen, differences, strict=True)}
    return _scored(found) | _ratios(differences) | {"molecules": molecules}


def _ratios(differences: Sequence[SizeDifference]) -> JsonObject:
    fluctuation, relaxation = (
        geometric_mean([getattr(own, f"{name}_ratio") for own in differences]) for name in ("fluctuation", "relaxation")
    )
    furthest = max((own.drift for own in differences), key=lambda own: abs(own.value))
    return {
        "fluctuation_ratio": fluctuation[0], "fluctuation_ratio_se": fluctuation[1],
        "relaxation_ratio": relaxation[0], "relaxation_ratio_se": relaxation[1],
        "distance": float(np.mean([own.distance for own in differences])),
        "md_distance": float(np.mean([own.md_distance for own in differences])),
        "drift": float(np.mean([own.drift.value for own in differences])),
        "largest_drift": furthest.value, "largest_drift_se": furthest.se,
    }  # fmt: skip


def _scored(found: Scores) -> JsonObject:
    return asdict(found)


# ------------------------------------------------------------------ baselines


def _baselines(unseen: Sequence[Known], training: Sequence[Known]) -> tuple[JsonObject, list[ParityRow]]:
    """Return MD of the training's length and of twice that, and fits on composition."""
    found: JsonObject = {}
    rows: list[ParityRow] = []
    reference = [own.mean for own in unseen]
    shares = [own.sizes.composition for own in unseen]
    if training:
        length = float(np.median([own.sizes.squared_radius.total_time for own in training]))
        for name, time in (("md_training_length", length), ("md_twice_training_length", 2 * length)):
            entry, row = _short_md(unseen, time)
            if entry is not None and row is not None:
                found[name] = entry
                rows.append(row)
    for name, said, wanted, known in (
        ("composition_fit", "the shares of types", shares, [own.sizes.composition for own in training]),
        ("arrangement_fit", "the shares of types and of bonds between two of one type",
         [own.sizes.arrangement for own in unseen], [own.sizes.arrangement for own in training]),
    ):  # fmt: skip
        if not all(wanted):
            continue
        if len(unseen) > len(wanted[0]) + 1:
            values = composition_fit(wanted, [own.value for own in reference])
            found[name] = _scored(scores(reference, values)) | {
                "values": values, "meaning": f"log-linear in {said}, each molecule left out in turn",
            }  # fmt: skip
            rows.append(ParityRow(name.replace("_", " "), values, None, found[name]["r2"]))
        if all(known) and training and len(training) > len(wanted[0]) + 1:
            values = composition_predictions(known, [own.mean.value for own in training], wanted)
            found[f"{name}_to_training"] = _scored(scores(reference, values)) | {
                "values": values, "meaning": f"log-linear in {said}, fitted to the short runs that models learn from",
            }  # fmt: skip
    return found, rows


def _short_md(unseen: Sequence[Known], time: float) -> tuple[JsonObject | None, ParityRow | None]:
    """Return how pieces of the long runs, so long, agree with what is left of these, averaged over the pieces."""
    series = [own.sizes.squared_radius for own in unseen]
    n_pieces = min(int(own.total_time / time) for own in series)
    if n_pieces < 2:
        return None, None
    every, differences = [], []
    for i in range(n_pieces):
        pairs = [_split(own, time, i) for own in series]
        every.append(scores([rest.mean() for _, rest in pairs], [piece.all.mean() for piece, _ in pairs]))
        differences += [size_difference(piece, rest) for piece, rest in pairs]
    first = [_split(own, time, 0)[0].mean() for own in series]
    entry = _scored(mean_scores(every)) | _ratios(differences) | {"time": time, "pieces": n_pieces}
    values, errors = (np.array([getattr(own, name) for own in first]) for name in ("value", "se"))
    return entry, ParityRow(f"MD of {time:g}", values, errors, entry["r2"])


def _split(series: Series, time: float, number: int) -> tuple[Series, Series]:
    """Return a piece of a series and what is left without it."""
    n = round(time / series.dt)
    joined = [value for value in series.pieces]
    whole = np.concatenate(joined)
    first, last = number * n, (number + 1) * n
    rest = tuple(part for part in (whole[:first], whole[last:]) if len(part) > 1)
    return Series((whole[first:last],), series.dt), Series(rest, series.dt)


def _lines(part: str, table: JsonObject) -> list[str]:
    """Return a table for people."""
    head = f"{part}: {len(table['molecules'])} molecules; r2 can be {table['best_r2']:.2f} at most"
    title = f"{'':32s}{'r2':>14s}{'MAE':>14s}{'bias':>14s}{'fluctuation':>14s}{'relaxation':>14s}"
    return [head, title, *(_row(name, own) for name, own in (*table["models"].items(), *table["baselines"].items()))]


def _row(name: str, entry: JsonObject) -> str:
    cells = []
    for key in ("r2", "mae", "bias", "fluctuation_ratio", "relaxation_ratio"):
        value, se = entry.get(key), entry.get(f"{key}_se")
        known = value is not None and np.isfinite(value)
        shown = f"{value:.2f}" + (f" ± {se:.2f}" if se is not None and np.isfinite(se) else "") if known else "-"
        cells.append(f"{shown:>14s}")
    return f"{name:32s}" + "".join(cells)
