"""Give hundreds of mutated decks, streams and models to the commands: ``python -m fuzz`` in the folder ``tests``.

Named mutations, then random ones of the seed given. Prints what each came to, then a table, and exits with code 1 on
any defect: a hang, a traceback or internal error, a wrong result, code executed, no clear line.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import matplotlib.pyplot
import torch

import mlgle_lammps.compare
import mlgle_lammps.evaluate.run_against_md
import mlgle_lammps.generate
import mlgle_lammps.pipeline.generation
import mlgle_lammps.pipeline.learning
import mlgle_lammps.reconstruct
import mlgle_lammps.replay
import mlgle_lammps.report.comparison
from fuzz import deck_cases, material, model_cases, stream_cases
from fuzz.cases import Case
from fuzz.verdicts import DEFECTS, Verdict

LIMIT = {"run": 90.0}
WORDS = ("refused", "harmless", "warned", "other", "LAMMPS", *DEFECTS)
EACH_REAL = 25
"""Every so many cases of the quick commands are launched as users do, not forked."""


def all_cases(seed: int, n_random: int, run: Path | None) -> Iterator[Case]:
    """Yield the sound inputs first, then all mutations; ``run`` is a finished run's folder, None leaves it out."""
    modules = (stream_cases, model_cases, deck_cases)
    for module in modules:
        yield from module.sound_cases()
    if run is not None:
        yield from model_cases.finished_cases(run)
    for module in modules:
        yield from module.named_cases()
        yield from module.random_cases(seed, n_random)


class Table:
    """What the cases of each kind came to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sound: dict[str, Any] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.counts: dict[str, Counter[str]] = {}

    def add(self, case: Case, number: int) -> None:
        """Run a case and keep its verdict; its folder stays where something is to be looked at."""
        folder = self._folder / f"{number:04d}"
        outcome = case.run(folder, LIMIT.get(case.command, 60.0), real=number % EACH_REAL == EACH_REAL - 1)
        verdict = case.verdict(outcome, folder, self._sound.get(case.kind))
        if case.expected == "pass" and case.leaves_result and verdict.word == "harmless":
            self._sound.setdefault(case.kind, material.result_of(folder / "out"))
            self._sound.setdefault("option", self._sound[case.kind])
        self.verdicts[f"{case.kind}/{case.name}"] = verdict
        self.counts.setdefault(case.kind, Counter())[verdict.word] += 1
        line = (
            f"{number:4d} {case.kind:11s} {case.name:36s} {verdict.word:9s} {outcome.seconds:5.1f} s  {verdict.reason}"
        )
        sys.stdout.write(f"{' '.join(line[:240].split(' '))}\n")
        sys.stdout.flush()
        if verdict.word in ("refused", "harmless"):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def defects(self) -> list[str]:
        """What should not be, one line each."""
        return [f"{name}: {v.word}: {v.reason}" for name, v in self.verdicts.items() if v.word in DEFECTS]

    def lines(self) -> list[str]:
        """Return the table."""
        rows: list[tuple[str, ...]] = [("kind", "mutations", *WORDS)]
        total: Counter[str] = Counter()
        for kind, counts in self.counts.items():
            rows.append((kind, str(sum(counts.values())), *(str(counts[word]) for word in WORDS)))
            total += counts
        rows.append(("all", str(sum(total.values())), *(str(total[word]) for word in WORDS)))
        return ["  ".join(f"{cell:>9s}" for cell in row) for row in rows]


def main() -> int:
    """Parse the command line, run the cases, print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random mutations")
    parser.add_argument(
        "--random", type=int, default=40, metavar="N", help="random mutations of streams, models, decks each"
    )
    parser.add_argument("--minutes", type=float, default=40.0, help="begin no further case after so long")
    parser.add_argument("--only", nargs="+", default=(), metavar="KIND/NAME", help="these cases only")
    parser.add_argument("--kinds", nargs="+", default=(), help="cases of these kinds only: deck, option, modes.h5 ..")
    parser.add_argument("--folder", type=Path, help="where the cases work; what is left is to be looked at")
    parser.add_argument("--json", type=Path, help="write the verdicts there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="mlgle-fuzz-"))
    started, table = time.monotonic(), Table(folder)
    run = None if options.only else material.write_finished_run(folder / "finished")
    skipped = 0
    for number, case in enumerate(all_cases(options.seed, 0 if options.only else options.random, run)):
        if options.only and f"{case.kind}/{case.name}" not in options.only:
            continue
        if options.kinds and case.kind not in options.kinds:
            continue
        if time.monotonic() - started > 60 * options.minutes:
            skipped += 1
            continue
        table.add(case, number)
    lines = ["", *table.lines(), "", *table.defects]
    lines.append(
        f"{len(table.defects)} defects, {skipped} cases left out, {time.monotonic() - started:.0f} s, in {folder}"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json:
        verdicts = {name: verdict.word for name, verdict in table.verdicts.items()}
        options.json.write_text(json.dumps({"defects": table.defects, "verdicts": verdicts}, indent=1))
    return 1 if table.defects or skipped else 0


_ = (matplotlib.pyplot, mlgle_lammps)  # imported before the forks, so that each need not import them anew

if __name__ == "__main__":
    sys.exit(main())
