"""Our sampling in vLLM's words, field by field. What vLLM has not, or bounds more tightly, is refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

from chassis import grammars
from services.inference.engine import choosing
from services.inference.engine.features import all_but
from services.inference.engine.sampling import Grammar, GrammarKind, ImpossibleSampling, NotSupported, Sampling

HAS = all_but("adapter")
COLDEST, HOTTEST = 0.01, 2.0  # vLLM would raise what lies below, without a word


def check(sampling: Sampling, *, reasoning: bool) -> None:
    """Raises what vLLM would refuse with words of its own, or not keep to. `reasoning`: the prompt opens it."""
    if sampling.temperature > HOTTEST:
        raise ImpossibleSampling("temperature", f"0 to {HOTTEST:g} on this engine")
    if sampling.grammar and reasoning:
        raise NotSupported(f"{sampling.grammar.kind.value.lower()} for an answer that begins inside its reasoning")


def greedy(sampling: Sampling) -> bool:
    """Below the coldest another token than the top has practically no weight."""
    return choosing.greedy(sampling) or sampling.temperature < COLDEST


def goes_on_behind(sampling: Sampling) -> bool:
    """Whether vLLM can be asked for what comes behind given tokens: nothing is drawn by a generator that has run on,
    and nothing counts, or parses, the answer's own tokens."""
    stateless = not (sampling.presence_penalty or sampling.frequency_penalty or sampling.grammar)
    return greedy(sampling) and stateless


def translated(sampling: Sampling, end_ids: Collection[int], *, said: int = 0) -> dict[str, Any]:
    """Arguments of vLLM's SamplingParams, `structured_outputs` still a dict. Stop strings are not among them: where an
    answer ends is decided on its text, here. `said`: tokens of the answer that stand in the prompt already."""
    cold = greedy(sampling)
    return {
        "temperature": 0.0 if cold else sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "seed": None if cold else _seed(sampling.seed, said),
        "max_tokens": sampling.max_tokens - said,
        "min_tokens": max(sampling.min_tokens - said, 0),
        "stop_token_ids": sorted({*end_ids, *sampling.stop_ids}),
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "logit_bias": dict(sampling.logit_bias) or None,
        "logprobs": sampling.logprobs,
        "structured_outputs": _structured(sampling.grammar) if sampling.grammar else None,
    }


def _seed(seed: int, said: int) -> int:
    """A generator cannot be set to a position: behind what was said it is another one, or it would draw once more what
    was drawn at the start."""
    if not said:
        return seed
    digest = hashlib.sha256(seed.to_bytes(8, "big") + said.to_bytes(8, "big")).digest()
    return int.from_bytes(digest[:8], "big")


def _structured(grammar: Grammar) -> dict[str, Any]:
    """A schema with our own bound on white space, by the key that llguidance reads in it."""
    if grammar.kind is GrammarKind.REGEX:
        return {"regex": grammar.text}
    [source] = json.loads(grammars.source(grammar.kind, grammar.text))["grammars"]
    return {"json": source["json_schema"]}
