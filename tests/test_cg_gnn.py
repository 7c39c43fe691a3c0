"""CG-GNN: groups, symmetries, an exact toy, the contract, files."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from cg_gnn_toys import (
    DT,
    LINE,
    PRESETS,
    N,
    coil,
    core_of,
    exact_rouse,
    long_runs,
    molecule_of,
    options_of,
    rotation,
    rouse_run,
    runs,
    trained,
)

from mlgle_lammps.chains.rouse import rouse_diffusion, rouse_mode_variance, rouse_relaxation_time
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.records import CHAINS, Frames, System, joined
from mlgle_lammps.surrogates.cg_gnn import trainer
from mlgle_lammps.surrogates.cg_gnn.coarse_runs import BeadRun, CoarseRun
from mlgle_lammps.surrogates.cg_gnn.dynamics import EquivariantDynamics
from mlgle_lammps.surrogates.cg_gnn.equivariant import EquivariantNetwork, EquivariantSize
from mlgle_lammps.surrogates.cg_gnn.examples import Examples
from mlgle_lammps.surrogates.cg_gnn.grouping import group_beads
from mlgle_lammps.surrogates.cg_gnn.linear_core import fit_linear_core
from mlgle_lammps.surrogates.cg_gnn.model import CgGnnModel
from mlgle_lammps.surrogates.cg_gnn.molecules import MoleculeSet
from mlgle_lammps.surrogates.cg_gnn.options import CgGnnOptions
from mlgle_lammps.surrogates.cg_gnn.pair_core import CENTRES, fit_pair_core, n_features
from mlgle_lammps.surrogates.cg_gnn.published_network import PublishedNetwork, PublishedSize
from mlgle_lammps.surrogates.cg_gnn.trainer import CgGnnTrainer, train
from mlgle_lammps.surrogates.cg_gnn.training import TrainingPlan, _energy_score
from mlgle_lammps.surrogates.cg_gnn.walks import Walk

pytestmark = pytest.mark.light
RING = tuple((n, (n + 1) % 12) for n in range(12))
STAR = tuple((0 if n % 5 == 0 else n, n + 1) for n in range(15))


# -- groups --------------------------------------------------------------------------------------------------------


def test_blocks_of_a_linear_chain():
    grouping = group_beads(10, tuple((n, n + 1) for n in range(9)), 3, "blocks")
    assert grouping.groups == (0, 0, 0, 0, 1, 1, 1, 2, 2, 2)
    assert grouping.edges == ((0, 1), (1, 2))
    assert grouping.eigenvalues == pytest.approx([1.0, 3.0])
    assert grouping.hops().tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]


def metis():
    pytest.importorskip("pymetis")


@pytest.mark.parametrize(("edges", "n_beads", "n_groups"), [(RING, 12, 4), (STAR, 16, 4)], ids=["ring", "star"])
def test_metis_groups_any_molecule(edges, n_beads, n_groups):
    metis()
    grouping = group_beads(n_beads, edges, n_beads // n_groups, "metis")
    assert grouping.n_groups == n_groups
    assert grouping.sizes.sum() == n_beads
    assert grouping.sizes.max() <= 2 * grouping.sizes.min()
    assert grouping.eigenvalues[0] > 1e-9  # connected
    cut = sum(grouping.groups[a] != grouping.groups[b] for a, b in edges)
    assert cut < len(edges) / 2
    assert group_beads(n_beads, edges, n_beads // n_groups, "metis") == grouping


def test_centres_of_groups():
    beads = np.random.default_rng(1).standard_normal((2, 3, 12, 3))
    metis()
    grouping = group_beads(12, RING, 3, "metis")
    for group in range(4):
        expected = beads[:, :, np.array(grouping.groups) == group].mean(axis=2)
        assert grouping.centres(beads)[:, :, group] == pytest.approx(expected)


def test_molecules_that_do_not_group_are_refused():
    for edges, size, method, said in (
        (RING, 3, "blocks", "linear"), (LINE, 20, "blocks", "beads_per_group"), (LINE, 2, "voronoi", "metis"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            group_beads(12 if edges is RING else N, edges, size, method)


# -- symmetries ----------------------------------------------------------------------------------------------------


@lru_cache
def stirred_network(dtype=torch.float64, size=EquivariantSize(), seed=1):  # noqa: B008
    """Return a network whose every part matters, as if trained."""
    torch.manual_seed(seed)
    network = EquivariantNetwork(2, size, core_of()).to(dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.requires_grad_(False)


def law_of(molecule, positions, network=None, dtype=torch.float64):
    """Return mean places and the covariance of places' noise of one component, (S, 3) and (S, S)."""
    network = network or stirred_network(dtype)
    molecules = MoleculeSet.of([molecule], ("A", "B"), dtype=dtype)
    which = torch.zeros(1, dtype=torch.long)
    still = network.still(molecules, which)
    law = network(still.modes @ torch.as_tensor(positions, dtype=dtype)[None], still)
    factor = still.modes[0].T @ law.local[0] @ torch.diag(law.spreads[0])
    return (still.modes.mT @ law.mean)[0].numpy(), (factor @ factor.T).numpy()


def test_the_law_turns_moves_and_mirrors_with_the_molecule():
    mean, covariance = law_of(molecule_of(), coil())
    assert np.abs(mean - coil()).max() > 0.01
    mirror = np.diag([1.0, 1.0, -1.0])
    for turn in (rotation(), mirror):
        turned, same = law_of(molecule_of(), coil() @ turn + 5.0)
        assert turned == pytest.approx(mean @ turn, abs=1e-9)
        assert same == pytest.approx(covariance, abs=1e-12)


def test_the_law_does_not_hang_on_the_order_of_beads():
    """Beads named otherwise, the same molecule: places and noise are renamed, no more."""
    mean, covariance = law_of(molecule_of(), coil())
    order = np.random.default_rng(4).permutation(N)
    place = np.argsort(order)
    edges = tuple((int(place[a]), int(place[b])) for a, b in LINE)
    renamed = molecule_of([molecule_of().types[n] for n in order], tuple(range(N)), edges)
    other, spread = law_of(renamed, coil()[order])
    assert other == pytest.approx(mean[order], abs=1e-9)
    assert spread == pytest.approx(covariance[np.ix_(order, order)], abs=1e-9)
    wrong, _ = law_of(molecule_of("AABBBBAA"), coil())  # another sequence is another law
    assert np.abs(wrong - mean).max() > 1e-3


def test_molecules_of_a_batch_do_not_see_each_other():
    network = stirred_network()
    molecules = MoleculeSet.of([molecule_of(), molecule_of("BBBBAAAA")], ("A", "B"), dtype=torch.float64)
    which = torch.tensor([0, 1, 0])
    still = network.still(molecules, which)
    places = torch.tensor(np.stack([coil(1), coil(2), coil(3)]))
    together = network(still.modes @ places, still).mean
    order = torch.tensor([2, 0, 1])
    again = network.still(molecules, which[order])
    mixed = network(again.modes @ places[order], again).mean
    assert torch.allclose(mixed, together[order], atol=1e-12)
    alone = network.still(molecules, which[1:2])
    assert torch.allclose(network(alone.modes @ places[1:2], alone).mean, together[1:2], atol=1e-12)


def test_the_published_network_is_not_equivariant_but_does_not_see_the_origin():
    """Negative control of the test above, and what it does keep."""
    torch.manual_seed(1)
    network = PublishedNetwork(2, PublishedSize(8, 2, 16, 3)).double().requires_grad_(False)
    molecules = MoleculeSet.of([molecule_of()], ("A", "B"), dtype=torch.float64)
    still = network.still(molecules, torch.zeros(1, dtype=torch.long))
    history = torch.tensor(np.stack([coil(s) for s in range(4)]))[None]
    mean, width, _ = network(history, still)
    moved, same, _ = network(history + 7.0, still)
    assert torch.allclose(moved, mean, atol=1e-9)
    assert torch.allclose(same, width, atol=1e-9)
    assert float(width.min()) > network.size.floor
    turn = torch.tensor(rotation())
    assert not torch.allclose(network(history @ turn, still)[0], mean @ turn, atol=1e-4)


def test_single_and_double_precision_agree():
    single, double = (
        law_of(molecule_of(), coil(), stirred_copy(dtype), dtype) for dtype in (torch.float32, torch.float64)
    )
    for one, other in zip(single, double, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=2e-5)


def stirred_copy(dtype):
    network = EquivariantNetwork(2, EquivariantSize(), core_of()).to(dtype)
    network.load_state_dict({name: value.to(dtype) for name, value in stirred_network().state_dict().items()})
    return network.requires_grad_(False)


def test_likelihood_is_that_of_the_drawn_noise():
    """The density integrates to what draws say: its mean over draws is the entropy of the Gaussian."""
    network = stirred_network()
    molecules = MoleculeSet.of([molecule_of()], ("A", "B"), dtype=torch.float64)
    still = network.still(molecules, torch.zeros(2000, dtype=torch.long))
    law = network(still.modes @ torch.tensor(coil()), still)
    drawn = law.draw(torch.randn(law.mean.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    factor = law.local[0] @ torch.diag(law.spreads[0])
    entropy = 0.5 + torch.linalg.slogdet(factor)[1] / (N - 1)
    found = law.likelihood(drawn)
    assert abs(float(found.mean() - entropy)) < 4 * float(found.std()) / 2000**0.5


# -- images --------------------------------------------------------------------------------------------------------


def test_whole_molecules_in_other_images_are_the_same():
    run = rouse_run(N, 2, 30, DT)
    frames = run.frames
    shifted = Frames(
        frames.steps, frames.segments,
        {CHAINS: {"com": frames.com + 10.0 * np.array([3, -1, 2]), "beads": frames.channels[CHAINS]["beads"]}},
    )  # fmt: skip
    one, other = (CoarseRun.of(replace(run, frames=own), 2, "blocks") for own in (frames, shifted))
    assert np.array_equal(one.positions, other.positions)
    assert np.diff(one.centres, axis=0) == pytest.approx(np.diff(other.centres, axis=0), abs=1e-9)


def test_molecules_torn_by_a_box_are_refused():
    model, run = trained("default"), runs()[0]
    torn = run.frames.copy()
    torn.channels[CHAINS]["beads"][-1, 0, 0] += 1000.0
    with pytest.raises(UserError, match="wrapped"):
        model.start(torn, 1, n_trajectories=1, system=run.system)


# -- the exact toy -------------------------------------------------------------------------------------------------


def test_the_linear_core_is_the_exact_law():
    core = fit_linear_core(long_runs(), DT)
    decay, variance, _, _, n = exact_rouse()
    found = [own.numpy() for own in core.of(torch.tensor(long_runs()[0].molecule.grouping.eigenvalues))]
    assert np.all(np.abs(found[0] - decay) < 3 * np.sqrt((1 - decay**2) / (3 * n)) + 2e-4)
    slowness = (1 + decay**2) / (1 - decay**2)
    assert np.all(np.abs(found[1] / variance - 1) < 3 * np.sqrt(2 * slowness / (3 * n)))
    assert core.diffusion(N, DT) == pytest.approx(rouse_diffusion(N), rel=0.03)
    assert core.bond**2 == pytest.approx(1.0, rel=0.03)


def walked(network, core, n_walks=400, n_steps=120, seed=3):
    """Return modes (time, walk, S-1, 3) and Rg² of a walk from the recorded frames."""
    sets = Examples.of(long_runs(), ("1",), DT, 0, 1)
    chosen = sets.draw(n_walks, torch.Generator().manual_seed(seed))
    which = torch.zeros(n_walks, dtype=torch.long)
    walk = Walk(EquivariantDynamics(network, core), sets.molecules, which, sets.history(chosen, 1), seed)
    steps = walk.advance(n_steps)
    return (sets.molecules.modes[0] @ steps.places).numpy(), sets.molecules.square_radius(
        steps.places.flatten(0, 1), which.repeat(n_steps)
    ).reshape(n_steps, n_walks)


@lru_cache
def taught():
    """Return a network trained on the long runs and their core."""
    from mlgle_lammps.surrogates.cg_gnn.trainer import train_coarse

    plan = TrainingPlan(updates=80, horizon_updates=5, horizon=4, batch=128)
    size = EquivariantSize(hidden=16)
    options = CgGnnOptions(
        preset="network", beads_per_group=1, step=DT, members=1, plan=plan, equivariant=size, calibrated=False
    )
    return train_coarse(long_runs(), options)


@pytest.mark.parametrize("kind", ["core", "taught", "equal noise"])
def test_stationary_size_and_relaxation_of_a_rouse_chain(kind):
    """Reached within three standard errors, by the core alone and by what is learned on it; equal noise must fail."""
    decay, _, radius, error, n = exact_rouse()
    model = taught()
    network, core = model.networks[0], model.core
    if kind != "taught":
        size = EquivariantSize(noise_by_mode=kind == "core", local_noise=kind == "core")
        network = EquivariantNetwork(1, size, core).requires_grad_(False)
    modes, radii = walked(network, core)
    after = radii[60:]
    own = float(after.mean(0).std()) / 400**0.5
    distance = abs(float(after.mean()) - radius) / np.hypot(own, error)
    slow = modes[60:, :, 0]
    kept = float((slow[1:] * slow[:-1]).sum() / (slow[:-1] ** 2).sum())
    spread = np.sqrt((1 - decay[0] ** 2) * (1 / slow.size + 1 / (3 * n)))
    if kind == "equal noise":
        assert distance > 6
        assert float(after.mean()) < 0.9 * radius
    else:
        assert distance < 3
        assert abs(kept - decay[0]) < 3 * spread


def test_the_energy_score_is_least_at_the_true_noise():
    core = fit_linear_core(long_runs(), DT)
    sets = Examples.of(long_runs(), ("1",), DT, 0, 4)
    network = EquivariantNetwork(1, EquivariantSize(), core).requires_grad_(False)
    scores = {}
    for scale in (0.7, 1.0, 1.4):
        wrong = replace(core, log_variances=core.log_variances + 2 * np.log(scale))
        network.core = wrong
        generator = torch.Generator().manual_seed(3)
        starts = sets.draw(1000, generator)
        scores[scale] = float(_energy_score(network, sets, starts, 4, generator))
    network.core = core
    assert scores[1.0] < scores[0.7] - 0.005
    assert scores[1.0] < scores[1.4] - 0.005


def test_the_pair_core_finds_planted_forces_between_types():
    """A's attract one another, B's do not: recovered in closed form; nothing is found where nothing was planted."""
    molecules = [molecule_of("AAAABBBB"), molecule_of("ABABABAB")]
    planted = torch.zeros(n_features(2), len(CENTRES))
    planted[2 * n_features(2) // 3 + 1, :3] = 1.0  # the product of shares of A, groups that are not near in the graph
    found = {}
    for name, theta in (("planted", planted), ("nothing", 0 * planted)):
        torch.manual_seed(1)
        network = EquivariantNetwork(2, EquivariantSize(), core_of()).requires_grad_(False)
        network.pair_core.copy_(theta)
        made = []
        for number, molecule in enumerate(molecules):
            which = torch.zeros(40, dtype=torch.long)
            own = MoleculeSet.of([molecule], ("A", "B"))
            start = torch.tensor(np.stack([coil(s) for s in range(40)]), dtype=torch.float32)[:, None]
            walk = Walk(EquivariantDynamics(network, core_of()), own, which, start, number)
            walk.advance(50, keep_places=False)
            steps = walk.advance(150)
            radii = steps.square_radii.double().numpy()
            centres, segments = np.zeros((150, 40, 3)), np.zeros(150, np.int64)
            made.append(CoarseRun(molecule, steps.places.numpy(), centres, radii, segments, 1.0))
        sets = Examples.of(made, ("A", "B"), 1.0, 0, 1)
        found[name] = fit_pair_core([sets], core_of(), 2).pairs
    rates = found["planted"][2 * n_features(2) // 3 + 1 :][:3, :3].mean(1)  # AA, AB, BB
    assert rates[0] > 0.5
    assert rates[1:].abs().max() < 0.3
    assert found["nothing"].abs().max() < 0.3


def test_longer_chains_than_trained_on_go_on_along_rouse():
    """Modes slower than any learned follow the slope of the slowest two, that is λ."""
    core = fit_linear_core(long_runs(), DT)
    longer = torch.tensor(group_beads(2 * N, tuple((n, n + 1) for n in range(2 * N - 1)), 1, "blocks").eigenvalues)
    decays, variances = core.of(longer)
    mode = np.arange(1, 2 * N)
    expected = np.exp(-DT / rouse_relaxation_time(mode, 2 * N))
    assert decays[0].item() == pytest.approx(expected[0], abs=0.02)
    assert variances[0].item() == pytest.approx(4 * N * rouse_mode_variance(1, 2 * N).item(), rel=0.15)


# -- the contract --------------------------------------------------------------------------------------------------


@lru_cache
def model_of(preset):
    return trained(preset)


def moved(model, n_steps=20, n_trajectories=7, seed=5, frames=None, **how):
    run = runs()[1]
    frames = run.frames if frames is None else frames
    motion = model.start(frames, seed, n_trajectories=n_trajectories, system=run.system, **how)
    return joined(list(motion.advance(n_steps)))


@pytest.fixture(params=PRESETS)
def model(request):
    return model_of(request.param)


def test_the_model_knows_types_and_every_run_that_it_learned_from(model):
    assert model.types == ("A", "B")
    for run in runs():
        assert model.learned_up_to(run.frames[-1:])


def test_another_seed_makes_another_model(model, tmp_path):
    model.save(tmp_path / "a")
    train(runs(), options_of(model.preset, seed=40)).save(tmp_path / "c")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_places_are_about_the_centre_and_beads_spread_further_than_groups(model):
    whole = moved(model)
    assert np.abs(whole.channels[CHAINS]["beads"].mean(axis=2)).max() < 1e-4
    coarse = np.square(whole.channels[CHAINS]["beads"]).sum(axis=-1).mean(axis=-1)
    if model.preset in ("default", "network"):
        assert np.all(whole.channels[CHAINS]["rg2"][..., 0] > coarse)


def test_ablations_are_saved_and_read(tmp_path):
    size = EquivariantSize(embedded=False, local_noise=False, noise_by_mode=False)
    given = model_of("network")
    networks = tuple(EquivariantNetwork(2, size, given.core).requires_grad_(False) for _ in given.networks)
    made = replace(given, networks=networks)
    made.save(tmp_path / "model.safetensors")
    found = CgGnnModel.load(tmp_path / "model.safetensors")
    assert found.networks[0].size == size
    assert moved(made).same_bits(moved(found))


def test_several_molecules_start_side_by_side():
    model = model_of("default")
    starts = [(run.frames, run.system) for run in runs()]
    both = joined(list(model.start_many(starts, 5, n_trajectories=3).advance(5)))
    assert both.com.shape == (5, 6, 3)
    longer = rouse_run(N + 4, 1, 10, DT, types="A" * (N + 4))
    alone = joined(list(model.start(longer.frames, 1, n_trajectories=2, system=longer.system).advance(5)))
    assert alone.channels[CHAINS]["beads"].shape == (5, 2, 6, 3)
    with pytest.raises(UserError, match="side by side"):
        model.start_many([*starts, (longer.frames, longer.system)], 5, n_trajectories=1)


def test_frames_that_it_was_not_made_for_are_refused(model):
    run = runs()[1]
    frames, system = run.frames, run.system
    bad = {
        "in none": (frames, replace(system, types=("A", "Q") * (N // 2))),
        "multiple": (frames, replace(system, dt=0.3)),
        "shape": (frames, replace(system, n_beads=N - 2, types=("A",) * (N - 2))),
        "linear": (frames, replace(system, edges=tuple((n, (n + 1) % N) for n in range(N)))),
    }
    for said, (own, about) in bad.items():
        with pytest.raises(UserError, match=said) as caught:
            model.start(own, 1, n_trajectories=2, system=about)
        assert "\n" not in str(caught.value)


def test_runs_that_cannot_be_learned_from_are_refused():
    run = runs()[0]
    without = Frames(run.frames.steps, run.frames.segments, {CHAINS: {"com": run.frames.com}})
    holed = run.frames.copy()
    holed.channels[CHAINS]["beads"][3] = np.nan
    bad = {
        "no run": [], "beads": [replace(run, frames=without)], "shorter": [replace(run, frames=run.frames[:3])],
        "multiple": [replace(run, system=replace(run.system, dt=0.3))], "finite": [replace(run, frames=holed)],
        "units": [run, replace(run, system=replace(run.system, length_unit="nm"))],
    }  # fmt: skip
    for said, own in bad.items():
        with pytest.raises(UserError, match=said) as caught:
            train(own, options_of("default"))
        assert "\n" not in str(caught.value)
    wrong: dict[str, dict[str, Any]] = {
        "preset": {"preset": "best"}, "step": {"step": 0}, "members": {"members": 0}
    }  # fmt: skip
    for said, changes in wrong.items():
        with pytest.raises(UserError, match=said):
            CgGnnOptions(**changes)


@pytest.mark.parametrize(("preset", "n_frames"), [("published-small", 11), ("deterministic", 11), ("network", 9)])
def test_a_run_too_short_for_the_preset_is_refused_before_training(preset, n_frames, monkeypatch):
    """Of 4 steps of history and one more, of two frames each; or, of all runs, of 4 steps of roll-out."""
    whole, other = runs()
    short = replace(whole, frames=whole.frames[:n_frames], name="short")
    learned_from = [short] if preset == "network" else [short, other]
    assert len(train(learned_from, options_of(preset, members=1)).networks) == 1
    segments = np.arange(60) // (n_frames - 1)
    torn = replace(short, frames=Frames(whole.frames.steps, segments, whole.frames.channels))
    monkeypatch.setattr(trainer, "fit_one_step", None)
    with pytest.raises(UserError, match="steps of `step` 1") as caught:
        train([torn, *learned_from[1:]], options_of(preset))
    assert preset == "network" or "run short" in str(caught.value)


def test_a_stream_is_learned_from_when_it_is_whole():
    run = runs()[0]
    learner = CgGnnTrainer(options_of("default"), run.system)
    learner.partial_fit(run.frames[:10])
    model = learner.finish(run.frames)
    assert model.learned_up_to(run.frames[-1:])
    for name in learner.needs:
        lacking = {channel: values for channel, values in run.frames.channels[CHAINS].items() if channel != name}
        with pytest.raises(UserError, match=name):
            learner.partial_fit(Frames(run.frames.steps, run.frames.segments, {CHAINS: lacking}))


def test_a_runaway_is_an_end_with_a_line():
    model = replace(model_of("network"), noise_scales=(1e4, 1e4))
    with pytest.raises(RunFailure, match="range"):
        moved(model, 64)


def test_damaged_files_and_values_are_refused(tmp_path):
    from mlgle_lammps.surrogates.model_file import read_model, write_model

    path = tmp_path / "model.safetensors"
    model_of("network").save(path)
    stored = read_model(path, "cg-gnn")
    some = next(iter(stored.tensors))
    bad_values = {
        "preset": "best", "types": [], "noise_scales": [1.0] * 500, "extent": "far", "dt": 0.0,
        "core": {**stored.values["core"], "log_rates": []}, "size": {**stored.values["size"], "hidden": 10**9},
        "molecule": {"types": ["A", "B"], "edges": [[0, 7]]},
    }  # fmt: skip
    for name, value in bad_values.items():
        write_model(path, "cg-gnn", {**stored.values, name: value}, stored.tensors)
        with pytest.raises(UserError, match="damaged"):
            CgGnnModel.load(path)
    for change in (
        {**stored.tensors, "another": torch.zeros(2)}, {k: v for k, v in stored.tensors.items() if k != some},
        {**stored.tensors, some: torch.full_like(stored.tensors[some], float("nan"))},
        {**stored.tensors, some: torch.zeros(3, 3)},
    ):  # fmt: skip
        write_model(path, "cg-gnn", stored.values, change)
        with pytest.raises(UserError, match="damaged"):
            CgGnnModel.load(path)


def test_models_of_before_are_refused(tmp_path):
    from mlgle_lammps.surrogates.model_file import read_model, write_model

    path = tmp_path / "model.safetensors"
    for preset in ("default", "network"):
        model_of(preset).save(path)
        stored = read_model(path, "cg-gnn")
        write_model(path, "cg-gnn", {k: v for k, v in stored.values.items() if k != "law"}, stored.tensors)
        with pytest.raises(UserError, match="as it was before: train again"):
            CgGnnModel.load(path)


def test_rings_learn_by_metis():
    """Not only linear chains: a ring, its groups by METIS."""
    metis()
    run = rouse_run(12, 2, 40, DT, types="AB" * 6)
    system = System(2, 12, 0, DT, types=("A", "B") * 6, edges=RING, time_unit="tau", length_unit="sigma")
    options = options_of("default", grouping="metis", beads_per_group=3, members=1)
    model = train([BeadRun(system, run.frames, "ring")], options)
    whole = joined(list(model.start(run.frames, 1, n_trajectories=3, system=system).advance(4)))
    assert np.isfinite(whole.channels[CHAINS]["beads"]).all()
