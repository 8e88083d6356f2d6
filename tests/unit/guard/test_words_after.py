"""What may stand behind a number is decided as soon as no more text could change it, and as the whole text would."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.guard.redaction.context import AMOUNT_AFTER
from services.guard.redaction.phone import _NAMED_AFTER
from services.guard.redaction.stretch import AHEAD, Stretch, Undecided, Words

SIGNS = " \n-(元旦宵圆满块钱百千万一分亿美金欧英镑日港币人民股票吨份证手机次%yuanrmbcsdeghkjpolisft.x"
AFTER = st.text(alphabet=SIGNS, max_size=16) | st.builds(
    "{}{}{}".format,
    st.sampled_from(["", " ", "  ", "-", "("]),
    st.sampled_from(sorted(AMOUNT_AFTER.literals + _NAMED_AFTER.literals)),
    st.sampled_from(["", "s", "旦", "票", "x", "。", " of"]),
)


def told(words: Words, after: str, *, ended: bool) -> bool | None:
    text = f"7{after}"
    try:
        return Stretch(text, 0, 1, 1, whole=True, ended=ended).follows(words, 1)
    except Undecided:
        return None


@pytest.mark.parametrize("words", [AMOUNT_AFTER, _NAMED_AFTER], ids=["amount", "telephone"])
@settings(max_examples=500)
@given(after=AFTER, rest=AFTER)
def test_what_is_decided_early_is_what_the_whole_text_says(words: Words, after: str, rest: str) -> None:
    """Fails if a word of the pattern is missing among its literals."""
    early = told(words, after, ended=False)
    assert early is None or early == told(words, after + rest, ended=True)
    if len(after) >= AHEAD:
        assert early is not None


@pytest.mark.parametrize(("after", "expected"), [(" is", False), (" yuan", None), (" yuan.", True), ("人次。", True)])
def test_it_waits_only_while_a_word_may_go_on(after: str, expected: bool | None) -> None:
    assert told(AMOUNT_AFTER, after, ended=False) is expected
