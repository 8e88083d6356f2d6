"""A real log in a temporary folder, with a clock that only tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services.audit.custody.custodian import Custodian
from services.audit.custody.orders import Erase, Erased, Scope
from services.audit.journal.journal import JournalLimits
from services.audit.keys import KeySource
from services.audit.log.leaf import Kind
from services.audit.records.entries import Accept, Act, End, Ended, Ending, Outcome, Refuse, Reject, Release
from services.audit.records.planning import Clock, Item, RecordLimits
from services.audit.writer import FaultPoints, Folders, Writer, WriterLimits
from tests.unit.audit.indexed import Indexed, answered, asked

REQUEST = {
    "request_received": b'{"messages":[{"content":"hi","role":"user"}],"parameters":{}}',
    "request_sent": b"[]",
    "parameters": b"{}",
    "findings": b"[]",
}
SMALL_SEGMENTS = JournalLimits(segment_bytes=64 * 1024, chunk_bytes=8 * 1024)
ANSWER = {"answer_generated": b"[1]", "answer_released": b"[1]"}


@dataclass
class FakeClock:
    """Unix seconds and monotonic seconds, moved by hand."""

    wall: float = 1_800_000_000.0
    monotonic: float = 1_000.0

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.monotonic)


@dataclass
class Gateway:
    """Makes the items of one gateway boot, with gap-free sequence numbers."""

    boot: str = "boot-1"
    tenant: str = "bank"
    caller: str = "desk"
    sequence: int = -1

    def _next(self) -> int:
        self.sequence += 1
        return self.sequence

    def accept(self, record_id: str, **changes: object) -> Accept:
        values: dict[str, object] = {
            "tenant": self.tenant,
            "caller": self.caller,
            "deadline_ms": 1_800_000_060_000,
            "job_digests": (bytes(32),),
            "fields": REQUEST,
            "boot": self.boot,
            **changes,
        }
        return Accept(record_id=record_id, sequence=self._next(), **values)  # type: ignore[arg-type]

    def release(self, record_id: str, n: int, body: bytes = b"text", **changes: object) -> Release:
        values: dict[str, object] = {"boot": self.boot, **changes}
        return Release(record_id=record_id, sequence=self._next(), n=n, body=body, **values)  # type: ignore[arg-type]

    def end(self, record_id: str, end: Ending = Ending.COMPLETED, **changes: object) -> End:
        values: dict[str, object] = {
            "boot": self.boot,
            "finish_reason": "STOP",
            "usage": {"input_tokens": 2, "output_tokens": 1},
            "fields": ANSWER,
            **changes,
        }
        return End(record_id=record_id, sequence=self._next(), end=end, **values)  # type: ignore[arg-type]

    def refuse(self, record_id: str, **changes: object) -> Refuse:
        values: dict[str, object] = {
            "tenant": self.tenant,
            "caller": self.caller,
            "rule": "violence/1",
            "fields": {**REQUEST, "answer_released": b"[0]"},
            **changes,
        }
        return Refuse(record_id=record_id, boot=self.boot, sequence=self._next(), **values)  # type: ignore[arg-type]

    def reject(self, record_id: str, reason: str = "PROMPT_EMPTY") -> Reject:
        return Reject(
            record_id=record_id,
            boot=self.boot,
            sequence=self._next(),
            tenant=self.tenant,
            caller=self.caller,
            reason=reason,
            field="messages",
        )


@dataclass
class Log:
    """Opens writers on one folder, one after the other; small segments, so that tests cross them."""

    home: Path
    time: FakeClock = field(default_factory=FakeClock)
    journal: JournalLimits = SMALL_SEGMENTS
    spare_bytes: int = 0
    provider: KeySource | None = None
    opened: list[Writer] = field(default_factory=list)

    @property
    def folders(self) -> Folders:
        return Folders(self.home / "audit", self.home / "keys")

    def open(self, faults: FaultPoints | None = None, records: RecordLimits | None = None) -> Writer:
        self.crash()
        limits = WriterLimits(journal=self.journal, records=records or RecordLimits(), spare_bytes=self.spare_bytes)
        writer = Writer(self.folders, self.time.clock(), limits, faults=faults, key_source=self.provider)
        self.opened.append(writer)
        return writer

    def crash(self) -> None:
        """What a killed process leaves: open files closed, nothing written."""
        while self.opened:
            self.opened.pop().close()

    def segments(self) -> list[Path]:
        return sorted(self.folders.journal.glob("*.journal"))


@pytest.fixture
def audit_log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "home")
    yield made
    made.crash()


@pytest.fixture
def new_log() -> type[Log]:
    return Log


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def new_gateway() -> Callable[[str], Gateway]:
    return Gateway


class Line:
    """Commits what it is given at once."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def append(self, item: Item) -> Outcome:
        [answer] = self._writer.commit([item])
        if isinstance(answer, Exception):
            raise answer
        return answer


class Desk:
    """What an officer does on an open log, and what is there to see of it."""

    line = Line
    day = 24 * 3600
    wall = FakeClock.wall  # the log's own, where nothing moves it
    basis = "GDPR 17(1)(d)"
    request = b'{"messages":[{"content":"the marker","role":"user"}],"parameters":{}}'
    answer = b'[{"content":"the reply","finish_reason":"STOP","reasoning":"","tool_calls":[]}]'

    @asynccontextmanager
    async def custodian(
        self,
        writer: Writer,
        drop: Callable[[Erased], None] = lambda erased: None,
        patience_seconds: float = 20.0,
        wall: float = wall,
    ) -> AsyncIterator[Custodian]:
        reads = (writer.open_under, writer.time_of)
        made = Custodian(
            Line(writer), writer.custody, *reads, drop, wall=lambda: wall, patience_seconds=patience_seconds
        )
        async with made.running():
            yield made

    def scope(self, writer: Writer, subject: str, tenant: str = "bank") -> Scope:
        return Scope(tenant, writer.custody.keys.pseudonym(tenant, subject))

    async def ordered(self, custodian: Custodian, scope: Scope, basis: str = basis) -> tuple[Erase, bool]:
        return await custodian.erase(scope, custodian.asked("officer", "bank", "asked for"), basis)

    async def erased(self, custodian: Custodian, scope: Scope, basis: str = basis) -> Erase:
        order, done = await self.ordered(custodian, scope, basis)
        assert done
        return order

    def acts(self, writer: Writer) -> list[tuple[str, Mapping[str, Any]]]:
        leaves = [writer.stored.readable(index) for index in range(writer.tree.size)]
        return [(leaf.header["action"], leaf.header) for leaf in leaves if leaf and leaf.clear.kind is Kind.ACT]  # type: ignore[misc]

    def answered(self, writer: Writer, gateway: Gateway, record: str, subject: str, **changes: object) -> str:
        """A finished record of a subject; its receipt."""
        changes = {"fields": {"request_received": self.request, "findings": b"[]"}, "subject": subject, **changes}
        fields = {"answer_released": self.answer, "answer_generated": self.answer}
        items: list[Item] = [
            gateway.accept(record, **changes),
            gateway.release(record, 0),
            gateway.end(record, fields=fields),
        ]
        ended = writer.commit(items)[-1]
        assert isinstance(ended, Ended)
        return ended.receipt


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def indexed(audit_log) -> Iterator[Indexed]:
    made = Indexed(audit_log)
    made.open()
    yield made
    made.close()


@pytest.fixture
def some(indexed, gateway, new_gateway) -> Indexed:
    """Five records of two tenants, and an act."""
    fund = new_gateway("boot-2")
    fund.tenant = "fund"
    day = 86_400
    indexed.commit(gateway.accept("r1", fields=asked("the interest of my loan"), model="small"))
    indexed.commit(gateway.end("r1", fields=answered("贷款利率是五")))
    indexed.log.time.advance(day)
    indexed.commit(gateway.accept("r2", fields=asked("个人信息"), subject="ann", trace_id="ab" * 16))
    indexed.commit(gateway.end("r2", reason="pii/1", fields=answered("no")))
    indexed.log.time.advance(day)
    refused = {name: asked("")[name] for name in ("request_received", "findings")}
    indexed.commit(gateway.refuse("r3", fields={**refused, "answer_released": answered("cannot")["answer_released"]}))
    indexed.commit(fund.accept("r4", fields=asked("loan to 个人")), gateway.reject("r5"))
    indexed.commit(Act(service="audit", actor="ann", action="RECORD_VIEWED", target="r1", detail=b'{"reason":"why"}'))
    return indexed
