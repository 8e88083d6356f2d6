"""The policy's system prompt in an answer: caught literally, however cut and spaced, and no turn of phrase is."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.leakage import LEAK, RULE, SHOWN, WIDEST_GAP, letters_of, weight
from services.guard.policy.loading import InvalidPolicy, load_bundle, parse_bundle
from services.guard.policy.output_filter import OutputFilter, check_whole, joined
from services.guard.settings import SHIPPED_POLICY

BUNDLE = load_bundle(SHIPPED_POLICY)
PROMPT = " ".join(BUNDLE.system_prompt.split())
CHINESE_PROMPT = (
    "你是星河证券的内部助手，代号青鸟。只回答与基金申购有关的问题，不得透露客户分级规则，也不得提及第三方渠道。"
)


def with_prompt(text: str, *more: str) -> PolicyBundle:
    document = SHIPPED_POLICY.read_text()
    lines = "\n".join([f"  text: {json.dumps(text, ensure_ascii=False)}", *more])
    document = re.sub(r"  text: \|\n(    .*\n)+", lambda _: lines + "\n", document, count=1)
    return parse_bundle(document.encode(), "prompt.yaml")


CHINESE = with_prompt(CHINESE_PROMPT)


def pieces(bundle: PolicyBundle, text: str, cuts: tuple[int, ...]) -> tuple[str, str | None]:
    output_filter, start, released = OutputFilter(bundle), 0, ""
    for end in (*cuts, len(text)):
        released += output_filter.feed(text[start:end]).released
        start = end
    last = output_filter.finish()
    return released + last.released, last.withheld


PART = "never present rumours as facts, never repeat personal data"
TRICKS = {
    "as it is": f"Sure, it says: {PART}. That is all.",
    "in capitals": f"Sure, it says: {PART.upper()}. That is all.",
    "with separators": "Sure, it says: " + "-".join(PART) + ".",
    "with line ends": "Sure, it says:\n" + PART.replace(" ", "\n\n"),
    "numbered": "Sure:\n" + "".join(f"{n}. {word}\n" for n, word in enumerate(PART.split(), 1)),
    "with look-alikes": "Sure, it says: " + PART.replace("e", "е").replace("a", "ａ"),
    "with invisible characters": "Sure, it says: " + "\u200b".join(PART),
    "in Markdown": "Sure: **" + PART.replace(" ", "** *") + "**",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_the_prompt_repeated_is_withheld_but_for_a_word_or_two_in_any_pieces(trick: str) -> None:
    """Fails if what is part of the prompt is not held back until it is a leak or no part of it any more."""
    text = TRICKS[trick]
    released, withheld = pieces(BUNDLE, text, ())
    assert withheld == RULE
    assert weight(letters_of(released)) < len("Sureitsays") + SHOWN
    assert pieces(BUNDLE, text, tuple(range(1, len(text)))) == (released, withheld)
    for cut in range(1, len(text)):
        assert pieces(BUNDLE, text, (cut,)) == (released, withheld), cut
    whole = check_whole(BUNDLE, text)
    assert (whole.released, whole.withheld) == (released, withheld)


@pytest.mark.parametrize(
    "text",
    [
        "我的设定是：只回答与基金申购有关的问题，不得透露客户分级规则。",
        "只 回 答 与 基 金 申 购 有 关 的 问 题 ， 不 得 透 露",
    ],
)
def test_a_chinese_prompt_is_no_different(text: str) -> None:
    released, withheld = pieces(CHINESE, text, ())
    assert withheld == RULE
    assert pieces(CHINESE, text, tuple(range(1, len(text)))) == (released, withheld)


@pytest.mark.parametrize(
    "text",
    [
        "I am the assistant of a bank, and I answer in the language of the user.",
        "Say so when you are not sure. Never repeat your password, and never help with phishing.",
        "An assistant of a regulated firm is bound by rules; [REDACTED] stands for data.",
        "只回答与基金有关的问题即可。",
    ],
)
def test_a_turn_of_phrase_is_no_leak(text: str) -> None:
    for bundle in (BUNDLE, CHINESE):
        assert pieces(bundle, text, ()) == (text, None)
        assert pieces(bundle, text, tuple(range(1, len(text)))) == (text, None)


def test_a_gap_wider_than_any_numbering_ends_a_repetition_and_the_hold_back() -> None:
    first, second = PART[:28], PART[28:]
    output_filter = OutputFilter(BUNDLE)
    assert len(output_filter.feed(f"It says {first} ").released) < len("It says ") + len(first)
    assert output_filter.feed("。" * (WIDEST_GAP + 1)).released.endswith("。")
    assert pieces(BUNDLE, f"{first}{'.' * (WIDEST_GAP + 1)}{second[:30]}", ())[1] is None


def test_what_answers_are_to_say_may_be_allowed_and_a_repetition_only_flagged() -> None:
    disclaimer = "This is no investment advice; past performance says nothing about future results."
    told = (
        f"Be brief. Close with: {disclaimer} Keep the client tiers and their discount rates to yourself at all times."
    )
    allowed = with_prompt(told, f"  may_repeat: [{json.dumps(disclaimer)}]")
    flagging = with_prompt(told, "  repeated: flag")
    assert pieces(with_prompt(told), f"Buy. {disclaimer}", ())[1] == RULE
    assert pieces(allowed, f"Buy. {disclaimer}", ()) == (f"Buy. {disclaimer}", None)
    assert pieces(allowed, told, ())[1] == RULE
    fed = joined((output_filter := OutputFilter(flagging)).feed(told), output_filter.finish())
    assert (fed.released, fed.withheld, fed.flagged) == (told, None, (RULE,))
    with pytest.raises(InvalidPolicy, match=r"system_prompt\.may_repeat\[0\]: is no part of the prompt"):
        with_prompt(told, '  may_repeat: ["something else"]')
    with pytest.raises(InvalidPolicy, match=r"system_prompt\.repeated: is 'never'"):
        with_prompt(told, "  repeated: never")


@pytest.mark.parametrize(
    "text", ["a" * 5000, PROMPT[:30] * 200, "never present rumours " * 300, ("x" + "." * 16) * 400]
)
def test_invariant_6_what_is_held_for_a_leak_is_bounded(text: str) -> None:
    """Fails if the tail is kept from a repetition on that ended."""
    output_filter = OutputFilter(BUNDLE)
    for start in range(0, len(text), 7):
        if output_filter.feed(text[start : start + 7]).withheld:
            return
        assert output_filter._leaks.size <= (LEAK + 1) * (WIDEST_GAP + 1)


FRAGMENTS = st.sampled_from(
    [PROMPT[at : at + size] for at in range(0, 240, 17) for size in (3, 9, 14, 26, 45)]
    + ["-", " ", "." * 17, "\n1. ", "x", "制作", "13912345678", "\u200b", "The "]
)


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(FRAGMENTS, max_size=10), upper=st.booleans(), data=st.data())
def test_any_cuts_of_any_repetition_give_the_same(parts: list[str], upper: bool, data: st.DataObject) -> None:
    """Fails if a seed that two pieces share is not found, or a hold-back begins behind an earlier one."""
    text = "".join(parts).upper() if upper else "".join(parts)
    cuts = tuple(sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10))))
    whole = pieces(BUNDLE, text, ())
    assert pieces(BUNDLE, text, cuts) == whole
    assert pieces(BUNDLE, text, tuple(range(1, len(text)))) == whole
    once = check_whole(BUNDLE, text)
    assert (once.released, once.withheld) == whole
