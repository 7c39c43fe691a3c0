"""Records read back from JSON: every type that a field may have, and nothing in the place of another."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Ending
from mlgle_lammps.store.journal import read_ending, write_ending
from mlgle_lammps.store.json_object import record_from

FILE = Path("some.json")


@dataclass(frozen=True)
class Part:
    name: str
    size: int


@dataclass(frozen=True)
class Whole:
    count: int
    share: float
    text: str
    maybe: int | None
    held: bool
    lines: tuple[str, ...]
    parts: tuple[Part, ...]
    late: float = 2.5


GOOD = {
    "count": 3, "share": 1, "text": "x", "maybe": None, "held": True, "lines": ["a", "b"],
    "parts": [{"name": "p", "size": 4}], "schema": 1,
}  # fmt: skip


def test_every_kind_of_field_comes_back():
    expected = Whole(3, 1.0, "x", None, True, ("a", "b"), (Part("p", 4),))
    found = record_from(Whole, GOOD, FILE)
    assert found == expected
    assert type(found.share) is float
    assert record_from(Whole, {**GOOD, "maybe": 7, "late": 0}, FILE) == Whole(
        3, 1.0, "x", 7, True, ("a", "b"), (Part("p", 4),), 0.0
    )
    again = json.loads(json.dumps(asdict(expected)))
    assert record_from(Whole, again, FILE) == expected


@pytest.mark.parametrize(("changes", "words"), [
    ({"count": 1.0}, "count is 1.0 where a whole number belongs"),
    ({"count": True}, "count is True where a whole number"),
    ({"count": -1}, "count is -1"), ({"count": None}, "count is None"),
    ({"maybe": "many"}, "maybe is 'many' where a whole number belongs"), ({"maybe": 1.5}, "maybe is 1.5"),
    ({"share": float("nan")}, "share is nan where a number belongs"), ({"share": float("inf")}, "share is inf"),
    ({"share": "1"}, "share is '1'"), ({"text": 4}, "text is 4 where text belongs"), ({"held": 1}, "held is 1 where"),
    ({"lines": "ab"}, "lines is 'ab' where a list belongs"), ({"lines": ["a", 2]}, "lines is 2 where text"),
    ({"parts": [4]}, "parts holds 4 where an object belongs"), ({"parts": [{"name": "p"}]}, "size is None where"),
    ({"late": None}, "late is None where a number"),
])  # fmt: skip
def test_what_cannot_be_a_field_is_named(changes, words):
    with pytest.raises(UserError, match=f"some.json: {words}"):
        record_from(Whole, {**GOOD, **changes}, FILE)


def test_an_ending_comes_back_and_a_damaged_one_does_not(tmp_path):
    ending = Ending("interrupted", "why", 7, 1.5, 0.25, 3, ("w",), ("n",))
    write_ending(tmp_path, ending)
    assert read_ending(tmp_path) == ending
    path = next(tmp_path.iterdir())
    path.write_text(path.read_text().replace('"step": 7', '"step": "7"'))
    with pytest.raises(UserError, match="step is '7' where a whole number belongs"):
        read_ending(tmp_path)
