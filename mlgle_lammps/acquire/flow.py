"""Jumps and labels of a deck, and the file that production is read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mlgle_lammps.acquire.deck_text import always_quoted, changed, commands, logical_lines, split_words

ENTRY = "mlgle_production"
"""Label where the marker stands."""
ENTER = "mlgle_enter"
"""LAMMPS variable: production's file is read from ``ENTRY`` on, not from its top."""
PADDING = " " * 2**16
"""More than the C library keeps of a file in memory: behind it, a jump back reads the file again (`DeckFiles.cut`)."""


def jumps(text: str) -> list[list[str]]:
    """Return the arguments of all ``jump`` commands in a text, those that an ``if`` may execute included."""
    return [words[1:] for _, line in logical_lines(text) for words in _within(line) if words[0] == "jump" and words[1:]]


def labels(lines: Iterable[str]) -> set[str]:
    """Return the labels that some commands set."""
    return {words[1] for line in lines if len(words := split_words(line)) > 1 and words[0] == "label"}


def has_flow(text: str) -> bool:
    """Return whether a text's commands are not just executed one by one."""
    return bool(jumps(text) or labels(line for _, line in logical_lines(text)))


def jumping_to_itself(text: str, is_itself: Callable[[str], bool]) -> str:
    """Return a text whose jumps to itself by name are jumps to ``SELF``."""
    return "".join(_redirected(command.text, is_itself) or command.raw for command in commands(text))


def production_file(head: str, production: str) -> str:
    """Return the text that production is read from.

    Args:
        head: what stands above the marker, where a jump may lead back to.
        production: from the marker on.
    """
    if not jumps(production):
        return production
    enter = f'if ${{{ENTER}}} then "variable {ENTER} string 0" "jump SELF {ENTRY}"'
    return f"{PADDING}\n{enter}\n{head}label {ENTRY}\n{production}"


def labels_only(text: str) -> str:
    """Return a text in which every jump finds its label and then comes to the end."""
    found = [line for _, line in logical_lines(text) if split_words(line)[:1] == ["label"]]
    return "".join(f"{line}\n" for line in found if "$" not in line)


def _within(line: str) -> Iterator[list[str]]:
    """Yield the words of a command, and of those that it may execute."""
    words = split_words(line)
    if not words:
        return
    yield words
    if words[0] == "if":
        for word in words[1:]:
            if word != line:
                yield from _within(word)


def _redirected(line: str, is_itself: Callable[[str], bool]) -> str:
    """Return a command that jumps to ``SELF`` instead of by name, "" where it does not."""
    words = split_words(line)
    new = {}
    if words[:1] == ["jump"] and len(words) > 1 and words[1] != "SELF" and is_itself(words[1]):
        new[1] = "SELF"
    elif words[:1] == ["if"]:
        found = {i: _redirected(word, is_itself) for i, word in enumerate(words) if i and word != line}
        new = {i: always_quoted(text.rstrip("\n")) for i, text in found.items() if text}
    return changed(line, new) + "\n" if new else ""
