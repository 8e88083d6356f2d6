"""What a finished request's caller was given, read back from its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.audit.log.leaf import Kind
from services.audit.records.entries import ANSWER_RELEASED, BINDING_ENDS, FINDINGS, PARAMETERS
from services.audit.records.stored import StoredEntry
from services.audit.records.views import Summary

_READ_BACK = (ANSWER_RELEASED, FINDINGS, PARAMETERS)


@dataclass(frozen=True)
class StoredOutcome:
    """An outcome that binds its idempotency key."""

    summary: Summary
    finish_reason: str
    fields: Mapping[str, bytes]
    receipt: str  # one JSON object


def fields_given(first: StoredEntry, last: StoredEntry) -> dict[str, bytes]:
    """What the caller saw of a record, whose first and last leaves are given."""
    found = {**first.fields, **last.fields}
    return {name: found[name] for name in _READ_BACK if name in found}


def binds(last: StoredEntry) -> bool:
    """Whether the record ended with an outcome that is kept for its key."""
    return last.clear.kind is Kind.REFUSED or (last.clear.kind is Kind.END and last.header["end"] in BINDING_ENDS)
