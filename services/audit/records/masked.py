"""The texts of a record that may be shown and looked for: what the guard has masked, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from chassis.canonical import canonical
from services.audit.records.entries import (
    ANSWER_GENERATED,
    ANSWER_RELEASED,
    FINDINGS,
    PARAMETERS,
    REQUEST_RECEIVED,
    REQUEST_SENT,
)

Findings = Sequence[Mapping[str, Any]]
Span = tuple[int, int, str]  # from, to, and the class of what is there
# Members of an answer's choice, and the side of the findings that tell where tokens were put back in it.
_RELEASED_SIDES = {"content": "answer_released", "reasoning": "reasoning_released"}


def masked_texts(fields: Mapping[str, bytes]) -> Iterator[str]:
    """Of the request as the model saw it, else as the guard's findings mask it; of the answer as it was released, with
    what tokens stood for masked again."""
    if REQUEST_SENT in fields:
        messages = _messages(fields[REQUEST_SENT])
        # The first is the firm's own system message, the same in all records, unless the caller's follows in it.
        ours = messages and messages[0]["role"] == "system" and not _has_system(fields.get(REQUEST_RECEIVED, b""))
        yield from (message["content"] for message in messages[bool(ours) :])
    else:
        yield from (message["content"] for message in masked_request(fields))
    yield from _choices_texts(masked_answer(fields))


def masked_request(fields: Mapping[str, bytes]) -> list[dict[str, str]]:
    """The messages of a request that no model saw, with each finding's class in place of what was found. Empty where
    the findings are not known."""
    findings = _findings(fields)
    if REQUEST_RECEIVED not in fields or findings is None:
        return []
    return [
        {**message, "content": _masked(message["content"], _spans(findings, "prompt", "message_index", index))}
        for index, message in enumerate(_messages(fields[REQUEST_RECEIVED]))
    ]


def masked_answer(fields: Mapping[str, bytes]) -> list[Any]:
    """The choices of the answer as it was released, with the class in place of what a token stood for. Empty where the
    findings are not known."""
    findings, choices = _findings(fields), _list(fields.get(ANSWER_RELEASED, b""))
    if choices is None or findings is None:
        return []
    return [
        _masked_choice(choice, index, findings) if isinstance(choice, dict) else choice
        for index, choice in enumerate(choices)
    ]


def _masked_choice(choice: dict[str, Any], index: int, findings: Findings) -> dict[str, Any]:
    shown = dict(choice)
    for name, side in _RELEASED_SIDES.items():
        if isinstance(choice.get(name), str):
            shown[name] = _masked(choice[name], _spans(findings, side, "choice", index))
    return shown


def _findings(fields: Mapping[str, bytes]) -> Findings | None:
    """None where they are not known: then nothing may be shown that they would mask."""
    found = _list(fields.get(FINDINGS, b""))
    return found if found is not None and all(isinstance(each, dict) for each in found) else None


def _spans(findings: Findings, side: str, name: str, number: int) -> list[Span]:
    """Of the findings in the text of this side, and of message or choice `number`."""
    return sorted(
        (int(found["start"]), int(found["end"]), str(found["type"]))
        for found in findings
        if found["side"] == side and found.get(name, 0) == number
    )


def _masked(text: str, spans: Iterable[Span]) -> str:
    pieces, at = [], 0
    for start, end, kind in spans:
        if end <= at:
            continue
        pieces += [text[at : max(at, start)], f"[{kind}]"]
        at = end
    return "".join(pieces) + text[at:]


def raw_texts(fields: Mapping[str, bytes]) -> Iterator[str]:
    """As they were received and generated: for keyed hashes, never to be kept or shown."""
    yield from (message["content"] for message in _messages(fields.get(REQUEST_RECEIVED, b"")))
    for name in (ANSWER_GENERATED, ANSWER_RELEASED):
        yield from _choices_texts(_list(fields.get(name, b"")) or ())


def released_texts(bodies: Iterable[bytes]) -> list[str]:
    """Of RELEASE entries, where no END tells the answer: the text of each choice and channel, masked like that."""
    texts: dict[tuple[object, str], list[str]] = {}
    places: dict[tuple[object, str], list[Span]] = {}
    channels = {"answer_released": "content", "reasoning_released": "reasoning"}
    for body in bodies:
        for piece in _list(body) or ():
            choice, channel = piece.get("choice", 0), str(piece.get("channel"))
            if isinstance(text := piece.get("text"), str):
                texts.setdefault((choice, channel), []).append(text)
            for side, start, end, kind, _ in piece.get("places", ()):
                places.setdefault((choice, channels[side]), []).append((start, end, kind))
    return [_masked("".join(pieces), sorted(places.get(which, ()))) for which, pieces in texts.items()]


def classes_of(fields: Mapping[str, bytes]) -> set[str]:
    """The classes of personal data that were found."""
    found = _list(fields.get(FINDINGS, b"")) or ()
    return {str(finding["type"]) for finding in found if isinstance(finding, dict) and "type" in finding}


def without_callers_texts(parameters: bytes) -> bytes:
    """Stop strings are a caller's text that no guard has masked."""
    values = _json(parameters)
    if isinstance(values, dict) and isinstance(values.get("stop"), list):
        values["stop"] = ["[sealed]"] * len(values["stop"])
    return b"" if values is None else canonical(values)


def policy_digest_of(fields: Mapping[str, bytes]) -> str:
    """In hexadecimal; empty where the parameters do not tell."""
    values = _json(fields.get(PARAMETERS, b""))
    return str(values.get("policy_digest", "")) if isinstance(values, dict) else ""


def _messages(request: bytes) -> list[dict[str, str]]:
    """Of a request's canonical bytes; nothing of what is not like one."""
    value = _json(request)
    messages = value.get("messages") if isinstance(value, dict) else value
    return [
        {"role": str(message.get("role", "")), "content": message["content"]}
        for message in (messages if isinstance(messages, list) else ())
        if isinstance(message, dict) and isinstance(message.get("content"), str)
    ]


def _has_system(request: bytes) -> bool:
    return any(message["role"] == "system" for message in _messages(request))


def _choices_texts(choices: Iterable[Any]) -> Iterator[str]:
    for choice in choices:
        if isinstance(choice, dict):
            yield from (text for name in ("reasoning", "content") if isinstance(text := choice.get(name), str) and text)
            yield from _strings(choice.get("tool_calls"))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def _list(data: bytes) -> list[Any] | None:
    value = _json(data)
    return value if isinstance(value, list) else None


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data) if data else None
    except ValueError:
        return None
