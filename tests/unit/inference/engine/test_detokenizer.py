"""Ids to text: whole characters, and the tokenizer's own text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.answer import Answer
from services.inference.engine.detokenizer import Detokenizer, byte_alphabet, byte_fallback_bytes, byte_level_bytes
from services.inference.engine.protocol import Finish, Sampling

_BYTES = byte_level_bytes(
    {byte: character for character, byte in byte_alphabet().items()}, {256: "<t>"}, frozenset([257])
)
_text_ids = st.text(max_size=12).map(lambda text: list(text.encode()))


def _answer(max_tokens: int = 100, stop: tuple[str, ...] = ()) -> Answer:
    sampling = Sampling(temperature=0, max_tokens=max_tokens, stop=stop)
    return Answer(Detokenizer(_BYTES), sampling, frozenset([257]))


@given(text=st.text(max_size=20))
def test_every_character_comes_whole_and_with_its_last_byte(text: str) -> None:
    detokenizer = Detokenizer(_BYTES)
    for character in text:
        *first, last = character.encode()
        assert [detokenizer.feed(byte) for byte in first] == [""] * len(first)
        assert detokenizer.feed(last) == character


@given(ids=st.lists(st.integers(0, 258), max_size=30))
def test_text_is_what_the_tokenizer_decodes_less_an_unfinished_character(tiny_tokenizer: Any, ids: list[int]) -> None:
    detokenizer = Detokenizer(_bytes_of(tiny_tokenizer))
    text = "".join(detokenizer.feed(token) for token in ids)
    whole = tiny_tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert whole.startswith(text)
    assert set(whole[len(text) :]) <= {"\ufffd"}


def _bytes_of(tokenizer: Any) -> Any:
    tokens = {token_id: token for token, token_id in tokenizer.get_vocab().items()}
    return byte_level_bytes(tokens, {}, frozenset([256, 257, 258]))


@given(ids=_text_ids, cut=st.integers(0, 40), stop=st.sampled_from([(), ("ab",), ("中",), ("a", "bb")]))
def test_an_answer_goes_on_after_replay_exactly_where_it_was(ids: list[int], cut: int, stop: tuple[str, ...]) -> None:
    whole, texts = _answer(stop=stop), []
    for token in ids:
        if whole.finish is None:
            texts.append(whole.accept(token))
    cut = min(cut, len(texts))
    resumed = _answer(stop=stop)
    resumed.replay(ids[:cut])
    rest = [resumed.accept(token) for token in ids[cut:] if resumed.finish is None]
    assert "".join(rest) == "".join(texts[cut:])
    assert resumed.finish == whole.finish
    assert resumed.tokens == whole.tokens


def test_a_half_character_at_the_end_is_dropped() -> None:
    answer = _answer(max_tokens=2)
    assert [answer.accept(0x61), answer.accept(0xE4)] == ["a", ""]
    assert answer.finish is Finish.LENGTH


def test_the_end_token_is_no_text_and_lets_out_what_was_held_back() -> None:
    answer = _answer(stop=("end",))
    assert [answer.accept(token) for token in (*b"en", 257)] == ["", "", "en"]
    assert answer.finish is Finish.STOP


def test_a_stop_string_wins_over_the_last_token() -> None:
    answer = _answer(max_tokens=2, stop=("ab",))
    assert [answer.accept(token) for token in b"ab"] == ["", ""]
    assert answer.finish is Finish.STOP


@pytest.mark.parametrize(("ids", "text"), [([0, 1, 2], "a 中"), ([0, 3, 4, 5], "a中"), ([6], "x")])
def test_byte_fallback(ids: list[int], text: str) -> None:
    tokens = {0: "a", 1: "▁", 2: "中", 3: "<0xE4>", 4: "<0xB8>", 5: "<0xAD>", 6: "▁x"}
    detokenizer = Detokenizer(byte_fallback_bytes(tokens, {}, frozenset()), strip_first_space=True)
    assert "".join(detokenizer.feed(token) for token in ids) == text
