"""What can be asked, and what is answered to what cannot."""

from __future__ import annotations

import pytest

from chassis.failures import InvalidArgument
from services.gateway.requests.question import MAX_SEED, Message, Profile, Question, Sampling, check

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
        (Question(HELLO, subject="s" * 129), "prompt.subject", "128"),
        (Question(HELLO, idempotency_key="k" * 129), "prompt.idempotency_key", "128"),
        (Question(HELLO, priority="urgent"), "prompt.priority", "interactive, standard, batch"),
    ],
)
def test_bad_input_names_the_field_the_bound_and_the_remedy(question, field, remedy):
    with pytest.raises(InvalidArgument) as refused:
        check(question, 2048)
    assert refused.value.field == field and remedy in str(refused.value)


def test_what_is_at_the_bounds_passes():
    check(asked(temperature=2, top_p=1, top_k=1000, seed=MAX_SEED, max_tokens=2048, stop=("a" * 64,) * 4), 2048)
    check(asked(temperature=0, top_k=0, seed=0, max_tokens=1), 2048)


def test_unset_means_the_profile_and_zero_means_zero():
    resolved = Profile().resolve(Sampling(temperature=0.0, seed=0), seed=9)
    assert (resolved.temperature, resolved.top_p, resolved.seed, resolved.max_tokens) == (0.0, 0.9, 0, 512)
    assert Profile().resolve(Sampling(), seed=9).seed == 9
