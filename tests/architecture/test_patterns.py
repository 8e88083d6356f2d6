"""Patterns mean the same on every Python that we run on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{\{?[0-9,]+\}?\})\+|\(\?>")


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
