"""What every surrogate keeps: the contract, on a small stream that each can learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import cg_gnn_toys
import nm_mb_toys
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
from mlgle_lammps.surrogates.contract import Model

STREAMED = [own for own in SURROGATES.values() if own.learn_runs is None and not own.constrained]
"""Those that learn from one stream of modes, by a trainer."""
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


def trained(variant, window=WINDOW):
    torch.set_num_threads(1)
    trainer = trainer_of(variant)
    for n in (MEMORY + 1, 20, 50):
        trainer.partial_fit(window[:n])
    return trainer.finish(window)


@dataclass(frozen=True)
class Subject:
    """A surrogate's variant with what it learns from.

    Attributes:
        learn: from recorded frames to a model.
        frames: that it learns from, and starts from.
        makes: channel to type and shape of a molecule's values.
        expected: memory, n_modes, dt.
        sizes: channel to the variance that a long run has to keep within a factor of ten, (..) over components.
        many: trajectories, more than are moved at once.
        starts_from: channels without which it does not start.
        noisy: whether it draws anything.
    """

    learn: Callable[[Frames], Model]
    frames: Frames
    makes: Mapping[str, tuple[type, tuple[int, ...]]]
    expected: tuple[int, int, float]
    sizes: Mapping[str, np.ndarray]
    many: int
    starts_from: tuple[str, ...]
    noisy: bool = True


def streamed_subject(variant):
    return Subject(
        lambda frames: trained(variant, frames), WINDOW,
        {"com": (np.float64, (3,)), "modes": (np.float32, (MODES, 3))}, (MEMORY, MODES, DT),
        {"modes": np.var(WINDOW.modes, axis=(0, 1, 3))}, 310, ("modes",),
    )  # fmt: skip


def melt_subject(preset):
    toys = nm_mb_toys
    thermal = np.full(1, toys.KT * toys.MASS)
    return Subject(
        lambda frames: toys.trained(preset, frames=frames), toys.FRAMES,
        {"com": (np.float64, (3,)), "momenta": (np.float64, (3,))}, (1, 0, toys.DT), {"momenta": thermal}, 31,
        ("com", "momenta"),
    )  # fmt: skip


def graph_subject(preset):
    toys, markov = cg_gnn_toys, preset in ("default", "network")
    frames = toys.runs()[0].frames
    size = np.full(1, frames.channels[CHAINS]["beads"].var())  # of beads: groups of two spread a little less
    return Subject(
        lambda own: toys.trained(preset, own), frames,
        {"com": (np.float64, (3,)), "beads": (np.float32, (4, 3)), "rg2": (np.float32, (1,))},
        (1 if markov else 9, 3, 2 * toys.DT), {"beads": size} if markov else {}, 31,
        ("com", "beads"),        preset != "deterministic",
    )  # fmt: skip


SUBJECTS = {
    **{"/".join(variant): streamed_subject(variant) for variant in VARIANTS},
    **{f"nm-mb/{preset.name}": melt_subject(preset.name) for preset in SURROGATES["nm-mb"].presets},
    **{f"cg-gnn/{preset}": graph_subject(preset) for preset in cg_gnn_toys.PRESETS},
}


@lru_cache
def model_of(name):
    return SUBJECTS[name].learn(SUBJECTS[name].frames)


def motion_of(name, n_trajectories=7, seed=SEED, frames=None, threads=1, model=None):
    frames = SUBJECTS[name].frames if frames is None else frames
    return (model or model_of(name)).start(frames, seed, n_trajectories=n_trajectories, threads=threads)


def moved(name, n_steps=40, **how):
    return joined(list(motion_of(name, **how).advance(n_steps)))


@pytest.fixture(params=SUBJECTS)
def name(request):
    return request.param


def changed(frames, **channels):
    return Frames(frames.steps, frames.segments, {CHAINS: {**frames.channels[CHAINS], **channels}})


def lacking(frames, channel):
    return Frames(
        frames.steps, frames.segments, {CHAINS: {k: v for k, v in frames.channels[CHAINS].items() if k != channel}}
    )


def test_every_surrogate_and_preset_is_here():
    wanted = {f"{own.name}/{preset.name}" for own in SURROGATES.values() for preset in own.presets}
    assert wanted - set(SUBJECTS) == {"cg-gnn/published"}  # published-small is the same code


def test_the_model_says_what_it_is(name):
    model, subject = model_of(name), SUBJECTS[name]
    assert f"{model.surrogate}/{model.preset}" == name
    assert (model.memory, model.n_modes, model.dt) == subject.expected
    assert (model.time_unit, model.length_unit) == ("tau", "sigma")
    assert model.directions.n == 3
    reports = [report.mode for report in model.reports]
    assert reports == (list(range(1, model.n_modes + 1)) if model.n_modes else [])
    assert all(isinstance(note, str) for note in model.notes)
    assert model.learned_up_to(subject.frames[-1:])
    assert not any(model.learned_up_to(frame) for frame in subject.frames[:-1][::7])


def test_training_is_deterministic(name, tmp_path):
    model_of(name).save(tmp_path / "a")
    SUBJECTS[name].learn(SUBJECTS[name].frames).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_blocks_have_axes_and_types_and_steps_count_on(name):
    counts = (1, 70, 0, 9)
    motion = motion_of(name)
    whole = joined([block for n in counts for block in motion.advance(n)])
    assert whole.steps.tolist() == list(range(1, 81))
    assert set(whole.segments.tolist()) == {0}
    assert (whole.steps.dtype, whole.segments.dtype) == (np.int64, np.int64)
    assert {(s, c): (v.dtype, v.shape) for s, c, v in whole.arrays()} == {
        (CHAINS, channel): (kind, (80, 7, *shape)) for channel, (kind, shape) in SUBJECTS[name].makes.items()
    }
    again = motion_of(name)
    assert whole.same_bits(joined([block for n in counts for block in again.advance(n)]))
    jumps = np.abs(np.diff(whole.com, axis=0)).max(axis=(1, 2))
    if SUBJECTS[name].sizes:  # others are hardly trained here, and may drift
        assert jumps.max() < 4 * np.median(jumps)  # centres go on from where they were


def test_positions_have_the_units_of_the_frames(name):
    """A step of the model moves centres about as far as recorded ones."""
    subject, model = SUBJECTS[name], model_of(name)
    lag = max(round(subject.expected[2] / (SOURCE.system.dt if model.surrogate != "nm-mb" else model.dt)), 1)
    recorded = subject.frames.com[lag:] - subject.frames.com[:-lag]
    made = np.diff(moved(name).com, axis=0)
    ratio = np.sqrt(np.mean(made**2) / np.mean(recorded**2))
    assert (0.3 < ratio < 3) or not subject.noisy


def test_equal_seeds_give_equal_bits_whatever_the_threads(name):
    many = SUBJECTS[name].many
    first = moved(name, 20, n_trajectories=many)
    before = torch.get_num_threads()
    for threads in (1, 3):
        assert first.same_bits(moved(name, 20, n_trajectories=many, threads=threads))
    assert torch.get_num_threads() == before
    other = moved(name, 20, n_trajectories=many, seed=SEED + 1)
    if SUBJECTS[name].noisy:
        assert np.abs(first.com[-1] - other.com[-1]).max() > 0.01
        assert len(np.unique(first.com[-1, :, 0])) == many


def test_a_saved_model_moves_the_same(name, tmp_path):
    path = tmp_path / "model.safetensors"
    model_of(name).save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    found = load_model(path, name.partition("/")[0])
    assert moved(name).same_bits(moved(name, model=found))
    found.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", [name for name, subject in SUBJECTS.items() if subject.sizes])
def test_a_long_run_stays_finite_and_bounded(name):
    streamed = name in ("/".join(variant) for variant in VARIANTS)
    whole = moved(name, 4000 if streamed else 800)
    assert all(np.isfinite(values).all() for _, _, values in whole.arrays())
    for channel, size in SUBJECTS[name].sizes.items():
        for part in np.array_split(whole.channels[CHAINS][channel].astype(np.float64), 10):
            axes = (0, 1, 3) if size.size > 1 else None
            ratio = np.var(part, axis=axes) / size
            assert np.all((ratio > 0.1) & (ratio < 10)), channel


@pytest.mark.parametrize("name", [name for name in SUBJECTS if not name.startswith("ml-gle")])  # its blocks are long
def test_a_motion_that_was_not_taken_to_its_end_is_over(name):
    motion = motion_of(name)
    next(iter(motion.advance(300)))
    with pytest.raises(ValueError, match="not all blocks"):
        next(iter(motion.advance(1)))


def test_frames_that_it_was_not_made_for_are_refused(name):
    frames, memory = SUBJECTS[name].frames, SUBJECTS[name].expected[0]
    own = frames.channels[CHAINS]
    halves = replace(frames, segments=(np.arange(len(frames)) >= len(frames) - 2).astype(np.int64))
    bad = {
        "too few": frames[: memory - 1], "none": frames[:0], "no molecule": frames.molecules(slice(0, 0)),
        "another species": Frames(frames.steps, frames.segments, {"solvent": dict(own)}),
        **{f"no {channel}": lacking(frames, channel) for channel in own if channel in SUBJECTS[name].starts_from},
        **({"interrupted": halves} if memory > 2 else {}),
    }  # fmt: skip
    for what, given in bad.items():
        with pytest.raises(UserError) as caught:
            motion_of(name, frames=given)
        assert "\n" not in str(caught.value), what


def test_frames_are_neither_changed_nor_kept(name):
    """The buffer goes on under the model."""
    recorded = SUBJECTS[name].frames
    frames = recorded.copy()
    model = SUBJECTS[name].learn(frames)
    assert frames.same_bits(recorded)
    before = moved(name, 20, model=model)
    for _, _, values in frames.arrays():
        values[:] = 0
    assert before.same_bits(moved(name, 20, model=model))


# -- what trainers keep that learn from one stream of modes ------------------------------------------------------------


@pytest.fixture(params=VARIANTS, ids="/".join)
def variant(request):
    return request.param


def test_a_start_is_a_step_away_from_where_it_starts(variant):
    whole = moved("/".join(variant))
    first = np.abs(whole.modes[0] - WINDOW.modes[-1, :7])
    step = np.sqrt(np.mean(np.diff(WINDOW.modes, axis=0) ** 2, axis=(0, 1, 3)))
    assert np.all(first < 6 * step[:, None])
    assert np.sqrt(np.mean(whole.com[0] ** 2)) < 3 * np.sqrt(np.mean(np.diff(WINDOW.com, axis=0) ** 2))


def test_a_trainer_refuses_what_it_cannot_learn_from(variant):
    name, trainer = "/".join(variant), trainer_of(variant)
    for frames in (WINDOW.first_modes(MODES - 1), changed(WINDOW, modes=np.repeat(WINDOW.modes, 2, axis=2))):
        with pytest.raises(UserError):
            motion_of(name, frames=frames)
    nobody = Frames(WINDOW.steps, WINDOW.segments, {"solvent": dict(WINDOW.channels[CHAINS])})
    for frames in (WINDOW[: MEMORY - 1], lacking(WINDOW, "modes"), nobody):
        with pytest.raises(UserError):
            trainer.finish(frames)
    assert trainer.needs
    for channel in trainer.needs:
        with pytest.raises(UserError, match=channel):
            trainer.partial_fit(lacking(WINDOW, channel))


def test_a_trainer_does_not_change_its_window(variant):
    window = WINDOW.copy()
    trainer_of(variant).partial_fit(window[:40])
    assert window.same_bits(WINDOW)
