"""Rows of numbers and of words that are half numbers: held back for no longer than they must be, and the same bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.guard.policy.loading import load_bundle
from services.guard.policy.output_filter import OutputFilter
from services.guard.redaction.redactor import redact
from services.guard.redaction.rows import PARTS, SURE
from services.guard.redaction.stretches import FRAME
from services.guard.settings import SHIPPED_POLICY

BUNDLE = load_bundle(SHIPPED_POLICY)
CHANCE = random.Random(11643)


def row(form: str, gap: str, count: int = 60) -> str:
    """`#` is a digit."""
    return gap.join("".join(str(CHANCE.randrange(10)) if sign == "#" else sign for sign in form) for _ in range(count))


ROWS = {
    "pairs": (row("##", " ", 150), PARTS[0]),
    "single digits": (row("#", " ", 200), PARTS[0]),
    "years": (row("20##", " "), PARTS[0]),
    "a column": (row("#####", "\n"), PARTS[0]),
    "decimals": (row("##.##", ", "), PARTS[1]),
    "shares": (row("##.#%", "  "), PARTS[1]),
    "half-number words": (row("x##", " ", 120), PARTS[1]),
    "quarters": (row("Q# 20##", " "), PARTS[1]),
    "far apart": (row("#", "   ", 120), PARTS[2]),
    "one word": (row("ab#c", ""), FRAME),
}


def fed(text: str, cuts: tuple[int, ...]) -> str:
    output_filter, start, out = OutputFilter(BUNDLE), 0, ""
    for end in (*cuts, len(text)):
        out += output_filter.feed(text[start:end]).released
        start = end
    return out + output_filter.finish().released


@pytest.mark.parametrize("kind", ROWS)
def test_a_row_is_held_back_for_no_longer_than_what_may_begin_in_it(kind: str) -> None:
    """Fails if `early_part` is not asked: then it is FRAME characters."""
    text, most = ROWS[kind]
    output_filter, given = OutputFilter(BUNDLE), 0
    for fed_so_far, character in enumerate(text, 1):
        given += len(output_filter.feed(character).released)
        assert fed_so_far - given <= most + SURE
    assert given + len(output_filter.finish().released) == len(text)
    assert fed(text, ()) == text


DATA = (
    "13912345678", "139 1234 5678", "4111 1111 1111 1111", "GB29 NWBK 6016 1331 9268 19", "10.20.30.40",
    "110101199003070000", "11010119900307109X", "+44 20 7946 0958", "(010) 6655 4433", "a.b@example.com",
)  # fmt: skip
SAID = ("", "电话 ", "card ", "account ")


@pytest.mark.parametrize("kind", sorted(ROWS.keys() - {"one word"}))
def test_what_stands_in_a_row_is_masked_the_same_at_every_cut(kind: str) -> None:
    """Fails if a row is cut where something that begins before has no end yet, or its link to what it was cut from is
    lost."""
    words = ROWS[kind][0].split(" ")[:40]
    for number, data in enumerate(DATA):
        place = CHANCE.randrange(5, 35)
        text = SAID[number % len(SAID)] + " ".join([*words[:place], data, *words[place:]])
        whole = redact(BUNDLE.maskings, text, BUNDLE.table).text
        assert fed(text, tuple(range(1, len(text)))) == whole, data
        for _ in range(3):
            assert fed(text, tuple(sorted(CHANCE.sample(range(1, len(text)), 3)))) == whole, data


PIECES = st.sampled_from(
    [*DATA, *"    -(+)@/", ", ", "\n", "  ", "    ", "7", "42", "2023", "x1", "Q3", "12.5%", "100"]
)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(PIECES, min_size=20, max_size=120), said=st.sampled_from(SAID), data=st.data())
def test_any_cuts_of_any_row_give_the_same(parts: list[str], said: str, data: st.DataObject) -> None:
    text = said + "".join(parts)
    cuts = tuple(sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10))))
    whole = redact(BUNDLE.maskings, text, BUNDLE.table).text
    assert fed(text, cuts) == whole
    assert fed(text, tuple(range(1, len(text)))) == whole
