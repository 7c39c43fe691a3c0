"""Distances and conduction of ions, on points whose answers are known."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.ion_transport import IonTransport, collisions_in_time, ion_transport, read_ions
from mlgle_lammps.observe.ions import closest_distance, collisions, conduction, edges_of, species_distribution
from mlgle_lammps.pipeline.ion_baselines import composition_baselines
from mlgle_lammps.pipeline.set_file import read_set
from mlgle_lammps.pipeline.set_ions import write_ions
from mlgle_lammps.pipeline.set_tasks import generated_folder, run_folder
from mlgle_lammps.records import CHAINS, Estimate, Frames, Species, System
from mlgle_lammps.store.writer import FramesWriter

pytestmark = pytest.mark.light
BOX = np.array([6.0, 7.0, 8.0])


def test_points_without_correlation_have_g_of_one():
    random = np.random.default_rng(1)
    one, other = random.uniform(-50, 50, (60, 40, 3)), random.uniform(-50, 50, (60, 30, 3))
    for second in (None, other):
        found = species_distribution(one, second, BOX, 2.9, n_bins=12)
        off = (found.g - 1)[2:] / found.se[2:]
        assert np.abs(off).max() < 5
        assert abs(off.mean()) < 4 / np.sqrt(len(off))
    with pytest.raises(ValueError, match="half of it"):
        species_distribution(one, None, BOX, 3.1)


def test_pairs_are_counted_through_the_walls():
    one = np.array([[[0.1, 3.0, 3.0], [3.0, 3.0, 3.0]]])
    other = np.array([[[5.9, 3.0, 3.0], [3.0, 3.0, 11.4]]])  # 0.2 away from the first, 0.4 from the second
    np.testing.assert_allclose(collisions(one, other, BOX, 0.3), [0.5])
    np.testing.assert_allclose(collisions(one, other, BOX, 0.5), [1.0])
    np.testing.assert_allclose(collisions(np.concatenate([one, other], axis=1), None, BOX, 0.3), [0.25])
    assert closest_distance(one, other, BOX) == pytest.approx(0.2)
    assert closest_distance(one, None, BOX) == pytest.approx(2.9)
    with pytest.raises(UserError, match="rectangular box"):
        edges_of((6.0, 6.0, 6.0, 0.1, 0.0, 0.0))


def walkers(n_frames, n_ions, D, seed):
    steps = np.random.default_rng(seed).standard_normal((n_frames, n_ions, 3)) * np.sqrt(2 * D)
    return np.cumsum(steps, axis=0)


def test_independent_ions_conduct_as_nernst_and_einstein_say():
    kT, volume, n = 1.5, float(np.prod(BOX)), 60
    ions = {"A": walkers(6000, n, 0.3, 2), "B": walkers(6000, n, 0.1, 3)}
    charges = {"A": 1.0, "B": -2.0}
    found = conduction(ions, charges, BOX, kT, 1.0, longest=20.0)
    exact = n * (0.3 + 4 * 0.1) / (volume * kT)
    for own in (found.conductivity, found.nernst_einstein):
        assert abs(own.value - exact) < 4 * own.se
    assert found.nernst_einstein.se < 0.05 * exact
    assert abs(found.onsager["A", "B"].value) < 4 * found.onsager["A", "B"].se
    assert abs(found.onsager["A", "A"].value - n * 0.3 / (volume * kT)) < 4 * found.onsager["A", "A"].se
    drifting = {name: own + np.arange(6000)[:, None, None] * 0.5 for name, own in ions.items()}
    same = conduction(drifting, charges, BOX, kT, 1.0, np.arange(6000)[:, None] * 0.5 * np.ones(3), 20.0)
    assert same.conductivity.value == pytest.approx(found.conductivity.value)


def test_ion_pairs_carry_no_charge():
    pairs = walkers(4000, 40, 0.2, 4)
    apart = pairs + np.random.default_rng(5).standard_normal(pairs.shape) * 0.1
    found = conduction({"A": pairs, "B": apart}, {"A": 1.0, "B": -1.0}, BOX, 1.0, 1.0, longest=20.0)
    assert abs(found.conductivity.value) < 0.05 * found.nernst_einstein.value
    with pytest.raises(ValueError, match="too few"):
        conduction({"A": pairs[:30]}, {"A": 1.0}, BOX, 1.0, 1.0, longest=20.0)


CHARGES = {"Li": 1.0, "Cl": -1.0}
KINDS = {"Li": 0.3, "Cl": 0.1}
"""Species and their D."""


def electrolyte(n_frames, seed, n_chains=6, n_ions=20, faster=1.0):
    """Independent walkers whose D is known, in a box that does not hinder them."""
    others = tuple(Species(name, n_ions, 1, 0, ("com",), types=(name,), masses=(1.0,)) for name in KINDS)
    system = System(
        n_chains, 3, 1, 2.0, 1, "lj", "tau", "sigma", "made", box=(*BOX.tolist(), 0.0, 0.0, 0.0), others=others,
        name="linear 3", types=("P",) * 3, masses=(3.0,),
    )  # fmt: skip
    steps = np.arange(n_frames)
    start = np.random.default_rng(seed).uniform(0, 6, (1, n_ions, 3))
    channels = {
        name: {"com": start + walkers(n_frames, n_ions, 2.0 * D * faster, 10 * seed + i)}
        for i, (name, D) in enumerate(KINDS.items())
    }
    modes = np.zeros((n_frames, n_chains, 1, 3), np.float32)
    own = {"com": walkers(n_frames, n_chains, 0.02, 10 * seed + 9), "modes": modes}
    return system, Frames(steps, steps * 0, {CHAINS: own, **channels})


def test_ions_of_a_stream_diffuse_and_conduct_as_they_were_made():
    system, frames = electrolyte(2500, 1)
    found = ion_transport(system, frames, CHARGES)
    for name, exact in KINDS.items():
        D = found.D[name]
        assert D is not None
        assert abs(D.value - exact) < 4 * D.se
        assert D.se < 0.1 * exact
    assert found.D["Li"] is not None
    assert found.conduction is not None
    own = found.conduction.conductivity
    assert abs(own.value - 20 * 0.4 / float(np.prod(BOX))) < 4 * own.se
    assert found.summary()["D_Li"]["value"] == found.D["Li"].value
    near = collisions_in_time(system, frames[:50], ("Cl", "Li"), 0.5)
    expected = 20 * 4 / 3 * np.pi * 0.5**3 / float(np.prod(BOX))
    assert near.mean() == pytest.approx(expected, rel=0.4)
    assert not collisions_in_time(system, frames[:50], ("Cl", "Li"), found.closest["Cl", "Li"] / 2).any()


def test_parity_of_a_set_of_electrolytes(tmp_path):
    (tmp_path / "in.deck").write_text("")
    lines = ['deck = "in.deck"', 'quantity = "ions"', "[charges]", "Li = 1", "Cl = -1", "[models.perfect]"]
    for name, part in (("a", "train"), ("b", "test"), ("c", "test")):
        lines += ["[[runs]]", f'name = "{name}"', f'part = "{part}"']
    (tmp_path / "set.toml").write_text("\n".join(lines))
    plan, out = read_set(tmp_path / "set.toml"), tmp_path / "out"
    with pytest.raises(UserError, match="no unseen electrolyte"):
        write_ions(plan, out)
    for i, (run, n_frames) in enumerate(zip(plan.runs, (200, 900, 900), strict=True)):
        system, frames = electrolyte(n_frames, i + 2, faster=1.0 + i)
        folder = run_folder(out, run)
        folder.mkdir(parents=True)
        with FramesWriter(folder / "modes.h5", system) as writer:
            writer.append(frames)
    for name in ("b", "c"):  # MD of the molecule itself stands for a model of it
        made = generated_folder(out, plan.models[0]) / "test" / name
        made.mkdir(parents=True)
        shutil.copy(out / "md" / "test" / name / "modes.h5", made / "generated.h5")
    write_ions(plan, out)
    found = json.loads((out / "parity.json").read_text())
    assert found["molecules"]["b"]["D_Li"]["value"] == pytest.approx(0.6, rel=0.15)
    own = found["models"]["perfect-1"]
    assert (own["ratio"], own["r2"]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert not np.any(own["collisions"]["b"]["Cl-Li"])
    short = found["baselines"]["md_training_length"]
    assert short["time"] == 400.0
    assert short["without_D"] > 0 or 0.5 < short["ratio"] < 2
    with pytest.raises(UserError, match="has no ions Na"):
        read_ions(run_folder(out, plan.runs[0]), {"Na": 1.0})


def value_of(found, name, attribute="value"):
    D = found.D[name]
    assert D is not None
    return getattr(D, attribute)


def test_what_composition_alone_says_of_ions():
    """D linear in the number of ions is found by the fit, and not by the mean."""
    made = []
    for n_ions in (10, 20, 30):
        system, _ = electrolyte(4, 1, n_ions=n_ions)
        D = {name: Estimate(0.01 * n_ions, 0.001, (0.0, 1.0), "made") for name in KINDS}
        made.append(IonTransport(system, 1.0, D, None, {}, {}))
    unseen = {"new": electrolyte(4, 1, n_ions=25)[0]}
    found = composition_baselines(made, unseen, CHARGES)
    for label, expected in (("composition_fit", 0.25), ("training_mean", 0.2)):
        assert value_of(found[label]["new"], "Li") == pytest.approx(expected)
    lost = IonTransport(electrolyte(4, 1, n_ions=60)[0], 1.0, dict.fromkeys(KINDS), None, {}, {})
    assert value_of(composition_baselines([*made, lost], unseen, CHARGES)["composition_fit"]["new"], "Li") == (
        pytest.approx(0.25)
    )  # a run without D of its ions moves nothing
    none = composition_baselines(made[:2], unseen, CHARGES)
    assert none["training_mean"]["new"].D == {"Li": None, "Cl": None}


def test_boxes_side_by_side_are_taken_one_by_one():
    system, first = electrolyte(600, 3)
    _, second = electrolyte(600, 4)
    channels = {
        name: {"com": np.concatenate([own["com"], second.channels[name]["com"]], axis=1)}
        for name, own in first.channels.items()
    }
    others = tuple(replace(own, n_molecules=2 * own.n_molecules) for own in system.others)
    both = replace(system, n_chains=2 * system.n_chains, others=others, boxes=2)
    frames = Frames(first.steps, first.segments, channels)
    found = ion_transport(both, frames, CHARGES)
    apart = [ion_transport(system, own, CHARGES) for own in (first, second)]
    for name in KINDS:
        assert value_of(found, name) == pytest.approx(np.mean([value_of(own, name) for own in apart]))
        assert value_of(found, name, "se") < 0.8 * max(value_of(own, name, "se") for own in apart)
    assert found.closest["Cl", "Li"] == min(own.closest["Cl", "Li"] for own in apart)
    conductivities = [own.conduction.conductivity.value for own in (found, *apart) if own.conduction is not None]
    assert conductivities[0] == pytest.approx(np.mean(conductivities[1:]))
    assert len(conductivities) == 3
    alone = [collisions_in_time(system, own, ("Cl", "Li"), 0.5) for own in (first, second)]
    np.testing.assert_allclose(collisions_in_time(both, frames, ("Cl", "Li"), 0.5), np.mean(alone, axis=0))


def test_a_seam_between_pieces_carries_no_charge():
    positions = {"A": walkers(4000, 30, 0.5, 3), "B": walkers(4000, 30, 0.5, 4)}
    charges, box = {"A": 1.0, "B": -1.0}, np.full(3, 10.0)
    whole = conduction(positions, charges, box, 1.0, 0.1)
    jumped = {name: own + np.where(np.arange(4000) < 2100, 0.0, 50.0)[:, None, None] for name, own in positions.items()}
    jumped["B"][2100:] *= -1.0
    segments = np.repeat([0, 1], [2100, 1900])
    apart = conduction(jumped, charges, box, 1.0, 0.1, segments=segments)
    assert abs(apart.conductivity.value - whole.conductivity.value) < 3 * whole.conductivity.se
    assert conduction(jumped, charges, box, 1.0, 0.1).conductivity.value > 5 * whole.conductivity.value
    with pytest.raises(ValueError, match="pieces too short"):
        conduction(positions, charges, box, 1.0, 0.1, segments=np.arange(4000) // 100)
