"""Guesses by prompt lookup: found where the text repeats itself, and never too many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.speculation import Lookup

tokens = st.lists(st.integers(0, 3), max_size=60)


def test_what_followed_the_same_tokens_before_is_guessed() -> None:
    assert Lookup([1, 2, 3, 4, 5, 6, 9, 1, 2, 3]).guess(8) == [4, 5, 6]


def test_the_newest_place_counts_and_a_longer_run_before_a_shorter() -> None:
    assert Lookup([1, 2, 3, 7, 1, 2, 3, 8, 5, 1, 2, 3]).guess(1) == [8]
    assert Lookup([9, 2, 3, 7, 1, 2, 3, 8, 2, 3, 6, 9, 2, 3]).guess(1) == [7]


def test_nothing_is_guessed_where_nothing_repeats() -> None:
    assert Lookup([]).guess(4) == Lookup([1]).guess(4) == Lookup([1, 2, 3]).guess(4) == []


def test_right_guesses_make_the_next_longer_and_wrong_ones_bring_a_rest() -> None:
    lookup = Lookup([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] * 2)
    assert len(lookup.guess(99)) == 3
    lookup.judge(3, 3)
    assert len(lookup.guess(99)) == 6
    for _ in range(4):
        assert lookup.guess(99)
        lookup.judge(3, 0)
    assert lookup.guess(99) == []
    for token in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] * 2:
        lookup.add(token)
    assert len(lookup.guess(99)) == 3


@given(said=tokens, most=st.integers(0, 6))
def test_a_guess_is_what_once_followed_the_same_two_tokens(said: list[int], most: int) -> None:
    guess = Lookup(said).guess(most)
    assert len(guess) <= most
    if guess:
        places = range(2, len(said))
        assert any(said[end - 2 : end] == said[-2:] and said[end : end + len(guess)] == guess for end in places)


@given(said=tokens)
def test_token_by_token_it_knows_what_it_knows_at_once(said: list[int]) -> None:
    slowly = Lookup(said[:1])
    for token in said[1:]:
        slowly.add(token)
    assert slowly.guess(5) == Lookup(said).guess(5)
