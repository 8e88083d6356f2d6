"""What changes logits before the choice: transformers' own processors are the reference where it has them."""

from __future__ import annotations

import codecs
import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    MinNewTokensLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from services.inference.engine.choosing import Row
from services.inference.engine.protocol import Finish, ImpossibleSampling, Message, Work
from services.inference.engine.sampling import Sampling
from services.inference.engine.shaping import Shaping
from services.inference.engine.torch_engine import TorchEngine
from tests.unit.inference.engine.stepping import finish, tokens

SIZE = 60
TOKENS = st.lists(st.integers(0, SIZE - 1), max_size=25)
LOGITS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(0, 3, SIZE).astype(np.float32))
# Everything at once: what was said earlier, what was asked for, and a seed.
MANY: dict[str, Any] = {
    "temperature": 0.8,
    "seed": 3,
    "repetition_penalty": 1.2,
    "presence_penalty": 0.4,
    "frequency_penalty": 0.3,
    "logit_bias": ((65, 2.0), (66, -100.0)),
    "min_tokens": 4,
    "max_tokens": 14,
    "logprobs": 2,
}


def shaped(logits: Row, sampling: Sampling, prompt: list[int], answer: list[int], **more: Any) -> Row:
    shaping = Shaping(sampling, prompt, **more)
    for token in answer:
        shaping.accept(token)
    return shaping.apply(logits)


def by(processor: Any, logits: Row, ids: list[int]) -> Row:
    scores: torch.Tensor = processor(torch.tensor([ids], dtype=torch.long), torch.tensor(logits)[None])
    return scores[0].numpy()


@settings(max_examples=60, deadline=None)
@given(logits=LOGITS, prompt=TOKENS.filter(bool), answer=TOKENS, penalty=st.sampled_from([0.5, 1.1, 3.0]))
def test_the_repetition_penalty_is_that_of_transformers_over_prompt_and_answer(
    logits: Row, prompt: list[int], answer: list[int], penalty: float
) -> None:
    ours = shaped(logits, Sampling(temperature=1, repetition_penalty=penalty), prompt, answer)
    assert np.allclose(ours, by(RepetitionPenaltyLogitsProcessor(penalty), logits, prompt + answer), rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    logits=LOGITS,
    prompt=TOKENS,
    answer=TOKENS,
    presence=st.sampled_from([-2, 0, 0.6]),
    frequency=st.sampled_from([0, 1.5]),
)
def test_presence_is_taken_once_and_frequency_as_often_as_the_answer_alone_holds_a_token(
    logits: Row, prompt: list[int], answer: list[int], presence: float, frequency: float
) -> None:
    sampling = Sampling(temperature=1, presence_penalty=presence, frequency_penalty=frequency)
    ours = shaped(logits, sampling, prompt, answer)
    said = Counter(answer)
    expected = [
        logit - frequency * said[token] - presence * (token in said) for token, logit in enumerate(logits.tolist())
    ]
    assert np.allclose(ours, expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(logits=LOGITS, bias=st.dictionaries(st.integers(0, SIZE - 1), st.floats(-100, 100, width=32), min_size=1))
def test_logit_bias_is_added_as_transformers_adds_it(logits: Row, bias: dict[int, float]) -> None:
    reference = SequenceBiasLogitsProcessor([[[token], float(value)] for token, value in bias.items()])
    ours = shaped(logits, Sampling(temperature=1, logit_bias=tuple(bias.items())), [], [])
    assert np.allclose(ours, by(reference, logits, [1]), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(logits=LOGITS, prompt=TOKENS.filter(bool), answer=TOKENS, least=st.integers(0, 30))
def test_before_min_tokens_no_end_is_possible(logits: Row, prompt: list[int], answer: list[int], least: int) -> None:
    sampling = Sampling(temperature=1, min_tokens=least, stop_ids=(7,))
    reference = MinNewTokensLengthLogitsProcessor(len(prompt), least, [3, 7]) if least else None
    ours = shaped(logits, sampling, prompt, answer, end_ids=[3])
    assert np.array_equal(ours, by(reference, logits, prompt + answer) if reference else logits)


def test_the_row_that_was_given_stays_as_it_was() -> None:
    logits = np.ones(SIZE, np.float32)
    shaped(logits, Sampling(temperature=1, repetition_penalty=2.0, logit_bias=((4, 5.0),)), [1, 2], [3])
    assert bool((logits == 1).all())


# In the engine


def work(name: str, text: str = "the quick brown fox", **sampling: Any) -> Work:
    message = Message(role="user", content=text)
    return Work(request_id=name, messages=(message,), sampling=Sampling(**({"temperature": 0.0} | sampling)))


@pytest.fixture(scope="module")
def engine(tiny_engine: Callable[..., TorchEngine]) -> TorchEngine:
    return tiny_engine("llama")


def test_invariant_11_penalties_bias_and_logprobs_do_not_depend_on_batch_mates(engine: TorchEngine) -> None:
    """Fails if `choose_next` gives the rows of plain answers to those that are not."""
    alone = {"many": finish(engine, work("many", **MANY))["many"], "plain": finish(engine, work("plain"))["plain"]}
    mates = [work("plain"), work("many", **MANY), work("other", "zebra", **(MANY | {"presence_penalty": -2.0}))]
    together = finish(engine, *mates)
    for name, outputs in alone.items():
        assert tokens(together[name]) == tokens(outputs)
        assert [out.logprobs for out in together[name]] == [out.logprobs for out in outputs]


@pytest.mark.parametrize("cut", [1, 5])
def test_invariant_8_another_worker_goes_on_with_the_same_penalties(engine: TorchEngine, cut: int) -> None:
    """Fails if `Answer.replay` does not tell its shaping."""
    whole = finish(engine, work("a", **MANY))["a"]
    emitted = tuple(tokens(whole)[:cut])
    rest = finish(engine, dataclasses.replace(work("a", **MANY), emitted=emitted))["a"]
    assert [*emitted, *tokens(rest)] == tokens(whole)
    assert [one for out in whole for one in out.logprobs][-1:] == [one for out in rest for one in out.logprobs][-1:]


def test_a_penalty_changes_what_is_said(engine: TorchEngine) -> None:
    plain = tokens(finish(engine, work("a", max_tokens=20))["a"])
    kept = tokens(finish(engine, work("a", max_tokens=20, frequency_penalty=2.0, repetition_penalty=1.5))["a"])
    assert len(set(kept)) > len(set(plain)) or kept != plain


def test_a_stop_id_ends_the_answer_and_is_no_text_of_it(engine: TorchEngine) -> None:
    plain = tokens(finish(engine, work("a", max_tokens=8))["a"])
    place = next(n for n, token in enumerate(plain) if plain.index(token) == n and n > 1)
    outputs = finish(engine, work("a", max_tokens=8, stop_ids=(plain[place],)))["a"]
    assert tokens(outputs) == plain[: place + 1] and outputs[-1].finish is Finish.STOP
    assert "".join(out.text for out in outputs) == bytes(plain[:place]).decode(errors="ignore")


def test_a_bias_on_a_token_that_does_not_exist_is_refused_and_the_others_go_on(engine: TorchEngine) -> None:
    engine.admit(work("good", max_tokens=3))
    with pytest.raises(ImpossibleSampling) as refused:
        engine.admit(work("bad", logit_bias=((100_000, 1.0),)))
    assert refused.value.field == "logit_bias"
    assert len(tokens(finish(engine)["good"])) == 3


def test_logprobs_tell_each_token_with_its_alternatives_and_where_its_text_ends(engine: TorchEngine) -> None:
    outputs = finish(engine, work("a", max_tokens=12, logprobs=3))["a"]
    told = [one for out in outputs for one in out.logprobs]
    assert [one.token for one in told] == [bytes([token]) for token in tokens(outputs) if token < 256]
    assert all(len(one.top) == 3 and one.top[0] == (one.token, one.logprob) for one in told)  # greedy takes the top
    assert all(one.logprob <= 0 for one in told)
    for number, one in enumerate(told):
        spoken = b"".join(each.token for each in told[: number + 1])
        whole = codecs.getincrementaldecoder("utf-8")(errors="replace").decode(spoken)
        unfinished = spoken.decode(errors="replace") != whole  # within a character: it is told with the whole of it
        assert one.end == len(whole) + unfinished
