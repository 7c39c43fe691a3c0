"""The memory models under one roof: how each is made and fitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.nm_mb.constrained_data import Configuration
from mlgle_lammps.surrogates.nm_mb.couplings import EnvironmentCoupling, RadialCoupling
from mlgle_lammps.surrogates.nm_mb.kernel_fit import (
    NEVER,
    FitSettings,
    KernelFit,
    Lags,
    choose_relaxations,
    integral_rows,
    lags_for,
    products_of,
)
from mlgle_lammps.surrogates.nm_mb.letter_fit import fit_letter
from mlgle_lammps.surrogates.nm_mb.memory import Memory, MemoryGroup, Owner
from mlgle_lammps.surrogates.nm_mb.relaxations import Relaxations, beside, exponential

PRESETS = {
    "default": "fast features of pairs, slow ones of molecules, range half the box, the tail as production shows",
    "paper": "the letter's form: features of molecules, environments, range 16/45.8 of the box, lags up to 5 τ",
    "nm-mb": "the letter's form with range half the box, and a loss on K and its integral up to the longest lag",
    "nm-dpd": "features of pairs alone: pairwise and positive",
    "m-dpd": "features of pairs that forget at once: friction without memory",
    "gle": "a background of each molecule, fitted to the velocities' autocorrelation",
}
"""Names that --preset takes."""


@dataclass(frozen=True)
class MemorySettings:
    """How memory models are made.

    Attributes:
        features: memories at most.
        shortest: time within which memory starts to decay.
        reach: cutoff as a share of the shortest edge of the box.
        pair_reach: likewise, of the default's pairs.
        n_knots: of couplings' splines.
        fit: of couplings.
        environment: whether the letter's forms look at what surrounds a pair.
    """

    features: int = 11
    shortest: float = 0.1
    reach: float = 0.495
    pair_reach: float = 0.42
    n_knots: int = 12
    fit: FitSettings = field(default_factory=FitSettings)
    environment: bool = True


def fit_memory(
    preset: str, configurations: Sequence[Configuration], how: MemorySettings, should_stop: Callable[[], bool] = NEVER
) -> Memory:
    """Return a memory model fitted to constrained kernels; raise KeyError for a name that is none of these."""
    return _MAKERS[preset](configurations, how, should_stop)


def _many_body(found: Sequence[Configuration], how: MemorySettings, should_stop: Callable[[], bool]) -> Memory:
    """Fast oscillations belong to pairs, slow decays to molecules.

    At short times forces between two molecules are their own affair, and the friction of the smallest wave vectors is
    that of pairs; products ΞΞᵀ of features of molecules give half of it. At long times it is the other way round.
    """
    parts = choose_relaxations(found, how.features, how.shortest)
    fast, slow = [part for part in parts if part.size > 1], [part for part in parts if part.size == 1]
    edge = float(found[0].box.min())
    return _radial(found, how, should_stop, "default", [
        ("pair", fast, how.pair_reach * edge), ("molecule", slow, how.reach * edge),
    ])  # fmt: skip


def _pairwise(found: Sequence[Configuration], how: MemorySettings, should_stop: Callable[[], bool]) -> Memory:
    parts = choose_relaxations(found, how.features, how.shortest)
    edge = float(found[0].box.min())
    return _radial(found, how, should_stop, "nm-dpd", [("pair", parts, how.reach * edge)])


def _radial(
    found: Sequence[Configuration], how: MemorySettings, should_stop: Callable[[], bool], name: str,
    plan: Sequence[tuple[Owner, list[Relaxations], float]],
) -> Memory:  # fmt: skip
    couplings = [RadialCoupling(len(parts), cutoff, how.n_knots) for _, parts, cutoff in plan]
    memory = Memory(
        tuple(
            MemoryGroup(owner, coupling, beside(parts))
            for (owner, parts, _), coupling in zip(plan, couplings, strict=True)
        ),
        name,
    )
    fit = KernelFit(found, [part for _, parts, _ in plan for part in parts], how.fit)
    begin(memory, found[0], fit.own_strengths())
    fit.fit(lambda own: products_of(memory, own), [coupling.radial for coupling in couplings], should_stop)
    return memory


def begin(memory: Memory, found: Configuration, strengths: Float64) -> None:
    """Let splines start as bells that give the molecules' own kernels their strengths, one for each feature."""
    start = 0
    for group in memory.groups:
        coupling = group.coupling
        if not isinstance(coupling, RadialCoupling):
            raise TypeError("only splines start as bells")
        r = torch.arange(coupling.n_knots, dtype=torch.float64) * (coupling.cutoff / coupling.n_knots)
        coupling.radial.data.copy_(torch.exp(-((2.5 * r / coupling.cutoff) ** 2))[:, None].expand_as(coupling.radial))
        with torch.no_grad():
            own = products_of(Memory((group,)), found).diagonal(dim1=-2, dim2=-1).mean(-1)
        wanted = torch.as_tensor(np.maximum(strengths, 1e-3 * strengths.max())[start : start + coupling.n])
        start += coupling.n
        coupling.scale.data.copy_(torch.cat([(wanted / own).sqrt()] * 2))


def _without_memory(found: Sequence[Configuration], how: MemorySettings, should_stop: Callable[[], bool]) -> Memory:
    """Fit pairs' friction to the integral up to where the own kernel's is read: one decay within half ``shortest``."""
    rate = 2.0 / how.shortest
    times = found[0].times
    upto = min(int(np.searchsorted(times, 20 * how.shortest)), len(times) - 1)
    rows = integral_rows(times)[upto - 1 : upto]
    lags = lags_for(found, how.fit)
    row = len(times) + upto - 1
    lags = Lags(rows, lags.pair_weights[[row]], lags.own_weights[[row]], lags.share[[row]])
    column = np.full((len(times), 1), 1.0 / rate / times[upto])  # its integral up to there is 1/rate
    coupling = RadialCoupling(1, how.reach * float(found[0].box.min()), how.n_knots)
    parts = [exponential(rate)]
    memory = Memory((MemoryGroup("pair", coupling, beside(parts)),), "m-dpd")
    own = np.mean([(rows @ one.own.mean((0, 2))[:, range(3), range(3)].mean(1))[0] for one in found])
    begin(memory, found[0], np.array([own * rate]))
    fit = KernelFit(found, parts, how.fit, lags, column)
    fit.fit(lambda own: products_of(memory, own), [coupling.radial], should_stop)
    return memory


def _long_letter(found: Sequence[Configuration], how: MemorySettings, should_stop: Callable[[], bool]) -> Memory:
    parts = choose_relaxations(found, how.features, how.shortest)
    fit = KernelFit(found, parts, replace(how.fit, rate=how.fit.rate / 10))
    cutoff = how.reach * float(found[0].box.min())
    coupling = environment_of(found, how, len(parts), cutoff)
    memory = Memory((MemoryGroup("molecule", coupling, beside(parts)),), "nm-mb")
    with torch.no_grad():
        own = products_of(memory, found[0]).diagonal(dim1=-2, dim2=-1).mean(-1)
    factor = (torch.as_tensor(np.maximum(fit.own_strengths(), 1e-3)) / own).sqrt()
    scale_last(coupling, factor)
    fit.fit(lambda one: products_of(memory, one), list(coupling.parameters()), should_stop)
    return memory


def environment_of(found: Sequence[Configuration], how: MemorySettings, n: int, cutoff: float) -> EnvironmentCoupling:
    """Return the letter's coupling before it has learned anything."""
    generator = torch.Generator().manual_seed(how.fit.seed)
    return EnvironmentCoupling(n, cutoff, environment=how.environment, generator=generator)


def scale_last(coupling: EnvironmentCoupling, factor: torch.Tensor) -> None:
    """Multiply W of each feature by a number."""
    per_output = factor.repeat_interleave(coupling.n_encoders + 1)
    coupling.weights[-1].data *= per_output


def _letter(found: Sequence[Configuration], how: MemorySettings, should_stop: Callable[[], bool]) -> Memory:
    return fit_letter(found, how.fit, how.environment, should_stop)


def _background(found: Sequence[Configuration], how: MemorySettings, should_stop: Callable[[], bool]) -> Memory:
    """Begin with the molecules' own kernels; ``calibration`` then turns it to the velocities' autocorrelation."""
    parts = choose_relaxations(found, how.features, how.shortest)
    strengths = np.maximum(KernelFit(found, parts, how.fit).own_strengths(), 0.0)
    return background(parts, strengths)


def background(parts: Sequence[Relaxations], strengths: Float64) -> Memory:
    """Return the memory Σ_a s_a c_a(t) of each molecule by itself."""
    group = MemoryGroup("background", None, beside(list(parts)), torch.as_tensor(np.sqrt(strengths)))
    return Memory((group,), "gle")


_MAKERS: dict[str, Callable[[Sequence[Configuration], MemorySettings, Callable[[], bool]], Memory]] = {
    "default": _many_body, "paper": _letter, "nm-mb": _long_letter, "nm-dpd": _pairwise, "m-dpd": _without_memory,
    "gle": _background,
}  # fmt: skip
