"""What the index keeps of a record and of an act: made of their entries alone, so that it can always be made again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from services.audit.index.identifiers import BlindKeys
from services.audit.index.words import words_of
from services.audit.log.leaf import Kind
from services.audit.records import sealer
from services.audit.records.entries import ANSWER_RELEASED
from services.audit.records.masked import classes_of, masked_texts, raw_texts
from services.audit.records.stored import StoredEntry
from services.audit.records.views import Summary, summary_of, verdict_of

# Facets: what a search can ask for exactly. All but identifiers.
TENANT, CALLER, SUBJECT, MODEL, STATE = "tenant", "caller", "subject", "model", "state"
VERDICT, RULE, CLASS, TRACE = "verdict", "rule", "class", "trace"

_FACET_BYTES = 8


class Row(NamedTuple):
    """A record, keyed by its first leaf. `words` and `facets` are for the full text, and nowhere else in the index."""

    leaf: int
    location: int  # of that leaf, in the journal
    key_id: str
    summary: Summary
    words: str
    facets: str

    @property
    def digest(self) -> bytes:
        """By which a check finds words that are not those of the journal."""
        return blake2b(f"{self.words}\0{self.facets}".encode(), digest_size=16).digest()


class ActRow(NamedTuple):
    """What a person or a service did."""

    leaf: int
    time_ms: int
    service: str
    actor: str
    action: str
    target: str
    reason: str


@lru_cache(maxsize=4096)  # tenants, callers, models and states are few beside the records
def facet(name: str, value: str) -> str:
    return "f" + blake2b(f"{name}\0{value}".encode(), digest_size=_FACET_BYTES).hexdigest()


class Place(NamedTuple):
    """Of a leaf: its index, and where it is in the journal."""

    leaf: int
    location: int


BEGINNING = Place(0, 0)


def row_of(
    place: Place, first: StoredEntry, last_leaf: int, last: StoredEntry, more: Iterable[str], keys: BlindKeys
) -> Row:
    """`more`: text that was released, where no field tells it."""
    fields = {**first.fields, **last.fields} if last is not first else first.fields
    summary = summary_of(last, last_leaf)
    facets = [facet(name, value) for name, value in _facets_of(summary) if value]
    facets += [facet(CLASS, found) for found in sorted(classes_of(fields))]
    facets += keys.tokens(summary.tenant, raw_texts(fields))
    words = words_of([*masked_texts(fields), *more])
    return Row(*place, first.clear.key_id, summary, words, " ".join(facets))


def _facets_of(summary: Summary) -> list[tuple[str, str]]:
    return [
        (TENANT, summary.tenant),
        (CALLER, summary.caller),
        (SUBJECT, summary.subject),
        (MODEL, summary.model),
        (STATE, summary.state),
        (VERDICT, verdict_of(summary)),
        (RULE, summary.reason),
        (TRACE, summary.trace_id),
    ]


def act_row_of(leaf: int, act: StoredEntry) -> ActRow:
    header = act.header
    names = ("service", "actor", "action", "target")
    service, actor, action, target = (str(header[name]) for name in names)
    reason = ""
    if service == "audit":
        reason = str(header.get("reason") or "") or _reason(act.parts.get(sealer.DETAIL, b""))
    time_ms = header["time_ms"]
    assert isinstance(time_ms, int)
    return ActRow(leaf, time_ms, service, actor, action, target, reason)


def _reason(detail: bytes) -> str:
    try:
        told = json.loads(detail)
    except ValueError:
        return ""
    return str(told.get("reason", "")) if isinstance(told, dict) else ""


def lacks_answer(last: StoredEntry) -> bool:
    """An END that knows of pieces that were released, but not of the answer that they make."""
    return last.clear.kind is Kind.END and last.clear.release_count > 0 and ANSWER_RELEASED not in last.fields
