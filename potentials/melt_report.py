"""Measure every target of the polybutadiene melt and say which are met: ``make melt-report``.

Two processes run MD side by side for some 50 minutes: the default deck at 300 and at 400 K, chains of 40 beads, and
the service itself on chains of 100 beads at both temperatures, as many frames as there is time for. Longer runs of
100 beads take the place of the latter with ``--long``, the folders that `mlgle_lammps.run` left. Writes a table
(stdout, ``report.md``, ``report.json``) and figures; ``--redraw --long`` writes it anew when these have grown.
Where a run fails the others are kept, and the first failure is told at the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import melt_figures
import melt_targets
import melt_timing

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.resources.progress import format_seconds

DECKS = Path(__file__).parent.parent / "lammps_inputs"
SETUP_STEPS = 10_000  # what a push-off costs, in steps of the small melts
PREPARED_STEPS = 100_000  # what that of `PREPARED` costs
PREPARED = (50, 50)  # chains and beads of the melt that shows what preparation does
DEFAULT_STEPS = 500_000
LEAST_STEPS = 16_000
SAID_EVERY = 60.0  # seconds


@dataclass(frozen=True)
class Length:
    """Chains of one length: their number, steps of production at 300 and 400 K, and steps before each."""

    n_beads: int
    n_chains: int
    steps: tuple[int, int]
    relax: tuple[int, int]

    @property
    def work(self) -> float:
        """Steps of a melt of 400 beads that take as long."""
        return (sum(self.steps) + sum(self.relax) + SETUP_STEPS) * self.n_beads * self.n_chains / 400


LENGTHS = (Length(40, 12, (260_000, 160_000), (50_000, 30_000)),)
LONG_FRAMES = 140  # of chains of 100 beads at each temperature: the first D is found at frame 129
LONG_STEPS, LONG_BEADS = 280_000 + 45_000, 2000  # of these, relaxation included; beads in all
LONG_CHAIN = melt_targets.PAPERS_BEADS


def _count(counter: Any) -> Any:
    def advance(steps: int) -> None:
        with counter.get_lock():
            counter.value += steps

    return advance


_counter: Any = None


def _begin(counter: Any) -> None:
    """Set a worker process up; it ends when the report's own process does, killed or not."""
    global _counter
    _counter = counter
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _default_melt(T: int, steps: int) -> tuple[str, Any]:
    import melt_runs

    return f"melt {T}", melt_runs.default_melt(T, steps, _count(_counter))


def _scaled(steps: tuple[int, int], share: float) -> tuple[int, int]:
    """Return both numbers of steps times ``share``, but not less than a run needs to be measured."""
    return max(LEAST_STEPS, int(steps[0] * share)), max(LEAST_STEPS, int(steps[1] * share))


def _length(length: Length, share: float, folder: Path) -> tuple[str, Any]:
    import melt_runs

    steps, relax = (_scaled(both, share) for both in (length.steps, length.relax))
    advance = _count(_counter)
    results = melt_runs.chains_of_length(length.n_beads, length.n_chains, folder, steps, relax, advance)
    return f"length {length.n_beads}", results


def _long(T: int, folder: Path) -> tuple[str, Any]:
    import long_chains

    found = asdict(long_chains.run(folder / f"long-{T}", T, LONG_FRAMES, {}))
    _count(_counter)(LONG_STEPS * LONG_BEADS // 400)
    return f"long {T}", found


def _prepared(folder: Path) -> tuple[str, Any]:
    import melt_runs

    found = melt_runs.prepared_chains(*PREPARED, folder)
    _count(_counter)(PREPARED_STEPS)
    return "prepared", found


def run_all(folder: Path, steps: int, processes: int, before: dict[str, Any], long_too: bool = True) -> dict[str, Any]:
    """Run all MD; return results by name, added to those ``before``, and keep them in ``runs.json`` as they come.

    Shows progress and the time left once a minute; ``long_too``: run chains of 100 beads.

    Raises:
        UserError: the first of the runs that failed, after all others have been kept.
    """
    share = steps / DEFAULT_STEPS
    work = share * sum(length.work for length in LENGTHS) + 2 * (steps + 150_000) + PREPARED_STEPS
    work += 2 * long_too * LONG_STEPS * LONG_BEADS // 400
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    results = dict(before)
    failed: list[UserError] = []
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_begin, initargs=(counter,), max_tasks_per_child=1
    ) as pool:
        pending: set[Future[tuple[str, Any]]] = set()
        if long_too:
            pending |= {pool.submit(_long, T, folder) for T in (300, 400)}
        pending |= {pool.submit(_default_melt, T, steps) for T in (300, 400)}
        pending.add(pool.submit(_prepared, folder))
        pending |= {pool.submit(_length, length, share, folder) for length in LENGTHS}
        start = time.monotonic()
        while pending:
            done, pending = wait(pending, timeout=SAID_EVERY, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    name, result = future.result()
                except UserError as error:
                    print(f"melt-report: {one_line(error)}; the other runs go on", file=sys.stderr, flush=True)
                    failed.append(error)
                    continue
                results[name] = result
                (folder / "runs.json").write_text(json.dumps(results), encoding="utf-8")
            _say(counter.value, work, time.monotonic() - start, [name for name in results if name not in before])
    if failed:
        raise failed[0]
    return results


def _say(done: float, work: float, seconds: float, finished: Sequence[str]) -> None:
    """Print one line of progress."""
    left = f"{format_seconds(seconds * (work - done) / done)} left" if done else "time left not known yet"
    print(
        f"melt-report: {min(100, 100 * done / work):.0f}% of the MD in {format_seconds(seconds)}, about {left}; "
        f"done: {', '.join(finished) or 'nothing yet'}",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def time_decks(folder: Path) -> list[dict[str, Any]]:
    """Return the speed of the decks on one and two ranks, measured one after the other on a quiet machine."""
    from mlgle_lammps.commands.build import build

    start = folder / "timing.data"
    build([str(start), "--chains", "100", "--beads", "100", "--seed", "1", "--overwrite"])
    timings = []
    decks: dict[str, dict[str, object]] = {
        "in.melt": {"relax": 500, "steps": 6000},
        "in.melt100": {"relax": 200, "steps": 1500},
        "in.melt.paper": {"data": start, "push_steps": 200, "gentle": 200, "relax": 50, "steps": 500},
    }
    for deck, variables in decks.items():
        for ranks in (1, 2):
            timings.append(asdict(melt_timing.time_deck(DECKS / deck, ranks, variables)))
            print(
                f"melt-report: {deck}, {ranks} rank(s): {timings[-1]['steps_per_second']:.0f} steps/s", file=sys.stderr
            )
    return timings


def write_report(folder: Path, results: dict[str, Any]) -> str:
    """Write table, numbers and figures into ``folder``; return the table. Runs that are not there are left out."""
    melts = {T: results[f"melt {T}"] for T in (300, 400)}
    lengths = [run for name, runs in results.items() if name.startswith("length") for run in runs.values()]
    long = [run for name, run in results.items() if name.startswith("long")]
    rows = melt_targets.rows(melts, lengths, long)
    text = melt_targets.markdown(rows, melts, lengths, results.get("timing", []), long)
    (folder / "report.md").write_text(text, encoding="utf-8")
    numbers = {"targets": [asdict(row) for row in rows], **results}
    (folder / "report.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    melt_figures.draw_pair_distribution(folder, melts)
    melt_figures.draw_motion(folder, melts)
    melt_figures.draw_long(folder, long)
    if "prepared" in results:
        cold = sorted((run for run in [melts[300], *lengths] if run["T"] == 300), key=lambda run: run["n_beads"])
        long_runs = {f"{run['n_beads']} beads": run for run in cold}
        melt_figures.draw_segments(folder, results["prepared"], long_runs)
    return text


def _kept_results(path: Path) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run without --redraw first") from None
    missing = [name for name in ("melt 300", "melt 400") if name not in results]
    if missing:
        raise UserError(f"{path} has no {' and no '.join(missing)}: that run was ended too early")
    return results


def _given(folders: Sequence[Path]) -> dict[str, Any]:
    """Return what runs of the service found, by name; none for no folders.

    Raises:
        UserError: no runs of 100 beads with the force field that ships.
    """
    if not folders:
        return {}
    import long_chains

    found = {}
    for folder in folders:
        run = long_chains.read(folder)
        changed = sorted(long_chains.FORCE_FIELD & run.variables.keys())
        if run.n_beads != LONG_CHAIN or changed:
            what = f"with -var {changed[0]}" if changed else f"of {run.n_beads} beads"
            raise UserError(f"--long {folder}: a run {what}; give {LONG_CHAIN} beads, the force field as it ships")
        found[f"long {folder}"] = asdict(run)
    return found


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure every target of the polybutadiene melt.")
    parser.add_argument("--out", type=Path, default=Path("runs/melt-report"), help="folder of the report")
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS, help="of the default melt (500000); 40 beads scale")
    parser.add_argument("--long", type=Path, nargs="+", default=[], metavar="RUN", help="runs of 100 beads that exist")
    parser.add_argument("--processes", type=int, default=2, help="runs side by side (2)")
    parser.add_argument("--redraw", action="store_true", help="only write the report anew from the runs in --out")
    options = parser.parse_args(argv)
    if options.steps < 20_000:
        raise UserError(f"--steps is {options.steps}; the least that makes sense is 20000")
    if options.processes < 1:
        raise UserError(f"--processes is {options.processes}; give 1 or more")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Make the report; return the exit code."""
    try:
        options = _options(argv)
        kept = options.out / "runs.json"
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot create {options.out}: {error.strerror}") from None
        given = _given(options.long)
        if options.redraw:
            results = _kept_results(kept)
            if given:
                results = {name: run for name, run in results.items() if not name.startswith("long")} | given
        else:
            before = {"timing": time_decks(options.out), **given}
            results = run_all(options.out, options.steps, options.processes, before, long_too=not given)
    except UserError as error:
        print(f"melt-report: error: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    print(write_report(options.out, results))
    print(f"melt-report: table, numbers and figures are in {options.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
