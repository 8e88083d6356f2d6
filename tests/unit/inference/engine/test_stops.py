"""Stop strings across any borders."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.stops import StopStrings

_letters = st.text(alphabet="ab中", max_size=24)
_stops = st.lists(st.text(alphabet="ab中", min_size=1, max_size=4), max_size=3).map(tuple)


def _stream(stops: tuple[str, ...], parts: list[str]) -> tuple[str, bool]:
    state = StopStrings(stops)
    out = "".join(state.feed(part) for part in parts)
    return (out if state.hit else out + state.flush()), state.hit


@given(text=_letters, stops=_stops, cuts=st.lists(st.integers(0, 24)))
def test_any_way_of_cutting_gives_the_same_text(text: str, stops: tuple[str, ...], cuts: list[int]) -> None:
    borders = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    parts = [text[a:b] for a, b in pairwise(borders)]
    assert _stream(stops, parts) == _stream(stops, list(text)) == _stream(stops, [text])


@given(text=_letters, stops=_stops)
def test_no_stop_string_is_ever_let_out(text: str, stops: tuple[str, ...]) -> None:
    out, hit = _stream(stops, list(text))
    assert not any(stop in out for stop in stops)
    assert hit == any(stop in text for stop in stops)
    assert text.startswith(out)


@pytest.mark.parametrize(
    ("stops", "parts", "out"),
    [
        (("END",), ["go E", "ND on"], "go "),
        (("END",), ["go E", "Nd"], "go ENd"),
        (("abc", "b"), ["abc"], "a"),
        (("\n\n",), ["one\n", "two\n", "\nthree"], "one\ntwo"),
    ],
)
def test_examples(stops: tuple[str, ...], parts: list[str], out: str) -> None:
    assert _stream(stops, parts)[0] == out


def test_a_possible_beginning_is_held_back_until_it_cannot_be_one() -> None:
    state = StopStrings(("###",))
    assert state.feed("text #") == "text "
    assert state.feed("#") == ""
    assert state.feed("!") == "##!"
