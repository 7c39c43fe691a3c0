"""comparison.json from the records of a comparison."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mlgle_lammps.evaluate.centre_models import standard_error
from mlgle_lammps.evaluate.chain_curves import CURVES, ChainCurves
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Estimate
from mlgle_lammps.report.result import versions
from mlgle_lammps.store.atomic import write_bytes_atomically
from mlgle_lammps.store.run_folder import plain

if TYPE_CHECKING:  # records of the comparison, for their types only
    from mlgle_lammps.evaluate.melts_against_md import MeltComparison
    from mlgle_lammps.evaluate.over_temperatures import OverTemperatures
    from mlgle_lammps.evaluate.run_against_md import RunAgainstMd
    from mlgle_lammps.evaluate.side_by_side import SideBySide
    from mlgle_lammps.evaluate.two_streams import TwoStreams
    from mlgle_lammps.observe.temperature import ArrheniusFit, VogelFit

NUMBERS = "comparison.json"
SCHEMA = 1


def write_numbers(folder: Path, numbers: JsonObject) -> None:
    """Write ``folder``/comparison.json atomically, with versions; raise RunFailure where that fails."""
    text = json.dumps(plain({**numbers, "versions": versions()}), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes_atomically(folder / NUMBERS, (text + "\n").encode())


def numbers_of_run(found: RunAgainstMd) -> JsonObject:
    """Return what comparison.json says of a run against MD."""
    kernel = asdict(found.kernel) | {"nu": found.kernel.subdiffusive_power}
    return {
        "schema": SCHEMA,
        "kind": "against MD",
        "run": str(found.run.folder.path),
        "reference": found.reference_source or None,
        "D": _estimates(found),
        "cost": asdict(found.cost) if found.cost else None,
        "relaxation": {
            str(p): {"ornstein_uhlenbeck": asdict(found.exponential[p]), "kohlrausch": asdict(law)}
            for p, law in found.stretched.items()
        },
        "generalized_rouse_kernel": kernel,
        **_sizes_and_modes(found),
        "cross_correlation": {"value": found.cross.value.tolist(), "se": found.cross.se.tolist()},
        "D_of_modes": {str(n): [_estimate(D) for D in Ds] for n, Ds in found.of_modes.items()},
        "error_of_frames": {preset: asdict(errors) for preset, errors in found.of_frames.items()},
        "notes": list(found.notes),
    }


def numbers_of_melts(found: MeltComparison) -> JsonObject:
    """Return what comparison.json says of models of centres against MD; "models" is as in result.json."""
    return {
        "schema": SCHEMA,
        "kind": "centres against MD",
        "reference": found.reference,
        "dt": found.system.dt,
        "time_unit": found.system.time_unit,
        "length_unit": found.system.length_unit,
        "D_of_MD": {"value": float(found.md.D.mean()), "se": standard_error(found.md.D), "pieces": found.md.D.tolist()},
        "models": dict(found.scores),
        "notes": list(found.notes),
    }


def numbers_of_streams(found: TwoStreams) -> JsonObject:
    """Return what comparison.json says of a stream against MD."""
    judgement = found.judgement
    n_modes = 0 if judgement is None else len(judgement.nacf_lag)
    return {
        "schema": SCHEMA,
        "kind": "two streams",
        "streams": found.sources,
        "subject": found.subject,
        "reference": found.base,
        "D": _estimates(found),
        "check": judgement.summary() if judgement else None,
        "check_of_modes": [
            {
                "mode": i + 1,
                "stationary_variance_ratio": float(1.0 + judgement.variance.deviation[i]),
                "nacf_error_lag": int(judgement.nacf_lag[i]),
                **judgement.of_mode(i),
            }
            for i in range(n_modes)
            if judgement is not None
        ],
        **_sizes_and_modes(found),
        "size_z": found.size_z_scores,
        "notes": list(found.notes),
    }


def numbers_of_temperatures(
    found: OverTemperatures, energy: tuple[float, float, str] | None, folder: Path
) -> JsonObject:
    """Return what comparison.json says of runs over temperatures.

    Args:
        found: the comparison.
        energy: as in ``write_temperatures``.
        folder: of the comparison, from which runs are found wherever a program stands.
    """
    return {
        "schema": SCHEMA,
        "kind": "temperatures",
        "temperatures_measured": found.measured,
        "temperatures_from": found.source,
        "runs": [
            {
                "run": str(run.folder.path),
                "run_from_here": os.path.relpath(run.folder.path.resolve(), folder.resolve()),
                "T": T,
                "D": _estimate(run.D),
                "D_generated": _estimate(run.D_generated) if run.D_generated else None,
                "D_full_md": _estimate(run.D_full_md) if run.D_full_md else None,
            }
            for T, run in zip(found.temperatures, found.runs, strict=True)
        ],
        "activation_energy": dict(zip(("value", "se", "unit"), energy, strict=True)) if energy else None,
        "arrhenius": _law(found.arrhenius),
        "arrhenius_generated": _law(found.generated),
        "arrhenius_full_md": _law(found.full_md),
        "vogel_fulcher_tammann": _law(found.vogel),
        "vogel_is_arrhenius": found.vogel.is_arrhenius if found.vogel else None,
        "notes": list(found.notes),
    }


def _estimates(found: SideBySide) -> JsonObject:
    return {way: _estimate(e) | {"z": found.z_scores.get(way)} for way, e in found.estimates.items()}


def _sizes_and_modes(found: SideBySide) -> JsonObject:
    return {
        "size": {label: asdict(s.size) if s.size else None for label, s in found.streams.items()},
        "modes": {label: asdict(statistics) for label, statistics in found.relaxations.items()},
        "chain_curves": {label: _curves(s.curves) if s.curves else None for label, s in found.streams.items()},
    }


def _curves(found: ChainCurves) -> JsonObject:
    """Return time, g_1, g_2, g_3 and the correlations of R and Rg² with their standard errors."""
    rows = {name: getattr(found, name) for name in CURVES}
    return {
        "t": found.time.tolist(),
        **{name: {"value": own.value.tolist(), "se": own.se.tolist()} for name, own in rows.items()},
    }


def _estimate(estimate: Estimate) -> JsonObject:
    return {"value": estimate.value, "se": estimate.se, "ci95": list(estimate.ci95), "method": estimate.method}


def _law(fit: ArrheniusFit | VogelFit | None) -> JsonObject | None:
    return None if fit is None else asdict(fit) | {"covariance": fit.covariance.tolist()}
