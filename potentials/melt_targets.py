"""The melt's targets: what was measured, what is wanted, whether it is met.

D is wanted at N = 100; D of 20 beads, and D N of shorter chains extrapolated in 1/N, are results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

PAPERS_BEADS = 100
BIN_OF_PEAK = 0.05  # angstrom: half a bin, for the error of g(r)'s peak
# Angstrom²/100 ps per dimension at N = 100 in the papers: MD, GLE fit, ML-GLE (Cherchi et al. 2024).
PAPERS = {
    300: (0.104, 0.122, 0.141), 310: (0.114, 0.109, 0.116), 320: (0.109, 0.107, 0.116), 330: (0.127, 0.114, 0.113),
    340: (0.120, 0.120, 0.113), 350: (0.143, 0.135, 0.140), 360: (0.140, 0.177, 0.163), 370: (0.170, 0.167, 0.164),
    380: (0.181, 0.173, 0.155), 390: (0.183, 0.175, 0.194), 400: (0.194, 0.170, 0.161),
}  # fmt: skip
D_AT_300, D_AT_400 = PAPERS[300][0], PAPERS[400][0]
RATIO = (1.6, 2.1)  # of D(400 K) to D(300 K)
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


def extrapolated(runs: Sequence[Run]) -> Line:
    """Return D N of chains of 100 beads, linear in 1/N, from shorter ones."""
    n = np.array([run["n_beads"] for run in runs], dtype=float)
    D = np.array([run["D"] for run in runs])
    return extrapolate(1 / n, n * D[:, 0], n * D[:, 1], 1 / PAPERS_BEADS)


def ratio(hot: tuple[float, float], cold: tuple[float, float]) -> tuple[float, float]:
    """Return hot/cold and its standard error."""
    value = hot[0] / cold[0]
    return value, value * float(np.hypot(hot[1] / hot[0], cold[1] / cold[0]))


def pooled(pairs: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the mean of values of independent runs, weighted by their errors, and its standard error."""
    values, se = np.array(pairs).T
    weights = se**-2.0
    return float(weights @ values / weights.sum()), float(weights.sum() ** -0.5)


def _row(quantity: str, pair: Sequence[float], target: str, window: tuple[float, float] | None = None) -> Row:
    """Return a line of the table; ``window``: lowest and highest value that meet the target."""
    value, se = pair
    if window is None:
        return Row(quantity, value, se, target)
    low, high = window
    inside = low <= value <= high
    margin = min(abs(value - low), abs(value - high))
    return Row(quantity, value, se, target, "open" if margin < se else "yes" if inside else "no")


def rows(melts: dict[int, Run], lengths: Sequence[Run], long: Sequence[Run] = ()) -> list[Row]:
    """Return the table of targets.

    Args:
        melts: the default melt by temperature.
        lengths: chains of other lengths, at both temperatures.
        long: runs of chains of 100 beads (`long_chains.LongRun` as dictionaries).
    """
    table = []
    for T, melt in melts.items():
        window = (0.98 * T, 1.02 * T)
        table.append(_row(f"kinetic temperature, {T} K", melt["kinetic_T"], f"{T} K within 2%", window))
        window = (0.95 * T, 1.05 * T)
        table.append(_row(f"configurational temperature, {T} K", melt["T_config"], f"{T} K within 5%", window))
    cold, hot = melts[300], melts[400]
    pressure = cold["pressure"]
    table.append(_row("pressure, 300 K / atm", pressure, "within ±300", (-300.0, 300.0)))
    table.append(_row("pressure, 400 K / atm", hot["pressure"], "reported"))
    table += _size_rows([cold, *(run for run in lengths if run["T"] == 300)], long)
    table.append(_row("<R_ee²>, 20 beads, 300 K / Å²", cold["R_ee_sq"], "reported"))
    peak = cold["g_peak"][0]
    table.append(_row("first peak of g(r), 300 K / Å", (peak, BIN_OF_PEAK), "near 5", (4.5, 5.5)))
    for T, melt in melts.items():
        table.append(_crossing_row(T, melt))
    return table + _long_rows(long) + _short_rows(melts, lengths)


def _size_rows(short: Sequence[Run], long: Sequence[Run]) -> list[Row]:
    """Return chain sizes at 300 K; those of the longest chains are held against the target."""
    sizes = {run["n_beads"]: run["size"] for run in short}
    known = [run["size"] for run in long if run["T"] == 300 and run["size"] is not None]
    if known:
        sizes[PAPERS_BEADS] = pooled(known)
    table = []
    for n_beads, size in sizes.items():
        judged = n_beads == max(sizes) and len(sizes) > 1
        target, wanted = ("0.76 within 5%", (0.722, 0.798)) if judged else ("reported", None)
        table.append(_row(f"d<R²(s)>/ds / 54.09, {n_beads} beads, 300 K / Å² mol/g", size, target, wanted))
    return table


def _crossing_row(T: int, melt: Run) -> Row:
    value, se = melt["crossings"]["per_bond_ns"]
    return Row(f"bond crossings between chains, {T} K / bond/ns", value, se, "none", "no" if value else "none seen")


def _long_rows(long: Sequence[Run]) -> list[Row]:
    """Return the lines of chains of 100 beads, runs of one temperature pooled."""
    found = _by_temperature(long)
    windows = {300: (f"{D_AT_300} within 20%", (0.8 * D_AT_300, 1.2 * D_AT_300))}
    table = []
    for T, pair in found.items():
        target, window = windows.get(T, (f"{D_AT_400} (papers)" if T == 400 else "reported", None))
        table.append(_row(f"D, 100 beads, {T} K / Å²/100 ps", pair, target, window))
    if 300 in found and 400 in found:
        table.append(_row("D(400 K)/D(300 K), 100 beads", ratio(found[400], found[300]), "1.6 to 2.1", RATIO))
    return table


def _short_rows(melts: dict[int, Run], lengths: Sequence[Run]) -> list[Row]:
    cold, hot = melts[300], melts[400]
    table = [
        _row("D, 20 beads, 300 K / Å²/100 ps", cold["D"], "reported"),
        _row("D, 20 beads, 400 K / Å²/100 ps", hot["D"], "reported"),
        _row("D(400 K)/D(300 K), 20 beads", ratio(hot["D"], cold["D"]), "reported"),
    ]
    for T in (300, 400):
        runs = [melts[T], *(run for run in lengths if run["T"] == T)]
        if len(runs) > 1:
            line = extrapolated(runs)
            table.append(
                _row(f"D N / 100, extrapolated to N = 100, {T} K", (line.value / 100, line.se / 100), "reported")
            )
    return table


def markdown(
    rows: Sequence[Row],
    melts: dict[int, Run],
    lengths: Sequence[Run],
    timing: Sequence[Run],
    long: Sequence[Run] = (),
) -> str:
    """Return all tables as markdown."""
    targets = [[r.quantity, _number(r.value, r.se), _number(r.se, r.se), r.target, r.met] for r in rows]
    parts = [
        _table(["quantity", "value", "standard error", "target", "met"], targets),
        long_table(long),
        papers_table(long),
        _lengths_table(sorted([*melts.values(), *lengths], key=lambda run: (run["T"], run["n_beads"]))),
        _crossings_table(melts),
        _timing_table(timing),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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


def long_table(long: Sequence[Run]) -> str:
    """Return the record of every run of long chains."""
    header = ["N", "T / K", "seed", "chains", "frames", "run / ns", "MD / h", "D / Å²/100 ps", "95% interval", "fit.p"]
    header += ["kinetic T / K", "P / atm", "size"]
    body = []
    for run in sorted(long, key=lambda run: (run["T"], run["seed"])):
        low, high = (_number(end, run["D"][1]) for end in run["ci95"])
        body.append([
            str(run["n_beads"]), str(run["T"]), str(run["seed"]), str(run["n_chains"]), str(run["frames"]),
            f"{run['ns']:.1f}", f"{run['md_s'] / 3600:.1f}", _with_error(run["D"]), f"{low} to {high}",
            f"{run['fit_p']:.2g}", *(_with_error(run[name]) for name in ("kinetic_T", "pressure", "size")),
        ])  # fmt: skip
    return _table(header, body)


def papers_table(long: Sequence[Run]) -> str:
    """Return D of long chains, runs of one temperature pooled, beside the papers' columns; "" without such runs."""
    header = ["T / K", "D / Å²/100 ps", "over the papers' MD", "papers: MD", "GLE fit", "ML-GLE"]
    body = []
    for T, (value, se) in _by_temperature(long).items():
        theirs = PAPERS.get(T)
        share = "-" if theirs is None else _with_error((value / theirs[0], se / theirs[0]))
        columns = ["-"] * 3 if theirs is None else [f"{D:.3f}" for D in theirs]
        body.append([str(T), _with_error((value, se)), share, *columns])
    return _table(header, body) if body else ""


def _by_temperature(long: Sequence[Run]) -> dict[int, tuple[float, float]]:
    """Return D of long chains by temperature, independent runs pooled."""
    return {T: pooled([run["D"] for run in long if run["T"] == T]) for T in sorted({run["T"] for run in long})}


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
