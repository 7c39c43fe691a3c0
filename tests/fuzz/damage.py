"""Mutations that fit any file: of bytes, lines and words."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

WORD = re.compile(r"\S+")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
NUMBERS = (
    "0",
    "-1",
    "1",
    "nan",
    "inf",
    "1e308",
    "-1e308",
    "1e-308",
    "99999999999999999999",
    "0x10",
    "1.5",
    "2147483648",
)


def lines_changed(text: str, change: Callable[[list[str]], object]) -> str:
    """Return the text with its list of lines changed in place."""
    lines = text.split("\n")
    change(lines)
    return "\n".join(lines)


def _delete_line(text: str, rng: random.Random) -> str:
    return lines_changed(text, lambda lines: lines.pop(rng.randrange(len(lines))))


def _repeat_line(text: str, rng: random.Random) -> str:
    def change(lines: list[str]) -> None:
        at = rng.randrange(len(lines))
        lines.insert(at, lines[at])

    return lines_changed(text, change)


def _swap_lines(text: str, rng: random.Random) -> str:
    def change(lines: list[str]) -> None:
        a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[a], lines[b] = lines[b], lines[a]

    return lines_changed(text, change)


def _with_word(text: str, rng: random.Random, new: Callable[[str], str], kind: re.Pattern[str] = WORD) -> str:
    """Return the text with one word replaced."""
    places = [match for match in WORD.finditer(text) if kind.fullmatch(match[0])]
    if not places:
        return text
    place = rng.choice(places)
    return text[: place.start()] + new(place[0]) + text[place.end() :]


def _other_number(text: str, rng: random.Random) -> str:
    return _with_word(text, rng, lambda word: rng.choice(NUMBERS), NUMBER)


def _misspell(text: str, rng: random.Random) -> str:
    def new(word: str) -> str:
        at = rng.randrange(len(word))
        return word[:at] + rng.choice("abcxyz019-_.${}()*\"'#&\\%") + word[at + 1 :]

    return _with_word(text, rng, new)


def _delete_word(text: str, rng: random.Random) -> str:
    return _with_word(text, rng, lambda word: "")


def _repeat_word(text: str, rng: random.Random) -> str:
    return _with_word(text, rng, lambda word: f"{word} {word}")


def _cut(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text))]


def _join_lines(text: str, rng: random.Random) -> str:
    at = rng.choice([match.start() for match in re.finditer("\n", text)])
    return text[:at] + rng.choice((" ", "", " & ", '"""', "\r", "\0")) + text[at + 1 :]


TEXT = (
    _delete_line, _repeat_line, _swap_lines, _other_number, _other_number, _misspell, _misspell, _delete_word,
    _repeat_word, _cut, _join_lines,
)  # fmt: skip


def damaged_text(text: str, seed: int, times: int = 1) -> tuple[str, str]:
    """Return the text after ``times`` random mutations, and their names."""
    rng = random.Random(seed)
    names = []
    for _ in range(times):
        change = rng.choice(TEXT)
        names.append(change.__name__.strip("_").replace("_", " "))
        text = change(text, rng) or "\n"
    return text, ", ".join(names)


def damaged_bytes(data: bytes, seed: int) -> tuple[bytes, str]:
    """Return the bytes with some flipped, cut off, moved, zeroed or repeated, and what was done."""
    rng = random.Random(seed)
    at, n = rng.randrange(len(data)), rng.choice((1, 2, 8, 64, 512))
    kind = rng.choice(("flipped", "flipped", "flipped in the head", "cut", "zeroed", "repeated", "removed", "random"))
    if kind.startswith("flipped"):
        changed = bytearray(data)
        reach = min(len(data), 4096) if "head" in kind else len(data)
        for _ in range(n):
            changed[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        return bytes(changed), f"{n} bits {kind}"
    piece = {"cut": data[at:at], "zeroed": bytes(n), "repeated": data[at : at + n] * 2, "removed": b"",
             "random": rng.randbytes(n)}[kind]  # fmt: skip
    rest = b"" if kind == "cut" else data[at + n :]
    return data[:at] + piece + rest, f"{n} bytes {kind} at {at}"
