"""What is found by its words, judged against looking through the text itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.index.identifiers import BlindKeys, identifiers_in, normalized
from services.audit.index.words import QueryInvalid, expression, words_of

HAN = "个人信息贷款"
TEXT = st.lists(st.text(HAN, min_size=1, max_size=4) | st.sampled_from(["Loan", "ok", "7", "ＡＢＣ"]), max_size=8)


@pytest.fixture(scope="module")
def full_text():
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5 (words, content='', contentless_delete=1, tokenize='ascii')")
    return connection


def found(full_text, texts: list[str], query: str) -> bool:
    full_text.execute("INSERT OR REPLACE INTO t (rowid, words) VALUES (1, ?)", (words_of(texts),))
    return bool(full_text.execute("SELECT count(*) FROM t WHERE t MATCH ?", (expression(query),)).get)


@given(TEXT, st.text(HAN, min_size=1, max_size=4), st.sampled_from(["", " ", "，"]))
def test_chinese_is_found_wherever_it_stands_and_nowhere_else(full_text, pieces, wanted, between) -> None:
    """Fails if the last character of a run begins no word."""
    text = between.join(pieces)
    assert found(full_text, [text], wanted) == (wanted in text)


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("loan", True),
        ("LOAN 利率", True),
        ("lo", False),
        ("lo*", True),
        ("率是", True),
        ("率", True),
        ("款", False),
        ('"rate of loan"', False),
        ('"of the loan"', True),
        ("利率是ｆｉｖｅ", True),
        ("loan 存款", False),
        ("终", True),  # begins in another text
        ("息终", False),
    ],
)
def test_pieces_phrases_and_beginnings(full_text, query, matches) -> None:
    texts = ["The rate of the LOAN: 贷利率是five percent, 年息", "终 end"]
    assert found(full_text, texts, query) is matches


@pytest.mark.parametrize("query", ["", " ", "！？", '""', "*", " ".join("abcdefghijklmnopq")])
def test_what_has_no_word_or_too_many_is_refused(query) -> None:
    with pytest.raises(QueryInvalid):
        expression(query)


@given(st.text(max_size=40))
def test_no_query_is_read_as_an_expression(full_text, query) -> None:
    """Fails if a word may carry a quote or an operator."""
    with suppress(QueryInvalid):
        found(full_text, ["nothing"], query)


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("卡号6222 0200 1122 3344 556，谢谢", "6222020011223344556"),
        ("身份证11010119900307123x", "11010119900307123X"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "de89-3704-0044-0532-0130-00"),
        ("call １３８００１３８０００ now", "138 0013 8000"),
        ("ref:AC-20441287", "20441287"),
        ("order A20441287B", "20441287"),
    ],
)
def test_an_account_is_found_however_it_is_written(text, identifier) -> None:
    assert normalized(identifier) in set(identifiers_in(text))


_WORD = re.compile("(?<![0-9A-Z])[A-Z]*[0-9][0-9A-Z]*")
_GROUPED = re.compile("(?<![0-9A-Z])[0-9A-Z]{2,}(?:[ .-][0-9]{2,})+[0-9A-Z]?")


def obviously(text: str) -> Iterator[str]:
    """Walks the text by patterns alone."""
    for word in _WORD.findall(text):
        if len(word) >= 6 and sum(map(str.isdigit, word)) >= 5:
            runs = [run for run in re.findall("[0-9]{6,}X?", word) if run != word]
            yield from (each for each in [word, *runs] if len(each) <= 34)
    for group in map(normalized, _GROUPED.findall(text)):
        if 6 <= len(group) <= 34 and sum(map(str.isdigit, group)) >= 5:
            yield group


@given(st.lists(st.sampled_from(["12", "3456", "7", "AB", "X", " ", ".", "-", "个", "789012345"]), max_size=24))
def test_from_their_digits_the_same_are_found_as_by_walking_the_whole_text(pieces) -> None:
    """Fails if a group may begin within the one before it."""
    text = "".join(pieces)
    assert list(identifiers_in(text)) == list(obviously(text))


def test_words_and_short_numbers_are_no_identifiers() -> None:
    assert list(identifiers_in("In 2026 we lent 5,000 yuan at 4.35% to room 1402, twice.")) == []


def test_a_tenants_hash_is_not_anothers_and_dies_with_its_secret() -> None:
    keys = BlindKeys(bytes(32))
    [token] = keys.tokens("bank", ["13800138000"])
    assert token == keys.token("bank", normalized("138-0013-8000")) and "138" not in token
    assert token != keys.token("fund", "13800138000")
    assert token != BlindKeys(bytes(31) + b"\x01").token("bank", "13800138000")
