"""The examples that docs/guard.md gives are what the guard does, by the shipped policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.guard.local import LocalGuard

GUIDE = Path(__file__).parents[3] / "docs" / "guard.md"


def examples() -> list[tuple[str, str]]:
    section = GUIDE.read_text().partition("## Ten examples\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    return [(text, text if told.startswith("the same") else told) for text, told in rows]


def test_there_are_ten() -> None:
    assert len(examples()) == 10


@pytest.mark.parametrize(("text", "masked"), examples())
def test_an_example_is_what_the_guard_does(text: str, masked: str) -> None:
    assert LocalGuard().redact(text)["text"] == masked


@pytest.mark.parametrize("gap", ["", " ", "-", "."])
def test_a_number_in_chinese_digits_is_masked_in_one_piece_and_in_groups(gap: str) -> None:
    """Fails if the first and the last Chinese digit of a group count as groups of their own where a row of a table is
    told from a number."""
    text = "来电" + gap.join(["一三九", "一二三四", "五六七八"])
    assert LocalGuard().redact(text)["text"] == "来电[REDACTED]"
