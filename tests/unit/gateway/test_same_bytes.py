"""Whoever builds a request's canonical bytes, from gRPC, from HTTP or in the verifier, builds the same."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.question import Question, prompt_of
from strongroom.verify import request_bytes

from services.gateway.edge.chat_request import chat_request
from services.gateway.requests import fields
from services.gateway.servicer import _question

# What each may be, by its name in the client; and the name that it has over HTTP.
PARAMETERS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "temperature": ("temperature", st.floats(0, 2)),
    "top_p": ("top_p", st.floats(0.001, 1)),
    "top_k": ("top_k", st.integers(0, 1000)),
    "seed": ("seed", st.integers(0, 2**53 - 1)),
    "max_tokens": ("max_tokens", st.integers(1, 2**31 - 1)),
    "stop": ("stop", st.lists(st.text(min_size=1, max_size=9), max_size=4).map(tuple)),
    "min_p": ("min_p", st.floats(0, 1)),
    "repetition_penalty": ("repetition_penalty", st.floats(1e-9, 2)),
    "presence_penalty": ("presence_penalty", st.floats(-2, 2)),
    "frequency_penalty": ("frequency_penalty", st.floats(-2, 2)),
    "logit_bias": ("logit_bias", st.dictionaries(st.integers(0, 2**32 - 1), st.floats(-100, 100), max_size=5)),
    "stop_ids": ("stop_token_ids", st.lists(st.integers(0, 2**32 - 1), max_size=5).map(tuple)),
    "min_tokens": ("min_tokens", st.integers(0, 512)),
    "logprobs": ("top_logprobs", st.integers(0, 20)),
    "n": ("n", st.integers(1, 8)),
}
ASKED = st.fixed_dictionaries({}, optional={name: strategy for name, (_, strategy) in PARAMETERS.items()})
GRAMMARS = st.sampled_from([{}, {"regex": "(yes|否)[.]"}, {"json_schema": '{"type":"object"}'}])


def over_http(question: Question, asked: dict[str, Any], grammar: dict[str, str]) -> bytes:
    body: dict[str, Any] = {PARAMETERS[name][0]: value for name, value in asked.items()}
    body["messages"] = [{"role": message.role, "content": message.content} for message in question.messages]
    if "logprobs" in asked:
        body["logprobs"] = True
    if "json_schema" in grammar:
        body["response_format"] = {"type": "json_object"}
    elif "regex" in grammar:
        body["strongroom"] = {"regex": grammar["regex"]}
    return fields.received(chat_request(json.dumps(body).encode(), "").question)


@settings(max_examples=150, deadline=None)
@given(asked=ASKED, grammar=GRAMMARS)
def test_a_request_has_the_same_bytes_from_every_door_and_in_the_verifier(
    asked: dict[str, Any], grammar: dict[str, str]
) -> None:
    """Fails if one of them leaves a parameter out."""
    question = Question.of("什么是银行?", **asked, **grammar)
    on_the_wire = pb.Prompt.FromString(prompt_of(question).SerializeToString())
    expected = request_bytes(question.as_received())
    assert fields.received(_question(on_the_wire)) == expected
    assert over_http(question, asked, grammar) == expected
    set_by_caller = {name for name, value in asked.items() if value not in ((), {})} | grammar.keys()
    assert json.loads(expected)["parameters"].keys() == set_by_caller


def test_every_parameter_of_the_contract_is_among_them() -> None:
    """Fails if a field is added to the contract and to none of these."""
    named = {field.name for field in pb.Sampling.DESCRIPTOR.fields}
    assert named == PARAMETERS.keys() | {"json_schema", "regex"}
