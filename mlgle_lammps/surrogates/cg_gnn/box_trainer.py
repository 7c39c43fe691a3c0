"""Training CG-GNN on boxes of several species that see one another: mobility, score and tie, in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Float64, Frames, System
from mlgle_lammps.surrogates.cg_gnn.box_fit import basis_of, contact_distance, fit_score
from mlgle_lammps.surrogates.cg_gnn.box_mobility import Mobility, fit_mobility, node_tensors
from mlgle_lammps.surrogates.cg_gnn.box_model import BoxModel
from mlgle_lammps.surrogates.cg_gnn.box_nodes import HOPS, BoxRun, Letters, letters_of
from mlgle_lammps.surrogates.cg_gnn.box_options import BoxOptions
from mlgle_lammps.surrogates.cg_gnn.box_score import ScoreTables
from mlgle_lammps.surrogates.cg_gnn.box_step import BoxLaw, levels_of
from mlgle_lammps.surrogates.cg_gnn.box_tie import LAG, Tie, compare, next_scales
from mlgle_lammps.surrogates.cg_gnn.coarse_runs import fingerprint

LEAST_STEPS = 4
"""Of each run."""
EXTENT = 10.0
"""How many times longer than recorded a bond between groups may be before a roll-out is given up."""


def has_several_species(systems: Sequence[System]) -> bool:
    """Return whether runs are of boxes in which chains and other species move together."""
    return any(system.others for system in systems)


def train_boxes(
    runs: Sequence[tuple[System, Frames, str]], options: BoxOptions, report: Callable[[str], None]
) -> BoxModel:  # fmt: skip
    """Return a model of all runs; deterministic for equal runs and options.

    Args:
        runs: of boxes that are periodic in all directions, with their names.
        options: how.
        report: hears lines on progress.

    Raises:
        UserError: boxes that are not periodic, runs too short, without beads, of other steps or units.
    """
    first = runs[0][0]
    for system, _, name in runs:
        if (system.time_unit, system.length_unit) != (first.time_unit, first.length_unit):
            raise UserError(f"run {name} has other units than run {runs[0][2]}")
    coarse = [
        BoxRun.of(system, frames, options.beads_per_group, options.grouping, name) for system, frames, name in runs
    ]
    step = 2 * coarse[0].dt if options.step is None else options.step
    for run in coarse:
        if run.longest <= LEAST_STEPS * run.lag(step):
            raise UserError(f"run {run.name} is shorter than {LEAST_STEPS} steps of `step` {step:g}: record longer")
    law, notes = fit_law(coarse, step, options, report)
    own = [run.box.bonded()[0] for run in coarse]
    longest = max(
        float(np.abs(run.positions[:, pairs[:, 0]] - run.positions[:, pairs[:, 1]]).max())
        for run, pairs in zip(coarse, own, strict=True)
    )
    return BoxModel(
        law, options.preset, options.beads_per_group, options.grouping, coarse[0].dt, step, first.time_unit,
        first.length_unit, EXTENT * longest, float(np.mean([run.inner for run in coarse])), coarse[0].box,
        tuple(fingerprint(frames[-1:]) for _, frames, _ in runs), tuple(notes),
    )  # fmt: skip


def fit_law(
    runs: Sequence[BoxRun], step: float, options: BoxOptions, report: Callable[[str], None]
) -> tuple[BoxLaw, list[str]]:
    """Return what moves boxes, and lines on how well it is tied."""
    letters = letters_of([run.box for run in runs])
    basis, contact = basis_of(runs, letters), contact_distance(runs)
    networks = tuple(
        fit_mobility(runs, letters, contact, step, options.seed + n, options.mobility) for n in range(options.members)
    )
    report(f"mobility: {options.members} networks, {options.mobility.updates} updates each")
    levels, n_kinds = levels_of(options.refine), len(letters.kinds)
    rng = np.random.default_rng(options.seed)
    mobilities = _mobilities(networks[0], runs, letters)
    law = BoxLaw(letters, _no_score(letters, len(levels)), levels, np.full(n_kinds, 0.8), networks)
    for round_ in range(options.rounds):
        noises = np.sqrt(law.scales * mobilities)
        n_frames = options.frames if round_ == options.rounds - 1 else max(8, options.frames // 3)
        tables, stiffness = fit_score(runs, basis, noises, levels, rng, n_frames)
        law = replace(law, tables=tables)
        report(f"score: {len(levels)} levels of {basis.size} numbers, stiffness {stiffness[0]:g} to {stiffness[-1]:g}")
        before = None
        for _ in range(options.ties):
            found = compare(law, runs, step, options.seed)
            report(f"motion over MD's {_said(letters, found)}")
            before, scales = (law.scales, found), next_scales(law.scales, found, before)
            law = replace(law, scales=scales)
    last = compare(law, runs, step, options.seed + 1)
    return law, [f"motion over up to {LAG * step:g} over MD's {_said(letters, last)}"]


def _no_score(letters: Letters, n_levels: int) -> ScoreTables:
    """Return a score that is zero."""
    knots, pairs = np.array([0.0, 1.0]), len(letters.pairs[0])
    bonded = np.zeros((n_levels, HOPS, len(letters.bonded_pairs[0]), 2))
    return ScoreTables(knots, knots, np.zeros((n_levels, pairs, 2)), bonded)


def _mobilities(network: Mobility, runs: Sequence[BoxRun], letters: Letters) -> Float64:
    """Return the mean of exp v over the nodes of each kind in all runs, (kind,)."""
    found = np.full((len(runs), len(letters.kinds)), np.nan)
    for number, run in enumerate(runs):
        shares, kinds, box = node_tensors(run.box, letters)
        points = torch.tensor(run.positions[:: max(1, len(run.positions) // 8)], dtype=torch.float32)
        squares = network(network.surroundings(points, shares, box), shares, kinds).exp().mean(0).numpy()
        for kind in np.unique(kinds.numpy()):
            found[number, kind] = squares[kinds.numpy() == kind].mean()
    result: Float64 = np.nanmean(found, axis=0)
    return result


def _said(letters: Letters, found: Tie) -> str:
    return ", ".join(
        f"{name} {mean:.2f} ({low:.2f} to {high:.2f})"
        for name, mean, low, high in zip(
            letters.kinds, found.means, np.nanmin(found.ratios, 0), np.nanmax(found.ratios, 0), strict=True
        )
    )
