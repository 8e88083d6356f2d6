"""Answers held to a JSON schema or a regular expression, on a tiny random model: what it would say is noise."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine.grammar import GrammarRefused
from services.inference.engine.protocol import Failure, Finish, Message, Work
from services.inference.engine.sampling import Grammar, GrammarKind, Sampling
from services.inference.engine.torch_engine import TorchEngine
from services.inference.models.prompt import Prompt
from tests.unit.inference.engine.stepping import finish, text, tokens

SCHEMA = {
    "type": "object",
    "properties": {
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "colour": {"enum": ["red", "蓝"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    },
    "required": ["age", "colour", "tags"],
    "additionalProperties": False,
}


def schema(document: object) -> Grammar:
    return Grammar(kind=GrammarKind.JSON_SCHEMA, text=json.dumps(document))


def regex(pattern: str) -> Grammar:
    return Grammar(kind=GrammarKind.REGEX, text=pattern)


def work(name: str, grammar: Grammar | None, seed: int = 1, **sampling: Any) -> Work:
    chosen = {"temperature": 1.0, "seed": seed, "max_tokens": 300, "grammar": grammar} | sampling
    return Work(
        request_id=name, messages=(Message(role="user", content="the quick brown fox"),), sampling=Sampling(**chosen)
    )


@pytest.fixture(scope="module")
def engine(tiny_engine: Callable[..., TorchEngine]) -> TorchEngine:
    return tiny_engine("llama")


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), temperature=st.sampled_from([0.0, 1.0, 5.0]))
def test_an_answer_is_json_of_its_schema_and_ends_by_itself(engine: TorchEngine, seed: int, temperature: float) -> None:
    outputs = finish(engine, work("a", schema(SCHEMA), seed, temperature=temperature))["a"]
    answer = json.loads(text(outputs))
    assert outputs[-1].finish is Finish.STOP
    assert answer.keys() == SCHEMA["properties"].keys()  # type: ignore[attr-defined]
    assert 0 <= answer["age"] <= 130 and answer["colour"] in ("red", "蓝") and len(answer["tags"]) <= 2


def test_answers_with_and_without_a_grammar_share_a_batch(engine: TorchEngine) -> None:
    """Fails if a mask is applied to the batch and not to a row of its own."""
    patterns = {"a": "(yes|no)[.]", "b": "[0-9]{3}-[0-9]{4}"}
    alone = tokens(finish(engine, work("c", None))["c"])
    works = [work(name, regex(pattern)) for name, pattern in patterns.items()]
    together = finish(engine, *works, work("c", None))
    assert all(re.fullmatch(pattern, text(together[name])) for name, pattern in patterns.items())
    assert tokens(together["c"]) == alone


@pytest.mark.parametrize("cut", [1, 9])
def test_invariant_8_another_worker_goes_on_in_the_middle_of_a_grammar(engine: TorchEngine, cut: int) -> None:
    """Fails if `Answer.replay` does not tell its shaping."""
    asked = work("a", schema(SCHEMA))
    whole = tokens(finish(engine, asked)["a"])
    rest = tokens(finish(engine, dataclasses.replace(asked, emitted=tuple(whole[:cut])))["a"])
    assert whole[:cut] + rest == whole


@pytest.mark.parametrize(
    "grammar",
    [
        regex("[a-z"),
        regex("a(?=b)"),
        schema({"type": "objekt"}),
        schema({"type": "string", "not": {"const": "a"}}),
        Grammar(kind=GrammarKind.JSON_SCHEMA, text="{"),
        schema({"type": "string", "allOf": [{"pattern": "^a$"}, {"pattern": "^b$"}]}),
        regex("(" * 10_000),
    ],
)
def test_a_grammar_that_cannot_be_read_is_refused_and_the_others_go_on(engine: TorchEngine, grammar: Grammar) -> None:
    engine.admit(work("good", None, max_tokens=3))
    for refuse in (engine.prepare, engine.admit):
        with pytest.raises(GrammarRefused) as refused:
            refuse(work("bad", grammar))
        assert refused.value.field == "grammar" and grammar.text not in str(refused.value)
    assert len(tokens(finish(engine)["good"])) == 3


def test_a_grammar_that_explodes_within_the_answer_fails_alone_and_by_name(engine: TorchEngine) -> None:
    """Fails if `Grammars.compile` gives the library no limits: of 500 objects that may each have begun it gives up."""
    may_be = [
        {"type": "object", "properties": {f"p{n}": {"type": "string", "pattern": f"a{{{n}}}b*"}}} for n in range(500)
    ]
    explodes = schema({"anyOf": may_be})
    engine.admit(work("good", None, max_tokens=3))
    engine.admit(work("bad", explodes, max_tokens=40))
    outputs = finish(engine)
    assert outputs["bad"][-1].failure is Failure.GRAMMAR_TOO_COMPLEX
    assert len(tokens(outputs["good"])) == 3


def test_the_grammar_of_a_model_that_reasons_begins_behind_its_reasoning(
    tiny_engine: Callable[..., TorchEngine], tiny_tokenizer: Any
) -> None:
    engine, reasoning = tiny_engine("llama"), copy.deepcopy(tiny_tokenizer)
    reasoning.chat_template += "{% if add_generation_prompt %}{{ '<think>' }}{% endif %}"
    engine._prompt = Prompt(reasoning)
    thought = tuple(b"so</think>")
    asked = work("a", regex("(yes|no)[.]"))
    engine.admit(dataclasses.replace(asked, emitted=(*thought,)))
    assert re.fullmatch("(yes|no)[.]", text(finish(engine)["a"]))
    free = finish(engine, work("b", regex("(yes|no)[.]"), max_tokens=6))["b"]
    assert not re.match("<think>(yes|no)", text(free))
