"""CG-GNN in boxes of several species: known diffusion, symmetries, refinement, files, and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cg_gnn_box_toys import BRIEF, DT, EDGE, D, frames_of, repelling, system_of, trained, walking

from mlgle_lammps.commands import generate, replay
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.evaluate.ion_transport import ion_transport, read_ions
from mlgle_lammps.observe.ions import closest_distance, collisions
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.pipeline import molecules
from mlgle_lammps.records import CHAINS, Frames, Species, joined
from mlgle_lammps.resources import compute
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.writer import FramesWriter
from mlgle_lammps.surrogates.catalogue import load_model
from mlgle_lammps.surrogates.cg_gnn import box_tie
from mlgle_lammps.surrogates.cg_gnn.box_fit import basis_of, fit_score
from mlgle_lammps.surrogates.cg_gnn.box_model import BoxModel
from mlgle_lammps.surrogates.cg_gnn.box_motion import BoxWalk
from mlgle_lammps.surrogates.cg_gnn.box_nodes import Box, BoxRun, Letters, node_positions
from mlgle_lammps.surrogates.cg_gnn.box_score import BoxScore, ScoreTables
from mlgle_lammps.surrogates.cg_gnn.box_step import BoxDynamics
from mlgle_lammps.surrogates.cg_gnn.box_trainer import train_boxes
from mlgle_lammps.surrogates.model_file import write_model

pytestmark = pytest.mark.light
CHARGES = {"A": 1.0, "B": -1.0}
BOX = np.full(3, EDGE)


def rolled(model, run, n_steps, n_boxes=1, seed=1, **options):
    system, frames, _ = run
    motion = model.start(frames, seed, n_trajectories=n_boxes * system.n_chains, system=system, **options)
    return joined(list(motion.advance(n_steps)))


def test_ions_diffuse_as_the_recorded_ones_do():
    run = walking()
    made = rolled(trained(), run, 600, n_boxes=2)
    recorded = run[1].channels
    for name, exact in D.items():
        places = made.channels[name]["com"]
        lag = 10
        found = np.square(places[lag:] - places[:-lag]).mean() / (2 * lag * DT)
        independent = 3 * recorded[name]["com"].shape[1] * len(run[1]) / lag  # displacements learned from
        tying = 3 * 12 * 4 * 50 / lag  # and those that the size of the noise is tied by
        se = exact * np.sqrt(2 / independent + 2 / tying)
        assert abs(found - exact) < 3 * se
        assert abs(1.5 * exact - found) > 3 * se  # half as much again would be seen


@pytest.fixture(scope="module")
def stepping():
    """A step in double precision, and where it begins."""
    model = trained("repelling", refine=6, members=1)
    system, frames, _ = repelling()
    box = model.box_of(system)
    dynamics = BoxDynamics(model.law, 0, box, dtype=torch.float64)
    places = torch.tensor(node_positions(box, frames[-3:])[0])
    generator = torch.Generator().manual_seed(4)
    normals = [
        torch.randn(places.shape, generator=generator, dtype=torch.float64) for _ in range(dynamics.n_normals)
    ]  # fmt: skip
    return dynamics, box, places, normals


def test_steps_turn_and_move_with_the_box(stepping):
    dynamics, _, places, normals = stepping
    after = dynamics.step(places, normals)
    assert (after - places).abs().max() > 0.1
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    turned = dynamics.step(places @ turn.T, [own @ turn.T for own in normals])
    torch.testing.assert_close(turned, after @ turn.T, rtol=0, atol=1e-9)
    shift = torch.tensor([0.3, -7.1, 2.0], dtype=torch.float64)
    torch.testing.assert_close(dynamics.step(places + shift, normals), after + shift, rtol=0, atol=1e-9)
    mirrored = dynamics.step(-places, [-own for own in normals])
    torch.testing.assert_close(mirrored, -after, rtol=0, atol=1e-9)


def test_names_of_like_ions_and_images_do_not_matter(stepping):
    dynamics, box, places, normals = stepping
    after = dynamics.step(places, normals)
    order = np.arange(box.n_nodes)
    for where in (*box.places().values(), slice(0, 4)):
        order[where] = order[where][::-1] if where.start else order[[2, 3, 0, 1]]
    moved = dynamics.step(places[:, order], [own[:, order] for own in normals])
    torch.testing.assert_close(moved, after[:, order], rtol=0, atol=1e-9)
    images = torch.zeros_like(places)
    images[0, 5], images[1, 7] = EDGE * torch.tensor([1.0, -2, 0]), EDGE * torch.tensor([0.0, 3, 1])
    images[2, :2] = EDGE * torch.tensor([4.0, 0, -1])  # a whole chain
    torch.testing.assert_close(dynamics.step(places + images, normals), after + images, rtol=0, atol=1e-9)


def test_forces_of_pairs_cancel_and_single_precision_suffices(stepping):
    dynamics, box, places, normals = stepping
    model = trained("repelling", refine=6, members=1)
    for level in range(len(model.law.levels)):
        score = BoxScore(model.law.tables, box, model.law.letters, torch.device("cpu"), torch.float64)(places, level)
        assert score.abs().max() > 0.1
        assert score.sum(1).abs().max() < 1e-9
    single = BoxDynamics(model.law, 0, box)
    after = single.step(places.float(), [own.float() for own in normals])
    assert (after.double() - dynamics.step(places, normals)).abs().max() < 1e-3


def test_a_box_repeated_many_times_moves_as_one(stepping):
    """Pairs of larger boxes are found by a cell list, and are those of the small one."""
    dynamics, box, places, normals = stepping
    model, copies = trained("repelling", refine=6, members=1), (3, 3, 2)
    shifts = EDGE * np.stack(np.meshgrid(*(np.arange(n) for n in copies), indexing="ij"), -1).reshape(-1, 1, 3)
    n = len(shifts)
    large = replace(
        box, n_chains=n * box.n_chains, ions=tuple((name, n * count) for name, count in box.ions),
        edges=EDGE * np.array(copies, dtype=float),
    )  # fmt: skip
    assert large.n_nodes > 400

    def repeated(values, moved):
        parts = [slice(0, box.n_groups), *box.places().values()]
        own = [(values[:, None, part] + torch.tensor(shifts) * moved).flatten(1, 2) for part in parts]
        return torch.cat(own, 1)

    after = dynamics.step(places[:1], [own[:1] for own in normals])
    whole = BoxDynamics(model.law, 0, large, dtype=torch.float64)
    made = whole.step(repeated(places[:1], 1.0), [repeated(own[:1], 0.0) for own in normals])
    torch.testing.assert_close(made, repeated(after, 1.0), rtol=0, atol=1e-8)


def test_refinement_takes_overlaps_out():
    run = repelling()
    one, other = (run[1].channels[name]["com"] for name in D)
    near = closest_distance(one, other, BOX)
    counts = {}
    for refine in (1, 6):
        made = rolled(trained("repelling", refine=refine, members=1), run, 150).channels
        counts[refine] = collisions(made["A"]["com"], made["B"]["com"], BOX, near).mean()
    assert counts[1] > 0.01
    assert counts[6] < 0.4 * counts[1]


def test_the_score_of_noise_alone_is_none():
    """Points without correlation have S = 0; a planted repulsion is found."""
    free, stiff = walking(), repelling()
    found = []
    for system, frames, name in (free, stiff):
        run = BoxRun.of(system, frames, 1, "blocks", name)
        basis = basis_of([run], Letters(("P",), ("A", "B")))
        noises = np.array([0.3, 0.3, 0.3])
        tables, _ = fit_score([run], basis, noises, np.array([0.3]), np.random.default_rng(1), 60)
        product = next(
            i for i, pair in enumerate(zip(*basis.letters.pairs, strict=True)) if pair == (1, 2)
        )  # fmt: skip
        found.append(np.interp(0.6, tables.knots, tables.pairs[0, product]))
    assert abs(found[0]) < 1.5
    assert found[1] > 5.0


def test_equal_seeds_make_equal_bits_whatever_the_threads():
    model, run = trained(), walking()
    first = rolled(model, run, 40, n_boxes=3, threads=1)
    assert rolled(model, run, 40, n_boxes=3, threads=2).same_bits(first)
    assert not rolled(model, run, 40, n_boxes=3, seed=2).same_bits(first)
    motion = model.start(run[1], 1, n_trajectories=12, system=run[0], threads=1)
    parts = joined([*motion.advance(15), *motion.advance(25)])
    assert parts.same_bits(first)
    again = train_boxes([run], BRIEF, lambda line: None)
    assert rolled(again, run, 40, n_boxes=3).same_bits(first)


def test_frames_hold_all_species_of_all_boxes():
    model, run = trained(), walking()
    made = rolled(model, run, 10, n_boxes=2)
    assert made.steps.tolist() == list(range(1, 11))
    shapes = {(species, channel): values.shape for species, channel, values in made.arrays()}
    assert shapes == {
        (CHAINS, "com"): (10, 8, 3), (CHAINS, "beads"): (10, 8, 2, 3), (CHAINS, "rg2"): (10, 8, 1),
        ("A", "com"): (10, 24, 3), ("B", "com"): (10, 24, 3),
    }  # fmt: skip
    beads = made.channels[CHAINS]["beads"].astype(float)
    np.testing.assert_allclose(made.channels[CHAINS]["rg2"][..., 0], np.square(beads).sum(-1).mean(-1), rtol=1e-5)
    assert np.abs(beads.mean(2)).max() < 1e-5
    system = model.generated_system(run[0], 2)
    assert (system.boxes, system.n_chains, [own.n_molecules for own in system.others]) == (2, 8, [24, 24])
    assert len({made.channels["A"]["com"][-1, i, 0] for i in (0, 12)}) == 2
    with pytest.raises(UserError, match="no whole number of boxes"):
        model.start(run[1], 1, n_trajectories=5)
    assert model.learned_up_to(run[1][-1:])
    assert not model.learned_up_to(run[1][:1])


def test_a_model_is_the_same_from_its_file(tmp_path):
    model, run = trained(), walking()
    model.save(tmp_path / "one")
    loaded = load_model(tmp_path / "one")
    assert isinstance(loaded, BoxModel)
    loaded.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert rolled(loaded, run, 20).same_bits(rolled(model, run, 20))


def test_damaged_and_foreign_files_are_refused(tmp_path):
    model, path = trained(), tmp_path / "model.safetensors"
    model.save(path)
    whole = path.read_bytes()
    for damaged in (whole[:-7], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], b"", whole[:100]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"model file|damaged"):
            load_model(path)
    write_model(path, "nm-mb", {"kind": "box"}, {})
    with pytest.raises(UserError, match="model of 'nm-mb', not of cg-gnn"):
        BoxModel.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "sphere"}, {"levels": 9}, {"levels": True}, {"scales": [1.0]}, {"scales": [1.0, -1.0, 1.0]},
        {"ions": ["A", "B", "C"]}, {"ions": ["A"]}, {"hidden": 4000}, {"hidden": 10**9}, {"members": 3}, {"dt": 0},
        {"beads": []}, {"box": {}}, {"grouping": "none"}, {"contact": "far"}, {"reach": 0.0},
        {"inner": -1.0}, {"members": 1},
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(tmp_path, monkeypatch, change):
    from mlgle_lammps.surrogates.cg_gnn import box_model

    monkeypatch.setattr(
        box_model, "write_model", lambda path, name, values, tensors: write_model(path, name, values | change, tensors)
    )
    trained().save(tmp_path / "model")
    with pytest.raises(UserError, match="damaged") as caught:
        load_model(tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_what_the_model_was_not_made_for_is_refused_by_name():
    model, (system, frames, _) = trained(), walking()
    for changed, said in (
        (system_of(4, 12, names=("A", "Na")), "species Na were in none"),
        (system_of(4, 12, types=("P", "Q")), "bead types Q were in none"),
        (system_of(4, 12, dt=0.3), r"no multiple of 0\.3"),
        (replace(system, box=None), "periodic in all directions"),
        (replace(system, box=(*BOX, 0.5, 0.0, 0.0)), "rectangular"),
        (replace(system, boxes=2), "frames of one box"),
        (replace(system, others=(Species("water", 5, 3),)), "species water has molecules of 3 beads"),
        (replace(system, n_chains=5), "5 chains of 2 beads are needed"),
        (system_of(4, 13), "12 molecules of A, and 13 are needed"),
    ):
        with pytest.raises(UserError, match=said):
            model.start(frames, 1, n_trajectories=changed.n_chains, system=changed)
    own = frames.channels
    torn = frames_of(own[CHAINS]["com"][:, :, None] + np.array([[0.0], [500.0]]), {n: own[n]["com"] for n in D})
    with pytest.raises(UserError, match="wrapped into a box"):
        model.start(torn, 1, n_trajectories=4)
    with pytest.raises(UserError, match="lack them"):
        model.start(replace(frames, channels={CHAINS: own[CHAINS]}), 1, n_trajectories=4)
    with pytest.raises(UserError, match="0 frames"):
        model.start(frames[:0], 1, n_trajectories=4)


def test_training_refuses_what_it_cannot_learn_from():
    system, frames, name = walking()
    for run, options, said in (
        ((system, frames, name), replace(BRIEF, step=0.7), r"no multiple of 0\.5, the time between frames of run walk"),
        ((system, frames[:3], name), BRIEF, "shorter than 4 steps"),
        ((replace(system, time_unit="fs"), frames, name), BRIEF, "other units"),
        ((system, frames, name), replace(BRIEF, beads_per_group=2), "leaves 1 group"),
    ):
        with pytest.raises(UserError, match=said):
            train_boxes([walking(), run], options, lambda line: None)
    with pytest.raises(UserError, match="published is of single molecules"):
        replace(BRIEF, preset="published")


def test_short_runs_are_tied_over_as_many_whole_steps_as_they_hold(monkeypatch):
    system, frames, name = walking(400)
    run = BoxRun.of(system, frames[:12], 1, "blocks", name)
    law = trained().law
    told = []

    def made(law, run, n_steps, seed):
        told.append(n_steps)
        first = np.arange(len(run.positions) - 2 * n_steps)
        moved = box_tie._about_centre(run.positions[first + 2 * n_steps] - run.positions[first], run)
        return np.square(moved).mean(axis=(0, 2))

    monkeypatch.setattr(box_tie, "_displacements", made)
    np.testing.assert_allclose(box_tie.compare(law, [run], 2 * DT, 1).ratios, 1.0)
    assert told == [5]  # of two frames each: ten frames, and not eleven
    pieces = Frames(frames.steps[:12], np.arange(12) // 3, frames[:12].channels)
    with pytest.raises(UserError, match="is shorter than"):
        train_boxes([(system, pieces, name)], BRIEF, lambda line: None)


def test_a_box_that_comes_apart_is_a_failure():
    model, (system, frames, _) = trained(), walking()
    box = Box.of(system, 1, "blocks")
    tables = model.law.tables
    wild = replace(model.law, tables=ScoreTables(tables.knots, tables.bonded_knots, tables.pairs, tables.bonded + 1e9))
    places = torch.tensor(node_positions(box, frames[:1])[0], dtype=torch.float32)
    walk = BoxWalk(BoxDynamics(wild, 0, box), box, places, 1, model.extent)
    with pytest.raises(RunFailure, match="came apart by step 1"):
        walk.advance(4)


def test_refinement_is_not_for_molecules_by_themselves(tmp_path, capsys):
    system, frames, _ = walking()
    alone = replace(system, others=())
    (tmp_path / "one").mkdir()
    with FramesWriter(tmp_path / "one" / "modes.h5", alone) as writer:
        writer.append(replace(frames, channels={CHAINS: frames.channels[CHAINS]}))
    words = [str(tmp_path / "one"), "--surrogate", "cg-gnn", "--refine", "4", "--beads-per-group", "1"]
    assert replay.main([*words, "--out", str(tmp_path / "model")]) == 2
    assert "--refine is for boxes of several species" in capsys.readouterr().err


def test_boxes_of_several_runs_have_noise_of_their_own(tmp_path):
    system, frames, _ = walking()
    trained().save(tmp_path / "model.safetensors")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with FramesWriter(tmp_path / name / "modes.h5", system) as writer:
            writer.append(frames)

    def ions(*names, out):
        words = [str(tmp_path / "model.safetensors"), "--start", *(str(tmp_path / name) for name in names)]
        assert generate.main([*words, "--steps", "5", "--threads", "1", "--device", "cpu", "--out", str(out)]) == 0
        made = [out] if len(names) == 1 else [out / name for name in names]
        return [read_ions(own / "generated.h5", CHARGES)[1].channels["A"]["com"] for own in made]

    (alone,) = ions("one", out=tmp_path / "alone")
    first, second = ions("one", "two", out=tmp_path / "both")
    assert np.array_equal(first, alone)
    assert np.abs(np.corrcoef(np.diff(first, axis=0).ravel(), np.diff(second, axis=0).ravel())[0, 1]) < 0.3


def test_boxes_are_said_to_be_learned_on_the_cpu(tmp_path, monkeypatch):
    system, frames, _ = walking()
    monkeypatch.setattr(compute, "resolve_device", torch.device)
    monkeypatch.setattr(compute, "describe_device", str)
    monkeypatch.setattr(molecules, "find_surrogate", lambda _: SimpleNamespace(learn_runs=lambda *_: trained()))
    options = LearnOptions(tmp_path, surrogate="cg-gnn", device="cuda", threads=1)
    folder = RunFolder.create(tmp_path / "model")
    assert molecules.learn_runs([molecules.RecordedRun(tmp_path, system, frames)], options, folder) == 0
    assert folder.read_result()["device"] == "cpu"


def test_commands_go_from_runs_to_numbers_of_ions(tmp_path, capsys):
    system, frames, _ = walking()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with FramesWriter(tmp_path / name / "modes.h5", system) as writer:
            writer.append(frames)
    brief = ["--beads-per-group", "1", "--refine", "2", "--updates", "5", "--members", "2", "--device", "cpu"]
    model, out = str(tmp_path / "model"), str(tmp_path / "made")
    words = [str(tmp_path / "one"), "--surrogate", "cg-gnn", *brief, "--threads", "1", "--out", model]
    assert replay.main(words) == 0
    start = ["--start", str(tmp_path / "two"), "--time", "200", "--ensemble", "2", "--threads", "1", "--out", out]
    assert generate.main([model, *start]) == 0
    made, stream = read_ions(tmp_path / "made" / "generated.h5", CHARGES)
    assert (made.boxes, made.dt, len(stream)) == (2, 1.0, 200)
    found = ion_transport(made, stream, CHARGES)
    for name, exact in D.items():
        own = found.D[name]
        assert own is not None
        assert own.value == pytest.approx(exact, rel=0.25)
    other = system_of(4, 12, names=("A", "Na"))
    (tmp_path / "salt").mkdir()
    with FramesWriter(tmp_path / "salt" / "modes.h5", other) as writer:
        writer.append(
            frames_of(frames.com[:, :, None] + np.zeros((2, 1)), {n: frames.channels["A"]["com"] for n in ("A", "Na")})
        )
    capsys.readouterr()
    assert generate.main([model, "--start", str(tmp_path / "salt"), "--out", str(tmp_path / "no")]) == 2
    assert "species Na were in none of the runs" in capsys.readouterr().err
    for wrong in (model, str(tmp_path / "two")):
        assert generate.main([model, *start[:-1], wrong, "--overwrite"]) == 2
        assert "holds the model or a run to start from" in capsys.readouterr().err
    before = (tmp_path / "made" / "generated.h5").read_bytes()
    assert generate.main([model, *start, "--overwrite", "--device", "cuda:7"]) == 2
    assert (tmp_path / "made" / "generated.h5").read_bytes() == before
    assert generate.main([model, *start, "--overwrite", "--seed", "2"]) == 0
    assert (tmp_path / "made" / "generated.h5").read_bytes() != before
    assert not (tmp_path / "made" / ".mlgle-previous").exists()
    capsys.readouterr()
    assert replay.main([*words[:-1], str(tmp_path / "again"), "--stride", "5", "--skip", "3"]) == 2
    assert "--skip, --stride: --surrogate cg-gnn learns from runs as they were recorded" in capsys.readouterr().err
