"""What callers append, what they get back, and why an append is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from enum import Enum, StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

REQUEST_RECEIVED = "request_received"
REQUEST_SENT = "request_sent"
PARAMETERS = "parameters"
FINDINGS = "findings"
ANSWER_GENERATED = "answer_generated"
ANSWER_RELEASED = "answer_released"
GENERATION = "generation"  # the tokens of prompt and answers, and what made them

REQUEST_FIELDS = frozenset({REQUEST_RECEIVED, REQUEST_SENT, PARAMETERS, FINDINGS})
ALL_FIELDS = REQUEST_FIELDS | {ANSWER_GENERATED, ANSWER_RELEASED}


class Ending(StrEnum):
    COMPLETED = "COMPLETED"
    WITHHELD = "WITHHELD"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"


# These ends bind an idempotency key: the outcome is final and is read back, never generated again.
BINDING_ENDS = frozenset({Ending.COMPLETED, Ending.WITHHELD})
GATEWAY_LOST = "GATEWAY_LOST"


@dataclass(frozen=True, kw_only=True)
class Accept:
    """A request was accepted; its model inputs are named by the digests of their jobs."""

    record_id: str
    boot: str
    sequence: int
    tenant: str
    caller: str
    subject: str = ""  # empty: the caller itself
    model: str = ""
    trace_id: str = ""
    deadline_ms: int = 0  # Unix time; also the expiry of the tickets
    job_digests: tuple[bytes, ...] = ()
    idempotency_key: str = ""
    fields: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AcceptReplay(Accept):
    """Of a replay: sealed under the key of the record that it replays, so that both are erased together."""

    sealed_with: str  # key id


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """A prompt was refused by policy: a record of one entry."""

    record_id: str
    boot: str
    sequence: int
    tenant: str
    caller: str
    subject: str = ""
    model: str = ""
    trace_id: str = ""
    rule: str = ""
    idempotency_key: str = ""
    fields: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reject:
    """Bad input of a known caller; `count` of them when aggregated."""

    record_id: str
    boot: str
    sequence: int
    tenant: str
    caller: str
    reason: str
    subject: str = ""
    trace_id: str = ""
    field: str = ""
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Release:
    """Piece n (from 0) of the answer, to be durable before it is sent."""

    record_id: str
    boot: str
    sequence: int
    n: int
    body: bytes


@dataclass(frozen=True, kw_only=True)
class End:
    """An accepted request ended."""

    record_id: str
    boot: str
    sequence: int
    end: Ending
    reason: str = ""
    finish_reason: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    fields: Mapping[str, bytes] = field(default_factory=dict)
    releases: int | None = None  # that it must follow; None: any number


@dataclass(frozen=True, kw_only=True)
class Act:
    """What a person or a service did: a view, a policy load, an alert. With `once`, at most once a target. What is
    `stated` is in the header, to which the leaf commits."""

    service: str
    actor: str
    action: str
    target: str = ""
    detail: bytes = b""
    stated: Mapping[str, object] = field(default_factory=dict)
    once: bool = False


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """An item whose place is known but whose content is not one of the above; it is refused, and accounted for."""

    record_id: str
    boot: str
    sequence: int
    problem: str


RequestItem = Accept | Refuse | Reject | Release | End | Unreadable


class Ticket(NamedTuple):
    """Audit's word that the job with this digest may run until `expires_ms`."""

    job_digest: bytes
    expires_ms: int
    mac: bytes


class Accepted(NamedTuple):
    accepted_leaf_hash: bytes
    tickets: tuple[Ticket, ...]
    log_origin: str


@dataclass(frozen=True)
class Refused:
    receipt: str  # one JSON object


@dataclass(frozen=True)
class Recorded:
    """Durable: a RELEASE, a REJECTED, an ACT or a CONTROL."""


@dataclass(frozen=True)
class Ended:
    receipt: str  # one JSON object


Outcome = Accepted | Refused | Recorded | Ended


class Refusal(Enum):
    """Why an append was refused. The name is the reason on the wire."""

    INVALID_ITEM = "the item is malformed"
    ITEM_TOO_LARGE = "the item is larger than audit takes"
    SEQUENCE_GAP = "the sequence number is not this boot's next one"
    DUPLICATE_DIFFERS = "this sequence number is already durable with other content"
    DUPLICATE_TOO_OLD = "this sequence number was durable too long ago to be acknowledged again"
    RECORD_EXISTS = "the record already exists"
    RECORD_ENDED = "the record has ended"
    RECORD_UNKNOWN = "no such open record"
    NOT_THIS_BOOT = "the record was opened by another gateway boot"
    RELEASE_OUT_OF_ORDER = "the release number is not this record's next one"
    IDEMPOTENCY_CONFLICT = "the idempotency key belongs to another request"
    IDEMPOTENCY_KEYS_FULL = "the tenant has too many idempotency keys in the last 24 hours"
    RECORD_ERASED = "the record was erased"
    OPEN_RECORDS_FULL = "too many records are open"
    JOURNAL_FULL = "the disk of the log is too full for this"


@dataclass(frozen=True)
class KeyHolder:
    """The request that already has an idempotency key."""

    record_id: str
    same_request: bool


class AppendRefused(Exception):
    """The item was not appended as asked. `holder` comes with IDEMPOTENCY_CONFLICT, `expected` with a gap,
    `retry_after_seconds` with what is full."""

    def __init__(
        self,
        refusal: Refusal,
        *,
        detail: str = "",
        holder: KeyHolder | None = None,
        expected: int = 0,
        retry_after_seconds: float | None = None,
    ):
        super().__init__(f"{refusal.value}{': ' if detail else ''}{detail}")
        self.refusal, self.detail, self.holder, self.expected = refusal, detail, holder, expected
        self.retry_after_seconds = retry_after_seconds


class Busy(Exception):
    """More items wait than audit takes; send again later."""


class Unavailable(Exception):
    """Audit cannot make anything durable now."""


_LENGTHS = [length.to_bytes(8, "big") for length in range(512)]


def item_digest(item: RequestItem) -> bytes:
    """Tells a re-sent item from another one under the same sequence number. Kept in sealed payloads only."""
    parts = [type(item).__name__.encode()]
    for value in _values(item):
        _add_parts(value, parts)
    words: list[bytes] = []
    for part in parts:
        length = len(part)
        words += (_LENGTHS[length] if length < 512 else length.to_bytes(8, "big"), part)
    return sha256(b"".join(words)).digest()


@lru_cache(maxsize=16)
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(one.name for one in fields_of(kind))


def _values(item: Any) -> list[Any]:
    """Not `vars`: a compiled class keeps no dictionary."""
    kind: Any = type(item)
    return [getattr(item, name) for name in _names(kind)]


@lru_cache(maxsize=64)  # asked of every value, and the kinds are few
def _maps(kind: Any) -> bool:
    return issubclass(kind, Mapping)


def _add_parts(value: object, parts: list[bytes]) -> None:
    kind: Any = type(value)
    if kind is str:
        parts.append(value.encode("utf-8", "surrogatepass"))  # type: ignore[attr-defined]
    elif kind is bytes:
        parts.append(value)  # type: ignore[arg-type]
    elif kind is int:
        parts.append(b"%d" % value)  # type: ignore[str-format]
    elif _maps(kind):
        parts.append(b"%d" % len(value))  # type: ignore[arg-type]
        for name in sorted(value):  # type: ignore[call-overload]
            parts.append(name.encode())
            _add_parts(value[name], parts)  # type: ignore[index]
    elif kind is tuple:
        parts.append(b"%d" % len(value))  # type: ignore[arg-type]
        for each in value:  # type: ignore[attr-defined]
            _add_parts(each, parts)
    else:
        parts.append(str(value).encode("utf-8", "surrogatepass"))


def item_size(item: RequestItem | Act) -> int:
    """Characters and bytes of an item's texts and contents."""
    size = 0
    for value in _values(item):
        kind: Any = type(value)
        if kind is str or kind is bytes:
            size += len(value)
        elif _maps(kind):
            for name, each in value.items():
                size += len(name) + (len(each) if type(each) is bytes else 8)
        elif kind is tuple:
            size += sum(map(len, value))
        elif isinstance(value, str):
            size += len(value)
    return size
