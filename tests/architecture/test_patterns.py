"""Patterns mean the same on every Python that we run on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{\{?[0-9,]+\}?\})\+|\(\?>")


@pytest.mark.parametrize("pattern", [r"(?:a|b)*+", r"(?:a|b)++", r"(a){2,}+", r"(a){{1,4}}+", r"(?>a|b)"])
def test_a_possessive_group_is_seen(pattern: str) -> None:
    assert POSSESSIVE_GROUP.search(pattern)


@pytest.mark.parametrize("pattern", [r"[ab]++", r"[ab]{{2,}}+", r"(?:a|b)*", r"\)\+1"])
def test_a_possessive_set_or_a_bracket_is_none(pattern: str) -> None:
    """Of a set of characters nothing backtracks."""
    assert not POSSESSIVE_GROUP.search(pattern)


@pytest.mark.parametrize("folder", ["chassis", "client/strongroom", "services", "stack", "streams"])
def test_no_group_is_possessive(folder: str) -> None:
    """Fails if a pattern has one: Python before 3.11.5, Debian's among them, matches less than it should where the
    inside of such a group backtracks (gh-106052), and the guard then lets digits through."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / folder).rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if POSSESSIVE_GROUP.search(line)
    ]
    assert found == []
