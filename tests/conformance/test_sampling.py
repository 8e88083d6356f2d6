"""How every engine chooses tokens, as far as an answer shows it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from services.inference.engine.protocol import Engine, Work
from services.inference.engine.sampling import Grammar, GrammarKind

MakeWork = Callable[..., Work]
Run = Callable[..., dict[str, Any]]

# The words that the echo engine has to say are what it is told; the tiny model draws from 256 bytes.
WARM = {"temperature": 1.0, "max_tokens": 12}


@pytest.fixture
def tokens(engine: Engine, work: MakeWork, finish: Run) -> Callable[..., tuple[int, ...]]:
    """Of a request that runs alone."""

    def run(**asked: Any) -> tuple[int, ...]:
        engine.admit(work("alone", **asked))
        told: tuple[int, ...] = finish(engine)["alone"].tokens
        return told

    return run


@pytest.mark.feature("seed", "temperature")
def test_invariant_11_the_same_seed_gives_the_same_answer_whoever_shares_the_batch(
    engine: Engine, work: MakeWork, finish: Run, tokens: Callable[..., tuple[int, ...]]
) -> None:
    """Fails if `choosing.uniform` or what an engine hands over as the seed leaves the seed out."""
    alone = tokens(seed=7, **WARM)
    for number in range(3):
        engine.admit(work(f"mate-{number}", "b " * (number + 3), seed=number, **WARM))
    engine.step()
    engine.admit(work("together", seed=7, **WARM))
    assert finish(engine)["together"].tokens == alone


@pytest.mark.feature("seed", "temperature")
def test_another_seed_gives_another_answer(engine: Engine, tokens: Callable[..., tuple[int, ...]]) -> None:
    if engine.name == "echo":
        pytest.skip("echo has one word to choose from")
    assert len({tokens(seed=seed, **WARM) for seed in range(4)}) > 1


@pytest.mark.parametrize(
    "narrowed",
    [
        pytest.param({"top_k": 1}, marks=pytest.mark.feature("top_k"), id="top_k"),
        pytest.param({"top_p": 1e-6}, marks=pytest.mark.feature("top_p"), id="top_p"),
        pytest.param({"min_p": 1.0}, marks=pytest.mark.feature("min_p"), id="min_p"),
        pytest.param({"temperature": 1e-6}, marks=pytest.mark.feature("temperature"), id="temperature"),
    ],
)
def test_narrowed_to_one_token_a_draw_is_the_greedy_choice(
    narrowed: dict[str, Any], tokens: Callable[..., tuple[int, ...]]
) -> None:
    assert tokens(**(WARM | {"seed": 3} | narrowed)) == tokens(max_tokens=12)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"repetition_penalty": 5.0}, marks=pytest.mark.feature("repetition_penalty"), id="repetition"),
        pytest.param({"frequency_penalty": 2.0}, marks=pytest.mark.feature("frequency_penalty"), id="frequency"),
        pytest.param({"presence_penalty": 2.0}, marks=pytest.mark.feature("presence_penalty"), id="presence"),
    ],
)
def test_a_penalty_makes_an_answer_repeat_itself_less(
    asked: dict[str, Any], tokens: Callable[..., tuple[int, ...]]
) -> None:
    """Over several seeds: a single answer of a random model may repeat nothing."""
    hot = {"temperature": 1.5, "max_tokens": 80, "min_tokens": 80}
    plain = sum(len(set(tokens(seed=seed, **hot))) for seed in range(4))
    assert sum(len(set(tokens(seed=seed, **hot, **asked))) for seed in range(4)) > plain


@pytest.mark.feature("logit_bias")
def test_a_bias_decides(tokens: Callable[..., tuple[int, ...]]) -> None:
    assert tokens(logit_bias=((65, 100.0),)) == (65,) * 6


@pytest.mark.feature("logprobs")
def test_each_token_is_told_how_likely_it_was(engine: Engine, work: MakeWork, finish: Run) -> None:
    engine.admit(work("a", logprobs=0, max_tokens=8))
    told = finish(engine)["a"]
    logprobs = [one for output in told for one in output.logprobs]
    assert len(logprobs) == 8
    assert all(-100 < one.logprob <= 0 and not one.top for one in logprobs)
    assert b"".join(one.token for one in logprobs).decode(errors="replace") == told.text


@pytest.mark.feature("logprobs", "top_logprobs")
def test_the_likeliest_in_its_place_are_told_beside_it(engine: Engine, work: MakeWork, finish: Run) -> None:
    engine.admit(work("a", logprobs=3, max_tokens=4))
    for one in (one for output in finish(engine)["a"] for one in output.logprobs):
        assert len(one.top) == 3
        assert one.top[0] == (one.token, one.logprob)  # greedy
        assert sum(math.exp(likely) for _, likely in one.top) <= 1 + 1e-4


@pytest.mark.parametrize(
    "grammar",
    [
        pytest.param(Grammar(kind=GrammarKind.REGEX, text="[a-c]{3}-[0-9]{2}"), marks=pytest.mark.feature("regex")),
        pytest.param(
            Grammar(
                kind=GrammarKind.JSON_SCHEMA,
                text='{"type":"object","properties":{"n":{"enum":[1,2]}},"required":["n"],"additionalProperties":false}',
            ),
            marks=pytest.mark.feature("json_schema"),
        ),
    ],
    ids=["regex", "json_schema"],
)
def test_a_grammar_is_kept_to(engine: Engine, work: MakeWork, finish: Run, grammar: Grammar) -> None:
    asked = work("a", grammar=grammar, max_tokens=60, temperature=0.5)
    engine.prepare(asked)
    engine.admit(asked)
    text = finish(engine)["a"].text
    if grammar.kind is GrammarKind.REGEX:
        assert re.fullmatch(grammar.text, text)
    else:
        assert json.loads(text)["n"] in (1, 2)
