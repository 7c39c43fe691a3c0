"""NM-MB from constrained runs of a known memory to a model that keeps the contract, and what centres show."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nm_mb_toys import (
    BOX,
    DT,
    EDGE,
    FRAMES,
    KT,
    PARTS,
    QUICK,
    SYSTEM,
    M,
    constrained_set,
    grid_of,
    model_of,
    trained,
    true_memory,
)

from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.centre_models import scores
from mlgle_lammps.evaluate.centres import CentrePiece, CentrePlan, look_at
from mlgle_lammps.evaluate.melts_against_md import MeltComparison
from mlgle_lammps.observe.centre_velocities import current_correlations, shell_cross_correlations, viscosity
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.records import CHAINS, Frames, System, joined
from mlgle_lammps.statistics.centre_motion import distinct_van_hove, frames_to_forget, mean_squared_displacement
from mlgle_lammps.store.constrained_file import ConstrainedSet
from mlgle_lammps.surrogates.catalogue import rehearsal_line
from mlgle_lammps.surrogates.nm_mb import letter_fit, rehearsal, self_motion, tail
from mlgle_lammps.surrogates.nm_mb.calibration import calibrate, factors, rescaled, separated
from mlgle_lammps.surrogates.nm_mb.constrained_data import configuration_of
from mlgle_lammps.surrogates.nm_mb.held_out import shares
from mlgle_lammps.surrogates.nm_mb.kernel_fit import NEVER, FitSettings, KernelFit, products_of
from mlgle_lammps.surrogates.nm_mb.letter_fit import fit_letter
from mlgle_lammps.surrogates.nm_mb.long_waves import LongWaves, WithLongWaves
from mlgle_lammps.surrogates.nm_mb.model import NmMbModel
from mlgle_lammps.surrogates.nm_mb.neighbours import pairs_within
from mlgle_lammps.surrogates.nm_mb.potential import PairPotential, potential_from
from mlgle_lammps.surrogates.nm_mb.potential_fit import ForceSamples, fit_many_body_potential, fit_pair_potential
from mlgle_lammps.surrogates.nm_mb.presets import PRESETS, background, fit_memory
from mlgle_lammps.surrogates.nm_mb.rehearsal import FORGET, rehearse
from mlgle_lammps.surrogates.nm_mb.relaxations import beside, exponential
from mlgle_lammps.surrogates.nm_mb.tail import next_factor
from mlgle_lammps.surrogates.nm_mb.trainer import SWING, TrainSettings, pieces_of, short_steps, train


def test_collective_motions_are_in_the_misfit_which_is_least_for_the_true_memory():
    found = [configuration_of(run) for run in constrained_set().runs[:2]]
    with torch.no_grad():
        products = products_of(true_memory(), found[0])

    def added(factor, runs):
        """Return what the collective motions add to the misfit of the true memory times a factor."""
        misfits = [
            float(KernelFit(runs, PARTS, FitSettings(collective=weight)).misfit(factor * products, 0))
            for weight in (0.7, 0.0)
        ]
        return misfits[0] - misfits[1]

    low, true, high = (added(factor, found) for factor in (0.9, 1.0, 1.1))
    assert true < min(low, high)
    assert abs(high - low) < 0.02 * (high + low - 2 * true)
    unmeasured = [replace(own, motions=None) for own in found]
    assert added(1.0, unmeasured) == 0


def kernel_error(memory, centres):
    pairs = pairs_within(torch.as_tensor(centres)[None], torch.as_tensor(BOX), EDGE)
    times = np.array([0.0, 0.1, 1.0, 3.0])
    with torch.no_grad():
        found, true = memory.kernel(pairs, times), true_memory().kernel(pairs, times)
    return ((found - true).square().sum((1, 2)) / true.square().sum((1, 2))).sqrt().numpy()


def test_the_true_memory_explains_all_that_runs_reproduce():
    found = [configuration_of(run) for run in constrained_set().runs]
    for strength, share in ((1.0, 1.0), (0.5, 0.75), (0.0, 0.0), (3.0, -3.0)):
        memory = true_memory()
        for group in memory.groups:
            group.coupling.radial.data *= strength**0.5
        told = shares(memory, lambda centres, box: torch.zeros_like(centres), found)
        assert told["configurations"] == 4
        assert np.allclose([told["pairs"], told["own"], told["motions"]], share, atol=2e-3)
        assert np.allclose(told["pairs_se"], 0, atol=1e-4)


@pytest.mark.slow
def test_a_known_memory_is_found_again_where_it_was_not_learned():
    configurations = [configuration_of(run) for run in constrained_set().runs]
    centres = grid_of(np.random.default_rng(77))
    errors = {}
    for updates in (1, 600):
        how = replace(QUICK, fit=replace(QUICK.fit, updates=updates, rate=0.08))
        errors[updates] = kernel_error(fit_memory("default", configurations, how), centres)
    assert errors[600][:2].max() < 0.3  # of the kernel's size; still falling
    assert errors[600][2:].max() < 0.45  # its decay times are not those of the truth
    assert errors[1][:2].min() > 2 * errors[600][:2].max()


@pytest.mark.parametrize("preset", PRESETS)
def test_every_memory_but_the_background_keeps_momentum(preset):
    own = joined(list(model_of(preset).start(FRAMES, 5, n_trajectories=2 * M).advance(30))).channels[CHAINS]
    total = own["momenta"].reshape(30, 2, M, 3).sum(2)
    assert (np.abs(total).max() < 1e-9) == (preset != "gle")


def test_a_larger_box_has_the_same_density_and_moves():
    motion = model_of("nm-dpd").start_box(4, molecules=27)
    assert motion.box[0] ** 3 / 27 == pytest.approx(EDGE**3 / M)
    frames = joined(list(motion.advance(5)))
    assert frames.com.shape == (5, 27, 3)
    with pytest.raises(UserError, match="molecules"):
        model_of("nm-dpd").start_box(4, molecules=4)


def test_a_box_below_twice_the_range_of_any_part_is_refused():
    gle = model_of("gle")
    assert gle.kernel.cutoff == 0.0
    with pytest.raises(UserError, match=f"`molecules` {M // 2}: .* below twice the range 3.84 of forces"):
        gle.start_box(1, molecules=M // 2)


def test_each_pair_comes_once_where_the_range_is_beyond_half_the_box():
    rng = np.random.default_rng(2)
    box = torch.tensor([10.0, 10.0, 14.0], dtype=torch.float64)
    centres = torch.as_tensor(rng.uniform(0, 1, (1, 420, 3))) * box
    pairs = pairs_within(centres, box, float(box.max()))
    number = pairs.first * 420 + pairs.second
    assert len(number) == 420 * 419 // 2 == len(number.unique())
    assert torch.isfinite(pairs.unit).all()


def test_constrained_runs_that_are_not_alike_or_too_short_are_refused():
    runs = constrained_set().runs
    for changed, complaint in (
        ({"kT": 1.5 * KT}, "kT from 2 to 3"), ({"n_samples": runs[0].n_samples // 2}, "different lags or lengths"),
        ({"lags": 2 * runs[0].lags}, "different lags or lengths"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=complaint):
            train(ConstrainedSet((*runs, replace(runs[0], **changed)), constrained_set().facts), FRAMES, SYSTEM)
    ever = replace(runs[0], own=np.ones_like(runs[0].own), kT=1.01 * KT)
    for preset in ("default", "paper"):
        with pytest.raises(UserError, match="does not decay within 20, the longest lag"):
            train(ConstrainedSet((ever,)), FRAMES, SYSTEM, TrainSettings(preset))
    with pytest.raises(UserError, match="does not decay"):
        fit_letter([configuration_of(ever)], FitSettings(updates=1))


def test_kT_is_the_mean_over_the_runs():
    runs = [replace(run, kT=KT * (1 + 0.02 * i)) for i, run in enumerate(constrained_set().runs)]
    how = TrainSettings("nm-dpd", replace(QUICK, fit=replace(QUICK.fit, updates=1)))
    assert train(ConstrainedSet(tuple(runs)), FRAMES, SYSTEM, how).kT == pytest.approx(1.03 * KT)


@pytest.mark.parametrize("preset", ["paper", "nm-mb"])
def test_another_seed_begins_with_other_weights(preset):
    first, same, other = (trained(preset, updates=1, seed=seed).kernel.groups[0].coupling for seed in (1, 1, 2))
    weights = [coupling.state_dict()["weights.0"] for coupling in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2], atol=0.1)


def test_a_motion_leaves_the_models_own_tensors_alone():
    model = copy.deepcopy(model_of("nm-dpd"))
    motions = [model.start(FRAMES, 1, n_trajectories=M) for _ in range(2)]
    first = joined(list(motions[0].advance(3)))
    model.kernel.groups[0].coupling.radial.data.zero_()
    model.potential.values.data.fill_(50.0)
    assert first.same_bits(joined(list(motions[1].advance(3))))


def test_time_to_forget_is_that_of_the_longest_piece():
    """Production may begin with a piece of one frame."""
    pieces = pieces_of(Frames(FRAMES.steps, np.minimum(np.arange(len(FRAMES)), 1), FRAMES.channels))
    assert [len(com) for com, _ in pieces] == [1, len(FRAMES) - 1]
    assert self_motion.forgetting(pieces) == frames_to_forget(pieces[1][1])
    model, found = model_of("gle"), [configuration_of(constrained_set().runs[0])]
    for again in (
        calibrate(model, found, pieces, 1, 10.0, 1), tail.with_matched_tail(model, found, pieces, 1, lambda: True),
    ):  # fmt: skip
        assert len(again.notes) == len(model.notes) + 1
    with pytest.raises(UserError, match="no two frames in one piece"):
        calibrate(model, found, pieces[:1], 1, 10.0, 1)


def test_a_background_is_calibrated_whatever_the_unit_of_time():
    slow = replace(SYSTEM, dt=1e4 * SYSTEM.dt)
    memory = replace(QUICK, fit=replace(QUICK.fit, updates=1))
    found = train(constrained_set(), FRAMES, slow, TrainSettings("gle", memory, rounds=1, calibration_time=10.0))
    assert found.notes[-1].startswith("calibrated")


def test_the_letter_s_loss_leaves_out_pairs_that_were_not_measured(monkeypatch):
    whole = configuration_of(constrained_set().runs[0])
    half = replace(whole, known=whole.known[::2], pair=whole.pair[:, :, ::2])
    known = letter_fit._known(half)
    assert int(known.sum()) == 9 * (M + 2 * len(half.known))
    matrices = half.matrices(np.eye(len(half.times)))
    assert np.all((matrices[0] + matrices[1]).reshape(len(half.times), -1)[:, ~known.numpy()] == 0)

    def fitted(own):
        return fit_letter([own], FitSettings(updates=4, rate=0.05)).groups[0].relaxations.matrix

    plain, kernel = fitted(half), letter_fit._kernel
    assert np.abs(fitted(replace(half, pair=2 * half.pair)) - plain).max() > 1e-3 * np.abs(plain).max()
    monkeypatch.setattr(letter_fit, "_kernel", lambda own, some: kernel(own, some) + 1e3 * ~known)
    assert np.array_equal(fitted(half), plain)


def test_frames_that_it_was_not_made_for_are_refused():
    model, own = model_of("nm-dpd"), FRAMES.channels[CHAINS]
    bad = [
        FRAMES.molecules(slice(0, 3)),
        Frames(FRAMES.steps, FRAMES.segments, {CHAINS: {**own, "com": own["com"] * np.nan}}),
    ]  # fmt: skip
    for frames in bad:
        with pytest.raises(UserError) as caught:
            model.start(frames, 1, n_trajectories=M)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="preset"):
        train(constrained_set(), FRAMES, SYSTEM, TrainSettings("magic"))
    with pytest.raises(UserError, match="molecules"):
        train(constrained_set(), FRAMES.molecules(slice(0, 3)), SYSTEM)
    heavy = replace(constrained_set().runs[0], masses=np.linspace(1, 2, M))
    with pytest.raises(UserError, match="mass"):
        train(ConstrainedSet((heavy,)), FRAMES, SYSTEM)


@pytest.mark.parametrize("harm", ["owner", "matrix", "coupled", "kT", "nan"])
def test_damaged_files_are_refused(harm, tmp_path, monkeypatch):
    from mlgle_lammps.surrogates.nm_mb import model as module

    path = tmp_path / "model.safetensors"
    real = module.write_model

    def harmed(path, name, values, tensors):
        group = values["memory"]["groups"][0]
        if harm == "owner":
            group["owner"] = "nobody"
        elif harm == "matrix":
            group["matrix"][0][0] = -5.0
        elif harm == "coupled":
            group["coupled"] = [0, 99]
        elif harm == "kT":
            values["kT"] = -1.0
        else:
            tensors["last"] = tensors["last"] * float("nan")
        real(path, name, values, tensors)

    monkeypatch.setattr(module, "write_model", harmed)
    model_of("nm-dpd").save(path)
    with pytest.raises(UserError, match="damaged"):
        NmMbModel.load(path)


def test_strengths_are_found_that_supply_what_is_lacking():
    parts, strengths = [exponential(5.0), exponential(0.1)], np.array([40.0, 3.0])
    times = np.linspace(0.05, 30, 300)
    lacking = 0.8 * 3.0 * 10 * (1 - np.exp(-0.1 * times))
    found = factors(lacking, times, parts, strengths, np.ones(300), hold=1e-3)
    assert found == pytest.approx([1.0, 1.8], abs=0.01)
    memory = background(parts, strengths)
    strengths_found = rescaled(memory, found).groups[0].strengths
    assert strengths_found is not None
    assert strengths_found.square().numpy() == pytest.approx(strengths * found)
    assert [part.matrix.tolist() for part in separated(beside(PARTS))] == [part.matrix.tolist() for part in PARTS]


def test_a_factor_is_read_from_a_line_through_inverse_diffusion():
    def D(factor):
        return 1 / (20.0 + 30.0 * factor)

    assert next_factor([(1.0, D(1.0))], D(0.4), guess=30.0) == pytest.approx(0.4, abs=0.01)
    tried = [(1.0, D(1.0)), (0.1, D(0.1))]  # the line is known: a wrong guess hardly counts
    assert next_factor(tried, D(0.4), guess=40.0) == pytest.approx(0.4, abs=0.03)
    assert next_factor([(1.0, D(1.0))], 1.0, guess=30.0) == 0.05
    noisy = [(1.0, 0.0200), (0.95, 0.0199)]  # the wrong way round: noise, and so the guess counts
    assert 0.5 < next_factor(noisy, 0.0210, guess=30.0) < 1.0


def test_the_slow_end_is_matched_to_productions_diffusion(monkeypatch):
    """A model whose slow memory is three times too strong comes back to what made production."""
    monkeypatch.setattr(tail, "ACCURACY", 0.08)
    monkeypatch.setattr(tail, "ROUNDS", 2)
    parts, strengths = [exponential(5.0), exponential(0.05)], np.array([40.0, 1.0])
    true = replace(model_of("gle"), kernel=background(parts, strengths), notes=(), inner=1, renew=1)
    wrong = replace(true, kernel=background(parts, strengths * [1.0, 3.0]))
    production = self_motion.moved(true, 300.0, 4, seed=5)
    found = tail.with_matched_tail(wrong, [], production, 2, NEVER)
    strengths_found = found.kernel.groups[0].strengths
    assert strengths_found is not None
    fast, slow = strengths_found.square().numpy()
    assert fast == pytest.approx(40.0)
    assert slow == pytest.approx(1.0, abs=0.35)
    assert "by production's D" in found.notes[-1]
    short = tail.with_matched_tail(wrong, [], [(com[:200], momenta[:200]) for com, momenta in production], 2, NEVER)
    assert short.kernel is wrong.kernel
    assert "too short" in short.notes[-1]


def test_frames_are_cut_into_long_steps_of_few_short_ones():
    for wanted in range(1, 60):
        inner, renew = short_steps(0.999 * wanted * SWING)
        assert wanted <= inner <= wanted + 5
        assert inner % renew == 0
        assert renew == inner if wanted <= 10 else 6 <= renew <= 10


@pytest.mark.parametrize("preset", PRESETS)
def test_a_rehearsal_says_what_will_be_done(preset):
    options = LearnOptions(
        Path("run"), surrogate="nm-mb", preset=preset, frames=400, configurations=4, constrained_steps=500, ensemble=1,
        generate_steps=100,
    )  # fmt: skip
    system = replace(SYSTEM, n_chains=12, box=(8.0, 8.0, 8.0, 0.0, 0.0, 0.0))
    line = rehearsal_line(system, options)
    assert line.startswith("learning ")
    assert ("motions that bring it to production" in line) == (preset in ("default", "gle"))
    assert "generating 100 frames" in line
    assert "generating" not in rehearsal_line(system, replace(options, generate_steps=0))


def test_calibration_is_foreseen_by_the_frames_that_it_moves(monkeypatch):
    monkeypatch.setattr(rehearsal, "_seconds_of_frame", lambda model, boxes, device: 1.0)
    options = LearnOptions(
        Path("run"), surrogate="nm-mb", preset="gle", frames=400, constrained_steps=500, device="cpu"
    )
    system, how = replace(SYSTEM, box=(8.0, 8.0, 8.0, 0.0, 0.0, 0.0)), TrainSettings()
    each = [rehearse(replace(system, dt=dt), options).matching for dt in (0.1, 7.0)]
    moved = how.rounds * how.calibration_time * FORGET
    assert each == pytest.approx([1.1 * moved] * 2)


def pair_forces(n=40, noise=0.0):
    true = PairPotential(3.9, 16)
    true.values.data.copy_(5 * torch.linspace(1, 0, 16, dtype=torch.float64) ** 2)
    rng = np.random.default_rng(2)
    centres = torch.as_tensor(np.stack([grid_of(rng) for _ in range(n)]))
    forces = true.forces(centres, torch.as_tensor(BOX)).detach()
    forces = forces + noise * torch.randn(forces.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return true, ForceSamples(centres, forces, torch.ones(n, dtype=torch.float64))


def test_a_pair_potential_is_found_from_its_forces():
    true, samples = pair_forces()
    box = torch.as_tensor(BOX)
    found = fit_pair_potential(samples, box, 3.9, 16, smooth=1e-10)
    assert isinstance(found, PairPotential)  # no long waves where there are none
    fresh = torch.as_tensor(grid_of(np.random.default_rng(9)))[None]
    wanted = true.forces(fresh, box).detach()
    assert (found.forces(fresh, box).detach() - wanted).abs().max() < 1e-4 * wanted.abs().max()
    many = fit_many_body_potential(samples, box, found, updates=3, batch=4)
    assert torch.isfinite(many.forces(fresh, box)).all()
    assert many.forces(fresh, box).sum(1).abs().max() < 1e-10


def test_weights_of_a_fit_that_was_stopped_are_a_mean_too():
    _, samples = pair_forces(4)
    ends = iter([False, False, False, True])  # one update before its second half is over
    found = [
        fit_many_body_potential(
            samples, torch.as_tensor(BOX), PairPotential(3.9, 16), updates=4, batch=2, should_stop=stop
        )
        for stop in (NEVER, lambda: next(ends))
    ]
    assert torch.equal(found[0].spread, found[1].spread)  # that no update changes


def long_ranged(strength=30.0, width=2.2):
    both = WithLongWaves(pair_forces(1)[0], width)
    both.waves.strength.data.fill_(strength)
    return both.requires_grad_(False)


def test_long_waves_are_found_beside_pairs_and_told_from_noise():
    true, box = long_ranged(), torch.as_tensor(BOX)
    _, samples = pair_forces()
    noise = 0.3 * torch.randn(samples.forces.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    weights = torch.full((len(samples.centres),), 1 / 0.3**2, dtype=torch.float64)
    seen = ForceSamples(samples.centres, true.forces(samples.centres, box) + noise, weights)
    found = fit_pair_potential(seen, box, 3.9, 16, smooth=1e-10)
    assert isinstance(found, WithLongWaves)
    assert found.waves.width == pytest.approx(2.2, rel=0.1)
    assert found.waves.strength.item() == pytest.approx(30.0, rel=0.2)
    nothing = ForceSamples(samples.centres, noise, weights)
    assert isinstance(fit_pair_potential(nothing, box, 3.9, 16), PairPotential)
    many = fit_many_body_potential(
        replace(seen, forces=seen.forces - found.waves.forces(seen.centres, box).detach()), box,
        PairPotential(3.9, 16), updates=2, batch=2,
    )  # fmt: skip
    both = WithLongWaves(many, found.waves.width)
    again = potential_from(both.plain())
    again.load_state_dict(both.state_dict())
    assert torch.equal(again.forces(seen.centres[:2], box), both.forces(seen.centres[:2], box))


def test_long_waves_pull_as_their_energy_says_and_alike_in_a_box_of_copies():
    waves, box = long_ranged().waves, torch.as_tensor(BOX)
    rng = np.random.default_rng(6)
    centres = torch.as_tensor(np.stack([grid_of(rng) for _ in range(2)])).requires_grad_(True)
    (slope,) = torch.autograd.grad(waves.energy(centres, box), centres)
    centres = centres.detach()
    forces = waves.forces(centres, box)
    assert torch.allclose(forces, -slope, rtol=1e-10, atol=1e-12)
    assert forces.sum(1).abs().max() < 1e-11
    assert torch.allclose(waves.forces(centres + box * torch.tensor([1.0, -2.0, 0.0]), box), forces, atol=1e-10)
    shifts = torch.tensor([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=torch.float64) * box
    copies = (centres[:, None] + shifts[None, :, None]).reshape(2, 8 * M, 3)
    assert torch.allclose(waves.forces(copies, 2 * box)[:, :M], forces, atol=1e-9)
    assert float(waves.energy(copies, 2 * box)) == pytest.approx(8 * float(waves.energy(centres, box)), rel=1e-9)


def test_long_waves_make_a_melt_as_stiff_as_they_say():
    """Density modes of particles without another force have S = 1 / (1 + A exp(-(kσ)²/2)/kT), close to it."""
    strength, width, box = 12.0, 2.2, torch.as_tensor(BOX)
    waves = LongWaves(width).requires_grad_(False)
    waves.strength.data.fill_(strength)
    vectors = waves.vectors(box)
    wanted = 1 / (1 + strength * waves.share(vectors) / KT)
    generator = torch.Generator().manual_seed(1)
    centres = torch.rand(150, 30, 3, generator=generator, dtype=torch.float64) * box
    total, step, count = torch.zeros(len(vectors), dtype=torch.float64), 0.02, 0
    for number in range(700):
        noise = torch.randn(centres.shape, generator=generator, dtype=torch.float64)
        centres = centres + step / KT * waves.forces(centres, box) + (2 * step) ** 0.5 * noise
        if number >= 200 and number % 10 == 0:
            phases = centres @ vectors.T
            total += (phases.cos().sum(1).square() + phases.sin().sum(1).square()).mean(0) / 30
            count += 1
    found = total / count
    assert found[:3].max() < 0.5
    assert torch.allclose(found, wanted, rtol=0.12)


def walkers(n=2000, m=30, seed=1):
    """Return molecules that know nothing of one another: V an AR(1), Q its sum."""
    rng = np.random.default_rng(seed)
    velocities = np.empty((n, m, 3))
    velocities[0] = rng.standard_normal((m, 3))
    keep = np.exp(-DT)
    for t in range(1, n):
        velocities[t] = keep * velocities[t - 1] + np.sqrt(1 - keep**2) * rng.standard_normal((m, 3))
    return rng.uniform(0, EDGE, (1, m, 3)) + np.cumsum(velocities, axis=0) * DT * 0.1, velocities


def test_correlations_are_those_summed_one_by_one():
    centres, velocities = walkers(60, 6)
    found = shell_cross_correlations(centres, velocities, BOX, [(2.0, 3.0)], 5)[0]
    for lag in range(5):
        total = count = 0.0
        for t in range(60):
            vector = centres[t][None] - centres[t][:, None]
            distance = np.linalg.norm(vector - BOX * np.round(vector / BOX), axis=-1)
            inside = (distance >= 2) & (distance < 3)
            count += inside.sum() / 60
            if t + lag < 60:
                total += (inside * (velocities[t] @ velocities[t + lag].T)).sum()
        assert found[lag] == pytest.approx(total / (60 - lag) / count / 3, rel=1e-4, abs=1e-5)
    msd = mean_squared_displacement(centres, 5)
    assert msd[3] == pytest.approx(np.mean(np.sum((centres[3:] - centres[:-3]) ** 2, -1)))


def test_currents_of_strangers_decay_as_their_velocities():
    centres, velocities = walkers(20000)
    along, across, k = current_correlations(centres, velocities, BOX, 20)
    assert k == pytest.approx(2 * np.pi / EDGE)
    for found in (along, across):
        assert found[0] == pytest.approx(1.0, abs=0.1)
    assert np.abs(across / across[0] - np.exp(-np.arange(20) * DT)).max() < 0.12
    decay = np.exp(-0.5 * np.arange(0, 200) * DT)
    assert viscosity(decay, DT, k, 2.0) == pytest.approx(2.0 * 0.5 / k**2, rel=0.02)
    g = distinct_van_hove(centres[::200], BOX, np.linspace(1, 4, 4), [0, 5], 100)
    assert np.abs(g - 1).max() < 0.2


def test_scores_tell_a_model_from_another():
    plan = CentrePlan(DT, BOX, np.ones(30), 1.0, ((1.0, 2.0), (2.0, 3.0)), 5.0, (5.0, 10.0), (0.0, 5.0))
    md = look_at([CentrePiece(*walkers(seed=k)) for k in range(4)], plan)
    same = look_at([CentrePiece(*walkers(seed=k)) for k in range(10, 14)], plan)
    slower = []
    for k in range(20, 24):
        centres, momenta = walkers(seed=k)
        slower.append(CentrePiece(0.7 * centres, np.repeat(momenta[:1000], 2, axis=0)))
    found = scores({"same": same, "slower": look_at(slower, plan)}, md)
    for key in ("vacf", "cl", "ct"):
        assert found["same"][f"{key}_rms"] < 3 * found["same"][f"{key}_noise"]
        assert found["slower"][f"{key}_rms"] > 3 * found["slower"][f"{key}_noise"]
    assert abs(found["same"]["D_ratio"] - 1) < 4 * found["same"]["D_ratio_se"]
    assert found["same"]["kT_ratio"] == pytest.approx(1.0, abs=0.03)
    colder = [
        CentrePiece(0.7 * centres, 0.7 * momenta) for centres, momenta in (walkers(seed=k) for k in range(30, 34))
    ]
    found = scores({"colder": look_at(colder, plan)}, md)["colder"]
    assert abs(found["D_ratio"] - 0.49) < 4 * found["D_ratio_se"]
    assert found["kT_ratio"] == pytest.approx(0.49, abs=0.02)


def test_the_page_shows_all_models(tmp_path):
    from mlgle_lammps.report.centres_page import write_centres

    plan = CentrePlan(DT, BOX, np.ones(30), 1.0, ((1.0, 2.0), (2.0, 3.0)), 5.0, (5.0, 10.0), (0.0, 5.0))
    md = look_at([CentrePiece(*walkers(400, seed=k)) for k in range(2)], plan)
    models = {"one": look_at([CentrePiece(*walkers(400, seed=k)) for k in (5, 6)], plan)}
    system = System(30, 1, 0, DT)
    found = MeltComparison(md, models, scores(models, md), system, "a toy's MD")
    page = write_centres(tmp_path / "report.html", found, {"torch": "2"}, title="toy")
    text = page.read_text()
    assert "one: VACF off by" in text
    assert text.count("<img") == 5
    assert "Lyu" in text
    assert "Cherchi" not in text
