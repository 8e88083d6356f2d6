"""The bytes that the audit log commits to: canonical JSON (RFC 8785), the same from every edge.

The offline verifier builds the same bytes by itself, from docs/audit-format.md; it shares no code with this module,
so that the writer never grades its own work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from chassis.canonical import canonical
from services.gateway.requests.channel import CONTENT, REASONING
from services.gateway.requests.neighbours import NOT_QUANTIZED, Quantization
from services.gateway.requests.outcome import Delta, Finding, Made, TokenLogprob
from services.gateway.requests.question import Adapter, Message, Question, Sampling

MOST_TOKENS = 65_536  # of prompt and answers, in a record: of more none is kept
DECIMALS_KEPT = 1024  # most requests name the same few: a temperature, a top_p


def request(messages: Sequence[Message], model: str, sampling: Sampling, adapter: str = "") -> bytes:
    """A request: its messages, its model and adapter and those parameters that are set."""
    value: dict[str, Any] = {
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "parameters": parameters(sampling),
    }
    value |= {name: said for name, said in (("model", model), ("adapter", adapter)) if said}
    return canonical(value)


def received(question: Question) -> bytes:
    """A request as the caller sent it: what the caller left unset is absent."""
    return request(question.messages, question.model, question.sampling, question.adapter)


def parameters(sampling: Sampling) -> dict[str, Any]:
    """The sampling parameters that are set; floats as shortest decimal strings."""
    values: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "temperature": _decimal(sampling.temperature),
        "top_k": sampling.top_k,
        "top_p": _decimal(sampling.top_p),
        "stop": list(sampling.stop) or None,
        "min_p": _decimal(sampling.min_p),
        "repetition_penalty": _decimal(sampling.repetition_penalty),
        "presence_penalty": _decimal(sampling.presence_penalty),
        "frequency_penalty": _decimal(sampling.frequency_penalty),
        "logit_bias": {str(token): _decimal(bias) for token, bias in sampling.logit_bias} or None,
        "stop_ids": list(sampling.stop_ids) or None,
        "min_tokens": sampling.min_tokens,
        "logprobs": sampling.logprobs,
        "json_schema": sampling.json_schema,
        "regex": sampling.regex,
        "n": sampling.n,
    }
    return {name: value for name, value in values.items() if value is not None}


class Said(NamedTuple):
    """One choice. `finish_reason` is empty for a request that ended without one."""

    content: str
    finish_reason: str
    reasoning: str = ""


def answer(choices: Iterable[Said]) -> bytes:
    """An answer: the list of its choices."""
    return canonical([{**choice._asdict(), "tool_calls": []} for choice in choices])


def findings(found: Sequence[Finding]) -> bytes:
    """What the guard found, in prompt and answer: classes and places, never the text."""
    return canonical(
        [
            {
                "type": finding.type,
                "start": finding.start,
                "end": finding.end,
                "level": finding.level,
                "message_index": finding.message_index,
                "rule": finding.rule,
                "side": finding.side,
                **({"choice": finding.choice} if finding.choice else {}),
            }
            for finding in found
        ]
    )


def circumstances(
    sampling: Sampling,
    model: str,
    policy_digest: bytes,
    template_digest: bytes,
    priority: str,
    adapter: Adapter,
    engines: str = "",
    quantization: Quantization = NOT_QUANTIZED,
    replay_of: str = "",
) -> bytes:
    """The `parameters` field: everything that shaped the answer beside the messages."""
    value = {
        **parameters(sampling),
        "model": model,
        "policy_digest": policy_digest.hex(),
        "template_digest": template_digest.hex(),
        "priority": priority,
    }
    value |= {name: said for name, said in (("engine", engines), ("replay_of", replay_of)) if said}
    if adapter.name:
        value |= {"adapter": adapter.name, "adapter_digest": adapter.digest.hex()}
    if quantization.mode:
        value |= {"quantization": quantization.mode, "quantization_loss": quantization.loss}
    return canonical(value)


def generation(made: Sequence[Made]) -> bytes | None:
    """The tokens of a request's answers and what made them; None where nobody told, or there are too many to keep."""
    told = [one for one in made if one.tokens]
    prompt = next((one.prompt for one in told if one.prompt), ())
    if not told or len(prompt) + sum(len(one.tokens) for one in told) > MOST_TOKENS:
        return None
    choices = [{"made_by": list(one.by), "token_ids": list(one.tokens)} for one in made]
    # Numbers below 2^53 and ASCII: for these it writes what RFC 8785 asks for, without a look at every token.
    return orjson.dumps({"choices": choices, "prompt_token_ids": list(prompt)}, option=orjson.OPT_SORT_KEYS)


def release(deltas: Iterable[Delta]) -> bytes:
    """The body of a RELEASE: what is about to be sent, of each choice the pieces of text by their channel, where tokens
    were put back in them, then log-probabilities."""
    return canonical([piece for delta in deltas for piece in _pieces(delta)])


def _pieces(delta: Delta) -> list[dict[str, Any]]:
    texts = ((REASONING, delta.reasoning), (CONTENT, delta.text))
    pieces: list[dict[str, Any]] = [
        {"channel": channel, "choice": delta.choice, "text": text} for channel, text in texts if text
    ]
    if delta.restored:
        places = [[one.side, one.start, one.end, one.type, one.level] for one in delta.restored]
        pieces.append({"channel": "restored", "choice": delta.choice, "places": places})
    if delta.logprobs:
        told = [[one.token.hex(), _decimal(one.logprob), _alternatives(one)] for one in delta.logprobs]
        pieces.append({"channel": "logprobs", "choice": delta.choice, "tokens": told})
    return pieces


def _alternatives(one: TokenLogprob) -> list[list[str | None]]:
    return [[token.hex(), _decimal(logprob)] for token, logprob in one.top]


def _decimal(value: float | None) -> str | None:
    return None if value is None else _shortest(value)


@lru_cache(DECIMALS_KEPT)
def _shortest(value: float) -> str:
    """ECMAScript's number-to-string, which RFC 8785 uses for numbers: 0.7, 1, 1e-7."""
    return canonical(float(value)).decode()
