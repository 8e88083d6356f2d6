"""Canonical JSON is RFC 8785, whichever encoder writes it."""

from __future__ import annotations

from enum import StrEnum

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from chassis.canonical import canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ASCII_KEY = st.text(st.characters(max_codepoint=127))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | TEXT
    | st.floats(allow_nan=False, allow_infinity=False)
)


def values(keys: st.SearchStrategy[str]) -> st.SearchStrategy[object]:
    return st.recursive(
        SCALARS,
        lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
        max_leaves=20,
    )


@given(values(ASCII_KEY) | values(TEXT))
def test_every_value_is_written_as_rfc_8785_says(value: object) -> None:
    """Fails if `OPT_SORT_KEYS` is left out, or if `_plain` takes floats or any key."""
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("character", [chr(point) for point in (*range(0x20), 0x22, 0x5C, 0x7F, 0x2028, 0xFFFF)])
def test_characters_that_json_writes_in_more_than_one_way(character: str) -> None:
    value = {character: [character, f"a{character}"]}
    assert canonical(value) == rfc8785.dumps(value)


def test_keys_are_ordered_by_their_utf_16_units() -> None:
    """U+1F600 is above U+FB33 and comes before it: its first unit is a surrogate."""
    value = {"\ufb33": 1, "\U0001f600": 2}
    assert canonical(value) == '{"\U0001f600":2,"\ufb33":1}'.encode()


def test_a_named_text_is_written_as_its_text() -> None:
    class End(StrEnum):
        COMPLETED = "COMPLETED"

    assert canonical({"end": End.COMPLETED}) == b'{"end":"COMPLETED"}'


@pytest.mark.parametrize("value", [2**53, -(2**53), "\ud800", {"\ud800": 1}, float("nan"), {1: 2}, b"bytes", object()])
def test_what_rfc_8785_cannot_write_is_refused(value: object) -> None:
    for each in (value, [value], {"inside": value}):
        with pytest.raises(ValueError):
            canonical(each)
