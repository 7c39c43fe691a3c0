"""What `properties` leaves: the page, the numbers, the tables as CSV, and files for RepTate."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.formats.reptate import reptate_text
from mlgle_lammps.plain import JsonMapping, JsonObject
from mlgle_lammps.records import PICOSECONDS
from mlgle_lammps.report import figures_properties as figures
from mlgle_lammps.report.page import Picture, number, write_page
from mlgle_lammps.report.plots import unit_symbol
from mlgle_lammps.store.atomic import write_bytes_atomically
from mlgle_lammps.store.run_folder import plain

if TYPE_CHECKING:  # records of the evaluation, for their types only
    from mlgle_lammps.evaluate.properties import Properties, Table
    from mlgle_lammps.evaluate.run_properties import RunProperties

SCHEMA = 1
NUMBERS, PAGE, FOLDER = "properties.json", "properties.html", "properties"
KELVIN_AT_ZERO = 273.15
NAMES = {
    "viscosity": "viscosity η", "viscosity_joined": "η, both routes joined", "viscosity_green_kubo": "η, Green-Kubo",
    "viscosity_modes": "η, modes", "D": "D", "D_infinite": "D of the infinite system", "relaxation_time": "τ₁",
    "rg2": "⟨Rg²⟩", "ree2": "⟨R²⟩",
}  # fmt: skip
"""All numbers, in their order."""
TABLES = (
    "G", "G_modes", "G_green_kubo", "moduli", "S_qt", "P_q", "S_qt_beads", "S_qt_generated",
    "g1", "g2", "g3", "g1_generated", "g2_generated", "g3_generated",
    "end_to_end_correlation", "rg2_correlation",
)  # fmt: skip


def write_properties(folder: Path, own: RunProperties, versions: Mapping[str, str], bead_mass: float | None) -> Path:
    """Write properties.json, properties.html and the folder properties/ with CSVs, RepTate files and pictures.

    Args:
        folder: that takes them.
        own: what was found.
        versions: of programs.
        bead_mass: g/mol; None where unknown.

    Returns:
        the page.

    Raises:
        RunFailure: a file cannot be written.
    """
    tables = folder / FOLDER
    tables.mkdir(parents=True, exist_ok=True)
    for name, table in own.found.tables.items():
        write_bytes_atomically(tables / f"{name}.csv", _csv(table).encode())
    _write_reptate(tables, own, bead_mass)
    text = json.dumps(plain(numbers_of(own, versions)), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes_atomically(folder / NUMBERS, (text + "\n").encode())
    return _write_page(folder, own, versions)


def numbers_of(own: RunProperties, versions: Mapping[str, str]) -> JsonObject:
    """Return what properties.json says."""
    found, system = own.found, own.trajectory.system
    told: JsonObject = {"schema": SCHEMA, "run": str(own.source)}
    for name in NAMES:
        told[name] = _number(found, name)
    for name in TABLES:
        told[name] = _table(found.tables[name]) if name in found.tables else None
    reasons = {name: why for name, why in found.reasons.items() if name not in found.numbers}
    return told | {
        "reasons": reasons,
        "temperature": own.scales.temperature if own.scales else None,
        "volume": own.scales.volume if own.scales else None,
        "n_chains": system.n_chains, "n_beads": system.n_beads, "n_frames": own.trajectory.n_frames,
        "time_unit": system.time_unit, "length_unit": system.length_unit,
        "notes": found.notes, "versions": dict(versions),
    }  # fmt: skip


def _number(found: Properties, name: str) -> JsonObject:
    estimate = found.numbers.get(name)
    if estimate is None:
        why = found.reasons.get(name, "there is only one route to it here")
        return {"value": None, "se": None, "ci95": None, "units": None, "method": None, "reason": why}
    return {
        "value": estimate.value, "se": estimate.se, "ci95": list(estimate.ci95), "units": found.units[name],
        "method": estimate.method,
    }  # fmt: skip


def _table(table: Table) -> JsonObject:
    return {"method": table.method, "units": table.units, **table.columns}


def _csv(table: Table) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(list(table.columns))
    for row in zip(*table.columns.values(), strict=True):
        writer.writerow([value if isinstance(value, str) else f"{value:.10g}" for value in row])
    return buffer.getvalue()


def _write_reptate(folder: Path, own: RunProperties, bead_mass: float | None) -> None:
    """Write G.gt and moduli.tts, in s, rad/s and Pa where the units have these."""
    if own.scales is None or own.stress is None:
        return
    system, scales = own.trajectory.system, own.scales
    n_beads = system.n_beads or 0
    mass = n_beads * bead_mass / 1000 if bead_mass else float(n_beads)
    T = scales.temperature - KELVIN_AT_ZERO if scales.modulus_unit == "Pa" else scales.temperature
    parameters: dict[str, float | str] = {"Mw": mass, "T": float(T), "chem": "MD", "gamma": 1.0}
    G = own.found.tables["G"].columns
    t = np.asarray(G["t"]) * scales.time
    text = reptate_text(parameters, {"t": t, "Gt": np.asarray(G["value"])})
    write_bytes_atomically(folder / "G.gt", text.encode())
    if "moduli" in own.found.tables:
        columns = own.found.tables["moduli"].columns
        text = reptate_text(
            {"Mw": mass, "T": float(T), "chem": "MD", "PDI": 1.0},
            {"w": np.asarray(columns["omega"]) / scales.time, "G'": np.asarray(columns["G_storage"]),
             "G''": np.asarray(columns["G_loss"])},
        )  # fmt: skip
        write_bytes_atomically(folder / "moduli.tts", text.encode())
    if not bead_mass:
        own.found.notes.append("G.gt and moduli.tts give the number of beads as Mw: --bead-mass is not known")


def _write_page(folder: Path, own: RunProperties, versions: Mapping[str, str]) -> Path:
    found, system = own.found, own.trajectory.system
    rows = [
        {"name": NAMES[name], "value": f"{number(e.value, 4, True)} ± {number(e.se, 2)}", "ci95": e.ci95,
         "unit": _pretty(found.units[name]), "method": e.method}
        for name, e in ((name, found.numbers[name]) for name in NAMES if name in found.numbers)
    ]  # fmt: skip
    eta = found.numbers.get("viscosity")
    missing = [f"{NAMES.get(name, name)}: {why}" for name, why in found.reasons.items() if name not in found.numbers]
    return write_page(
        folder / PAGE, "properties.html", _pictures(folder / FOLDER, own), versions, None,
        title=f"Properties of {own.source}",
        subtitle=f"{system.n_chains} chains × {system.n_beads} beads · {own.trajectory.n_frames} frames",
        headline="No viscosity" if eta is None
        else f"η = {number(eta.value, 3, True)} ± {number(eta.se, 2)} {_pretty(found.units['viscosity'])}",
        verdict=[found.reasons["viscosity"]] if eta is None else [f"{eta.method}."],
        rows=rows, missing=missing, notes=found.notes,
        tables=[f"{FOLDER}/{name}.csv: {table.method}" for name, table in found.tables.items()],
    )  # fmt: skip


def _pretty(unit: str) -> str:
    for name in ("Angstrom", "sigma", "tau"):
        unit = unit.replace(name, unit_symbol(name))
    return unit.replace("^2", "²").replace("^3", "³").replace("epsilon", "ε")


def _pictures(folder: Path, own: RunProperties) -> list[Picture]:
    tables = {name: table.columns for name, table in own.found.tables.items()}
    system = own.trajectory.system
    time, length = system.time_unit, system.length_unit
    pictures = []
    if own.stress is not None and own.scales is not None:
        joined = own.stress.joined
        pictures.append(Picture(
            figures.draw_relaxation(folder, tables["G_modes"], tables.get("G_green_kubo"),
                                    joined.at if joined else None, time, own.scales.modulus_unit),
            "Stress relaxation G(t)",
            "The modes' route misses the pairs' stress at short times; from where it holds both curves lie "
            "within their bands.",
        ))  # fmt: skip
    if "moduli" in tables and own.scales is not None:
        path = figures.draw_moduli(folder, tables["moduli"], time, own.scales.modulus_unit)
        pictures.append(Picture(path, "Storage and loss modulus", own.found.tables["moduli"].method + ", 95% bands."))
    scattering = {"modes": tables["S_qt"]}
    scattering |= {
        label: tables[name]
        for name, label in (("S_qt_beads", "beads of MD"), ("S_qt_generated", "generated beads"))
        if name in tables
    }
    ns = PICOSECONDS[time] / 1000 if time in PICOSECONDS else None
    pictures += [
        Picture(figures.draw_scattering(folder, scattering, time, length, ns), "Coherent single-chain scattering",
                "S(q,t)/S(q,0) as neutron spin echo measures it."),
        Picture(figures.draw_form_factor(folder, tables["P_q"], length), "Form factor",
                "q² P(q) levels off for Gaussian chains."),
        _motion(folder, tables, time, length),
        Picture(figures.draw_chain_relaxation(folder, {"end-to-end vector": tables["end_to_end_correlation"],
                                                       "Rg²": tables["rg2_correlation"]}, time),
                "How chains forget", "Normalized correlations of the end-to-end vector and of Rg²."),
    ]  # fmt: skip
    return pictures


def _motion(folder: Path, tables: JsonMapping, time: str, length: str) -> Picture:
    labels = {"g1": "g₁, inner beads", "g2": "g₂, about the centre", "g3": "g₃, centres"}
    curves = [(label, tables[name]) for name, label in labels.items()]
    generated = [tables[f"{name}_generated"] for name in labels if f"{name}_generated" in tables]
    marks = "; marks: generated chains" if generated else ""
    return Picture(
        figures.draw_motion(folder, curves, generated, time, length),
        "Mean squared displacements",
        f"Inner beads, inner beads about their centre of mass, centres of mass{marks}.",
    )
