"""A real audit service on a loopback port, and gateways that append to it by real batch streams."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.verify import answer_bytes, request_bytes

from chassis.client import connect
from chassis.exchange import BatchStream
from chassis.identity import Principal, digest
from chassis.server import serving
from services.audit.custody.custodian import Custodian
from services.audit.custody.orders import Erased
from services.audit.index.files import IndexFolder
from services.audit.index.follower import Follower
from services.audit.index.record_keys import TreeKeys
from services.audit.journal.reading import JournalReader
from services.audit.records.planning import Clock
from services.audit.sequencer import Sequencer, SequencerLimits
from services.audit.servicer import ALLOWED, AuditServicer
from services.audit.writer import FaultPoints, Folders, Writer

KNOWN = {
    digest("gateway"): Principal("service", "gateway"),
    digest("guard"): Principal("service", "guard"),
    digest("inference"): Principal("service", "inference"),
    digest("caller"): Principal("person", "developer", "bank", frozenset({"caller"})),
    digest("operator"): Principal("person", "operator", "bank", frozenset({"operator"})),
    digest("administrator"): Principal("person", "admin", "bank", frozenset({"administrator"})),
    digest("auditor"): Principal("person", "auditor", "bank", frozenset({"auditor"})),
    digest("examiner"): Principal("person", "examiner", "bank", frozenset({"examiner"}), time.time() + 3_600),
    digest("expired examiner"): Principal("person", "examiner", "bank", frozenset({"examiner"}), time.time() - 1),
    digest("reviewer"): Principal("person", "reviewer", "bank", frozenset({"reviewer"})),
}
PARTY = pb.Party(tenant="bank", caller="desk")


@dataclass
class FakeClock:
    wall: float = 1_800_000_000.0
    monotonic: float = 1_000.0

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@dataclass
class Audit:
    """The running service and the way in."""

    address: str
    writer: Writer
    sequencer: Sequencer
    index: Follower
    home: Path
    time: FakeClock

    @asynccontextmanager
    async def calling(self, token: str) -> AsyncIterator[rpc.AuditServiceStub]:
        async with connect(self.address, token) as channel:
            yield rpc.AuditServiceStub(channel)

    @asynccontextmanager
    async def appending(self, boot: str = "boot-1", sequence: int = 0) -> AsyncIterator[Appends]:
        async with self.calling("gateway") as stub:
            appends = Appends(stub, boot, sequence)
            async with appends.stream:
                yield appends


@dataclass
class Appends:
    """One boot's append stream."""

    stub: rpc.AuditServiceStub
    boot: str
    sequence: int = 0
    stream: BatchStream[Any, pb.AppendReply] = field(init=False)

    def __post_init__(self) -> None:
        self.stream = BatchStream("audit", self.stub.Append, self._pack, lambda message: message.replies)

    def _pack(self, items: Sequence[pb.AppendItem]) -> pb.AppendRequest:
        return pb.AppendRequest(boot_id=self.boot, items=items)

    async def send(self, record_id: str, **entry: Any) -> pb.AppendReply:
        item = pb.AppendItem(record_id=record_id, sequence=self.sequence, **entry)
        self.sequence += 1
        return await self.stream.send(item)

    async def accept(self, record_id: str, text: str = "hi", **changes: Any) -> pb.AppendReply:
        fields = {
            "request_received": request_bytes(text),
            "request_sent": b'[{"content":"masked","role":"user"}]',
            "parameters": b'{"stop":["6222020200112233445"],"temperature":"0.7"}',
            "findings": b"[]",
        }
        accept = pb.Accept(party=PARTY, model="echo", trace_id="0" * 32, job_digests=[bytes(32)], fields=wire(fields))
        accept.deadline_time.FromMilliseconds(1_800_000_060_000)
        accept.MergeFrom(pb.Accept(**changes))
        return await self.send(record_id, accept=accept)

    async def release(self, record_id: str, n: int, content: bytes = b"[]") -> pb.AppendReply:
        return await self.send(record_id, release=pb.Release(n=n, content=content))

    async def end(self, record_id: str, text: str = "4", state: int = pb.END_STATE_COMPLETED) -> pb.AppendReply:
        fields = {"answer_generated": b'"raw 13800138000"', "answer_released": answer_bytes(text)}
        end = pb.End(state=state, finish_reason="STOP", input_tokens=3, output_tokens=1, fields=wire(fields))
        return await self.send(record_id, end=end)


def wire(fields: dict[str, bytes]) -> list[pb.Field]:
    return [pb.Field(name=name, content=content) for name, content in fields.items()]


@pytest.fixture
def appends_of() -> type[Appends]:
    """For tests that start audit themselves."""
    return Appends


Started = Callable[..., AbstractAsyncContextManager[Audit]]


@pytest.fixture
def started(tmp_path: Path) -> Started:
    """Starts audit on the test's folder; may be used again after a stop."""
    now = FakeClock()

    @asynccontextmanager
    async def start(
        faults: FaultPoints | None = None, drop: Callable[[Erased], None] = lambda erased: None
    ) -> AsyncIterator[Audit]:
        home = tmp_path / "home"
        clock = Clock(lambda: now.wall, lambda: now.monotonic)
        writer = Writer(Folders(home / "audit", home / "keys"), clock, faults=faults)
        limits = SequencerLimits(publish_seconds=0.05, reap_seconds=0.05)
        folder = IndexFolder(home / "audit" / "index", writer.provider)
        index = Follower(
            JournalReader(home / "audit" / "journal", writer.origin),
            TreeKeys(writer.custody.keys),
            folder,
            lambda: writer.publisher.published,
            look_seconds=0.02,
        )
        writer.records.known_span = index.span
        index.start()
        try:
            async with (
                Sequencer.running(writer, limits) as sequencer,
                Custodian(
                    sequencer,
                    writer.custody,
                    writer.open_under,
                    writer.time_of,
                    drop,
                    wall=lambda: now.wall,
                    patience_seconds=30,
                ).running() as custodian,
                serving(
                    "127.0.0.1:0",
                    AuditServicer(sequencer, writer, index, custodian).register,
                    known=KNOWN,
                    allowed=ALLOWED,
                    grace_seconds=0.2,
                ) as port,
            ):
                yield Audit(f"127.0.0.1:{port}", writer, sequencer, index, home, now)
        finally:
            index.close()
            writer.close()

    return start


@pytest.fixture
async def audit(started: Started) -> AsyncIterator[Audit]:
    async with started() as running:
        yield running
