"""What NM-MB's memory models explain of constrained runs that they were not learned from, and what each part brings.

    python benchmarks/nm_mb_ablation.py RUN [--held-out 3] [--only nm-mb] [--seed 1]

RUN is the folder of a `run --surrogate nm-mb`; its constrained runs are learned from again, but for the last few.
Shares of the reproducible variance are of windows of lags (`surrogates/nm_mb/held_out.py`); 1 is all.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from mlgle_lammps.store.constrained_file import read_constrained
from mlgle_lammps.surrogates.nm_mb.constrained_data import Configuration, configuration_of, decay_of
from mlgle_lammps.surrogates.nm_mb.held_out import KINDS, shares
from mlgle_lammps.surrogates.nm_mb.presets import MemorySettings, fit_memory

WHOLE = MemorySettings()


def nothing(centres: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """Return no forces, (1, M, 3): mean forces are judged elsewhere."""
    return torch.zeros_like(centres)


VARIANTS: dict[str, tuple[str, MemorySettings]] = {
    "default": ("default", WHOLE),
    "default, molecules' range 0.35 of the box": ("default", replace(WHOLE, reach=0.35)),
    "default, pairs' range 0.35": ("default", replace(WHOLE, pair_reach=0.35)),
    "default, 8 features": ("default", replace(WHOLE, features=8)),
    "default, 16 features": ("default", replace(WHOLE, features=16)),
    "default, no collective motions": ("default", replace(WHOLE, fit=replace(WHOLE.fit, collective=0.0))),
    "nm-mb": ("nm-mb", WHOLE),
    "nm-mb, no environment": ("nm-mb", replace(WHOLE, environment=False)),
    "nm-mb, range 0.35": ("nm-mb", replace(WHOLE, reach=0.35)),
    "nm-mb, 1000 updates": ("nm-mb", replace(WHOLE, fit=replace(WHOLE.fit, updates=1000))),
    "paper": ("paper", WHOLE),
    "paper, no environment": ("paper", replace(WHOLE, environment=False)),
    "nm-dpd": ("nm-dpd", WHOLE),
    "m-dpd": ("m-dpd", WHOLE),
    "gle": ("gle", WHOLE),
}
"""Name to preset and settings; all but the first of a preset differ from it by one thing."""


def line(name: str, learned: list[Configuration], judged: list[Configuration], seed: int) -> str:
    """Fit a variant and return its row of the table."""
    preset, how = VARIANTS[name]
    how = replace(how, shortest=decay_of(learned), fit=replace(how.fit, seed=seed))
    started = time.process_time()
    memory = fit_memory(preset, learned, how)
    seconds = time.process_time() - started
    found = shares(memory, nothing, judged)
    cells = [
        " | ".join(f"{value:.3f} ± {se:.3f}" for value, se in zip(found[kind], found[f"{kind}_se"], strict=True))
        for kind in KINDS
        if kind in found
    ]
    return f"| {name} | {' | '.join(cells)} | {seconds:.0f} |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--held-out", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=VARIANTS, metavar="VARIANT")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = [configuration_of(run) for run in read_constrained(asked.run / "constrained").runs]
    learned, judged = found[: -asked.held_out], found[-asked.held_out :]
    decay = decay_of(learned)
    print(f"{len(learned)} runs of {found[0].duration:g} learned from, {len(judged)} held out, seed {asked.seed}")
    windows = " | ".join(f"to {edge:.2g}" for edge in (2 * decay, 10 * decay, min(60 * decay, found[0].times[-1])))
    kinds = [kind for kind in KINDS if kind != "motions" or all(run.motions is not None for run in judged)]
    titles = " | ".join(f"{kind}: {windows}" for kind in kinds)
    print(f"| model | {titles} | CPU s |\n|{'---|' * (3 * len(kinds) + 2)}")
    for name in asked.only:
        print(line(name, learned, judged, asked.seed), flush=True)


if __name__ == "__main__":
    main()
