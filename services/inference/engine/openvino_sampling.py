"""What openvino-genai is told of how to choose tokens, and what it has not of that. No OpenVINO is imported."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from services.inference.engine.choosing import greedy
from services.inference.engine.features import all_but
from services.inference.engine.sampling import Sampling

# Why, by openvino-genai 2026.4:
# - its presence and frequency penalties are added to a logit below zero: the token becomes likelier by them
# - it has no bias; of logprobs it tells the chosen token's alone
# - it compiles a grammar within a step, where a bad one ends every request of the batch
# - adapters belong to a pipeline's call, not to a request; its kept prefixes have no scope and would be all tenants'
HAS = all_but(
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "json_schema",
    "regex",
    "top_logprobs",
    "adapter",
    "prefix_scope",
)


def narrow(sampling: Sampling) -> bool:
    """One token can be chosen: its sampler refuses a min_p of 1, and a draw of one is greedy."""
    return greedy(sampling) or sampling.min_p == 1.0


def generation(
    sampling: Sampling, end_ids: Collection[int], *, said: int = 0, seed: int | None = None
) -> dict[str, Any]:
    """Fields of its GenerationConfig. `said`: tokens of the answer that the prompt holds already.

    Stop strings are not among them: where an answer ends is decided once for all engines, on the text.
    """
    ends = sorted({*end_ids, *sampling.stop_ids})
    asked: dict[str, Any] = {
        "max_new_tokens": sampling.max_tokens - said,
        "min_new_tokens": max(sampling.min_tokens - said, 0),
        "stop_token_ids": set(ends),
        "ignore_eos": not ends,
        "do_sample": not narrow(sampling),
        "logprobs": int(sampling.logprobs is not None),
    }
    if sampling.repetition_penalty != 1.0:
        asked["repetition_penalty"] = sampling.repetition_penalty
    if not narrow(sampling):
        asked |= {"temperature": sampling.temperature, "rng_seed": sampling.seed if seed is None else seed}
        asked |= {
            name: getattr(sampling, name)
            for name, off in (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0))
            if getattr(sampling, name) != off
        }
    return asked
