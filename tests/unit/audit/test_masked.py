"""Which text of a record may be shown and looked for."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from services.audit.records.masked import masked_request, masked_texts, released_texts

OURS = {"role": "system", "content": "You are the bank's."}


def request(*messages: dict[str, str]) -> bytes:
    return json.dumps({"messages": messages, "parameters": {}}).encode()


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def test_the_request_as_the_model_saw_it_and_the_answer_as_released() -> None:
    fields = {
        "request_received": request(user("raw 13800138000")),
        "request_sent": request(OURS, user("raw [MOBILE_NUMBER]")),
        "answer_generated": b'[{"content":"raw answer"}]',
        "findings": b"[]",
        "answer_released": json.dumps(
            [{"content": "said", "reasoning": "thought", "tool_calls": [{"arguments": {"city": "上海"}}]}]
        ).encode(),
    }
    assert list(masked_texts(fields)) == ["raw [MOBILE_NUMBER]", "thought", "said", "上海"]


def test_a_callers_system_message_stays_in() -> None:
    theirs = {"role": "system", "content": f"{OURS['content']}\n\nBe brief."}
    fields = {
        "request_received": request({"role": "system", "content": "Be brief."}, user("x")),
        "request_sent": request(theirs, user("x")),
    }
    assert list(masked_texts(fields)) == [theirs["content"], "x"]


@given(st.text(min_size=1, max_size=20), st.text(max_size=20), st.lists(st.integers(0, 60), max_size=6))
def test_a_refused_request_shows_nothing_that_the_guard_found(secret, around, more) -> None:
    """Fails if a finding that overlaps the one before is left out."""
    text = f"{around}{secret}{around}"
    spans = [(len(around), len(around) + len(secret)), *((at, at + 3) for at in more)]
    findings = [{"side": "prompt", "message_index": 0, "start": a, "end": b, "type": "#"} for a, b in spans]
    fields = {"request_received": request(user(text)), "findings": json.dumps(findings).encode()}
    [message] = masked_request(fields)
    hidden = {place for a, b in spans for place in range(a, b)}
    shown = [character for place, character in enumerate(text) if place not in hidden]
    assert message["content"].replace("[#]", "") == "".join(shown).replace("[#]", "")


def test_without_findings_a_refused_request_shows_nothing() -> None:
    assert list(masked_texts({"request_received": request(user("13800138000"))})) == []
    for odd in (b"{}", b"[1]", b"not json"):
        assert masked_request({"request_received": request(user("13800138000")), "findings": odd}) == []


def test_what_a_token_stood_for_is_masked_again_in_the_released_answer() -> None:
    """Fails if a place of another choice, or of the reasoning, is taken for one of the content."""
    choices = [{"content": "call 13800138000", "reasoning": "13800138000?"}, {"content": "or 13800138000"}]
    places = [("answer_released", 5, 16, 0), ("reasoning_released", 0, 11, 0), ("answer_released", 3, 14, 1)]
    findings = [
        {"type": "MOBILE", "start": start, "end": end, "side": side, **({"choice": choice} if choice else {})}
        for side, start, end, choice in places
    ]
    fields = {"answer_released": json.dumps(choices).encode(), "findings": json.dumps(findings).encode()}
    assert list(masked_texts(fields)) == ["[MOBILE]?", "call [MOBILE]", "or [MOBILE]"]
    del fields["findings"]
    assert list(masked_texts(fields)) == []
    told = [["answer_released", 5, 16, "MOBILE", "C2"]]
    bodies = [[{"channel": "content", "choice": 0, "text": "call 138"}]]
    bodies.append([{"channel": "content", "choice": 0, "text": "00138000"}, {"channel": "restored", "places": told}])
    assert released_texts(json.dumps(body).encode() for body in bodies) == ["call [MOBILE]"]


def test_pieces_that_were_released_make_a_text_for_each_choice() -> None:
    bodies = [
        b'[{"channel":"content","choice":0,"text":"\xe4\xb8\xaa"},{"channel":"content","choice":1,"text":"b"}]',
        b'[{"channel":"content","choice":0,"text":"\xe4\xba\xba"},{"channel":"logprobs","choice":0,"tokens":[]}]',
    ]
    assert released_texts(bodies) == ["个人", "b"]
