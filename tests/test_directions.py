"""Directions in which chains are free: found, given, and taken by every number; processes whose D is known exactly."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "decks"))
import flow
from test_flow import drive

from mlgle_lammps.acquire.fixes import REGIONS, Region, Setup
from mlgle_lammps.acquire.walls import Box, open_directions
from mlgle_lammps.chains.rouse import rouse_mode_variance, rouse_relaxation_time
from mlgle_lammps.chains.spectrum import linear_spectrum
from mlgle_lammps.compare import main as compare
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.diffusion.slope import normal_diffusion, slope_accumulator
from mlgle_lammps.directions import ALL_FREE, Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.by_direction import diffusion_by_direction, direction_warnings
from mlgle_lammps.evaluate.two_streams import compare_streams
from mlgle_lammps.generate import main as generate
from mlgle_lammps.observe.confinement import bounded_by_motion
from mlgle_lammps.reconstruct import main as reconstruct
from mlgle_lammps.records import CHAINS, Frames, System
from mlgle_lammps.replay import main as replay
from mlgle_lammps.statistics.moments import MomentAccumulator
from mlgle_lammps.store.reader import FramesReader
from mlgle_lammps.store.writer import FramesWriter
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.integrator import random_turns
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel

BEADS, MODES = 10, 4
DT = 0.5
D_EXACT = 0.1  # kT/(Nζ), kT = ζ = 1

Motion = Callable[[np.random.Generator, int, int], np.ndarray]


def free(rng: np.random.Generator, n_frames: int, n_chains: int, D: float = D_EXACT) -> np.ndarray:
    """Brownian centres, (time, chain)."""
    return np.cumsum(np.sqrt(2 * D * DT) * rng.standard_normal((n_frames, n_chains)), axis=0)


def slit(width: float) -> Motion:
    """Brownian centres between reflecting walls: the free path folded, exactly."""

    def motion(rng: np.random.Generator, n_frames: int, n_chains: int) -> np.ndarray:
        start = rng.uniform(0, width, n_chains)
        folded = np.mod(start + free(rng, n_frames, n_chains), 2 * width)
        return np.minimum(folded, 2 * width - folded)

    return motion


def harmonic(rng: np.random.Generator, n_frames: int, n_chains: int) -> np.ndarray:
    """Centres in a harmonic well: an Ornstein-Uhlenbeck process of variance 0.5 and D as the others', exactly."""
    variance = 0.5
    decay = np.exp(-D_EXACT * DT / variance)
    path = np.empty((n_frames, n_chains))
    path[0] = np.sqrt(variance) * rng.standard_normal(n_chains)
    for t in range(1, n_frames):
        path[t] = decay * path[t - 1] + np.sqrt(variance * (1 - decay**2)) * rng.standard_normal(n_chains)
    return path


def held(rng: np.random.Generator, n_frames: int, n_chains: int) -> np.ndarray:
    """Centres in a plane."""
    return np.zeros((n_frames, n_chains))


def ideal_chains(
    seed: int, motions: tuple[Motion, Motion, Motion], n_chains: int = 60, n_frames: int = 700, flat: str = ""
) -> Frames:
    """Frames of Rouse chains whose centres move by ``motions``; modes vanish in ``flat`` directions."""
    rng = np.random.default_rng(seed)
    com = np.stack([motion(rng, n_frames, n_chains) for motion in motions], axis=2)
    p = np.arange(1, MODES + 1)
    sigma = np.sqrt(rouse_mode_variance(p, BEADS))[:, None]
    decay = np.exp(-DT / rouse_relaxation_time(p, BEADS))[:, None]
    modes = np.empty((n_frames, n_chains, MODES, 3), dtype=np.float32)
    state = sigma * rng.standard_normal((n_chains, MODES, 3))
    for t in range(n_frames):
        modes[t] = state
        state = decay * state + sigma * np.sqrt(1 - decay**2) * rng.standard_normal(state.shape)
    for axis in flat:
        modes[..., "xyz".index(axis)] = 0
    steps = 10 * np.arange(n_frames)
    return Frames.of_chains(steps, np.zeros_like(steps), com, modes)


def write(path: Path, frames: Frames, directions: Directions = ALL_FREE) -> Path:
    """Write a stream; return its path."""
    system = System(
        n_chains=frames.com.shape[1], n_beads=BEADS, n_modes=MODES, dt=DT, every=10, units="lj", time_unit="tau",
        length_unit="sigma", source="ideal chains", directions=directions,
    )  # fmt: skip
    with FramesWriter(path, system) as writer:
        writer.append(frames)
    return path


OPTIONS = ["--modes", "2", "--memory", "32", "--train-frames", "160", "--val-frames", "60", "--threads", "1"]
QUICK = [*OPTIONS, "--handoff", "tmax", "--generate-steps", "200", "--ensemble", "40"]
"""A hand-off at once: no network is trained."""
PLANE = (free, free, held)
FILM = (free, free, slit(1.5))
TUBE = (slit(1.5), free, slit(1.5))
WELL = (harmonic, free, free)
EVERYWHERE = (free, free, free)


# ---------------------------------------------------------------- the record


def test_directions_are_named_and_described() -> None:
    assert Directions.named("yx").free == "xy"
    assert [Directions.named(text).columns.indices(3) for text in ("xz", "y", "yz", "xyz")] == [
        (0, 3, 2), (1, 2, 1), (1, 3, 1), (0, 3, 1),
    ]  # fmt: skip
    for bad in ("", "xx", "w", "x y"):
        with pytest.raises(UserError, match="--directions"):
            Directions.named(bad)
    closed = Directions.closed_by({"z": "a wall"})
    assert Directions.from_plain(json.loads(json.dumps(closed.plain()))) == closed
    for damaged in (None, {}, {"free": "zx", "reasons": [], "given": False}, {**closed.plain(), "free": "xyz"}):
        with pytest.raises(ValueError, match="directions"):
            Directions.from_plain(damaged)


@pytest.mark.parametrize("name", ["x", "y", "z", "xy", "xz", "yz", "xyz"])
def test_frames_keep_the_free_columns_and_come_back(name: str) -> None:
    frames, directions = ideal_chains(1, EVERYWHERE, 3, 5), Directions.named(name)
    kept = frames.along(directions)
    assert kept.com.shape[2] == kept.modes.shape[3] == len(name)
    back = kept.embedded(directions)
    for i, axis in enumerate("xyz"):
        np.testing.assert_array_equal(back.com[..., i], frames.com[..., i] if axis in name else 0)
    assert np.shares_memory(kept.modes, frames.modes)


# ---------------------------------------------------------------- decks


def directions_of(*definitions: str, dimension: int = 3, regions: dict[str, Region] | None = None) -> str:
    words = tuple(tuple(line.split()) for line in definitions)
    setup = Setup("molecular", {w[0]: w[2] for w in words}, {w[0]: w[1] for w in words}, regions or {})
    box = Box(dimension, (0.0, 0.0, 0.0), (10.0, 10.0, 10.0), (True, True, False))
    return open_directions(setup, words, (), box, lambda group: group != "some").free


@pytest.mark.parametrize(
    ("definitions", "left"),
    [
        (("1 all wall/reflect zlo EDGE zhi EDGE",), "xy"),
        (("1 all wall/lj93 zlo EDGE 1 1 2.5", "2 all wall/harmonic/omp zhi 9 1 1 2.5"), "xy"),
        (("1 all wall/lj93 zlo EDGE 1 1 2.5",), "xyz"),  # one wall leaves the other side open
        (("1 some wall/reflect zlo EDGE zhi EDGE",), "xyz"),  # walls for others
        (("1 all wall/srd zlo EDGE zhi EDGE",), "xyz"),
        (("1 all nve", "2 all langevin 1 1 1 7"), "xyz"),
        (("1 all indent 10 cylinder x 5 5 4 side in",), "x"),
        (("1 all indent 10 cylinder x 5 5 4",), "xyz"),  # an obstacle
        (("1 all indent 10 sphere 5 5 5 4",), "xyz"),
        (("1 all indent 10 plane y 1 lo", "2 all indent 10 plane y 9 hi"), "xz"),
        (("1 all wall/gran hooke 1 1 1 1 1 0 zplane 0 NULL",), "xyz"),
        (("1 all wall/gran hooke 1 1 1 1 1 0 zplane 0 10",), "xy"),
        (("1 all wall/gran hooke 1 1 1 1 1 0 zcylinder 4",), "z"),
        (("1 all spring/self 10 z",), "xy"),
        (("1 all wall/region pore lj126 1 1 1",), "z"),
        (("1 all wall/region wide lj126 1 1 1",), "xyz"),
        (("1 all wall/region nowhere lj126 1 1 1",), "xyz"),
    ],
)
def test_walls_of_decks(definitions: tuple[str, ...], left: str) -> None:
    regions = {
        "pore": Region((1.0, 1.0, -1e20), (9.0, 9.0, 1e20)),
        "wide": Region((-1.0, 0.0, -1e20), (11.0, 10.0, 1e20)),  # no smaller than the periodic box
    }
    assert directions_of(*definitions, regions=regions) == left


def test_two_dimensions_close_z_and_nothing_else_does_without_cause() -> None:
    assert directions_of("1 all enforce2d", dimension=2) == "xy"
    assert directions_of("1 all setforce NULL NULL 0.0") == "xyz"  # noise of a Brownian fix goes on: motion tells


def test_regions_are_read_from_what_lammps_prints() -> None:
    text = (
        "Region[  0]:  pl,    style = plane,   side = in\n   No Boundary\n"
        "Region[  0]:  out,   style = sphere,  side = out\n   Boundary:  lo 1 1 1  hi 9 9 9\n"
        "Region[  1]:  pore,  style = cylinder,  side = in\n   Boundary:  lo 1 1 -1e+20  hi 9 9 1e+20\n"
    )
    assert REGIONS.findall(text) == [("pore", "1", "1", "-1e+20", "9", "9", "1e+20")]


TWO_DIMENSIONS = """\
units lj
dimension 2
atom_style bond
read_data flat.data
pair_style none
comm_modify cutoff 6.0
bond_style harmonic
bond_coeff 1 1.0 0.0
timestep 0.005
fix 1 all brownian 1.0 7 gamma_t 1.0 rng gaussian
fix 2 all enforce2d
run 4000
"""
IDEAL = flow.HEAD.replace("pair_style soft 1.0\npair_coeff * * 5.0\n", "pair_style none\n")


@pytest.mark.lammps
@pytest.mark.parametrize(
    ("walls", "left"),
    [
        ("", "xyz"),
        ("fix w all indent 10.0 cylinder x 6 6 90 side in\n", "x"),
        ("group first id 1\nfix w first spring/self 1.0 z\n", "xyz"),
        ("fix w all spring/self 1.0 z\n", "xy"),
        ("region r block INF INF INF INF 0.1 11.9\nfix w all wall/region r harmonic 1e-9 0.0 0.1\nunfix w\n", "xyz"),
    ],
)
def test_walls_of_a_live_deck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, walls: str, left: str) -> None:
    monkeypatch.chdir(tmp_path)
    flow.write_deck(tmp_path, "plain")
    Path("in.deck").write_text(f"{IDEAL}{walls}#mlgle production\nrun 40\n")
    driver, _, _ = drive(None, every=20)
    assert driver.system.directions.free == left


@pytest.mark.lammps
def test_two_dimensions_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """z is closed, its thickness is nobody's half box, and D in the plane is kT/(Nζ)."""
    monkeypatch.chdir(tmp_path)
    rng, n_chains, n_beads = np.random.default_rng(1), 40, 4
    beads = rng.uniform(0, 20, (n_chains, 1, 2)) + np.cumsum(rng.normal(0, 1, (n_chains, n_beads, 2)), axis=1)
    images = np.floor(beads / 20).astype(int)
    atoms = [
        f"{i + 1} {i // n_beads + 1} 1 {x:.6f} {y:.6f} 0 {a} {b} 0"
        for i, (x, y, a, b) in enumerate(np.concatenate([beads - 20 * images, images], axis=2).reshape(-1, 4).tolist())
    ]
    atoms = [line.replace(".0 ", " ") for line in atoms]
    bonds = [f"{i} 1 {i} {i + 1}" for i in range(1, n_chains * n_beads) if i % n_beads]
    Path("flat.data").write_text(
        f"flat\n\n{len(atoms)} atoms\n{len(bonds)} bonds\n1 atom types\n1 bond types\n\n0 20 xlo xhi\n0 20 ylo yhi\n"
        "-0.5 0.5 zlo zhi\n\nMasses\n\n1 1.0\n\nAtoms # bond\n\n"
        + "\n".join(atoms)
        + "\n\nBonds\n\n"
        + "\n".join(bonds)
        + "\n"
    )
    Path("in.deck").write_text(TWO_DIMENSIONS.replace("run", "#mlgle production\nrun"))
    driver, outbox, ending = drive(None, every=20)
    assert driver.system.directions.closed == {"z": "the simulation has two dimensions"}
    accumulator = MomentAccumulator(n_chains, 2, 16, n_dimensions=2)
    for frame in outbox.frames:
        accumulator.add(frame.along(driver.system.directions))
    steps = np.sqrt(accumulator.moments().msd_com)
    assert steps[-1] > 0.5 / 4  # of the thickness: the half box that was complained of is passed
    assert not any("half the box" in line for line in ending.warnings)
    D = fit_gle(accumulator.moments(), driver.system.dt, "default", linear_spectrum(n_beads)).D
    assert abs(D.value - 1 / n_beads) < 4 * D.se


# ---------------------------------------------------------------- motion


@pytest.mark.parametrize(
    ("motions", "closed"), [(PLANE, "z"), (FILM, "z"), (TUBE, "xz"), (WELL, "x"), (EVERYWHERE, "")]
)
def test_motion_tells_which_directions_are_bounded(motions: tuple[Motion, ...], closed: str) -> None:
    for seed in range(5):
        found = bounded_by_motion(ideal_chains(seed, motions), ALL_FREE)  # type: ignore[arg-type]
        assert "".join(sorted(found)) == closed


def test_slow_or_subdiffusive_directions_are_not_bounded() -> None:
    """Negative controls: a direction ten times slower; all directions confined alike; a wall that is far away."""

    def slow(rng: np.random.Generator, n_frames: int, n_chains: int) -> np.ndarray:
        return free(rng, n_frames, n_chains, 0.1 * D_EXACT)

    for seed in range(5):
        assert not bounded_by_motion(ideal_chains(seed, (free, free, slow)), ALL_FREE)
        assert not bounded_by_motion(ideal_chains(seed, (slit(1.5), slit(1.5), slit(1.5))), ALL_FREE)
        assert not bounded_by_motion(ideal_chains(seed, (free, free, slit(60.0))), ALL_FREE)


def test_few_chains_hardly_ever_close_a_direction_by_chance() -> None:
    rng = np.random.default_rng(3)
    steps = np.arange(64)
    for n_chains in (2, 3, 5, 10):
        for _ in range(100):
            com = rng.standard_normal((64, n_chains, 3)).cumsum(axis=0)
            assert not bounded_by_motion(Frames.of_chains(steps, np.zeros_like(steps), com, None), ALL_FREE)


# ---------------------------------------------------------------- D


def fitted(frames: Frames, directions: Directions) -> tuple[float, float]:
    """Return D over its exact value and its standard error by the fit."""
    accumulator = MomentAccumulator(frames.com.shape[1], MODES, 48, n_dimensions=directions.n)
    accumulator.add(frames.along(directions))
    D = fit_gle(accumulator.moments(), DT, "default", linear_spectrum(BEADS)).D
    return D.value / D_EXACT, D.se / D_EXACT


@pytest.mark.parametrize(
    ("motions", "name"), [(PLANE, "xy"), (FILM, "xy"), (TUBE, "y"), (WELL, "yz")], ids=["plane", "film", "tube", "well"]
)
def test_D_of_the_free_directions_is_exact(motions: tuple[Motion, ...], name: str) -> None:
    """Mean over independent streams within three standard errors, whose scatter is what each fit states."""
    flat = "z" if motions is PLANE else ""
    streams = [ideal_chains(seed, motions, 40, 400, flat) for seed in range(10)]  # type: ignore[arg-type]
    found = np.array([fitted(frames, Directions.named(name)) for frames in streams])
    scatter = found[:, 0].std(ddof=1) / np.sqrt(len(found))
    assert abs(found[:, 0].mean() - 1) < 3 * scatter
    assert 0.5 < found[:, 0].std(ddof=1) / found[:, 1].mean() < 1.8  # the interval is that of d directions
    over_all = np.array([fitted(frames, ALL_FREE)[0] for frames in streams[:4]])
    assert abs(over_all.mean() - 1) > 5 * scatter  # negative control: with closed directions D is wrong


def test_slope_and_errors_of_one_direction() -> None:
    """In d directions the variance of a slope is 1/d of that of one."""
    frames = ideal_chains(5, EVERYWHERE, 200, 400)
    errors = {}
    for name in ("xyz", "y"):
        accumulator = slope_accumulator(200, 400, n_dimensions=len(name))
        accumulator.add(frames.along(Directions.named(name)))
        D = normal_diffusion(accumulator.moments(), DT)
        assert D is not None
        assert abs(D.value - D_EXACT) < 4 * D.se
        errors[name] = D.se
    assert errors["y"] / errors["xyz"] == pytest.approx(np.sqrt(3), rel=0.25)


# ---------------------------------------------------------------- anisotropy


def by_direction(frames: Frames, directions: Directions = ALL_FREE):  # type: ignore[no-untyped-def]
    accumulator = MomentAccumulator(frames.com.shape[1], MODES, 48, n_dimensions=directions.n)
    accumulator.add(frames.along(directions))
    return diffusion_by_direction(frames, directions, accumulator.moments(), DT, "default", linear_spectrum(BEADS))


def test_D_by_direction_and_its_warning() -> None:
    def layered(rng: np.random.Generator, n_frames: int, n_chains: int) -> np.ndarray:
        return free(rng, n_frames, n_chains, 0.5 * D_EXACT)

    system = System(n_chains=60, n_beads=BEADS, n_modes=MODES, dt=DT)
    found = by_direction(ideal_chains(1, (free, free, layered)))
    for axis, exact in (("x", 0.1), ("y", 0.1), ("z", 0.05)):
        assert abs(found.D[axis].value - exact) < 4 * found.D[axis].se
    assert found.equal_p < 1e-4
    assert "the directions differ" in direction_warnings(found, system)[0]
    single = by_direction(ideal_chains(1, TUBE), Directions.named("y"))
    assert list(single.D) == ["y"]
    assert single.equal_p is None
    assert not direction_warnings(single, system)


def test_isotropic_chains_are_seldom_called_anisotropic() -> None:
    p = np.array([by_direction(ideal_chains(seed, EVERYWHERE, 24, 110)).equal_p for seed in range(40)])
    assert np.count_nonzero(p < 0.01) <= 3
    assert 0.3 < p.mean() < 0.7


def test_one_direction_is_the_fit_of_that_direction() -> None:
    frames = ideal_chains(4, EVERYWHERE, 20, 200)
    found = by_direction(frames)
    value, _ = fitted(frames, Directions.named("y"))
    assert found.D["y"].value == pytest.approx(value * D_EXACT, rel=0.1)  # design effects differ, and so weights


# ---------------------------------------------------------------- learning and generating


@pytest.mark.parametrize("d", [1, 2, 3])
def test_networks_turn_with_their_vectors(d: int) -> None:
    architecture, rng = equivariant.Architecture.within(16), torch.Generator().manual_seed(1)
    weights = equivariant.initial_weights(architecture, 2, rng)
    weights["w3"] = torch.randn(weights["w3"].shape, generator=rng)
    tensors = weights | equivariant.neutral_scales(architecture, 2)
    basis = torch.randn(2, architecture.n_basis, d, 50, generator=rng)
    activity = torch.rand(2, len(architecture.windows), 50, generator=rng) + 0.1
    turn = torch.as_tensor(random_turns(1, d, np.random.default_rng(2))[0], dtype=torch.float32)
    turn = -turn if d == 1 else turn
    r, v = equivariant.evaluate(tensors, basis, activity)
    turned_r, turned_v = equivariant.evaluate(tensors, torch.einsum("xy,nbys->nbxs", turn, basis), activity)
    torch.testing.assert_close(turned_r, torch.einsum("xy,nys->nxs", turn, r), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(turned_v, v, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["x", "xz"])
def test_networks_learn_and_generate_in_fewer_directions(name: str) -> None:
    """The trainer's whole way with networks on all modes: generated variances are the recorded ones."""
    directions = Directions.named(name)
    frames = ideal_chains(11, EVERYWHERE, 30, 150).first_modes(1).along(directions)
    how = TrainOptions(24, 100, 50, max_updates=25, keep_at=-1e9)
    trainer = ModeTrainer(how)
    trainer.partial_fit(frames)
    dynamics = trainer.finish(frames)
    assert dynamics.reports[0].model.endswith("+network")
    assert all(np.isfinite(report.val_nll) for report in dynamics.reports)
    model = MlGleModel(dynamics, 0.4, 0.0, DT, "tau", "sigma", frames.modes[-24:].copy(), directions)
    blocks = list(model.start(frames, 1, n_trajectories=100).advance(400))
    modes = np.concatenate([block.modes for block in blocks])
    assert modes.shape[1:] == (100, 1, len(name))
    recorded = np.mean(np.square(frames.modes, dtype=np.float64), axis=(0, 1, 3))
    np.testing.assert_allclose(np.mean(np.square(modes, dtype=np.float64), axis=(0, 1, 3)), recorded, rtol=0.2)
    with pytest.raises(UserError, match="starting history"):
        model.start(ideal_chains(11, EVERYWHERE, 30, 40), 1, n_trajectories=3)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_turns_are_uniform_and_keep_lengths(d: int) -> None:
    turns = random_turns(4000, d, np.random.default_rng(1))
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(d), turns.shape), atol=1e-12)
    assert np.abs(turns.mean(axis=0)).max() < 4 / np.sqrt(4000)


def result_of(folder: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((folder / "result.json").read_text())


def test_a_film_from_replay_to_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = write(tmp_path / "film.h5", ideal_chains(7, FILM, 60, 100))
    run = tmp_path / "run"
    longer = ["--memory", "64", "--generate-steps", "800", "--ensemble", "150"]
    assert replay([str(stream), "--out", str(run), *QUICK, *longer]) == 0
    said = capsys.readouterr().err
    assert "free directions: x, y; z is closed: its motion is bounded" in said
    assert "D is that of x, y alone." in said.splitlines()  # as on the first screen of the report
    result = result_of(run)
    D, generated = result["D"], result["D_generated"]
    assert result["directions"]["free"] == "xy"
    assert set(result["directions"]["closed"]) == {"z"}
    assert abs(D["value"] - D_EXACT) < 3 * D["se"]
    assert abs(generated["value"] - D_EXACT) < 3 * generated["se"]
    assert {axis for axis in "xyz" if axis in result["D_by_direction"]} == {"x", "y"}
    assert result["generated_check"]["passed"]
    for mode in result["modes"]:  # variance over the two free components
        exact = float(rouse_mode_variance(mode["mode"], BEADS))
        assert abs(mode["md_variance"] - exact) < 5 * mode["md_variance_se"]
    page = re.sub(r"data:image/[^\"]*", "", (run / "report.html").read_text())  # pictures' letters say nothing
    assert "D is that of x, y alone" in page
    assert "4Dt" in page
    assert "6Dt" not in page
    assert "D by direction" in page
    with FramesReader(run / "generated.h5") as reader:
        assert reader.system.directions.free == "xy"
        block = reader.read(0, 100)
        assert not block.com[..., 2].any()
        assert not block.modes[..., 2].any()
        assert block.com[..., 1].any()
    model = MlGleModel.load(run / "model.safetensors")
    assert model.directions.free == "xy"
    assert model.history.shape[3] == 2
    check_commands_on(run, tmp_path, capsys)


def check_commands_on(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Generate, compare and reconstruct of a film's run."""
    own, again = run / "generated.h5", tmp_path / "again.h5"
    options = ["--steps", "800", "--ensemble", "150", "--threads", "1"]
    assert generate([str(run), "--out", str(again), *options]) == 0
    with FramesReader(own) as first, FramesReader(again) as second:
        assert first.read(0, 800).same_bits(second.read(0, 800))
    assert compare([str(run), "--out", str(tmp_path / "compared")]) == 0
    compared = json.loads((tmp_path / "compared" / "comparison.json").read_text())
    assert "free directions: x, y" in compared["notes"][-1]
    fit = compared["D"]["same frames: MSD/2t at 64"]
    assert abs(fit["value"] - D_EXACT) < 4 * fit["se"]
    streams = compare_streams(own, run)
    assert streams.judgement is not None
    assert not streams.judgement.modes_off
    assert "free directions: x, y" in " ".join(streams.notes)
    capsys.readouterr()
    assert compare([str(run), "--directions", "z", "--out", str(tmp_path / "other")]) == 2
    assert compare([str(own), str(run), "--directions", "xyz", "--out", str(tmp_path / "other")]) == 2
    assert reconstruct([str(run)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "is that of xy" in lines[0]
    assert "generated along xy alone" in lines[1]
    assert "cannot be made" in lines[2]


def test_directions_can_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = write(
        tmp_path / "film.h5", ideal_chains(8, TUBE, 60, 60), Directions.closed_by({"x": "a wall", "z": "a wall"})
    )
    for name, given in (("found", []), ("given", ["--directions", "y"])):
        assert replay([str(film), "--out", str(tmp_path / name), *QUICK, *given]) == 0
    found, given_too = (result_of(tmp_path / name) for name in ("found", "given"))
    assert found["directions"]["free"] == "y"
    assert found["directions"]["closed"]["x"] == "a wall"
    assert given_too["directions"]["given"]
    assert given_too["D"] == found["D"]
    assert abs(found["D"]["value"] - D_EXACT) < 4 * found["D"]["se"]
    assert replay([str(film), "--out", str(tmp_path / "all"), "--directions", "xyz", *QUICK]) == 0
    wrong = result_of(tmp_path / "all")["D"]  # negative control: all three, because somebody said so
    assert wrong["value"] + 5 * wrong["se"] < D_EXACT
    capsys.readouterr()
    assert replay([str(film), "--out", str(tmp_path / "bad"), "--directions", "xw", *OPTIONS]) == 2
    assert replay([str(film), "--out", str(tmp_path / "bad"), "--preset", "paper", *OPTIONS]) == 2
    errors = capsys.readouterr().err
    assert "--directions xw" in errors
    assert "networks are of three dimensions" in errors


def test_chains_confined_everywhere_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walls = Directions.closed_by(dict.fromkeys("xyz", "a sphere"))
    ball = write(tmp_path / "ball.h5", ideal_chains(9, (slit(1.5), slit(1.5), slit(1.5)), 10, 600), walls)
    assert replay([str(ball), "--out", str(tmp_path / "ball"), *OPTIONS]) == 2
    assert "confined in every direction" in capsys.readouterr().err


def test_the_published_preset_gives_D_and_no_model_where_motion_closes_a_direction(tmp_path: Path) -> None:
    stream = write(tmp_path / "film.h5", ideal_chains(10, FILM, 40, 220))
    replay([str(stream), "--out", str(tmp_path / "run"), "--preset", "paper", *OPTIONS])
    result = result_of(tmp_path / "run")
    assert result["directions"]["free"] == "xy"
    assert result["status"] == "partial"
    assert any("three dimensions" in line for line in result["warnings"])
    assert abs(result["D"]["value"] - D_EXACT) < 4 * result["D"]["se"]


def test_streams_of_all_directions_are_described_as_before(tmp_path: Path) -> None:
    import h5py

    with h5py.File(write(tmp_path / "a.h5", ideal_chains(1, EVERYWHERE, 3, 5))) as file:
        assert "directions" not in file["mlgle"].attrs
        assert b"directions" not in file["mlgle"].attrs["layout"]
    with FramesReader(write(tmp_path / "b.h5", ideal_chains(1, FILM, 3, 5), Directions.named("xy"))) as reader:
        assert reader.system.directions == Directions.named("xy")
        assert reader.read(0, 5).channels[CHAINS]["com"].shape == (5, 3, 3)
