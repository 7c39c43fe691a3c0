"""Curves of beads and whole chains of a stream: g_1, g_2, g_3, and how the end-to-end vector and Rg² forget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.observe.chain_motion import GroupMotion, with_centre_made_good
from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.statistics.moments import Moments
from mlgle_lammps.statistics.replicas import Replicas, stacked

CURVES = ("g1", "g2", "g3", "ends", "gyration")
LAGS_PER_OCTAVE = 3


@dataclass(frozen=True)
class ChainCurves:
    """What the streamed modes and the centres say, errors from leaving out one group of chains at a time.

    Attributes:
        time: (lag,) in the stream's time unit.
        g1: of the inner beads, length²; modes that are not streamed are in none of it. Likewise the following.
        g2: the same about the chain's centre of mass.
        g3: of the centres of mass.
        ends: <R(t)·R(0)>/<R²>.
        gyration: (<Rg²(t) Rg²(0)> - <Rg²>²)/(<Rg⁴> - <Rg²>²).
    """

    time: Float64
    g1: Replicas
    g2: Replicas
    g3: Replicas
    ends: Replicas
    gyration: Replicas


def chain_curves(groups: Sequence[GroupMotion], lags: Int64, dt: float, moments: Moments) -> ChainCurves:
    """Return the curves of all groups of chains together.

    Args:
        groups: of chains, all at the same lags, the first of which is 0.
        lags: (lag,) in frames.
        dt: time between frames.
        moments: of the same chains: how far those of one box move together.
    """
    weights, share = [group.n_chains for group in groups], moments.made_good(lags)

    def over(name: str, effect: float = 1.0) -> Replicas:
        return Replicas.of_groups(np.array([getattr(group, name) for group in groups]), weights, effect)

    sizes = over("sizes")
    return ChainCurves(
        time=lags.astype(np.float64) * dt,
        g1=stacked([over("g1"), over("g2")], moments.design_effect).map(lambda g: with_centre_made_good(g, share)),
        g2=over("g2"),
        g3=over("g3", moments.design_effect).map(lambda g: share * g),
        ends=over("ends").map(lambda c: c / c[0]),
        gyration=stacked([over("gyration"), sizes]).map(_normalized),
    )


def _normalized(values: Float64) -> Float64:
    """Return the correlation of Rg² from <Rg²(t) Rg²(0)> at all lags, followed by <R²> and <Rg²>."""
    products, mean = values[:-2], values[-1]
    result: Float64 = (products - mean**2) / (products[0] - mean**2)
    return result
