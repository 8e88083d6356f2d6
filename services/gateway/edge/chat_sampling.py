"""How tokens are to be chosen, in OpenAI's words, and in vLLM's where OpenAI has none."""

from __future__ import annotations

import json
from typing import Any

from chassis.failures import InvalidArgument
from chassis.grammars import ANY_OBJECT
from services.gateway.edge.json_fields import JsonObject, at_most, not_supported, text, wrong_type
from services.gateway.requests.sampling import MAX_BIASED, MAX_STOP_IDS, MAX_STOPS, Sampling

_MAX_ID_DIGITS = 10  # of 2^32 - 1
_as_text = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def chat_sampling(document: JsonObject, ours: JsonObject, max_tokens: int | None) -> Sampling:
    """`ours` is the member `strongroom`."""
    return Sampling(
        temperature=document.number("temperature"),
        top_p=document.number("top_p"),
        top_k=(document if document.has("top_k") and not ours.has("top_k") else ours).integer("top_k"),
        seed=document.integer("seed"),
        max_tokens=max_tokens,
        stop=_stop(document),
        min_p=document.number("min_p"),
        repetition_penalty=document.number("repetition_penalty"),
        presence_penalty=document.number("presence_penalty"),
        frequency_penalty=document.number("frequency_penalty"),
        logit_bias=_logit_bias(document),
        stop_ids=_stop_ids(document),
        min_tokens=document.integer("min_tokens"),
        logprobs=_logprobs(document),
        json_schema=_json_schema(document),
        regex=ours.text("regex"),
        n=document.integer("n"),
    )


def _stop(document: JsonObject) -> tuple[str, ...]:
    stop = document.item("stop")
    if stop is None:
        return ()
    if isinstance(stop, str):
        return (text(stop, "stop"),)
    if not isinstance(stop, list):
        raise wrong_type("stop", "a string or a list of strings")
    at_most(MAX_STOPS, stop, "stop")
    return tuple(text(one, f"stop[{index}]") for index, one in enumerate(stop))


def _stop_ids(document: JsonObject) -> tuple[int, ...]:
    ids = document.items("stop_token_ids") or []
    at_most(MAX_STOP_IDS, ids, "stop_token_ids")
    if any(type(one) is not int or not 0 <= one < 2**32 for one in ids):
        raise wrong_type("stop_token_ids", "a list of token ids")
    return tuple(ids)


def _logit_bias(document: JsonObject) -> tuple[tuple[int, float], ...]:
    """In JSON an object's names are strings, token ids too."""
    given = document.item("logit_bias")
    if given is None:
        return ()
    if not isinstance(given, dict):
        raise wrong_type("logit_bias", "an object")
    at_most(MAX_BIASED, given, "logit_bias")
    return tuple(sorted((_token_id(name), _bias(bias)) for name, bias in given.items()))


def _token_id(name: str) -> int:
    canonical = name.isascii() and name.isdigit() and len(name) <= _MAX_ID_DIGITS and str(int(name)) == name
    if not canonical or int(name) >= 2**32:
        raise wrong_type("logit_bias", "an object whose names are token ids")
    return int(name)


def _bias(value: Any) -> float:
    if type(value) not in (int, float) or not -1e9 < value < 1e9:
        raise wrong_type("logit_bias", "an object whose values are numbers")
    return float(value)


def _logprobs(document: JsonObject) -> int | None:
    """Two fields of OpenAI's: whether, and how many alternatives."""
    told, top = document.flag("logprobs"), document.integer("top_logprobs")
    if top is not None and not told:
        raise InvalidArgument(
            "top_logprobs needs logprobs: set that to true, or leave both out",
            field="top_logprobs",
            reason="CONTRADICTION",
        )
    return (top or 0) if told else None


def _json_schema(document: JsonObject) -> str | None:
    """The schema as compact JSON, its members in the order in which they came: an answer has them in that order."""
    given = document.object("response_format")
    kind = given.text("type")
    schema: Any = None
    if kind == "json_schema":
        described = given.object("json_schema")
        schema = described.item("schema")
        for name in ("name", "description"):  # for models that are shown them
            described.text(name)
        described.flag("strict")
        described.close()
        if not isinstance(schema, dict):
            raise wrong_type("response_format.json_schema.schema", "an object")
    elif kind not in (None, "text", "json_object"):
        raise not_supported("response_format.type")
    given.close()
    if kind == "json_object":
        return ANY_OBJECT
    return None if schema is None else _schema_text(schema)


def _schema_text(schema: dict[str, Any]) -> str:
    try:
        return text(_as_text(schema), "response_format.json_schema.schema")
    except (RecursionError, ValueError):
        raise wrong_type("response_format.json_schema.schema", "JSON of a reasonable depth") from None
