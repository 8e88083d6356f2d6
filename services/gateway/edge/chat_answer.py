"""What a life tells its caller, in the words of OpenAI's chat completions."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson

from services.gateway.edge.http_call import event
from services.gateway.requests.neighbours import ServedModel
from services.gateway.requests.outcome import Delta, Ended, Finding, Outcome, Started, TokenLogprob
from services.gateway.requests.question import ADAPTER_SIGN

FINISH_REASONS = {
    "STOP": "stop",
    "LENGTH": "length",
    "TOOL": "tool_calls",
    "REFUSED": "content_filter",
    "WITHHELD": "content_filter",
}
KEEP_ALIVE, DONE = ": keep-alive\n\n", "data: [DONE]\n\n"

# Stands in an answer for its receipt, which is JSON already: to read it only to write it again would cost more than all
# else here. Nobody outside knows the mark, so nobody can have it written anywhere else.
_RECEIPT = secrets.token_hex(16)


def as_json(value: Any) -> str:
    """Text as it is, not escaped."""
    return orjson.dumps(value).decode()


def completion(outcome: Outcome, model: str, said: Sequence[Delta], created: int, logprobs: bool = False) -> str:
    """A whole answer, as JSON; `model` with its adapter, `said` what each choice says. `logprobs`: they were asked
    for."""
    answer = {
        "id": _id(outcome.request_id),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [_choice(one, ended, logprobs) for one, ended in zip(said, outcome.choices, strict=True)],
        "usage": _usage(outcome),
        "strongroom": _additions(outcome),
    }
    return _with_receipt(as_json(answer), outcome)


def _choice(said: Delta, ended: Ended, logprobs: bool) -> dict[str, Any]:
    """`reasoning_content`, where there is any, is the name that DeepSeek gave it."""
    message = {"role": "assistant", "content": said.text, "refusal": None}
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    return {
        "index": said.choice,
        "message": message,
        "logprobs": _logprobs(said.logprobs) if logprobs else None,
        "finish_reason": FINISH_REASONS[ended.finish_reason],
    }


class Chunks:
    """The events of one streamed answer."""

    def __init__(self, started: Started, model: str, created: int, include_usage: bool) -> None:
        self._frame: dict[str, Any] = {
            "id": _id(started.request_id),
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._started, self._include_usage = started, include_usage
        self._opened = 0  # choices that have their first chunk

    def role(self, choice: int = 0) -> str:
        """The first chunks of the choices up to this one, where they have none yet: OpenAI's client counts on their
        order."""
        opening = range(self._opened, choice + 1)
        self._opened = max(self._opened, choice + 1)
        return "".join(map(self._role, opening))

    def _role(self, choice: int) -> str:
        ours = {"request_id": self._started.request_id, "trace_id": self._started.trace_id}
        more: dict[str, Any] = {} if choice else {"strongroom": ours}
        return self._chunk(choice, {"role": "assistant", "content": "", "refusal": None}, **more)

    def delta(self, delta: Delta) -> str:
        """A chunk for each of its texts."""
        index = delta.choice
        reasoning = self._chunk(index, {"reasoning_content": delta.reasoning}) if delta.reasoning else ""
        told = _logprobs(delta.logprobs) if delta.logprobs else None
        content = self._chunk(index, {"content": delta.text}, logprobs=told) if delta.text or told else ""
        return self.role(index) + reasoning + content

    def finish(self, outcome: Outcome) -> str:
        """Each choice's last chunk, the usage chunk where it was asked for, and the end."""
        *before, last = [FINISH_REASONS[ended.finish_reason] for ended in outcome.choices]
        finishes = [self.role(index) + self._chunk(index, {}, reason) for index, reason in enumerate(before)]
        index = len(before)
        finishes.append(self.role(index) + self._chunk(index, {}, last, strongroom=_additions(outcome)))
        usage = {**self._frame, "choices": [], "usage": _usage(outcome)}
        counted = event(as_json(usage)) if self._include_usage else ""
        return _with_receipt("".join(finishes), outcome) + counted + DONE

    def _chunk(
        self, index: int, delta: dict[str, Any], finish_reason: str | None = None, logprobs: Any = None, **more: Any
    ) -> str:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        usage: dict[str, Any] = {"usage": None} if self._include_usage else {}
        return event(as_json({**self._frame, "choices": [choice], **usage, **more}))


def model_objects(models: Mapping[str, ServedModel]) -> dict[str, dict[str, Any]]:
    """By id, all that can be asked: each model, and after it each of its adapters."""
    listed: dict[str, dict[str, Any]] = {}
    for name, served in sorted(models.items()):
        listed[name] = _model_object(name, served)
        for adapter, digest in sorted(served.adapters.items()):
            asked = f"{name}{ADAPTER_SIGN}{adapter}"
            ours = {"adapter": adapter, "adapter_digest": digest.hex()}
            listed.setdefault(asked, _model_object(asked, served, ours) | {"parent": name})
    return listed


def _model_object(asked: str, served: ServedModel, ours: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """`created` is when a worker last announced the model: nobody knows when it was made."""
    return {
        "id": asked,
        "object": "model",
        "created": served.seen_ms // 1000,
        "owned_by": "strongroom",
        "strongroom": {
            "context_tokens": served.context_tokens,
            "workers": served.workers,
            "engine": served.engine,
            **ours,
        },
    }


def _logprobs(told: Sequence[TokenLogprob]) -> dict[str, Any]:
    tokens = [
        {**_token(one.token, one.logprob), "top_logprobs": [_token(*alternative) for alternative in one.top]}
        for one in told
    ]
    return {"content": tokens, "refusal": None}


def _token(token: bytes, logprob: float) -> dict[str, Any]:
    """One that ends within a character has U+FFFD for it; its bytes are exact."""
    return {"token": token.decode(errors="replace"), "logprob": logprob, "bytes": list(token)}


def _id(request_id: str) -> str:
    return f"chatcmpl-{request_id}"


def _usage(outcome: Outcome) -> dict[str, int]:
    return {
        "prompt_tokens": outcome.input_tokens,
        "completion_tokens": outcome.output_tokens,
        "total_tokens": outcome.input_tokens + outcome.output_tokens,
    }


def _additions(outcome: Outcome) -> dict[str, Any]:
    return {
        "request_id": outcome.request_id,
        "trace_id": outcome.trace_id,
        # The receipt's words: OpenAI has one for REFUSED and WITHHELD.
        "finish_reason": outcome.finish_reason,
        "finish_reasons": [ended.finish_reason for ended in outcome.choices],
        "guard": {
            "verdict": outcome.verdict,
            "rule": outcome.rule,
            "findings": [_finding(finding) for finding in outcome.findings],
        },
        "receipt": _RECEIPT,
        "reasoning_unfinished": outcome.reasoning_unfinished,
        "read_back": outcome.read_back,
    }


def _with_receipt(json_text: str, outcome: Outcome) -> str:
    return json_text.replace(f'"{_RECEIPT}"', outcome.receipt or "{}", 1)


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "type": finding.type,
        "start": finding.start,
        "end": finding.end,
        "level": finding.level,
        "side": finding.side,
        "message_index": finding.message_index,
        "choice": finding.choice,
    }
