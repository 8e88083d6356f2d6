"""What vLLM is told of a request's sampling, field by field, and what is refused because it would not keep to it."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.sampling import (
    EngineRefusal,
    Grammar,
    GrammarKind,
    ImpossibleSampling,
    NotSupported,
    Sampling,
)
from services.inference.engine.vllm_sampling import check, goes_on_behind, translated

END_IDS = frozenset({2})
SCHEMA = Grammar(kind=GrammarKind.JSON_SCHEMA, text='{"type":"object","properties":{"a":{"type":"integer"}}}')
REGEX = Grammar(kind=GrammarKind.REGEX, text="[a-z]+")

# What each field becomes. `stop` becomes nothing: text is ours, and so is where it stops.
FIELDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "temperature": (0.5, {"temperature": 0.5, "seed": 0}),
    "top_p": (0.25, {"top_p": 0.25}),
    "top_k": (7, {"top_k": 7}),
    "min_p": (0.125, {"min_p": 0.125}),
    "seed": (9, {"seed": 9}),
    "max_tokens": (33, {"max_tokens": 33}),
    "min_tokens": (3, {"min_tokens": 3}),
    "stop": (("\n\n",), {}),
    "stop_ids": ((5, 9), {"stop_token_ids": [2, 5, 9]}),
    "repetition_penalty": (1.25, {"repetition_penalty": 1.25}),
    "presence_penalty": (-0.5, {"presence_penalty": -0.5}),
    "frequency_penalty": (1.5, {"frequency_penalty": 1.5}),
    "logit_bias": (((4, -2.0),), {"logit_bias": {4: -2.0}}),
    "grammar": (REGEX, {"structured_outputs": {"regex": "[a-z]+"}}),
    "logprobs": (0, {"logprobs": 0}),
}


def test_every_field_of_ours_is_accounted_for() -> None:
    """Fails if a field is added to Sampling and nobody says here what vLLM is told of it."""
    assert {field.name for field in fields(Sampling)} == FIELDS.keys()


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_becomes_what_vllm_calls_it_and_changes_no_other(name: str) -> None:
    value, told = FIELDS[name]
    plain = Sampling(temperature=0.7, seed=0)
    changed = translated(Sampling(**{"temperature": 0.7, "seed": 0, name: value}), END_IDS)
    assert changed == translated(plain, END_IDS) | told


@pytest.mark.parametrize("cold", [{"temperature": 0.0}, {"temperature": 0.009}, {"temperature": 0.7, "top_k": 1}])
def test_greedy_has_no_generator_and_vllm_raises_no_temperature(cold: dict[str, Any]) -> None:
    told = translated(Sampling(seed=4, **cold), END_IDS)
    assert (told["temperature"], told["seed"]) == (0.0, None)


def test_a_schema_keeps_our_bound_on_white_space() -> None:
    told = translated(Sampling(temperature=0.0, grammar=SCHEMA), END_IDS)["structured_outputs"]["json"]
    assert told.pop("x-guidance")["whitespace_pattern"].endswith("{0,40}")
    assert told == json.loads(SCHEMA.text)


@given(said=st.integers(1, 40), seed=st.integers(0, 2**64 - 1))
def test_what_comes_behind_is_what_is_left_and_not_drawn_as_the_start_was(said: int, seed: int) -> None:
    sampling = Sampling(temperature=0.7, seed=seed, max_tokens=50, min_tokens=20)
    told = translated(sampling, END_IDS, said=said)
    assert (told["max_tokens"], told["min_tokens"]) == (50 - said, max(20 - said, 0))
    assert 0 <= told["seed"] < 2**64 and told["seed"] != translated(sampling, END_IDS, said=said + 1)["seed"]
    assert told == translated(sampling, END_IDS, said=said)


@pytest.mark.parametrize(
    ("asked", "behind"),
    [
        ({}, True),
        ({"repetition_penalty": 1.5, "logit_bias": ((4, 2.0),), "min_tokens": 3, "stop": ("x",)}, True),
        ({"temperature": 0.7}, False),
        ({"presence_penalty": 0.5}, False),
        ({"frequency_penalty": -0.5}, False),
        ({"grammar": SCHEMA}, False),
        ({"grammar": REGEX}, False),
    ],
)
def test_what_has_a_state_that_vllm_cannot_be_given_is_made_once_more(asked: dict[str, Any], behind: bool) -> None:
    assert goes_on_behind(Sampling(**({"temperature": 0.0} | asked))) is behind


def test_a_temperature_above_vllms_is_refused_with_the_bound() -> None:
    check(Sampling(temperature=2.0), reasoning=False)
    with pytest.raises(ImpossibleSampling) as refused:
        check(Sampling(temperature=2.5), reasoning=False)
    assert (refused.value.field, refused.value.bound) == ("temperature", "0 to 2 on this engine")


def test_a_grammar_behind_reasoning_is_refused_by_name() -> None:
    with pytest.raises(NotSupported) as refused:
        check(Sampling(temperature=0.0, grammar=REGEX), reasoning=True)
    assert isinstance(refused.value, EngineRefusal) and refused.value.field.startswith("regex")
