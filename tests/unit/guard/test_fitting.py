"""Which first digits of a run may be a card or a mobile number, against the definitions themselves."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn

from services.guard.redaction import card, mobile
from services.guard.redaction.digits import LONG_START, MOST_DIGITS, START, Run, ends_a_group, read_run, too_short
from services.guard.redaction.finding import Window

NUMBERS = st.text("0123456789", min_size=11, max_size=MOST_DIGITS)
MOBILES = st.builds(str.__add__, st.sampled_from(["", "0", "86", "0086", "1", "00"]), NUMBERS.map(lambda n: f"13{n}"))
KINDS = st.lists(st.sampled_from([*"0123456789abj", " ", "-", "z", ".", ",n"]), min_size=11, max_size=40).map("".join)


@given(NUMBERS | NUMBERS.map(lambda number: number[0] * len(number)))
def test_a_card_number_fits_where_its_check_digit_is_right(number: str) -> None:
    """Fails if the digits at odd lengths are summed as those at even ones, or if a run of one digit fits."""
    expected = [
        length
        for length in card.LENGTHS
        if length <= len(number) and luhn.is_valid(number[:length]) and len(set(number[:length])) > 1
    ]
    found = card.fitting(number)
    assert [length for length in expected if length != 18] == [length for length in found if length != 18]
    assert set(found) <= set(expected)  # at 18 a resident's identity number is no card


@given(NUMBERS | MOBILES)
def test_a_mobile_number_fits_in_one_way_at_most(number: str) -> None:
    lengths = [n for n in range(11, 16) if re.fullmatch(r"(0086|86|0)?1[3-9][0-9]{9}", number[:n]) and n <= len(number)]
    assert mobile.fitting(number) == lengths


def test_a_residents_identity_number_is_no_card() -> None:
    assert luhn.is_valid("110101199003070054")
    assert card.fitting("110101199003070054") == []


@given(
    st.lists(st.sampled_from([*"0123456789ab", " ", "-", ".", "(", "+", "L", "C", "     "]), max_size=60).map("".join)
)
def test_the_runs_that_are_looked_at_are_all_but_the_short_ones(kinds: str) -> None:
    """Fails if a run of eleven digits is passed over, or a short one that the end of the text may still lengthen."""
    window = Window("x" * len(kinds), kinds, False)
    at = 0
    while (start := START.search(kinds, at)) and (short := too_short(window, start.start(1), 11)) is not None:
        at = short
    found = LONG_START.search(kinds)
    assert (found and found.span(1)) == (start and start.span(1))
    assert (found and found.start()) == (start and start.start())


@given(KINDS)
def test_no_length_that_ends_a_group_is_left_out(kinds: str) -> None:
    """Fails if `ending` looks at runs that have Chinese digits or invisible characters."""
    first = next((place for place, kind in enumerate(kinds) if kind.isdigit() or kind in "abj"), None)
    if first is None:
        return
    run: Run = read_run(Window("x" * len(kinds), kinds, True), first)
    lengths = list(range(1, len(run.number) + 1))
    digits = run.digits()
    assert {length for length in lengths if ends_a_group(run, digits, length)} <= set(run.ending(lengths))
