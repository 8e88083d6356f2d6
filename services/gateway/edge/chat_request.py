"""A chat completion request in OpenAI's words, and the question it asks in ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chassis.failures import InvalidArgument
from services.gateway.edge.chat_sampling import chat_sampling
from services.gateway.edge.json_fields import JsonObject, at_most, member, not_supported, parse, text
from services.gateway.requests.question import MAX_MESSAGES, Message, Question

_ROLES = {"developer": "system"}  # OpenAI's newer name for it
_TEXT_ONLY = ["text"]

# OpenAI's fields that are not served, with those values that ask for nothing: clients send them unasked.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "modalities": (_TEXT_ONLY,),
    "metadata": ({},),
    "store": (False,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "service_tier": ("auto", "default"),
    **dict.fromkeys(
        (
            "audio", "moderation", "parallel_tool_calls", "prediction", "prompt_cache_key", "prompt_cache_options",
            "prompt_cache_retention", "reasoning_effort", "safety_identifier", "verbosity", "web_search_options",
        ),
        (),
    ),
}  # fmt: skip
_NEUTRAL_IN_MESSAGE: dict[str, tuple[Any, ...]] = {  # what a client's copy of our own answer carries
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "name": (),
    "refusal": (),
    "tool_calls": ([],),
    "tool_call_id": (),
}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What was asked, and how the answer is to come."""

    question: Question
    stream: bool
    include_usage: bool
    timeout_seconds: float | None
    tokens_field: str  # which of its two names max_tokens came under


def chat_request(body: bytes, idempotency_key: str) -> ChatRequest:
    """Raises InvalidArgument naming the first field that cannot be read."""
    document = parse(body)
    ours = document.object("strongroom")
    tokens_field, max_tokens = _max_tokens(document)
    stream = bool(document.flag("stream"))
    include_usage = _include_usage(document, stream)
    timeout = ours.number("timeout_seconds")
    if timeout is not None and timeout <= 0:
        raise InvalidArgument("strongroom.timeout_seconds must be above 0", field="strongroom.timeout_seconds")
    question = Question(
        messages=_messages(document),
        model=document.text("model") or "",
        sampling=chat_sampling(document, ours, max_tokens),
        subject=document.text("user") or "",
        idempotency_key=idempotency_key,
        priority=ours.text("priority") or "standard",
    )
    document.neutral(_NEUTRAL)
    ours.close()
    document.close()
    return ChatRequest(question, stream, include_usage, timeout, tokens_field)


def _max_tokens(document: JsonObject) -> tuple[str, int | None]:
    newer, older = document.integer("max_completion_tokens"), document.integer("max_tokens")
    if newer is not None and older is not None and newer != older:
        raise InvalidArgument(
            "max_tokens and max_completion_tokens differ: send one of them", field="max_tokens", reason="CONTRADICTION"
        )
    return ("max_tokens", older) if newer is None else ("max_completion_tokens", newer)


def _include_usage(document: JsonObject, stream: bool) -> bool:
    given = document.object("stream_options")
    include_usage = bool(given.flag("include_usage"))
    given.only("include_obfuscation", (False,))
    given.close()
    if include_usage and not stream:
        raise InvalidArgument(
            "stream_options.include_usage is for streams: set stream to true, or leave it out",
            field="stream_options.include_usage",
        )
    return include_usage


def _messages(document: JsonObject) -> tuple[Message, ...]:
    given = document.items("messages") or []
    at_most(MAX_MESSAGES, given, "messages")
    return tuple(_message(member(one, f"messages[{index}]")) for index, one in enumerate(given))


def _message(given: JsonObject) -> Message:
    role = given.text("role") or ""
    content = given.item("content")
    where = given.where("content")
    if isinstance(content, list):
        parts = [_part(member(part, f"{where}[{index}]")) for index, part in enumerate(content)]
        content = "\n".join(parts)
    elif content is None:
        content = ""
    given.neutral(_NEUTRAL_IN_MESSAGE)
    if role == "assistant":
        given.text("reasoning_content")  # of an earlier answer: no model sees what it thought then
    given.close()
    return Message(_ROLES.get(role, role), text(content, where))


def _part(given: JsonObject) -> str:
    kind = given.text("type")
    if kind != "text":
        raise not_supported(given.where("type"))
    part = given.text("text")
    given.close()
    return part or ""
