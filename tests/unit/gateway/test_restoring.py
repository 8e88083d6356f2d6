"""What tokens stand for comes back to the caller: in any pieces, with a bracket lost, in JSON, and no other's."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.requests.conversation import conversation_of
from services.gateway.requests.outcome import ALLOW, Finding, Screening, Step
from services.gateway.requests.question import Caller, Message, Question
from services.gateway.requests.restoring import Hidden, Restoring, hidden_in
from tests.unit.gateway.lives import end_of, run, text

PHONE, NAME = "[MOBILE_NUMBER_BCDFGHJKLMN]", "[PERSON_NAME_ZXWVTSRQPNM]"
QUOTED = "[SECRET_BBBBBBBBBBB]"
HIDDEN = {
    PHONE[1:-1]: Hidden("MOBILE_NUMBER", "C2", "13912345678"),
    NAME[1:-1]: Hidden("PERSON_NAME", "C2", "王芳"),
    QUOTED[1:-1]: Hidden("SECRET", "C3", 'pa"ss\\w\n1'),
}
FOREIGN = "[MOBILE_NUMBER_NMLKJHGFDCB]"


def restored(whole: str, cuts: tuple[int, ...] = (), in_json: bool = False) -> str:
    restoring, out = Restoring(HIDDEN, in_json), ""
    for start, end in itertools.pairwise([0, *cuts, len(whole)]):
        out += restoring.feed(whole[start:end], False)
    out += restoring.feed("", True)
    for place in restoring.places:
        assert in_json or out[place.start : place.end] == place.hidden.text
    return out


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (f"请致电{NAME}，{PHONE}。", "请致电王芳，13912345678。"),
        (f"{PHONE[1:]} or {PHONE[:-1]} or {PHONE[1:-1]}", "13912345678 or 13912345678 or 13912345678"),
        (PHONE.replace("_", "\\_"), "13912345678"),
        (f"【{PHONE[1:-1]}】{PHONE}{NAME}", "1391234567813912345678王芳"),
        (f"{FOREIGN} {PHONE[:-2]}] {PHONE[1:-1]}S", f"{FOREIGN} {PHONE[:-2]}] {PHONE[1:-1]}S"),
        ("[MOBILE_NUMBER] MOBILE_ PERSON [", "[MOBILE_NUMBER] MOBILE_ PERSON ["),
    ],
)
def test_what_a_token_stands_for_is_put_back_whatever_the_pieces(answer: str, expected: str) -> None:
    """Fails if what may still become a token is not held back, or a token that the prompt did not hold is put back."""
    assert restored(answer) == expected
    assert restored(answer, tuple(range(1, len(answer)))) == expected
    for cut in range(len(answer)):
        assert restored(answer, (cut,)) == expected


PIECES = st.sampled_from(
    [PHONE, NAME, QUOTED, FOREIGN, "[", "]", "MOBILE_", "M", "_", "\\", "BCDFGHJKLMN", "王", " x "]
)


@settings(max_examples=300)
@given(parts=st.lists(PIECES, max_size=12), data=st.data(), in_json=st.booleans())
def test_any_cuts_of_any_text_give_the_same(parts: list[str], data: st.DataObject, in_json: bool) -> None:
    whole = "".join(parts)
    cuts = tuple(sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8))))
    assert restored(whole, cuts, in_json) == restored(whole, (), in_json)


def test_no_more_is_held_back_than_could_become_a_token() -> None:
    restoring = Restoring(HIDDEN)
    assert restoring.feed("Call M", False) == "Call "
    assert restoring.feed("r. Wang [", False) == "Mr. Wang "
    assert restoring.feed("see MOBILE_NUMBER_x", False) == "[see MOBILE_NUMBER_x"
    assert Restoring({}).feed("MOBILE_NUMBER_", False) == "MOBILE_NUMBER_"


def test_json_stays_json_wherever_its_tokens_stand() -> None:
    """Fails if what is put back is not escaped in a string, or a bare token in JSON is left without quotes."""
    answer = f'{{"a": "{QUOTED}", "b\\"{NAME}": ["{PHONE}", {PHONE}, {NAME}], "c": {PHONE[:-1]}, 1]}}'
    for cuts in ((), tuple(range(1, len(answer)))):
        assert json.loads(restored(answer, cuts, in_json=True)) == {
            "a": 'pa"ss\\w\n1',
            'b"王芳': ["13912345678", 13912345678, "王芳"],
            "c": [13912345678, 1],
        }


async def test_the_caller_gets_values_the_model_and_generated_text_have_tokens(bench) -> None:
    """Invariant 2: what a RELEASE holds is what is sent. Fails if an answer is restored behind `_make_durable`."""
    bench.question = Question((Message("user", "Call 13912345678"),), model="tiny")
    found = Finding("MOBILE_NUMBER", 5, 16, "C2", "prompt", token=PHONE)
    bench.guard.screening = Screening(
        ALLOW, b"p" * 32, messages=(Message("system", "ours"), Message("user", f"Call {PHONE}")), findings=(found,)
    )
    said = f"<think>it is {PHONE}</think>Ask {PHONE} or {FOREIGN}"
    bench.queue.script = [*map(Step, re.findall(".{1,5}", said)), Step("", "STOP", "", 7, 2)]
    _, events = await run(bench)
    assert text(events) == f"Ask 13912345678 or {FOREIGN}"
    _, fields = end_of(bench)
    released, generated = (json.loads(fields[f"answer_{name}"])[0] for name in ("released", "generated"))
    assert (released["reasoning"], released["content"]) == ("it is 13912345678", text(events))
    assert (generated["reasoning"], generated["content"]) == (f"it is {PHONE}", f"Ask {PHONE} or {FOREIGN}")
    places = {(f["side"], f["start"], f["end"], f["rule"]) for f in json.loads(fields["findings"]) if f["rule"]}
    assert places == {("reasoning_released", 6, 17, "token"), ("answer_released", 4, 15, "token")}
    pieces = [piece for kind, _, body in bench.audit.journal if kind == "RELEASE" for piece in json.loads(body)]
    assert "".join(piece["text"] for piece in pieces if piece["channel"] == "content") == text(events)
    told = [place for piece in pieces if piece["channel"] == "restored" for place in piece["places"]]
    kind = ["MOBILE_NUMBER", "C2"]
    assert told == [["reasoning_released", 6, 17, *kind], ["answer_released", 4, 15, *kind]]
    assert PHONE not in json.dumps(json.loads(fields["findings"]))
    assert all(found.rule != "token" for found in events[-1].findings)


async def test_a_filter_that_was_lost_is_told_of_its_own_output_and_not_of_what_was_put_back(bench) -> None:
    """Fails if `released_chars` counts the caller's text, which is shorter or longer than what the filter let pass."""
    bench.question = Question((Message("user", "Call 13912345678"),), model="tiny")
    bench.guard.screening = Screening(
        ALLOW,
        b"p" * 32,
        messages=(Message("system", "ours"), Message("user", f"Call {PHONE}")),
        findings=(Finding("MOBILE_NUMBER", 5, 16, "C2", "prompt", token=PHONE),),
    )
    bench.guard.lose_at = 2
    bench.queue.script = [Step(f"{PHONE} "), Step("and"), Step(" more"), Step("", "STOP", "", 7, 2)]
    await run(bench)
    assert [released for _, _, released in bench.guard.fed if released is not None] == [len(f"{PHONE} and")]


def test_a_conversation_is_named_by_who_leads_it_and_how_it_began() -> None:
    def named(*said: tuple[str, str], tenant: str = "t", subject: str = "") -> bytes:
        return conversation_of(Caller(tenant, "c"), Question(tuple(Message(*one) for one in said), subject=subject))

    first = named(("user", "hello"))
    assert named(("user", "hello"), ("assistant", "yes?"), ("user", "more")) == first
    others = {
        named(("user", "hallo")),
        named(("system", "x"), ("user", "hello")),
        named(("user", "hello"), tenant="u"),
        named(("user", "hello"), subject="s"),
    }
    assert len(others) == 4 and first not in others


def test_of_several_writings_of_a_value_the_first_comes_back() -> None:
    messages = [Message("user", "139-1234-5678 is 13912345678")]
    findings = [
        Finding("MOBILE_NUMBER", start, end, "C2", "prompt", token=PHONE) for start, end in ((0, 13), (17, 28))
    ] + [Finding("BANK_CARD", 0, 4, "C2", "prompt")]
    assert hidden_in(messages, findings) == {PHONE[1:-1]: Hidden("MOBILE_NUMBER", "C2", "139-1234-5678")}


def test_a_prompt_of_very_many_values_is_answered_in_time_that_its_tokens_do_not_lengthen() -> None:
    letters = "BCDFGHJKLM"
    many = {
        f"MOBILE_NUMBER_{''.join(letters[int(d)] for d in f'{n:010d}')}B": Hidden("MOBILE_NUMBER", "C2", str(n))
        for n in range(20_000)
    }
    restoring = Restoring(many)
    token = next(iter(many))
    assert restoring.feed(f"[{token}] " * 100, True) == "0 " * 100
