"""Toys for CG-GNN in boxes: ions that take independent steps, and ions that repel one another, beside dimers."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from mlgle_lammps.records import CHAINS, Frames, Species, System
from mlgle_lammps.surrogates.cg_gnn.box_mobility import MobilitySize
from mlgle_lammps.surrogates.cg_gnn.box_options import BoxOptions
from mlgle_lammps.surrogates.cg_gnn.box_trainer import train_boxes

EDGE, DT = 6.0, 0.5
D = {"A": 0.3, "B": 0.1}
BRIEF = BoxOptions(
    beads_per_group=1, step=DT, members=2, seed=3, refine=4, frames=24, rounds=2, ties=2,
    mobility=MobilitySize(updates=30, frames=60, batch=256),
)  # fmt: skip


def system_of(n_chains, n_ions, types=("P", "P"), dt=DT, edge=EDGE, names=tuple(D)):
    others = tuple(Species(name, n_ions, 1, 0, ("com",), types=(name,), masses=(1.0,)) for name in names)
    return System(
        n_chains, 2, 0, dt, 1, "lj", "tau", "sigma", "made", box=(edge, edge, edge, 0.0, 0.0, 0.0), others=others,
        channels=("com", "beads"), name="linear 2", types=types, masses=(2.0,),
    )  # fmt: skip


def frames_of(chains, ions):
    """Return frames of dimers (time, chain, 2, 3) and ions by name (time, ion, 3)."""
    com = chains.mean(2)
    own = {"com": com, "beads": (chains - com[:, :, None]).astype(np.float32)}
    steps = np.arange(len(com), dtype=np.int64)
    return Frames(steps, steps * 0, {CHAINS: own} | {name: {"com": places} for name, places in ions.items()})


def dimers(n_frames, n_chains, random):
    """Return dimers that drift, their bond an AR(1), (time, chain, 2, 3)."""
    com = np.cumsum(random.standard_normal((n_frames, n_chains, 3)) * 0.2, axis=0)
    bond, bonds = random.standard_normal((n_chains, 3)) * 0.5, []
    for _ in range(n_frames):
        bond = 0.6 * bond + 0.4 * random.standard_normal((n_chains, 3))
        bonds.append(bond)
    apart = 0.5 * np.stack(bonds)
    return np.stack([com - apart, com + apart], axis=2)


@lru_cache
def walking(n_frames=400, n_ions=12, seed=1):
    """Return a run of ions whose steps are independent and Gaussian, of known D."""
    random = np.random.default_rng(seed)
    ions = {
        name: random.uniform(0, EDGE, (1, n_ions, 3))
        + np.cumsum(random.standard_normal((n_frames, n_ions, 3)) * np.sqrt(2 * own * DT), axis=0)
        for name, own in D.items()
    }
    return system_of(4, n_ions), frames_of(dimers(n_frames, 4, random), ions), "walking"


@lru_cache
def repelling(n_frames=200, n_ions=14, seed=2):
    """Return a run of Brownian ions that repel one another by 30 exp(-(2 r)²) kT."""
    random, inner = np.random.default_rng(seed), 40
    places = random.uniform(0, EDGE, (2 * n_ions, 3))
    h, kept = DT / inner * 0.2, []
    for step in range((n_frames + 20) * inner):
        apart = places[:, None] - places[None]
        apart -= EDGE * np.round(apart / EDGE)
        force = (240.0 * np.exp(-4 * np.square(apart).sum(-1))[..., None] * apart).sum(1)
        length = np.linalg.norm(force, axis=1, keepdims=True)
        force *= np.minimum(1.0, 40.0 / np.maximum(length, 1e-9))
        places = places + h * force + np.sqrt(2 * h) * random.standard_normal(places.shape)
        if step >= 20 * inner and step % inner == 0:
            kept.append(places)
    whole = np.stack(kept)
    ions = {"A": whole[:, :n_ions], "B": whole[:, n_ions:]}
    return system_of(2, n_ions), frames_of(dimers(len(whole), 2, random), ions), "repelling"


@lru_cache
def trained(name="walking", **changes):
    """Return a model of a toy."""
    torch.set_num_threads(1)
    run = {"walking": walking, "repelling": repelling}[name]()
    return train_boxes([run], replace(BRIEF, **changes), lambda line: None)
