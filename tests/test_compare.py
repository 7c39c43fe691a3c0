"""The command `compare`: against full MD, over temperatures, and what it refuses."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from mlgle_lammps.chains.rouse import RouseSource, rouse_diffusion
from mlgle_lammps.chains.spectrum import linear_spectrum
from mlgle_lammps.commands import compare
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.evaluate.run_results import open_run, set_temperature
from mlgle_lammps.records import joined
from mlgle_lammps.report.page import traffic_light
from mlgle_lammps.report.reconstruction import reconstruction_of
from mlgle_lammps.statistics.moments import MomentAccumulator
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.writer import FramesWriter, GeneratedWriter

FRAMES, HANDOFF, CHAINS, BEADS, MODES, MEMORY = 2600, 200, 16, 12, 5, 24


def make_run(
    path, seed=1, n_frames=FRAMES, handoff=HANDOFF, D=None, temperature=None, generated=True, md_s=26.0, variables=None,
    keep_modes=True,
):  # fmt: skip
    """Leave what a run leaves, without its network."""
    source = RouseSource(CHAINS, BEADS, MODES, n_frames, 1.0, seed)
    frames = list(source)
    whole = joined(frames)
    folder = RunFolder.create(path)
    with FramesWriter(folder.modes, source.system) as writer:
        writer.append(whole[:handoff])
        writer.append(whole[handoff:] if keep_modes else whole[handoff:].first_modes(0))
    if generated:
        other = list(RouseSource(CHAINS, BEADS, MODES, 400, 1.0, seed + 100))
        with GeneratedWriter(folder.generated, source.system, CHAINS, 400) as writer:
            writer.append(joined(other))
    accumulator = MomentAccumulator(CHAINS, MODES, MEMORY)
    for frame in frames[:handoff]:
        accumulator.add(frame)
    fit = fit_gle(accumulator.moments(), 1.0, spectrum=linear_spectrum(BEADS))
    value, se = D or (fit.D.value, fit.D.se)
    entry = {"value": value, "se": se, "ci95": [value - 2 * se, value + 2 * se], "method": "GLE fit"}
    folder.write_result({
        "schema": 1, "status": "complete", "D": entry, "D_generated": entry, "D_full_md": None, "k": MODES, "m": MEMORY,
        "dt": 1.0, "time_unit": "tau", "length_unit": "sigma", "source": "in.rouse", "n_chains": CHAINS,
        "n_beads": BEADS, "n_frames": handoff, "handoff": {"frames": handoff}, "fit": {"p": 0.4}, "preset": "default",
        "timing": {"md_s": md_s, "train_s": 1.0, "generate_s": 0.5}, "warnings": [], "notes": ["a note"], "seed": 1,
        "versions": {}, **({} if variables is None else {"variables": variables}),
    })  # fmt: skip
    if temperature is not None:
        folder.log.write_text(log_of(temperature, seed))
    return folder.path


def log_of(temperature, seed):
    """A LAMMPS log of an equilibration at another temperature and of a production run."""
    rng = np.random.default_rng(seed)
    runs = [np.full(5, 9.9), temperature * (1 + 0.02 * rng.standard_normal(40))]
    text = "LAMMPS (22 Jul 2025)\n"
    for values in runs:
        rows = "".join(f"{1000 * i:10d} {T:12.6g} {-5.0:12.6g}\n" for i, T in enumerate(values))
        text += f"   Step          Temp          PotEng\n{rows}Loop time of 1.0 on 1 procs for 100 steps\n"
    return text


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.text, self.loaded, self.tags = "", [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "srcset") or (name == "href" and tag != "a")]

    def handle_data(self, data):
        self.text += data + " "


RECONSTRUCTED = {
    "sizes": {
        "end_to_end_sq": {
            "reconstructed": {"value": 19.25, "se": 0.513}, "md": {"value": 18.5, "se": 0.25}, "ratio": 1.0406,
            "ratio_se": 0.031,
        },
        "bond_sq": {"reconstructed": {"value": 1.0, "se": None}, "md": {}, "ratio": "<b>", "ratio_se": True},
        "gyration_sq": [1],
    },
    "modes_drawn": 6, "modes_generated": 5, "chains": 16, "frames": 400, "length_unit": "<i>", "warnings": ["<u>", 3],
    "fast_mode_source": "first frame <s>",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = make_run(tmp_path_factory.mktemp("runs") / "own")
    (path / "reconstruct.json").write_text(json.dumps(RECONSTRUCTED))
    return path


@pytest.fixture
def without_pictures(monkeypatch):
    """Leave out the drawing, which takes longer than all else and is tested on its own."""
    monkeypatch.setattr("mlgle_lammps.report.comparison._PICTURES", ())


@pytest.fixture(scope="module")
def against_md(run):
    """The comparison of ``run`` with its own MD, the one whose pictures are rendered."""
    out = run.parent / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlgle_lammps.report.plots.DPI", 40)
        assert compare.main([str(run), "--out", str(out)]) == 0
    return out


def test_the_run_agrees_with_its_own_full_md(against_md):
    numbers = json.loads((against_md / "comparison.json").read_text())
    D = numbers["D"]
    full = D["full MD, slope"]
    assert numbers["kind"] == "against MD"
    assert "2400 frames of own after its hand-off" in numbers["reference"]
    assert abs(full["value"] - rouse_diffusion(BEADS)) < 4 * full["se"]
    assert full["se"] < 0.15 * full["value"]
    z = (D["ML-GLE fit"]["value"] - full["value"]) / np.hypot(D["ML-GLE fit"]["se"], full["se"])
    assert D["ML-GLE fit"]["z"] == pytest.approx(z)
    assert abs(z) < 4
    assert full["z"] is None
    assert {"full MD, eq. 35", "same frames: published fit", "same frames: Rouse Kernel"} <= set(D)


def test_beads_and_chains_of_all_streams_are_side_by_side(against_md):
    numbers = json.loads((against_md / "comparison.json").read_text())["chain_curves"]
    assert set(numbers) == {"MD", "ML-GLE", "full MD"}
    for name, tolerance in (("g1", 4), ("g2", 4), ("g3", 4), ("ends", 4), ("gyration", 4)):
        own, other = (numbers[label][name] for label in ("ML-GLE", "full MD"))
        _, here, there = np.intersect1d(numbers["ML-GLE"]["t"], numbers["full MD"]["t"], return_indices=True)
        assert len(here) > 15
        value, se = (np.array([np.array(curve[key])[at[1:]] for curve, at in ((own, here), (other, there))])
                     for key in ("value", "se"))  # fmt: skip
        assert np.max(np.abs(value[0] - value[1]) / np.hypot(*se)) < tolerance, name


def test_the_cost_counts_frames_and_seconds(against_md):
    numbers = json.loads((against_md / "comparison.json").read_text())
    cost, D = numbers["cost"], numbers["D"]
    needed = (FRAMES - HANDOFF) * (D["full MD, slope"]["se"] / D["ML-GLE fit"]["se"]) ** 2
    assert cost["frames"] == HANDOFF
    assert cost["plain_frames"] == pytest.approx(needed)
    assert cost["speed_up"] == pytest.approx(needed / HANDOFF)
    assert cost["md_s"] == pytest.approx(26.0 / FRAMES * HANDOFF)
    assert cost["speed_up_with_learning"] == pytest.approx(26.0 / FRAMES * needed / (cost["md_s"] + 1.5))


def test_the_page_holds_every_figure_and_loads_nothing(against_md):
    page = Page(against_md / "report.html")
    names = (
        "estimates", "msd_ratio", "exponent", "nacf", "relaxation_fits", "relaxation_times", "modes_pdf",
        "increments_pdf", "displacements_pdf", "normal_probability", "cross_correlation", "chain_sizes", "D_of_k",
        "error_of_frames", "bead_motion", "chain_memory",
    )  # fmt: skip
    found = {path.name for path in (against_md / "figures").iterdir()}
    assert found == {f"{name}.{kind}" for name in names for kind in ("png", "pdf")}
    assert page.tags.count("img") == len(names)
    assert all(address.startswith("data:image/png;base64,") for address in page.loaded)
    assert "script" not in page.tags
    for words in ("own against full MD", "Green: no diagnosis objects", "a note", "times the MD frames", "How to cite"):
        assert words in page.text, words
    assert "None" not in page.text
    assert "nan" not in page.text.lower()


def test_classical_fits_and_modes_are_those_of_rouse_chains(against_md):
    numbers = json.loads((against_md / "comparison.json").read_text())
    modes = numbers["modes"]["MD"]
    for p in ("1", "2", "5"):
        i = int(p) - 1
        law = numbers["relaxation"][p]["ornstein_uhlenbeck"]["relaxation_time"]
        assert law == pytest.approx(modes["relaxation_time"][i], rel=0.25)
    value, se = (np.array(numbers["cross_correlation"][key]) for key in ("value", "se"))
    off = ~np.eye(MODES, dtype=bool)
    assert np.all(np.abs(value[off]) < 4.5 * se[off])
    np.testing.assert_allclose(np.diagonal(value), 1.0, rtol=1e-6)
    of_modes = numbers["D_of_modes"][str(HANDOFF)]
    assert len(of_modes) == MODES
    assert of_modes[-1]["value"] == pytest.approx(numbers["D"]["ML-GLE fit"]["value"], rel=1e-9)


def test_a_separate_full_run_leaves_out_the_frames_that_were_fitted(run, tmp_path, without_pictures):
    assert compare.main([str(run), str(run / "modes.h5"), "--out", str(tmp_path / "same")]) == 0
    numbers = json.loads((tmp_path / "same" / "comparison.json").read_text())
    assert "2400 frames after the hand-off" in numbers["reference"]
    assert "left out of the reference" in numbers["notes"][0]
    other = make_run(tmp_path / "other", seed=7, n_frames=1500, generated=False, keep_modes=False)
    assert compare.main([str(run), str(other), "--out", str(tmp_path / "different")]) == 0
    numbers = json.loads((tmp_path / "different" / "comparison.json").read_text())
    assert numbers["reference"].endswith("1500 frames")
    assert numbers["notes"] == []


def test_a_run_without_full_md_or_generated_chains_is_compared_with_its_own_frames(tmp_path, unrendered):
    run = make_run(tmp_path / "short", n_frames=HANDOFF, generated=False, md_s=0.0)
    assert compare.main([str(run), "--out", str(tmp_path / "out")]) == 0
    numbers = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert numbers["reference"] is None
    assert numbers["cost"] is None
    assert all(entry["z"] is None for entry in numbers["D"].values())
    assert "no full MD" in Page(tmp_path / "out" / "report.html").text


TRUTH = {300.0: 2.0e-2, 340.0: 3.2e-2, 400.0: 5.5e-2}


@pytest.fixture(scope="module")
def melts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("melts")
    return [
        make_run(folder / f"T{T:.0f}", seed=i, n_frames=300, D=(D, 0.05 * D), temperature=T, generated=False)
        for i, (T, D) in enumerate(TRUTH.items(), start=1)
    ]


def test_runs_at_different_temperatures_give_the_table_and_the_arrhenius_fit(melts, tmp_path, capsys):
    shuffled = [str(melts[i]) for i in (2, 0, 1)]
    out = tmp_path / "table"
    assert compare.main([*shuffled, "--out", str(out)]) == 0
    numbers = json.loads((out / "comparison.json").read_text())
    assert numbers["kind"] == "temperatures"
    assert numbers["temperatures_measured"]
    assert [entry["D"]["value"] for entry in numbers["runs"]] == list(TRUTH.values())
    assert [(out / entry["run_from_here"]).resolve() for entry in numbers["runs"]] == [m.resolve() for m in melts]
    np.testing.assert_allclose([entry["T"] for entry in numbers["runs"]], list(TRUTH), rtol=0.02)
    fit = numbers["arrhenius"]
    x, y = 1 / np.array(list(TRUTH)), np.log(list(TRUTH.values()))
    slope = np.polyfit(x, y, 1)[0]
    assert fit["activation"] == pytest.approx(-slope, rel=0.05)
    assert np.sqrt(fit["covariance"][1][1]) == pytest.approx(0.05 / np.sqrt(((x - x.mean()) ** 2).sum()), rel=0.1)
    assert numbers["vogel_fulcher_tammann"] is None
    assert numbers["activation_energy"]["unit"] == "ε"
    assert any("fit needs 5" in note for note in numbers["notes"])
    page = Page(out / "report.html")
    pool = {"shift_factors.png", "master_curves.png", "master_moduli.png"}
    assert page.tags.count("img") == 5
    assert "Activation energy" in page.text
    assert {path.name for path in (out / "figures").glob("*.png")} == {"D_of_T.png", "arrhenius.png"} | pool
    assert any("does not follow the modes' a_T" in line for line in page.text.splitlines() or [page.text])


def test_given_temperatures_are_taken_and_enough_of_them_show_vogel(tmp_path, unrendered):
    T = np.array([300.0, 320.0, 340.0, 370.0, 400.0, 450.0])
    D = 1e-1 * np.exp(-600 / (T - 200))
    paths = [
        make_run(tmp_path / f"r{i}", seed=i, n_frames=260, D=(d, 0.01 * d), generated=False) for i, d in enumerate(D)
    ]
    given = [f"{t:g}" for t in T]
    assert compare.main([*map(str, paths), "--temperatures", *given, "--out", str(tmp_path / "out")]) == 0
    numbers = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert numbers["vogel_fulcher_tammann"]["T0"] == pytest.approx(200, rel=1e-3)
    assert [entry["T"] for entry in numbers["runs"]] == list(T)
    assert not numbers["temperatures_measured"]


def melts_set_to(folder, settings, logged):
    return [
        make_run(folder / f"s{i}", i, 260, D=(0.01 * (i + 1), 1e-3), temperature=T, generated=False, variables=given)
        for i, (given, T) in enumerate(zip(settings, logged, strict=True))
    ]


def table_of(runs, out):
    assert compare.main([*map(str, runs), "--out", str(out)]) == 0
    return json.loads((out / "comparison.json").read_text()), Page(out / "report.html").text


def test_temperatures_that_were_set_go_before_those_of_the_logs(tmp_path, unrendered):
    settings = [{"T": ["340"]}, {"TEMP": ["300.0"], "length": ["7"]}, {"Temperature": ["4e2"], "T": ["400"]}]
    numbers, page = table_of(melts_set_to(tmp_path, settings, [341.0, 299.0, 250.0]), tmp_path / "out")
    assert [entry["T"] for entry in numbers["runs"]] == [300.0, 340.0, 400.0]
    assert (numbers["temperatures_from"], numbers["temperatures_measured"]) == ("variable", False)
    assert "T as set by the decks' variable" in page
    told = [note for note in numbers["notes"] if "-var" in note]
    assert len(told) == 1
    assert told[0].startswith("s2: its -var says T = 400")


def test_logs_tell_the_temperatures_where_one_run_has_none_set(tmp_path, unrendered):
    settings = [{"T": ["1"]}, {"T": ["2"]}, None]
    numbers, page = table_of(melts_set_to(tmp_path, settings, [300.0, 340.0, 400.0]), tmp_path / "out")
    np.testing.assert_allclose([entry["T"] for entry in numbers["runs"]], [300, 340, 400], rtol=0.02)
    assert numbers["temperatures_from"] == "log"
    assert "mean kinetic temperature that LAMMPS printed" in page


@pytest.mark.parametrize(
    ("variables", "temperature"),
    [
        ({"T": ["400"]}, 400.0), ({"t": ["4e2"], "x": ["1"]}, 400.0),
        ({"TEMPERATURE": ["400"], "temp": ["400"]}, 400.0),
        (None, None), ({}, None), ([], None), ({"T": []}, None), ({"T": ["400", "410"]}, None), ({"T": ["hot"]}, None),
        ({"T": ["nan"]}, None), ({"T": ["-1"]}, None), ({"T": 400.0}, None), ({"T": None}, None),
        ({"T": ["400"], "temp": ["410"]}, None), ({"T_end": ["400"]}, None),
    ],
)  # fmt: skip
def test_only_a_single_number_is_a_temperature_that_was_set(run, variables, temperature):
    assert set_temperature(replace(open_run(run), result={"variables": variables})) == temperature


def test_runs_set_to_one_temperature_are_not_at_several(tmp_path, capsys):
    runs = melts_set_to(tmp_path, [{"T": ["300"]}] * 3, [300.0, 340.0, 400.0])
    assert "the same temperature" in complaint(capsys, *runs, "--out", tmp_path / "out")


def test_sizes_of_reconstructed_chains_are_on_the_page_and_nothing_of_theirs_is_markup(against_md):
    page = Page(against_md / "report.html")
    assert "⟨R²⟩ 19.25 ± 0.51 18.50 ± 0.25 1.041 ± 0.031 ⟨b²⟩ 1.000 – –" in page.text
    assert "the 6 faster ones are drawn anew as normal numbers in each frame; their variances: first frame" in page.text
    assert not {"b", "i", "u", "s"} & set(page.tags)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"sizes": 3}', '{"sizes": {"bond_sq": 1}}', '{"sizes": {"other": {}}}', "[" * 100000]
)
def test_a_reconstruction_that_says_nothing_is_left_out(tmp_path, text):
    folder = RunFolder.create(tmp_path / "run")
    folder.reconstruction.write_text(text)
    assert reconstruction_of(folder.read_reconstruction()) is None


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1" + "0" * 400, "null", "{}", '"1"'])
def test_what_is_no_number_in_a_reconstruction_is_a_dash(number):
    row = json.loads(f'{{"ratio": {number}, "ratio_se": {number}, "md": {number}}}')
    found = reconstruction_of({"sizes": {"bond_sq": row}, "modes_drawn": row["ratio"], "warnings": row["ratio"]})
    assert found is not None
    assert (found.rows[0].ratio, found.rows[0].md, found.warnings) == ("–", "–", ())


def complaint(capsys, *arguments):
    assert compare.main([str(a) for a in arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_what_cannot_be_compared_is_refused_in_one_line(run, melts, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    assert "no such result folder" in complaint(capsys, tmp_path / "absent", *out)
    assert "2 values for 3 runs" in complaint(capsys, *melts, "--temperatures", 300, 340, *out)
    assert "must be above 0" in complaint(capsys, *melts, "--temperatures", 300, 340, -1, *out)
    assert "tell no temperature" in complaint(capsys, run, melts[0], melts[1], *out)
    same = [make_run(tmp_path / f"s{i}", seed=i, n_frames=260, temperature=300.0, generated=False) for i in range(3)]
    assert "the same temperature" in complaint(capsys, *same, *out)
    assert "each must be a run's folder" in complaint(capsys, run, run / "modes.h5", melts[0] / "modes.h5", *out)
    assert "is one of the runs" in complaint(capsys, run, "--out", run, "--overwrite")
    assert not (tmp_path / "out").exists()


def test_another_melt_is_no_reference(run, tmp_path, capsys):
    other = RouseSource(CHAINS, BEADS + 3, MODES, 50, 1.0, 1)
    with FramesWriter(tmp_path / "modes.h5", other.system) as writer:
        writer.append(joined(list(other)))
    line = [line for line in [complaint_of_run(run, tmp_path, capsys)] if "not the same melt" in line]
    assert line
    assert "n_beads 15" in line[0]
    assert not (tmp_path / "out").exists()


def complaint_of_run(run, folder, capsys):
    assert compare.main([str(run), str(folder / "modes.h5"), "--out", str(folder / "out")]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_an_existing_folder_is_overwritten_only_on_request(melts, tmp_path, capsys, unrendered):
    arguments = [*map(str, melts), "--out", str(tmp_path / "out")]
    assert compare.main(arguments) == 0
    capsys.readouterr()
    assert compare.main(arguments) == 2
    assert "exists" in capsys.readouterr().err
    assert compare.main([*arguments, "--overwrite"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".mlgle", "comparison.json", "figures", "report.html",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "colour"),
    [
        ({}, "green"),
        ({"notes": ["for information"]}, "green"),
        ({"warnings": ["something"]}, "amber"),
        ({"status": "partial"}, "red"),
        ({"fit": {"p": 0.001}}, "red"),
        ({"generated_check": {"passed": False}}, "red"),
        ({"generated_check": {"passed": True}}, "green"),
        ({"D": None}, "red"),
    ],
)
def test_the_traffic_light(changes, colour):
    good = {"status": "complete", "D": {"value": 1.0}, "fit": {"p": 0.3}, "warnings": [], "notes": []}
    assert traffic_light(good | changes).colour == colour
