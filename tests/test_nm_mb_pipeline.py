"""NM-MB from production and constrained runs to a file of generated centres, and the boxes that it starts in."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pytest
from nm_mb_toys import EDGE, FRAMES, QUICK, M, constrained_set
from nm_mb_toys import SYSTEM as TOY

from mlgle_lammps.options.generate import GenerateOptions
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.pipeline.melt_model import LEARNED_SHARE, begin_motion, generate_centres, learn_model
from mlgle_lammps.store.reader import FramesReader
from mlgle_lammps.surrogates.nm_mb import trainer
from mlgle_lammps.surrogates.nm_mb.boxes import filled_box
from mlgle_lammps.surrogates.nm_mb.held_out import KINDS
from mlgle_lammps.surrogates.nm_mb.model import NmMbModel

SYSTEM = replace(TOY, n_modes=0, channels=("com", "momenta"), masses=(5.0,), box=(EDGE, EDGE, EDGE, 0.0, 0.0, 0.0))


def test_a_model_is_learned_judged_saved_and_moved(tmp_path, monkeypatch):
    quick = replace(QUICK, fit=replace(QUICK.fit, updates=3))
    monkeypatch.setattr(trainer, "TrainSettings", partial(trainer.TrainSettings, memory=quick))
    options = LearnOptions(Path("run"), surrogate="nm-mb", preset="nm-dpd", seed=4)
    path = tmp_path / "model.safetensors"
    learned = learn_model(constrained_set(), FRAMES, SYSTEM, options, path, lambda: False)
    assert learned.held_out is not None
    assert learned.held_out["configurations"] == 1
    for kind in KINDS:
        assert np.isfinite(learned.held_out[kind]).all()
        assert np.max(learned.held_out[kind]) <= 1 + 1e-6
    model = NmMbModel.load(path)
    recorded = FRAMES[: round(LEARNED_SHARE * len(FRAMES))]
    assert model.learned_up_to(recorded[-1:])
    given = GenerateOptions(Path("run"), ensemble=2, seed=5, device="cpu")
    motion, size = begin_motion(model, recorded, given)
    generate_centres(motion, SYSTEM, tmp_path / "made.h5", steps=20, save_every=2, n_molecules=size, start_step=None,
                     seed=5, boxes=2)  # fmt: skip
    with FramesReader(tmp_path / "made.h5") as reader:
        made = reader.read(0, 10)
        assert (reader.system.n_chains, reader.system.boxes, reader.system.box) == (2 * M, 2, SYSTEM.box)
    assert made.com.shape == (10, 2 * M, 3)
    assert np.abs(made.com[0, :M] - recorded.com[-1]).max() < EDGE / 2


def nearest(points, edge):
    apart = points[:, None] - points[None]
    distance = np.linalg.norm(apart - edge * np.round(apart / edge), axis=-1)
    return distance[np.triu_indices(len(points), 1)].min()


@lru_cache
def melt(n=64, edge=4.0, least=0.83):
    """Return centres, one to a unit of volume, none nearer than that."""
    rng = np.random.default_rng(1)
    points = rng.uniform(0, edge, (1, 3))
    while len(points) < n:
        tried = rng.uniform(0, edge, (1, 3))
        apart = points - tried
        if np.linalg.norm(apart - edge * np.round(apart / edge), axis=1).min() > least:
            points = np.concatenate([points, tried])
    return points


@pytest.mark.parametrize("n", [27, 100, 343])
def test_molecules_of_another_box_are_no_nearer_than_recorded_ones(n):
    edge = n ** (1 / 3)
    found = filled_box(melt(), np.full(3, 4.0), edge, n, np.random.default_rng(2))
    assert found.shape == (n, 3)
    assert found.min() >= 0
    assert found.max() < edge
    assert nearest(found, edge) > 0.97 * nearest(melt(), 4.0)


def test_the_recorded_box_stays_as_it_is():
    found = filled_box(melt() - 12.0, np.full(3, 4.0), 4.0, 64, np.random.default_rng(2))
    assert found == pytest.approx(melt())
