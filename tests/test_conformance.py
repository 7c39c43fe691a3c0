"""What every surrogate keeps: the contract, on a small Rouse stream."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.chains.spectrum import linear_spectrum
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.records import CHAINS, Frames, joined
from mlgle_lammps.statistics.moments import MomentAccumulator
from mlgle_lammps.surrogates.catalogue import SURROGATES, find_preset, load_model, make_trainer

STREAMED = [own for own in SURROGATES.values() if own.learn_runs is None and not own.constrained]
"""Those that learn from one stream of modes; others have tests of their own."""
VARIANTS = [(surrogate.name, preset.name) for surrogate in STREAMED for preset in surrogate.presets]
N_CHAINS, BEADS, MODES, MEMORY, DT = 8, 8, 2, 5, 0.5
SOURCE = RouseSource(N_CHAINS, BEADS, MODES, 60, DT, seed=4)
WINDOW = joined(list(SOURCE))
SEED, STEPS = 5, 300


def options_of(surrogate, preset, folder="nowhere"):
    return LearnOptions(
        folder, surrogate=surrogate, preset=preset, modes=MODES, memory=MEMORY, train_frames=40, val_frames=20,
        device="cpu", seed=3,
    )  # fmt: skip


def trainer_of(variant):
    options = options_of(*variant)
    moments = MomentAccumulator(N_CHAINS, MODES, MEMORY)
    for frame in WINDOW:
        moments.add(frame)
    form = find_preset(options).fit_form
    return make_trainer(options, SOURCE.system, lambda: fit_gle(moments.moments(), DT, form, linear_spectrum(BEADS)))


def trained(variant):
    torch.set_num_threads(1)
    trainer = trainer_of(variant)
    for n in (MEMORY + 1, 20, 50):
        trainer.partial_fit(WINDOW[:n])
    return trainer.finish(WINDOW)


@lru_cache
def model_of(variant):
    return trained(variant)


def motion_of(model, n_trajectories=12, seed=SEED, frames=WINDOW, threads=1):
    return model.start(frames, seed, n_trajectories=n_trajectories, threads=threads)


def moved(model, n_steps=STEPS, **how):
    return joined(list(motion_of(model, **how).advance(n_steps)))


@pytest.fixture(params=VARIANTS, ids="/".join)
def variant(request):
    return request.param


@pytest.fixture
def model(variant):
    return model_of(variant)


def test_the_model_says_what_it_is(variant, model):
    assert trainer_of(variant).needs
    assert (model.surrogate, model.preset) == variant
    assert (model.memory, model.n_modes) == (MEMORY, MODES)
    assert (model.dt, model.time_unit, model.length_unit) == (DT, "tau", "sigma")
    assert [report.mode for report in model.reports] == list(range(1, MODES + 1))
    assert all(isinstance(note, str) for note in model.notes)
    assert model.learned_up_to(WINDOW[-1:])
    assert not any(model.learned_up_to(frame) for frame in WINDOW[:-1])


def test_training_is_deterministic(variant, model, tmp_path):
    model.save(tmp_path / "a")
    trained(variant).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_blocks_have_axes_units_and_types(model):
    blocks = list(motion_of(model, 7).advance(STEPS))
    whole = joined(blocks)
    assert whole.steps.tolist() == list(range(1, STEPS + 1))
    assert set(whole.segments.tolist()) == {0}
    assert (whole.steps.dtype, whole.segments.dtype) == (np.int64, np.int64)
    assert {(s, c): (v.dtype, v.shape) for s, c, v in whole.arrays()} == {
        (CHAINS, "com"): (np.float64, (STEPS, 7, 3)), (CHAINS, "modes"): (np.float32, (STEPS, 7, MODES, 3)),
    }  # fmt: skip
    first = np.abs(whole.modes[0] - WINDOW.modes[-1, :7])  # in the deck's units: a step away from where it starts
    step = np.sqrt(np.mean(np.diff(WINDOW.modes, axis=0) ** 2, axis=(0, 1, 3)))
    assert np.all(first < 6 * step[:, None])
    assert np.sqrt(np.mean(whole.com[0] ** 2)) < 3 * np.sqrt(np.mean(np.diff(WINDOW.com, axis=0) ** 2))


def test_steps_count_on_over_calls(model):
    motion = motion_of(model)
    blocks = [block for n in (1, 130, 0, 61) for block in motion.advance(n)]
    assert joined(blocks).steps.tolist() == list(range(1, 193))
    again = motion_of(model)
    assert joined(blocks).same_bits(joined([block for n in (1, 130, 0, 61) for block in again.advance(n)]))
    jumps = np.abs(np.diff(joined(blocks).com, axis=0)).max(axis=(1, 2))
    assert jumps.max() < 4 * np.median(jumps)  # centres go on from where they were


def test_equal_seeds_give_equal_bits_whatever_the_threads(model):
    n_trajectories = 310
    first = moved(model, 40, n_trajectories=n_trajectories)
    before = torch.get_num_threads()
    for threads in (1, 3):
        assert first.same_bits(moved(model, 40, n_trajectories=n_trajectories, threads=threads))
    assert torch.get_num_threads() == before
    other = moved(model, 40, n_trajectories=n_trajectories, seed=SEED + 1)
    assert np.abs(first.modes[-1] - other.modes[-1]).max() > 0.01
    assert len(np.unique(first.com[-1, :, 0])) == n_trajectories


def test_a_saved_model_moves_the_same(variant, model, tmp_path):
    path = tmp_path / "model.safetensors"
    model.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    found = load_model(path, variant[0])
    assert moved(model).same_bits(moved(found))
    found.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_a_long_run_stays_finite_and_bounded(model):
    whole = moved(model, 4000, n_trajectories=8)
    assert np.isfinite(whole.modes).all()
    assert np.isfinite(whole.com).all()
    recorded = np.var(WINDOW.modes, axis=(0, 1, 3))
    for part in np.array_split(whole.modes, 10):
        ratio = np.var(part, axis=(0, 1, 3)) / recorded
        assert np.all((ratio > 0.1) & (ratio < 10))


def changed(window, **changes):
    return Frames(window.steps, window.segments, {CHAINS: {**window.channels[CHAINS], **changes}})


def test_frames_that_it_was_not_made_for_are_refused(variant, model):
    halves = replace(WINDOW, segments=(np.arange(len(WINDOW)) >= len(WINDOW) - 2).astype(np.int64))
    without_modes = Frames.of_chains(WINDOW.steps, WINDOW.segments, WINDOW.com, None)
    nobody = Frames(WINDOW.steps, WINDOW.segments, {"solvent": dict(WINDOW.channels[CHAINS])})
    bad = {
        "too few": WINDOW[: MEMORY - 1], "none": WINDOW[:0], "fewer modes": WINDOW.first_modes(MODES - 1),
        "more modes": changed(WINDOW, modes=np.repeat(WINDOW.modes, 2, axis=2)), "no channel": without_modes,
        "no chain": WINDOW.molecules(slice(0, 0)), "interrupted": halves, "another species": nobody,
    }  # fmt: skip
    for name, frames in bad.items():
        with pytest.raises(UserError) as caught:
            motion_of(model, frames=frames)
        assert "\n" not in str(caught.value), name
    for frames in (WINDOW[: MEMORY - 1], without_modes, nobody):
        with pytest.raises(UserError):
            trainer_of(variant).finish(frames)
    for name in trainer_of(variant).needs:
        lacking = {channel: values for channel, values in WINDOW.channels[CHAINS].items() if channel != name}
        with pytest.raises(UserError, match=name):
            trainer_of(variant).partial_fit(Frames(WINDOW.steps, WINDOW.segments, {CHAINS: lacking}))


def test_frames_are_neither_changed_nor_kept(variant):
    """The buffer goes on under the model."""
    window = WINDOW.copy()
    trainer = trainer_of(variant)
    trainer.partial_fit(window[:40])
    assert window.same_bits(WINDOW)
    model = trainer.finish(window)
    assert window.same_bits(WINDOW)
    before = moved(model, 20)
    window.modes[:] = 0
    assert before.same_bits(moved(model, 20))
