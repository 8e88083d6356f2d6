"""What can be asked, and what is answered to what cannot."""

from __future__ import annotations

import pytest

from chassis.failures import InvalidArgument, Unimplemented
from services.gateway.requests.question import Message, Profile, Question, Sampling, check
from services.gateway.requests.sampling import MAX_SEED, Able

TINY = Able(context_tokens=2048, vocabulary=49_152)
HELLO = (Message("user", "hello"),)


def asked(**sampling):
    return Question(HELLO, sampling=Sampling(**sampling))


@pytest.mark.parametrize(
    ("question", "field", "remedy"),
    [
        (Question(()), "prompt.messages", "at least one"),
        (Question((Message("user", "  "),)), "prompt.messages[0].content", "send some text"),
        (Question((Message("wizard", "hi"),)), "prompt.messages[0].role", "system, user, assistant"),
        (Question((*HELLO, Message("assistant", "hi"))), "prompt.messages[1].role", "last message"),
        (Question((Message("user", "x" * 262_145),)), "prompt.messages", "262144"),
        (Question(HELLO * 257), "prompt.messages", "256"),
        (asked(temperature=2.1), "prompt.sampling.temperature", "0 to 2"),
        (asked(temperature=float("nan")), "prompt.sampling.temperature", "0 to 2"),
        (asked(top_p=0.0), "prompt.sampling.top_p", "above 0"),
        (asked(top_p=1.1), "prompt.sampling.top_p", "at most 1"),
        (asked(top_k=1001), "prompt.sampling.top_k", "1000"),
        (asked(seed=MAX_SEED + 1), "prompt.sampling.seed", str(MAX_SEED)),
        (asked(max_tokens=0), "prompt.sampling.max_tokens", "1 to 2048"),
        (asked(max_tokens=2049), "prompt.sampling.max_tokens", "1 to 2048"),
        (asked(stop=("a",) * 5), "prompt.sampling.stop", "4"),
        (asked(stop=("",)), "prompt.sampling.stop", "1 to 64"),
        (asked(stop=("s" * 10_000,)), "prompt.sampling.stop", "1 to 64"),
        (asked(min_p=1.1), "prompt.sampling.min_p", "0 to 1"),
        (asked(repetition_penalty=0.0), "prompt.sampling.repetition_penalty", "above 0, at most 2"),
        (asked(presence_penalty=2.1), "prompt.sampling.presence_penalty", "-2 to 2"),
        (asked(frequency_penalty=float("inf")), "prompt.sampling.frequency_penalty", "-2 to 2"),
        (asked(logit_bias=((49_152, 1.0),)), "prompt.sampling.logit_bias", "0 to 49151"),
        (asked(logit_bias=((1, 101.0),)), "prompt.sampling.logit_bias", "-100 to 100"),
        (asked(logit_bias=tuple((n, 1.0) for n in range(301))), "prompt.sampling.logit_bias", "300"),
        (asked(stop_ids=(50_000,)), "prompt.sampling.stop_ids", "0 to 49151"),
        (asked(stop_ids=tuple(range(17))), "prompt.sampling.stop_ids", "16"),
        (asked(min_tokens=513), "prompt.sampling.min_tokens", "0 to 512"),
        (asked(min_tokens=9, max_tokens=8), "prompt.sampling.min_tokens", "0 to 8"),
        (asked(logprobs=21), "prompt.sampling.logprobs", "0 to 20"),
        (asked(regex=""), "prompt.sampling.regex", "1 to 32768"),
        (asked(json_schema="x" * 32_769), "prompt.sampling.json_schema", "1 to 32768"),
        (asked(json_schema="{}", regex="a"), "prompt.sampling.regex", "one grammar"),
        (asked(regex="a", min_tokens=1), "prompt.sampling.min_tokens", "0 beside regex"),
        (Question(HELLO, subject="s" * 129), "prompt.subject", "128"),
        (Question(HELLO, idempotency_key="k" * 129), "prompt.idempotency_key", "128"),
        (Question(HELLO, priority="urgent"), "prompt.priority", "interactive, standard, batch"),
    ],
)
def test_bad_input_names_the_field_the_bound_and_the_remedy(question, field, remedy):
    with pytest.raises(InvalidArgument) as refused:
        check(question, TINY, Profile())
    assert refused.value.field == field and remedy in str(refused.value)


def test_what_is_at_the_bounds_passes():
    many = tuple((n, -100.0) for n in range(300))
    for question in (
        asked(temperature=2, top_p=1, top_k=1000, seed=MAX_SEED, max_tokens=2048, stop=("a" * 64,) * 4),
        asked(temperature=0, top_k=0, seed=0, max_tokens=1),
        asked(min_p=1, repetition_penalty=2, presence_penalty=-2, frequency_penalty=2, logit_bias=many, logprobs=20),
        asked(stop_ids=(49_151,), min_tokens=512),
        asked(regex="a" * 32_768),
    ):
        check(question, TINY, Profile())


def test_what_the_models_engine_lacks_is_unimplemented_by_name_and_what_asks_for_nothing_passes():
    echo = Able(lacks=frozenset({"presence_penalty", "regex", "logprobs"}))
    for name, value in {"presence_penalty": 0.5, "regex": "a+", "logprobs": 0}.items():
        with pytest.raises(Unimplemented) as refused:
            check(asked(**{name: value}), echo, Profile())
        assert refused.value.field == f"prompt.sampling.{name}" and "leave it out" in str(refused.value)
    check(asked(presence_penalty=0), echo, Profile())


def test_an_engine_may_know_a_tokens_own_logprob_and_no_alternatives():
    own = Able(lacks=frozenset({"top_logprobs"}))
    check(asked(logprobs=0), own, Profile())
    with pytest.raises(Unimplemented, match="ask for 0 alternatives") as refused:
        check(asked(logprobs=2), own, Profile())
    assert refused.value.field == "prompt.sampling.logprobs"


def test_unset_means_the_profile_and_zero_means_zero():
    resolved = Profile().resolve(Sampling(temperature=0.0, seed=0), seed=9)
    assert (resolved.temperature, resolved.top_p, resolved.seed, resolved.max_tokens) == (0.0, 0.9, 0, 512)
    assert Profile().resolve(Sampling(), seed=9).seed == 9
