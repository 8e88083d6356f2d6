"""What an append item must look like, whatever the state of its record."""

from __future__ import annotations

from services.audit.records.entries import (
    ALL_FIELDS,
    ANSWER_GENERATED,
    ANSWER_RELEASED,
    FINDINGS,
    GENERATION,
    REQUEST_FIELDS,
    Accept,
    AppendRefused,
    End,
    Refusal,
    Refuse,
    Reject,
    Release,
    RequestItem,
    item_size,
)

_MAX_ID = 64
_MAX_JOBS = 64
_MAX_INTEGER = 2**53 - 1  # what RFC 8785 writes exactly
_REFUSE_FIELDS = ALL_FIELDS - {ANSWER_GENERATED}
_END_FIELDS = frozenset({ANSWER_GENERATED, ANSWER_RELEASED, FINDINGS, GENERATION})


def is_id(text: str) -> bool:
    """1 to 64 of the characters ! to ~."""
    return 0 < len(text) <= _MAX_ID and text.isascii() and text.isprintable() and " " not in text


def check_place(boot: str, sequence: int) -> None:
    """Without these an item cannot even be accounted for."""
    if not is_id(boot):
        raise AppendRefused(Refusal.INVALID_ITEM, detail="boot must be 1 to 64 printable ASCII characters")
    if not 0 <= sequence <= _MAX_INTEGER:
        raise AppendRefused(Refusal.INVALID_ITEM, detail="sequence must be 0 or more")


def check(item: RequestItem, max_bytes: int) -> None:
    size = item_size(item)
    if size > max_bytes:
        raise AppendRefused(Refusal.ITEM_TOO_LARGE, detail=f"{size} bytes, at most {max_bytes}")
    _require(is_id(item.record_id), "record_id must be 1 to 64 printable ASCII characters")
    match item:
        case Accept():
            _check_caller(item)
            _check_fields(item, REQUEST_FIELDS)
            _require(len(item.job_digests) <= _MAX_JOBS, f"at most {_MAX_JOBS} job_digests")
            _require(all(len(digest) == 32 for digest in item.job_digests), "a job digest has 32 bytes")
            _require(0 < item.deadline_ms <= _MAX_INTEGER, "deadline_ms must be a Unix time in milliseconds")
        case Refuse():
            _check_caller(item)
            _check_fields(item, _REFUSE_FIELDS)
        case Reject():
            _check_caller(item)
            _require(1 <= item.count <= _MAX_INTEGER, "count must be at least 1")
        case Release():
            _require(0 <= item.n < 2**32, "n must be 0 or more")
        case End():
            _check_fields(item, _END_FIELDS)
            _require(all(0 <= count <= _MAX_INTEGER for count in item.usage.values()), "usage must be counts")


def _check_caller(item: Accept | Refuse | Reject) -> None:
    _require(bool(item.tenant), "tenant must not be empty")
    _require(bool(item.caller), "caller must not be empty")


def _check_fields(item: Accept | Refuse | End, allowed: frozenset[str]) -> None:
    if not allowed.issuperset(item.fields):
        raise AppendRefused(Refusal.INVALID_ITEM, detail=f"fields may be {', '.join(sorted(allowed))}")


def _require(holds: bool, detail: str) -> None:
    if not holds:
        raise AppendRefused(Refusal.INVALID_ITEM, detail=detail)
