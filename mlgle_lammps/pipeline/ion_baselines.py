"""What the composition alone says of ions' D: the mean over the training runs, and a straight line through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mlgle_lammps.evaluate.ion_transport import IonTransport
from mlgle_lammps.records import Estimate, Float64, System
from mlgle_lammps.statistics.errors import NORMAL


def composition(system: System) -> dict[str, float]:
    """Return ions per bead of the chains, and the share of each type among these beads, by name."""
    beads = system.n_chains * (system.n_beads or 1)
    found = {f"ions {own.name}": own.n_molecules / beads for own in system.others}
    for kind in sorted(set(system.types)):
        found[f"bead {kind}"] = system.types.count(kind) / len(system.types)
    return found


def composition_baselines(
    training: Sequence[IonTransport], unseen: Mapping[str, System], charges: Mapping[str, float]
) -> dict[str, dict[str, IonTransport]]:
    """Return D at unseen compositions by the mean over the training runs, and by a fit linear in the composition.

    Of the fit's many solutions where compositions vary in fewer ways than they have numbers the least is taken.

    Args:
        training: of the runs that models learn from.
        unseen: systems by name.
        charges: by the names of ions.

    Returns:
        "training_mean" and "composition_fit", each by the names of the unseen; D alone, None where the training runs
        have fewer than three.
    """
    names = sorted({name for own in training for name in composition(own.system)})
    known, wanted = _rows([own.system for own in training], names), _rows(list(unseen.values()), names)
    means: dict[str, dict[str, Estimate | None]] = {name: {} for name in unseen}
    fits: dict[str, dict[str, Estimate | None]] = {name: {} for name in unseen}
    for ion in charges:
        there = [(i, D) for i, own in enumerate(training) if (D := own.D.get(ion)) is not None]
        if len(there) < 3:
            for found in (means, fits):
                for name in unseen:
                    found[name][ion] = None
            continue
        values, rows = np.array([D.value for _, D in there]), known[[i for i, _ in there]]
        middle = rows.mean(axis=0)
        slopes = np.linalg.lstsq(rows - middle, values - values.mean(), rcond=1e-8)[0]
        spread = float(values.std(ddof=1))
        for name, row in zip(unseen, wanted, strict=True):
            means[name][ion] = _alone(float(values.mean()), spread / len(values) ** 0.5, "mean over training runs")
            fits[name][ion] = _alone(
                float(values.mean() + (row - middle) @ slopes), spread / len(values) ** 0.5, "linear fit"
            )
    return {
        label: {name: IonTransport(unseen[name], 0.0, D, None, {}, {}) for name, D in found.items()}
        for label, found in (("training_mean", means), ("composition_fit", fits))
    }


def _rows(systems: Sequence[System], names: Sequence[str]) -> Float64:
    return np.array([[composition(system).get(name, 0.0) for name in names] for system in systems])


def _alone(value: float, se: float, method: str) -> Estimate:
    return Estimate(value, se, (value - NORMAL * se, value + NORMAL * se), method)
