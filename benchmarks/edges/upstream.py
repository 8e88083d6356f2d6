"""An HTTP upstream that answers at once: what the peers stand in front of, and the floor."""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop


def completion(text: str) -> bytes:
    """The whole response."""
    message = {"role": "assistant", "content": text, "refusal": None}
    body = json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "instant",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 200, "completion_tokens": 50, "total_tokens": 250},
        }
    ).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Instant(asyncio.Protocol):
    """Reads whole requests, of whatever kind, and answers each with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer, self._received = answer, b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := message_end(self._received)) is not None:
            self._received = self._received[end:]
            self._transport.write(self._answer)


def message_end(received: bytes) -> int | None:
    """Where the first HTTP/1.1 message ends; None while it is not whole."""
    head, mark, body = received.partition(b"\r\n\r\n")
    if not mark:
        return None
    start, fields = len(head) + 4, head.lower()
    if b"transfer-encoding: chunked" in fields:
        end = (b"\r\n" + body).find(b"\r\n0\r\n\r\n")
        return None if end < 0 else start + end + 5
    _, named, behind = fields.partition(b"\r\ncontent-length:")
    length = int(behind.partition(b"\r\n")[0]) if named else 0
    return start + length if len(body) >= length else None


async def serve(port: int, text: str) -> None:
    answer = completion(text)
    server = await asyncio.get_running_loop().create_server(lambda: Instant(answer), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
