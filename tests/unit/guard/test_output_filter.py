"""The filter for answers: what leaves, what is held back, and what never does."""

from collections.abc import Callable

import pytest

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.output_filter import CannotResume, Filtered, OutputFilter, rebuild
from services.guard.redaction.named.detector import detectors
from services.guard.redaction.named.model import load
from services.guard.redaction.window import Window

ANSWER = "下面是说明。第一步，制作炸弹需要的材料是这些，请记下。"
PLACE = ANSWER.index("制作炸弹")


def test_a_text_without_hits_passes_unchanged(bundle: PolicyBundle, feed: Callable[..., Filtered]) -> None:
    text = "The ratio rose to 104.7 %.\r\n流动性覆盖率为 104.7％。\t👍🏽 naïve ﬁne\x00\n"
    assert feed(bundle, text, range(1, len(text))) == Filtered(text)


def test_nothing_at_or_after_a_forbidden_passage_ever_leaves(bundle: PolicyBundle) -> None:
    for step in (1, 2, 5, 9, len(ANSWER)):
        output_filter, released = OutputFilter(bundle), ""
        for start in range(0, len(ANSWER), step):
            released += output_filter.feed(ANSWER[start : start + step]).released
            assert len(released) <= PLACE
        last = output_filter.finish()
        assert released + last.released == ANSWER[:PLACE]
        assert last.withheld == "violence_sexual/explicit_zh"


def test_personal_data_that_reaches_over_the_place_is_left_out_whole(bundle: PolicyBundle) -> None:
    output_filter = OutputFilter(bundle)
    answer = output_filter.feed("电话139 12 制作炸弹")
    assert answer.withheld
    assert answer.released == "电话139 12 "


def test_a_withheld_filter_says_no_more(bundle: PolicyBundle) -> None:
    output_filter = OutputFilter(bundle)
    assert output_filter.feed(ANSWER).withheld
    again = output_filter.feed("and then something harmless")
    assert (again.released, again.findings, again.withheld) == ("", (), "violence_sexual/explicit_zh")
    assert output_filter.finish().released == ""


def test_a_prompt_only_rule_does_not_cut_answers(bundle: PolicyBundle, feed: Callable[..., Filtered]) -> None:
    text = "To explain how to detect a hack, describe the steps that attackers take to gain unauthorized access."
    assert feed(bundle, text) == Filtered(text)


def test_ordinary_words_are_held_back_only_until_they_end(bundle: PolicyBundle) -> None:
    output_filter = OutputFilter(bundle)
    assert output_filter.feed("The liquidity ratio improved ").released == "The liquidity ratio "
    assert output_filter.feed("again").released == "improved "
    assert output_filter.feed("，").released == "again，"


@pytest.mark.parametrize(
    ("pieces", "released"),
    [
        (("The", " cap", "ital"), ["", "The ", ""]),  # no corner: nothing begins with the article
        (("meet at the cor", "porate desk"), ["meet at ", "the corporate "]),
        (("Ask Paris. It is", " known"), ["Ask Paris. It ", "is "]),  # two words behind it decide
        (("Birth date: 1982", ", "), ["Birth date: ", ""]),  # the word before a number has no part in it
    ],
)
def test_what_shows_already_that_it_is_no_find_is_released(
    bundle: PolicyBundle, pieces: tuple[str, ...], released: list[str]
) -> None:
    output_filter = OutputFilter(bundle)
    assert [output_filter.feed(piece).released for piece in pieces] == released


def test_a_row_of_ideographs_begins_no_western_name_whatever_it_grows_to() -> None:
    *_, western = detectors(load())
    window = Window()
    for end, text in ((4, "然后减去"), (6, "本金"), (9, "abc")):
        window.take(text)
        assert western.advance(window) == []
        assert western.settled == min(end, 6)


def test_chinese_without_hits_is_not_held_back(bundle: PolicyBundle) -> None:
    assert OutputFilter(bundle).feed("流动性覆盖率提高。").released == "流动性覆盖率提高。"


def test_findings_count_characters_of_the_generated_text(bundle: PolicyBundle, feed: Callable[..., Filtered]) -> None:
    text = "电话13912345678，备用13912345679。"
    answer = feed(bundle, text, (5, 9, 20))
    assert [text[f.start : f.end] for f in answer.findings] == ["13912345678", "13912345679"]
    assert answer.released == "电话[REDACTED]，备用[REDACTED]。"


@pytest.mark.parametrize("stuffing", ["\u200b" * 150, "\u200b" * 1000])
def test_a_match_open_at_its_bound_is_masked_and_swallowed_to_its_end(
    bundle: PolicyBundle, feed: Callable[..., Filtered], stuffing: str
) -> None:
    answer = feed(bundle, f"电话1{stuffing}3912345678。完")
    assert answer.released == "电话[REDACTED]。完"
    (finding,) = answer.findings
    assert (finding.start, finding.end, finding.rule) == (2, 13 + len(stuffing), "open-at-bound")


def test_an_endless_domain_is_masked_and_swallowed(bundle: PolicyBundle, feed: Callable[..., Filtered]) -> None:
    answer = feed(bundle, "写信到 zhang@" + "mail." * 100 + "com 谢谢")
    assert answer.released == "写信到 [REDACTED] 谢谢"
    assert len(answer.findings) == 1


def test_a_flagging_topic_marks_and_releases(edited, feed: Callable[..., Filtered]) -> None:  # type: ignore[no-untyped-def]
    marking = edited(("action: refuse", "action: flag"))
    answer = feed(marking, ANSWER, (3, 11))
    assert answer.released == ANSWER
    assert answer.withheld is None
    assert "violence_sexual/explicit_zh" in answer.flagged


TEXT = "联系人王芳，电话13912345678，邮箱wang@example.com，卡号4111 1111 1111 1111，谢谢。"


def test_invariant_8_a_rebuilt_filter_goes_on_where_the_lost_one_stopped(bundle: PolicyBundle) -> None:
    """Fails when resume_after keeps the whole of done.released."""
    whole = OutputFilter(bundle)
    expected = whole.feed(TEXT), whole.finish()
    text = expected[0].released + expected[1].released
    findings = expected[0].findings + expected[1].findings
    for lost_at in range(len(TEXT) + 1):
        first = OutputFilter(bundle)
        before = first.feed(TEXT[:lost_at])
        second = rebuild(bundle, TEXT[:lost_at], len(before.released))
        after = second.feed(TEXT[lost_at:]), second.finish()
        assert before.released + after[0].released + after[1].released == text
        assert before.findings + after[0].findings + after[1].findings == findings


def test_a_rebuilt_filter_hands_out_what_the_caller_has_not_yet(bundle: PolicyBundle) -> None:
    second = rebuild(bundle, TEXT, len("联系人[REDACTED]，"))
    answer = second.feed("")
    assert answer.released.startswith("电话[REDACTED]，")
    assert answer.findings[0].entity == "MOBILE_NUMBER"


def test_a_filter_that_has_not_come_so_far_cannot_resume(bundle: PolicyBundle) -> None:
    with pytest.raises(CannotResume, match="released_chars: 50 were released"):
        rebuild(bundle, "短", 50)


def test_a_rebuilt_filter_stays_withheld(bundle: PolicyBundle) -> None:
    second = rebuild(bundle, ANSWER, PLACE)
    answer = second.feed("more")
    assert (answer.released, answer.withheld) == ("", "violence_sexual/explicit_zh")
