"""verify_receipt: what a caller can prove offline, and that nothing else passes."""

from __future__ import annotations

import copy
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from strongroom.verify import answer_bytes, canonical_json, number_text, request_bytes, verify_receipt

REQUEST = {
    "messages": [{"role": "user", "content": "What is 2 + 2?\u2028 你好"}],
    "model": "smollm2",
    "parameters": {"temperature": 0.7, "max_tokens": 16, "stop": ["\n"]},
}
ANSWER = [{"content": "4", "finish_reason": "STOP"}]
REFUSAL = [{"content": "此内容违反使用政策", "finish_reason": "REFUSED"}]


def test_a_receipt_proves_request_and_answer(made) -> None:
    proved = verify_receipt(REQUEST, ANSWER, made.receipt, made.vkey)
    assert proved, proved.problem
    assert proved.kind == "END"
    assert proved.proven == ("answer_released", "request_received")
    assert proved.development
    assert verify_receipt(REQUEST, "4", json.dumps(made.receipt), made.vkey)


def test_a_refusal_has_a_receipt_too(made) -> None:
    proved = verify_receipt(REQUEST, REFUSAL, made.refusal_receipt, made.vkey)
    assert (proved.ok, proved.kind) == (True, "REFUSED")


def test_the_request_alone_can_be_proved(made) -> None:
    assert verify_receipt(REQUEST, None, made.receipt, made.vkey).proven == ("request_received",)


@pytest.mark.parametrize(
    "request_",
    [
        {**REQUEST, "model": "other"},
        {"messages": REQUEST["messages"], "parameters": REQUEST["parameters"]},
        {**REQUEST, "parameters": {"temperature": 0.7, "max_tokens": 17, "stop": ["\n"]}},
        {**REQUEST, "parameters": {"max_tokens": 16, "stop": ["\n"]}},
        {**REQUEST, "messages": [{"role": "user", "content": "What is 2 + 3?"}]},
        "What is 2 + 2?",
    ],
)
def test_another_request_is_not_proved(made, request_) -> None:
    proved = verify_receipt(request_, ANSWER, made.receipt, made.vkey)
    assert not proved
    assert "request_received" in proved.problem


@pytest.mark.parametrize(
    "answer", ["5", "", [], [{"content": "4"}], [*ANSWER, *ANSWER], [{"content": "4", "reasoning": "?"}]]
)
def test_another_answer_is_not_proved(made, answer) -> None:
    assert not verify_receipt(REQUEST, answer, made.receipt, made.vkey)


def test_another_log_key_is_refused(made) -> None:
    other = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert not verify_receipt(REQUEST, ANSWER, made.receipt, other)
    assert not verify_receipt(REQUEST, ANSWER, made.receipt, "")


def test_a_receipt_of_one_answer_does_not_prove_another_ones(made) -> None:
    mixed = {**made.receipt, "openings": made.refusal_receipt["openings"]}
    assert not verify_receipt(REQUEST, REFUSAL, mixed, made.vkey)


@given(st.data())
def test_every_altered_character_of_a_receipt_is_noticed(made, data) -> None:
    """The request id and the state only say where to look and are not proved; everything else is."""
    text = json.dumps({name: value for name, value in made.receipt.items() if name not in ("request_id", "state")})
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from('AaZz019+/=.\n{}" '))
    altered = text[:at] + other + text[at + 1 :]
    try:
        same = json.loads(altered) == json.loads(text)
    except ValueError:
        same = False
    assert verify_receipt(REQUEST, ANSWER, altered, made.vkey).ok == same


def test_a_base64_spelling_that_is_not_canonical_is_refused(made) -> None:
    receipt = copy.deepcopy(made.receipt)
    salt = receipt["openings"]["request_received"]["salt"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    receipt["openings"]["request_received"]["salt"] = salt[:-2] + alphabet[alphabet.index(salt[-2]) ^ 1] + "="
    assert verify_receipt(REQUEST, ANSWER, receipt, made.vkey).problem == "base64 is not canonical"


@pytest.mark.parametrize("receipt", [{}, [], "", "{", None, 1, {"version": 2}, {"version": 1, "leaf": "x"}])
def test_what_is_not_a_receipt_is_refused_with_a_reason(made, receipt) -> None:
    proved = verify_receipt(REQUEST, ANSWER, receipt, made.vkey)
    assert not proved
    assert proved.problem


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(JSON)
def test_canonical_json_equals_a_second_implementation(value) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_written_as_ecmascript_does(value: float) -> None:
    assert number_text(value).encode() == rfc8785.dumps(value)


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (1e-7, "1e-7"), (0.7, "0.7"), (0.0, "0"), (1e21, "1e+21"), (123456.5, "123456.5")]
)
def test_numbers_have_their_shortest_text(value: float, text: str) -> None:
    assert number_text(value) == text


def test_the_bytes_of_requests_and_answers_are_those_of_the_format() -> None:
    assert (
        request_bytes(REQUEST)
        == (
            '{"messages":[{"content":"What is 2 + 2?\u2028 你好","role":"user"}],"model":"smollm2",'
            '"parameters":{"max_tokens":16,"stop":["\\n"],"temperature":"0.7"}}'
        ).encode()
    )
    assert request_bytes("hi") == b'{"messages":[{"content":"hi","role":"user"}],"parameters":{}}'
    assert answer_bytes("4") == b'[{"content":"4","finish_reason":"STOP","reasoning":"","tool_calls":[]}]'
