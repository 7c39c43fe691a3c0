"""The melt's targets: what was measured, what is wanted, whether it is met; D N extrapolated in 1/N."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

PAPERS_BEADS = 100
BIN_OF_PEAK = 0.05  # angstrom: half a bin, for the error of g(r)'s peak
DN_AT_300 = 10.4  # angstrom²/100 ps: the papers' D = 0.104 at N = 100, 300 K
Run = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        quantity: what.
        value: measured.
        se: its standard error.
        target: in words.
        met: "yes", "no", "open" where a limit lies within a standard error, "" where there is nothing to meet.
    """

    quantity: str
    value: float
    se: float
    target: str = ""
    met: str = ""


@dataclass(frozen=True)
class Line:
    """A weighted straight line y = a + b x: its value at one x, and b; standard errors; chi-square."""

    value: float
    se: float
    slope: float
    slope_se: float
    chi_sq: float
    dof: int


def extrapolate(x: ArrayLike, y: ArrayLike, se: ArrayLike, at: float) -> Line:
    """Return the line through points of known errors, at one x.

    Limit: of two points the line through them.
    """
    distance = np.asarray(x, dtype=float) - at
    design = np.stack([np.ones(len(distance)), distance], axis=1)
    weights = np.asarray(se, dtype=float) ** -2.0
    covariance = np.linalg.inv(design.T @ (weights[:, None] * design))
    solution = covariance @ (design.T @ (weights * np.asarray(y)))
    rest = np.asarray(y) - design @ solution
    return Line(
        float(solution[0]), float(np.sqrt(covariance[0, 0])), float(solution[1]), float(np.sqrt(covariance[1, 1])),
        float(np.sum(weights * rest**2)), len(distance) - 2,
    )  # fmt: skip


def long_chains(runs: Sequence[Run]) -> Line:
    """Return D N of chains of 100 beads, linear in 1/N, from shorter ones."""
    n = np.array([run["n_beads"] for run in runs], dtype=float)
    D = np.array([run["D"] for run in runs])
    return extrapolate(1 / n, n * D[:, 0], n * D[:, 1], 1 / PAPERS_BEADS)


def ratio(hot: tuple[float, float], cold: tuple[float, float]) -> tuple[float, float]:
    """Return hot/cold and its standard error."""
    value = hot[0] / cold[0]
    return value, value * float(np.hypot(hot[1] / hot[0], cold[1] / cold[0]))


def _row(quantity: str, pair: Sequence[float], target: str, window: tuple[float, float] | None = None) -> Row:
    """Return a line of the table; ``window``: lowest and highest value that meet the target."""
    value, se = pair
    if window is None:
        return Row(quantity, value, se, target)
    low, high = window
    inside = low <= value <= high
    margin = min(abs(value - low), abs(value - high))
    return Row(quantity, value, se, target, "open" if margin < se else "yes" if inside else "no")


def rows(melts: dict[int, Run], lengths: Sequence[Run]) -> list[Row]:
    """Return the table of targets.

    Args:
        melts: the default melt by temperature.
        lengths: chains of other lengths, at both temperatures.
    """
    table = []
    for T, melt in melts.items():
        window = (0.98 * T, 1.02 * T)
        table.append(_row(f"kinetic temperature, {T} K", melt["kinetic_T"], f"{T} K within 2%", window))
        table.append(_row(f"configurational temperature, {T} K", melt["T_config"], "reported"))
    cold, hot = melts[300], melts[400]
    pressure = cold["pressure"]
    table.append(_row("pressure, 300 K / atm", pressure, "within ±300", (-300.0, 300.0)))
    table.append(_row("pressure, 400 K / atm", hot["pressure"], "reported"))
    longest = max((run for run in [cold, *lengths] if run["T"] == 300), key=lambda run: run["n_beads"])
    for run in (cold, longest) if longest is not cold else (cold,):
        judged = run is not cold
        target, wanted = ("0.76 within 5%", (0.722, 0.798)) if judged else ("reported", None)
        name = f"d<R²(s)>/ds / 54.09, {run['n_beads']} beads, 300 K / Å² mol/g"
        table.append(_row(name, run["size"], target, wanted))
    table.append(_row("<R_ee²>, 20 beads, 300 K / Å²", cold["R_ee_sq"], "reported"))
    peak = cold["g_peak"][0]
    table.append(_row("first peak of g(r), 300 K / Å", (peak, BIN_OF_PEAK), "near 5", (4.5, 5.5)))
    for T, melt in melts.items():
        table.append(_crossing_row(T, melt))
    return table + _diffusion_rows(melts, lengths)


def _crossing_row(T: int, melt: Run) -> Row:
    value, se = melt["crossings"]["per_bond_ns"]
    return Row(f"bond crossings between chains, {T} K / bond/ns", value, se, "none", "no" if value else "none seen")


def _diffusion_rows(melts: dict[int, Run], lengths: Sequence[Run]) -> list[Row]:
    cold, hot = melts[300], melts[400]
    table = [
        _row("D, 20 beads, 300 K / Å²/100 ps", cold["D"], "0.52 within 20%", (0.416, 0.624)),
        _row("D, 20 beads, 400 K / Å²/100 ps", hot["D"], "0.97 within 20%", (0.776, 1.164)),
    ]
    by_20 = ratio(hot["D"], cold["D"])
    table.append(_row("D(400 K)/D(300 K), 20 beads", by_20, "1.6 to 2.1", (1.6, 2.1)))
    if not all(any(run["T"] == T for run in lengths) for T in (300, 400)):
        return table
    lines = {T: long_chains([melts[T], *(run for run in lengths if run["T"] == T)]) for T in (300, 400)}
    line = lines[300]
    window = (0.8 * DN_AT_300, 1.2 * DN_AT_300)
    table.append(_row("D N at N = 100 (extrapolated), 300 K", (line.value, line.se), "10.4 within 20%", window))
    table.append(Row("D N at N = 100 (extrapolated), 400 K", lines[400].value, lines[400].se, "19.4 (papers)"))
    by_100 = ratio((lines[400].value, lines[400].se), (line.value, line.se))
    table.append(_row("D(400 K)/D(300 K), extrapolated", by_100, "1.6 to 2.1", (1.6, 2.1)))
    return table


def markdown(rows: Sequence[Row], melts: dict[int, Run], lengths: Sequence[Run], timing: Sequence[Run]) -> str:
    """Return all tables as markdown."""
    targets = [[r.quantity, _number(r.value, r.se), _number(r.se, r.se), r.target, r.met] for r in rows]
    parts = [
        _table(["quantity", "value", "standard error", "target", "met"], targets),
        _lengths_table(sorted([*melts.values(), *lengths], key=lambda run: (run["T"], run["n_beads"]))),
        _crossings_table(melts),
        _timing_table(timing),
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _lengths_table(runs: Sequence[Run]) -> str:
    header = [
        "N",
        "T / K",
        "chains",
        "run / ns",
        "τ_1 / ns",
        "D / Å²/100 ps",
        "D, late slope",
        "D N",
        "P / atm",
        "size",
    ]
    body = []
    for run in runs:
        n, tau = run["n_beads"], run["tau_1_ns"]
        body.append([
            str(n), str(run["T"]), str(run["n_chains"]), f"{run['ns']:.0f}", "-" if tau is None else f"{tau:.2g}",
            _with_error(run["D"]), _with_error(run["D_slope"]), _with_error([n * v for v in run["D"]]),
            _with_error(run["pressure"]), _with_error(run["size"]),
        ])  # fmt: skip
    return _table(header, body)


def _crossings_table(melts: dict[int, Run]) -> str:
    header = ["T / K", "run / ns", "between chains", "of these lasting", "per bond and ns", "per bond and τ_1"]
    header += ["in a chain", "of bonds with one between them"]
    body = []
    for T, melt in melts.items():
        c, tau = melt["crossings"], melt["tau_1_ns"]
        each = "-" if tau is None else f"{c['per_bond_ns'][0] * tau:.2g}"
        counts = [str(c[name]) for name in ("between_chains", "lasting")]
        inside = [str(c[name]) for name in ("in_a_chain", "next_bonds")]
        body.append([str(T), f"{c['ns']:.3g}", *counts, _with_error(c["per_bond_ns"]), each, *inside])
    return _table(header, body)


def _timing_table(timing: Sequence[Run]) -> str:
    header = ["deck", "beads", "ranks", "steps/s", "pair", "bond", "neighbours", "communication"]
    body = []
    for t in timing:
        shares = [f"{100 * t['shares'][part]:.0f}%" for part in ("Pair", "Bond", "Neigh", "Comm")]
        body.append([t["deck"], str(t["beads"]), str(t["ranks"]), f"{t['steps_per_second']:.0f}", *shares])
    return _table(header, body)


def _with_error(pair: Sequence[float] | None) -> str:
    return "-" if pair is None else f"{_number(pair[0], pair[1])} ± {_number(pair[1], pair[1])}"


def _number(value: float, se: float) -> str:
    """Return a number with as many decimals as two digits of its standard error need."""
    decimals = 3 if not np.isfinite(se) or se <= 0 else int(np.clip(1 - np.floor(np.log10(se)), 0, 6))
    return f"{value:.{decimals}f}"
