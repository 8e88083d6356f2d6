"""What is looked at piece by piece, or by quicker ways, is what the whole text or the plain way gives."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.folding import GAP, NOTHING, STOP, fold, squeeze
from services.guard.policy.scan import TopicScan
from services.guard.redaction.named.chinese_addresses import _D, _ENDINGS, _HAN, _JOINTS, next_number, numbers, tail
from services.guard.redaction.named.model import load
from services.guard.redaction.named.passage import Passage
from services.guard.redaction.named.words import LETTERS
from services.guard.redaction.stretches import _TRIGGER, next_trigger

WORDS = st.lists(
    st.sampled_from(
        [*"a'’sX1 \n,客户é", "'s", "Eleanor ", "Whitfield", "abcdefghijklmnop", "客户经理的电话", "12345678"]
    ),
    max_size=20,
).map("".join)
SPACED = st.lists(st.sampled_from([*"ab1客户 .,-。!\u200b\n", " " * 9, "b.o.m.b", "。 "]), max_size=20).map("".join)
PLACES = st.text("3五百A号室单元路街道巷#\n楼x 中的园", max_size=14)
TRIGGERS = st.text("aAB1-@一二三中\n", max_size=24) | st.lists(
    st.sampled_from(["ICBKCNBJ", "ICBKCNBJXXX", "-----BEGIN", "Paris ", "a", "1", "一二三", " "]), max_size=6
).map("".join)
_TOKEN = re.compile(f"[{LETTERS}]{{1,15}}|[0-9]{{1,15}}|[\u4e00-\u9fff]{{1,12}}|['’]s\\b|\\n|[^\\s]")
_NUMBERED = re.compile("[0-9一二三四五六七八九十百A-Za-z](?:[号號弄栋幢座室层楼户房#]|单元)|[路街道巷][0-9]")

_FORWARDS = re.compile(f"(?:(?![{_JOINTS}])[{_HAN}](?:(?<=[{_ENDINGS}])|(?![{_D}A-Za-z#-]))|[{_D}A-Za-z#-])*\\Z")


@settings(max_examples=300, deadline=None)
@given(text=WORDS, data=st.data())
def test_words_that_wait_are_read_once(text: str, data: st.DataObject) -> None:
    """Fails if a word is kept that more text makes longer, or splits."""
    lexicon = load().western
    known = Passage(lexicon, text[: data.draw(st.integers(0, len(text)))])
    if not known.words:
        return
    place = data.draw(st.integers(0, len(known.words) - 1))
    start = known.spans[place][0]
    again, anew = Passage(lexicon, text, start, known.rest(place)), Passage(lexicon, text, start)
    assert (again.words, again.spans) == (anew.words, anew.spans)


@settings(max_examples=300, deadline=None)
@given(text=WORDS | st.text(max_size=40))
def test_words_are_those_that_the_plain_pattern_finds(text: str) -> None:
    """Fails if a kind of character is taken for another, or a word is longer than one may be."""
    passage = Passage(load().western, text)
    assert [word.text for word in passage.words] == _TOKEN.findall(text)
    assert passage.spans == [match.span() for match in _TOKEN.finditer(text)]


@settings(max_examples=500, deadline=None)
@given(text=TRIGGERS, data=st.data())
def test_what_makes_a_stretch_worth_it_is_what_the_plain_pattern_finds(text: str, data: st.DataObject) -> None:
    """Fails if a row of capitals is passed over that has a bank's code in it."""
    start = data.draw(st.integers(0, len(text)))
    found = _TRIGGER.search(text, start)
    assert next_trigger(text, start) == (found.start() if found else None)


@settings(max_examples=300, deadline=None)
@given(text=SPACED, data=st.data())
def test_a_squeezed_character_knows_the_original_one_that_made_it_appear(
    bundle: PolicyBundle, text: str, data: st.DataObject
) -> None:
    """Fails if a run of the text goes on where something was left out of it."""
    scan = TopicScan(bundle.answer_terms)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        scan.feed(text[start:end])
    assert scan._text == squeeze(text)[: len(scan._text)]
    folded = fold(text)
    for place, character in enumerate(scan._text):
        origin = folded[scan._origin(place)]
        if character == GAP:
            assert origin == scan._text[place + 1]
        else:
            assert origin == character or (character == STOP and origin in (GAP, NOTHING))


@settings(max_examples=300, deadline=None)
@given(text=PLACES, data=st.data())
def test_numbers_of_houses_are_those_that_the_plain_pattern_finds(text: str, data: st.DataObject) -> None:
    """Fails if what begins before `start` is given, or hides what follows."""
    start = data.draw(st.integers(0, len(text)))
    found = [match.span() for match in _NUMBERED.finditer(text, start)]
    assert list(numbers(text, start)) == found
    assert next_number(text, start) == (found[0] if found else None)


@settings(max_examples=300, deadline=None)
@given(text=PLACES, data=st.data())
def test_the_end_that_may_be_within_an_address_is_the_one_found_from_the_left(text: str, data: st.DataObject) -> None:
    """Fails if what stands behind a character is not looked at the right way round."""
    low = data.draw(st.integers(0, len(text)))
    found = _FORWARDS.search(text, low)
    assert found is not None
    assert tail(text, low) == found.start()
