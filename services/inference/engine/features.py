"""What an engine may have or lack, one word each: declared by engines, told to gateways, tested, and documented."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from services.inference.engine.protocol import Work
from services.inference.engine.sampling import NotSupported


@dataclass(frozen=True, slots=True)
class Feature:
    name: str
    meaning: str
    field: str = ""  # of a request that asks for it, and is refused by that name; empty: no request can


def _sampling(name: str, meaning: str) -> Feature:
    return Feature(name, meaning, name)


# Of Sampling by the names that the gateway's contract gives them.
FEATURES = (
    _sampling("temperature", "0 is greedy, above it tokens are drawn"),
    _sampling("top_p", "the smallest set of likely tokens with so much probability"),
    _sampling("top_k", "so many of the likeliest tokens"),
    _sampling("min_p", "a share of the likeliest token's probability"),
    _sampling("seed", "the same seed gives the same answer, whoever shares the batch"),
    _sampling("max_tokens", "an answer is no longer"),
    _sampling("min_tokens", "it does not end before"),
    _sampling("stop", "strings that end the answer and are no part of it"),
    _sampling("stop_ids", "tokens that end it"),
    _sampling("repetition_penalty", "divides what prompt and answer hold already"),
    _sampling("presence_penalty", "taken once from what the answer holds"),
    _sampling("frequency_penalty", "taken as often as the answer holds it"),
    _sampling("logit_bias", "added to the logits of named tokens"),
    _sampling("json_schema", "the answer is JSON of this schema"),
    _sampling("regex", "the answer matches it"),
    _sampling("logprobs", "how likely each token was"),
    Feature("top_logprobs", "and the likeliest ones in its place", "logprobs"),
    Feature("adapter", "LoRA adapters, loaded while it runs, chosen by request", "adapter"),
    Feature("prefix_scope", "what was computed of a prompt serves the next one, within a tenant or caller"),
    Feature("priority", "the less urgent give way and go on later"),
)
NAMES = frozenset(feature.name for feature in FEATURES)
_FIELDS = {feature.name: feature.field for feature in FEATURES}


def all_but(*lacked: str) -> frozenset[str]:
    """What an engine has that has everything else."""
    unknown = set(lacked) - NAMES
    assert not unknown, f"no features: {unknown}"
    return NAMES - set(lacked)


def lacking(has: Collection[str]) -> tuple[str, ...]:
    """In the order of FEATURES, which is that of the docs."""
    return tuple(feature.name for feature in FEATURES if feature.name not in has)


def check(work: Work, has: Collection[str]) -> None:
    """Raises NotSupported, by the request's field, for the first thing that it asks for and the engine has not."""
    asked = [*work.sampling.asked, *(["adapter"] if work.adapter else ())]
    for name in asked:
        if name not in has:
            raise NotSupported(_FIELDS[name])
