"""Choosing tokens: the field's definitions of temperature, top_k and top_p, and reproducibility."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from services.inference.engine import choosing
from services.inference.engine.choosing import log_normaliser, top_of, uniform
from services.inference.engine.sampling import Grammar, GrammarKind, ImpossibleSampling, Sampling
from services.inference.engine.torch_sampling import _choose_block, choose_each


def choose(logits: torch.Tensor, sampling: Sampling, position: int) -> int:
    token = choosing.choose(logits.numpy(), sampling, position)
    assert token is not None
    return token


def row(seed: int, size: int = 400) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3


def warped(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    scores: Any = TemperatureLogitsWarper(sampling.temperature)(None, logits[None])
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(None, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(None, scores)
    if sampling.min_p:
        scores = MinPLogitsWarper(sampling.min_p)(None, scores)
    probabilities: torch.Tensor = scores.softmax(-1)[0]
    return probabilities


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(0, 1.0, 0.0), (0, 0.9, 0.0), (7, 1.0, 0.0), (20, 0.8, 0.0), (0, 0.999, 0.0), (0, 1.0, 0.05), (30, 0.95, 0.1)],
)
def test_tokens_come_as_often_as_transformers_gives_them_probability(top_k: int, top_p: float, min_p: float) -> None:
    logits, draws = row(1), 3000
    sampling = Sampling(temperature=0.7, top_k=top_k, top_p=top_p, min_p=min_p, seed=5)
    counts = torch.zeros(len(logits))
    for position in range(draws):
        counts[choose(logits, sampling, position)] += 1
    expected = warped(logits, sampling)
    assert bool((expected[counts > 0] > 0).all()), "a token outside the allowed set was chosen"
    assert float((counts / draws - expected).abs().max()) < 0.03


@given(seed=st.integers(0, 2**64 - 1), position=st.integers(0, 10**6))
def test_the_same_seed_and_position_give_the_same_number_below_one(seed: int, position: int) -> None:
    assert 0.0 <= uniform(seed, position) < 1.0
    assert uniform(seed, position) == uniform(seed, position) != uniform(seed, position + 1)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), temperature=st.floats(1e-38, 100))
def test_any_temperature_gives_a_token(seed: int, temperature: float) -> None:
    assert 0 <= choose(row(seed), Sampling(temperature=temperature, seed=seed, top_p=0.9), 0) < 400


@settings(max_examples=40, deadline=None)
@given(
    asked=st.lists(
        st.tuples(
            st.builds(
                Sampling,
                temperature=st.sampled_from([0.0, 1e-38, 0.3, 1.0, 3.0]),
                top_p=st.sampled_from([1.0, 0.9, 0.999, 0.01]),
                top_k=st.sampled_from([0, 1, 7, 300]),
                min_p=st.sampled_from([0.0, 0.0, 1e-9, 0.2, 1.0]),
                seed=st.integers(0, 2**64 - 1),
            ),
            st.integers(0, 100_000),
        ),
        min_size=1,
        max_size=9,
    ),
    size=st.sampled_from([40, 256, 257, 3000]),
    spread=st.sampled_from([0.0, 0.5, 4.0]),
    ties=st.booleans(),
)
def test_rows_chosen_together_as_on_a_gpu_are_those_chosen_one_by_one(
    asked: list[tuple[Sampling, int]], size: int, spread: float, ties: bool
) -> None:
    logits = torch.stack([row(n, size) for n in range(len(asked))]) * spread / 3
    if ties:
        logits = logits.round()
    expected: list[int | None] = [choose(one, *wanted) for one, wanted in zip(logits, asked)]
    assert choose_each(logits, asked) == _choose_block(logits, asked) == expected
    logits[0, 3], expected[0] = float("nan"), None
    assert choose_each(logits, asked) == _choose_block(logits, asked) == expected


def test_greedy_takes_the_first_of_equals() -> None:
    assert choose(torch.tensor([0.0, 2.0, 2.0]), Sampling(temperature=0), 0) == 1


def test_a_nucleus_larger_than_the_first_candidates_is_whole() -> None:
    flat = torch.zeros(5000)
    seen = {choose(flat, Sampling(temperature=1, top_p=0.9, seed=3), position) for position in range(300)}
    assert max(seen) > 2000
    assert max(seen) < 4501


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("seed", -1),
        ("max_tokens", 0),
        ("stop", ("",)),
        ("stop", ("x",) * 17),
        ("stop", ("x" * 10_000,)),
        ("stop_ids", tuple(range(65))),
        ("stop_ids", (-1,)),
        ("min_p", 1.5),
        ("min_p", float("nan")),
        ("min_tokens", 513),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", float("inf")),
        ("presence_penalty", 2.1),
        ("frequency_penalty", float("nan")),
        ("logit_bias", ((1, 101.0),)),
        ("logit_bias", ((-1, 1.0),)),
        ("logit_bias", tuple((token, 1.0) for token in range(1025))),
        ("logprobs", 21),
        ("grammar", Grammar(kind=GrammarKind.REGEX, text="")),
    ],
)
def test_impossible_values_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ImpossibleSampling) as refused:
        Sampling(**({"temperature": 0.5} | {field: value}))  # type: ignore[arg-type]
    assert refused.value.field == field
    assert refused.value.bound in str(refused.value)


def test_a_token_that_the_model_does_not_have_is_refused_by_the_name_of_its_field() -> None:
    Sampling(temperature=0, logit_bias=((258, -5.0),), stop_ids=(258,)).check_ids(259)
    for field, value in (("logit_bias", ((259, -5.0),)), ("stop_ids", (3, 4_000_000_000))):
        with pytest.raises(ImpossibleSampling) as refused:
            Sampling(**{"temperature": 0, field: value}).check_ids(259)  # type: ignore[arg-type]
        assert refused.value.field == field and "below 259" in str(refused.value)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(0, 20), ties=st.booleans())
def test_log_probabilities_are_those_of_log_softmax_and_the_top_is_in_order(seed: int, count: int, ties: bool) -> None:
    logits = row(seed).round() if ties else row(seed)
    expected = logits.double().log_softmax(-1)
    numbers = logits.numpy()
    assert torch.allclose(logits.double() - log_normaliser(numbers), expected, atol=1e-5)
    order = sorted(range(len(logits)), key=lambda token: (-float(logits[token]), token))
    assert top_of(numbers, count).tolist() == order[:count]
