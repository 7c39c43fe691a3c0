"""parity.json of electrolytes: short MD is held against the rest of the long run; every unseen part has a table."""

import json
import shutil

import pytest
from test_ions import electrolyte

from mlgle_lammps.evaluate.ion_transport import IonTransport
from mlgle_lammps.pipeline import set_ions
from mlgle_lammps.pipeline.set_file import read_set
from mlgle_lammps.pipeline.set_tasks import generated_folder, run_folder
from mlgle_lammps.records import Estimate
from mlgle_lammps.store.writer import FramesWriter

pytestmark = pytest.mark.light
LENGTHS = {"a": 50, "b": 400, "c": 400, "d": 150}


def middle(system, frames, charges, kT):
    """Stand in for what ions do: D is the mean number of the frames."""
    D = {name: Estimate(float(frames.steps.mean()), 1.0, (0.0, 1e3), "made") for name in charges}
    return IonTransport(system, len(frames) * system.dt, D, None, {}, {})


@pytest.fixture
def parity(tmp_path, monkeypatch):
    monkeypatch.setattr(set_ions, "ion_transport", middle)
    (tmp_path / "in.deck").write_text("")
    lines = ['deck = "in.deck"', 'quantity = "ions"', "[charges]", "Li = 1", "Cl = -1", "[models.perfect]"]
    for name, part in zip(LENGTHS, ("train", "test", "test", "longer"), strict=True):
        lines += ["[[runs]]", f'name = "{name}"', f'part = "{part}"']
    (tmp_path / "set.toml").write_text("\n".join(lines))
    plan, out = read_set(tmp_path / "set.toml"), tmp_path / "out"
    for run in plan.runs:
        system, frames = electrolyte(LENGTHS[run.name], 2)
        made = generated_folder(out, plan.models[0]) / run.part
        made = made if run.part == "longer" else made / run.name  # the only one of its part
        for folder in (run_folder(out, run), made):
            folder.mkdir(parents=True)
        with FramesWriter(run_folder(out, run) / "modes.h5", system) as writer:
            writer.append(frames)
        shutil.copy(run_folder(out, run) / "modes.h5", made / "generated.h5")
    set_ions.write_ions(plan, out)
    return json.loads((out / "parity.json").read_text())


def test_short_md_is_held_against_the_rest(parity):
    for label, n in (("md_training_length", 50), ("md_twice_training_length", 100)):
        assert parity["baselines"][label]["ratio"] == pytest.approx((n - 1) / 2 / ((n + 399) / 2))


def test_every_unseen_part_has_its_table(parity):
    longer = parity["longer"]
    assert set(parity["molecules"]) == {"b", "c"}
    assert set(longer["molecules"]) == {"d"}
    assert longer["models"]["perfect-1"]["ratio"] == pytest.approx(1.0)
    assert "md_training_length" in longer["baselines"]
    assert "md_twice_training_length" not in longer["baselines"]  # 100 of 150 frames leave no rest as long
