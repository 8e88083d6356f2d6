"""Records such as a gateway appends, and a gateway's append stream that carries many of them at once."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import rfc8785
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc

from benchmarks.guard_stream import next_beat
from chassis.exchange import BatchStream
from services.guard.policy.loading import load_bundle
from services.guard.settings import SHIPPED_POLICY

Fields = Mapping[str, bytes]

MODEL = "smollm2-135m-instruct"
QUESTION = "What is the difference between a forward contract and a futures contract?"
ANSWER = (
    "A forward contract is a private agreement between two parties, settled at its end; a futures contract is "
    "standardised, traded on an exchange, and settled every day through a clearing house."
)
PIECE = ANSWER[:40]  # of a stream: about eight tokens


def _request_fields() -> dict[str, bytes]:
    bundle = load_bundle(SHIPPED_POLICY)
    question = {"role": "user", "content": QUESTION}
    sampling = {"max_tokens": 64, "temperature": "0"}
    system = {"role": "system", "content": bundle.system_prompt}
    values: dict[str, Any] = {
        "request_received": {"messages": [question], "parameters": sampling},
        "parameters": {
            **sampling,
            "seed": 1234567,
            "top_p": "0.9",
            "model": MODEL,
            "policy_digest": bundle.digest.hex(),
            "template_digest": bundle.digest.hex(),
            "priority": "standard",
        },
        "request_sent": {"messages": [system, question], "model": MODEL, "parameters": sampling},
        "findings": [],
    }
    return {name: rfc8785.dumps(value) for name, value in values.items()}


def _end_fields() -> dict[str, bytes]:
    answer = [{"content": ANSWER, "finish_reason": "STOP", "reasoning": "", "tool_calls": []}]
    values: dict[str, Any] = {"answer_generated": answer, "answer_released": answer, "findings": []}
    return {name: rfc8785.dumps(value) for name, value in values.items()}


REQUEST_FIELDS = _request_fields()
END_FIELDS = _end_fields()
RELEASE_BODY = rfc8785.dumps([{"channel": "content", "choice": 0, "text": PIECE}])
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def record_id() -> str:
    return str(uuid.UUID(bytes=secrets.token_bytes(16)))


class Appending:
    """One gateway boot's append stream."""

    def __init__(
        self,
        stub: rpc.AuditServiceStub,
        traceparent: str = UNSAMPLED,
        texts: Callable[[], tuple[Fields, Fields]] = lambda: (REQUEST_FIELDS, END_FIELDS),
    ) -> None:
        """`texts`: the fields of a record's ACCEPTED and END."""
        self._boot, self._sequence, self._traceparent = secrets.token_hex(8), 0, traceparent
        self._texts = texts
        self._stream: BatchStream[pb.AppendItem, pb.AppendReply] = BatchStream(
            "audit", stub.Append, self._pack, lambda message: message.replies
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Appending]:
        async with self._stream:
            await self._stream.connected.wait()
            yield self

    async def load(self, callers: int, releases: int, seconds: float, beat: float = 0.0) -> int:
        """Callers that open, release and end record after record, as fast as they are answered, or each with one entry
        every `beat` seconds, all at once; returns how many records."""
        until, done = time.perf_counter() + seconds, 0

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < until:
                await self._record(releases, beat)
                done += 1

        await asyncio.gather(*(caller() for _ in range(callers)))
        return done

    async def _record(self, releases: int, beat: float) -> None:
        record, (request, answer) = record_id(), self._texts()
        accept = pb.Accept(
            party=pb.Party(tenant="development", caller="developer"),
            model=MODEL,
            trace_id=self._traceparent[3:35],
            job_digests=[bytes(32)],
            fields=_fields(request),
        )
        accept.deadline_time.FromSeconds(int(time.time()) + 60)
        await self._append(record, accept=accept)
        for n in range(releases):
            await next_beat(beat)
            await self._append(record, release=pb.Release(n=n, content=RELEASE_BODY))
        end = pb.End(
            state=pb.END_STATE_COMPLETED,
            finish_reason="STOP",
            input_tokens=150,
            output_tokens=16,
            fields=_fields(answer),
        )
        await self._append(record, end=end)

    async def _append(self, record: str, **entry: Any) -> None:
        item = pb.AppendItem(record_id=record, sequence=self._sequence, traceparent=self._traceparent, **entry)
        reply = self._stream.send(item)
        self._sequence += 1
        if (await reply).status.code:
            raise RuntimeError("an entry was refused")

    def _pack(self, items: Sequence[pb.AppendItem]) -> pb.AppendRequest:
        return pb.AppendRequest(boot_id=self._boot, items=items)


def _fields(fields: Mapping[str, bytes]) -> list[pb.Field]:
    return [pb.Field(name=name, content=content) for name, content in fields.items()]
