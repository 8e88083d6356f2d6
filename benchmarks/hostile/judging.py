"""Plays an attack, and judges what comes back by what docs/http.md promises."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.hostile.attacks import CANARY, Attack

DOCUMENTED = frozenset({200, 400, 401, 403, 404, 405, 408, 409, 413, 429, 431, 499, 503, 504})
ERROR_TYPES = frozenset(
    {"invalid_request_error", "authentication_error", "permission_error", "rate_limit_error", "server_error"}
)
_EXCEPTION = re.compile(r"Traceback|\b[A-Z]\w*(?:Error|Exception)\b|\.py\b|object at 0x")
ANSWER_SECONDS, GLANCE_SECONDS = 30.0, 0.15


class Broken(AssertionError):
    """An answer that breaks a promise."""


@dataclass(frozen=True)
class Answer:
    status: int
    kind: str  # content type
    body: bytes


async def play(port: int, attack: Attack) -> list[Answer]:
    """What this caller is answered. Raises Broken."""
    received = await _exchange(port, attack)
    answers = list(parsed(received))
    for answer in answers:
        judge(answer)
    if attack.whole and not answers:
        raise Broken(f"a whole request ({attack.kind}) was not answered")
    return answers


async def _exchange(port: int, attack: Attack) -> bytes:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        raise Broken(f"nobody listens: {type(error).__name__}") from None
    received = bytearray()
    try:
        reading = asyncio.create_task(_read(reader, received))
        with contextlib.suppress(ConnectionError):
            for piece in attack.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        if not attack.leaves:
            await asyncio.wait([reading], timeout=ANSWER_SECONDS if attack.whole else GLANCE_SECONDS)
            if attack.whole and not reading.done():
                raise Broken(f"a whole request ({attack.kind}) was not answered in {ANSWER_SECONDS:g} s")
        reading.cancel()
    finally:
        writer.transport.abort()
    return bytes(received)


async def _read(reader: asyncio.StreamReader, received: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            received += data


class _Received:
    """As much of a socket as http.client needs."""

    def __init__(self, text: io.BytesIO) -> None:
        self._text = text

    def makefile(self, mode: str) -> io.BytesIO:
        return self._text


def parsed(received: bytes) -> Iterator[Answer]:
    """The whole answers; one that was cut off by whoever left is none."""
    text = io.BytesIO(received)
    text.close = lambda: None  # type: ignore[method-assign]  # http.client closes it behind each answer
    while text.tell() < len(received):
        response = http.client.HTTPResponse(_Received(text))  # type: ignore[arg-type]
        try:
            response.begin()
            body = response.read()
        except (http.client.HTTPException, ValueError):
            return
        yield Answer(response.status, response.headers.get("content-type", ""), body)


def judge(answer: Answer) -> None:
    """Raises Broken for an answer that is not one of those that docs/http.md describes."""
    said = answer.body.decode("utf-8", "replace")
    if answer.status not in DOCUMENTED:
        raise Broken(f"status {answer.status}: {said[:500]}")
    if answer.status != 200:
        _judge_error(said)
    elif answer.kind.startswith("text/event-stream"):
        _judge_events(said)


def _judge_events(said: str) -> None:
    last = [part for part in said.split("\n\n") if part.startswith("data: ")][-1].removeprefix("data: ")
    if last != "[DONE]":
        _judge_error(last)


def _judge_error(said: str) -> None:
    try:
        error = json.loads(said)["error"]
    except (ValueError, KeyError, TypeError):
        raise Broken(f"no error object: {said[:500]}") from None
    if not {"message", "type", "param", "code"} <= error.keys() or error["type"] not in ERROR_TYPES:
        raise Broken(f"an error of another shape: {said[:500]}")
    if _EXCEPTION.search(said):
        raise Broken(f"an exception's text: {said[:500]}")
    if CANARY in said:
        raise Broken(f"content in an error: {said[:500]}")
