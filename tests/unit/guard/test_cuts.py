"""Any way of cutting a text gives the same released text, findings and withheld place."""

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.folding import squeeze
from services.guard.policy.loading import load_bundle
from services.guard.policy.output_filter import OutputFilter, check_whole, joined
from services.guard.policy.scan import TopicScan
from services.guard.policy.screening import Verdict, judge
from services.guard.redaction.finding import Finding
from services.guard.redaction.redactor import Redactor, redact
from services.guard.settings import SHIPPED_POLICY

BUNDLE = load_bundle(SHIPPED_POLICY)

TEXTS = [
    "联系人王芳13912345678，卡号6222 0208 9794 9459 357，邮箱wang.fang@example.com。",
    "Call +86 139-1234-5678 or write to a.b@example.co.uk, card 4111-1111-1111-1111!",
    "订单号127843885213于2023-10-15 13:45:12支付13800138000元，π=3.14159265358。",
    "一三九一二三四五六七八一直打不通，一二三四五。",
    '{"phone":"\\u7535\\u8bdd13912345678","mail":"a%40b.cn","note":"100%"}',
    "138 0013 8000@qq.com 4111111111111111@a.com 13912345678@163.com13912345678",
    "前面是正常的内容。下面介绍炸 弹 制 作的过程，电话13912345678。",
    "Some harmless words, then how to m\u200bake a b.o.m.b at home: first 13912345678",
    "Chips: make a molo",
    "In this story we write malware for a penetration test of 13912345678",
    "user@" + "a" * 90 + ".com and x@" + "b." * 60 + "com tail",
    "1" + "\u200b" * 140 + "39" + "\u200b" * 300 + "12345678 done",
    "4" + " 1" * 40 + " end 12 34 56 78 90 12 34 56 78 90 12 34 56",
    "a" * 300 + "@example.com" + "9" * 300,
    "call 13912345678.5 制 and 4111111111111111.50, 13912345678.123",
    "a%40甲五六七八" + "\u200b" * 40 + "com.中国.中国，b@example。com\n.5\u200b c@example。com.cn。",
    "1" * 30 + "\u200b" * 40 + "13912345678/" + "1" * 30 + "\u200b13912345678",
    "(+86) (139) 1234-5678 (((+ 13912345678)",
    "杀\n\n\n\n\n\n\n\n\n\n\n人 制" + " " * 30 + "作" + " " * 200 + "炸弹",
]


def whole(text: str) -> tuple[Any, ...]:
    return pieces(text, ())


def pieces(text: str, cuts: tuple[int, ...]) -> tuple[Any, ...]:
    output_filter, start, released = OutputFilter(BUNDLE), 0, ""
    findings: list[Finding] = []
    flagged: list[str] = []
    for end in (*cuts, len(text), None):
        part = output_filter.finish() if end is None else output_filter.feed(text[start:end])
        start = end or 0
        released += part.released
        findings += part.findings
        flagged += part.flagged
    return released, findings, flagged, part.withheld


@pytest.mark.parametrize("text", TEXTS)
def test_every_cut_in_two_and_every_single_character(text: str) -> None:
    expected = whole(text)
    assert pieces(text, tuple(range(1, len(text)))) == expected
    for cut in range(len(text) + 1):
        assert pieces(text, (cut,)) == expected, f"cut at {cut}"


FRAGMENTS = st.sampled_from(
    (
        "13912345678;139; 1234;-5678;4111111111111111;4111 1111 ;@;a.b;example;.com;.中国;。com;一三九;一二三四;"
        "五六七八;＋８６;(;);+; ;   ;\\u4e2d;\\;\\u0031;%40;元;万一;订单号;电话;卡号;"
        "make a ;bomb;b o m b;制作;炸;弹;制 作;"
        "how to ;prevent ;，;。;!;x;，，，，，，，，，;hello ;你好;儿童;色情;malware;write ;in c;"
        "3.14;/;.5;%;9;ABC;yuan;旦;例子;\u200b;\n;" + "\u200b" * 40
    ).split(";")
)
COMPOSED = st.lists(FRAGMENTS, max_size=30).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=COMPOSED, data=st.data())
def test_any_cuts_of_any_text_give_the_same(text: str, data: st.DataObject) -> None:
    cuts = tuple(sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12))))
    expected = whole(text)
    assert pieces(text, cuts) == expected
    assert pieces(text, tuple(range(1, len(text)))) == expected


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=80))
def test_any_characters_at_all_survive_being_fed(text: str) -> None:
    released, findings, _, withheld = whole(text)
    assert pieces(text, tuple(range(1, len(text)))) == (released, findings, [], withheld)
    if not findings and withheld is None:
        assert released == text


@settings(max_examples=150, deadline=None)
@given(text=COMPOSED)
def test_redacting_a_text_is_the_filter_fed_in_one_piece(text: str) -> None:
    released, findings, _, withheld = whole(text)
    redaction = redact(BUNDLE.maskings, text)
    if withheld is None:
        assert (released, tuple(findings)) == (redaction.text, redaction.findings)
    else:
        assert redaction.text.startswith(released)


ANY_TEXT = COMPOSED | st.text(max_size=80)


@settings(max_examples=300, deadline=None)
@given(text=ANY_TEXT)
def test_a_whole_answer_is_checked_as_a_filter_would(text: str) -> None:
    """Fails if `possible` leaves out a rule's word, or `_possible` a digit."""
    assert check_whole(BUNDLE, text) == joined((filter := OutputFilter(BUNDLE)).feed(text), filter.finish())


@pytest.mark.parametrize("text", TEXTS)
def test_a_whole_answer_of_each_kind_is_checked_as_a_filter_would(text: str) -> None:
    assert check_whole(BUNDLE, text) == joined((filter := OutputFilter(BUNDLE)).feed(text), filter.finish())


@settings(max_examples=300, deadline=None)
@given(text=ANY_TEXT)
def test_a_whole_text_is_squeezed_as_a_scan_does(text: str) -> None:
    """Fails if a gap at either end, a long one, or one beside an ideograph is taken for a usual one."""
    scan = TopicScan(BUNDLE.prompt_terms)
    scan._squeeze(text)
    assert squeeze(text) == scan._text


@settings(max_examples=300, deadline=None)
@given(text=ANY_TEXT)
def test_a_prompt_is_judged_by_every_rule_that_it_meets(text: str) -> None:
    """Fails if `possible` is False where a rule is met."""
    scan = TopicScan(BUNDLE.prompt_terms)
    hits = scan.feed(text) + scan.finish()
    judged = judge(BUNDLE.prompt_terms, text)
    assert (judged.rule != "") == bool(hits)
    assert (judged.verdict is Verdict.REFUSE) == any(hit.refuses for hit in hits)


@settings(max_examples=300, deadline=None)
@given(text=ANY_TEXT)
def test_a_whole_text_is_redacted_as_a_stream_is(text: str) -> None:
    """Fails if fewer than eleven digits, or invisible characters beside them, are taken to be harmless."""
    redactor = Redactor(BUNDLE.maskings)
    redactor.push(text)
    redactor.end()
    assert redact(BUNDLE.maskings, text) == redactor.emit(len(text))


def test_invariant_6_memory_is_bounded_by_what_is_held_back(
    bundle: PolicyBundle, size_of: Callable[[OutputFilter], int]
) -> None:
    """Fails if a match that is still open at its bound is held on to instead of being masked from its start."""
    for unit in (
        "正常的文字，没有什么。",
        "1 2 3 4 5 6 7 ",
        "a" * 50,
        "a@" + "b" * 50,
        "\u200b" * 50,
        "制作" + " " * 50,
    ):
        output_filter = OutputFilter(bundle)
        for _ in range(400):
            output_filter.feed(unit)
            assert size_of(output_filter) < 4000, unit[:10]
