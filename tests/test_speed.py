"""The speed benchmarks: their arithmetic with callables whose times are known, and the entry at small sizes."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import speed  # noqa: E402
from speed_growth import fitted  # noqa: E402
from speed_memory import FLAT, flat  # noqa: E402
from speed_records import Measurement, Settings, hardware, in_pairs, judged, ratio  # noqa: E402


def test_pairs_alternate_and_swap_their_order_after_a_warm_up_each():
    calls = []
    first, second = in_pairs(lambda: calls.append("a"), lambda: calls.append("b"), 3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert len(first) == len(second) == 3


def test_a_callable_that_sleeps_longer_is_slower_by_that():
    slow, fast = in_pairs(lambda: time.sleep(0.03), lambda: time.sleep(0.01), 5)
    assert all(0.03 <= t < 0.5 for t in slow)
    found = ratio("sleep", "long over short", slow, fast, at_least=1.5, at_most=6.0)
    assert found.met
    assert found.target == "≥ 1.5, ≤ 6"
    assert not ratio("sleep", "short over long", fast, slow, at_least=1.0).met


def test_pairs_cancel_what_slows_both():
    """Times that wander by a factor of ten, in pairs of exactly 2: the ratio of medians would be off."""
    weather = np.array([1.0, 10.0, 3.0, 1.5, 7.0])
    found = ratio("weather", "ratio", list(2 * weather), list(weather))
    assert found.values == (2.0,) * 5
    assert found.spread == 0.0
    assert found.met is None
    assert found.target == ""


@pytest.mark.parametrize(("slow", "fast"), [([], []), ([1.0, 2.0], [1.0])])
def test_times_that_are_no_pairs_are_refused(slow, fast):
    with pytest.raises(ValueError, match="no pairs"):
        ratio("case", "ratio", slow, fast)


def test_median_spread_and_target():
    values = (5.0, 1.0, 2.0, 4.0, 3.0)
    measurement = judged("case", "quantity", "s", values, at_most=3.0)
    assert (measurement.median, measurement.spread, measurement.met) == (3.0, 1.0, True)
    assert judged("case", "quantity", "s", values, at_most=2.9).met is False
    assert np.isnan(Measurement("case", "quantity", "s", ()).median)


def test_exponents_of_known_costs():
    sizes = (10, 100, 1000)
    for power in (0.0, 1.0, 1.5):
        found = fitted("case", "exponent", sizes, [3.0 * n**power for n in sizes])
        assert found.median == pytest.approx(power, abs=1e-12)


def test_memory_that_grows_is_not_flat():
    frames = np.arange(0, 100_000, 250)
    noise = 1e5 * np.random.default_rng(1).standard_normal(len(frames))
    for slope, met in ((0.0, True), (2 * FLAT / 90_000, False)):
        taken = 4e8 + slope * frames + noise
        assert flat("what", np.stack([frames, taken], axis=1).tolist())[0].met is met


def test_hardware_names_what_figures_depend_on():
    machine = hardware()
    assert machine["cores"] >= 1
    assert machine["memory_gib"] > 0
    assert machine["processor"]
    assert all(machine[name] for name in ("python", "torch", "numpy"))
    json.dumps(machine)


def test_quick_run_leaves_a_table_and_json_and_goes_on_after_a_failure(tmp_path, capsys, monkeypatch):
    def fail(settings: Settings):
        raise RuntimeError("no luck\nat all")

    module = type(sys)("speed_generation")
    vars(module)["run"] = fail
    monkeypatch.setitem(sys.modules, "speed_generation", module)
    arguments = ["--quick", "--out", str(tmp_path)]
    assert speed.main([*arguments, "--cases", "generation,estimators"]) == 1
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["hardware"]["processor"] == hardware()["processor"]
    failed, estimators = content["cases"]
    assert failed["failure"] == "RuntimeError: no luck at all"
    assert (estimators["case"], estimators["failure"]) == ("estimators", "")
    differences = [m for m in estimators["measurements"] if "difference" in m["quantity"]]
    assert len(differences) == 2
    assert all(m["met"] and m["median"] < 1e-10 for m in differences)
    text = (tmp_path / "bench.md").read_text()
    assert "**failed**: RuntimeError: no luck at all" in text
    assert content["hardware"]["processor"] in text
    assert "| MSD: tidynamics' time over ours |" in text
    # cases that are not run again stay
    assert speed.main([*arguments, "--cases", "estimators"]) == 0
    assert len(json.loads((tmp_path / "bench.json").read_text())["cases"]) == 2
    capsys.readouterr()


def test_unknown_cases_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        speed.main(["--cases", "sleeping", "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert "no case sleeping; there are coupling" in capsys.readouterr().err
