"""A filter as it comes over the wire: checked, and as it is recorded of a search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from strongroom.audit.v1 import audit_pb2 as pb

from chassis.failures import InvalidArgument
from services.audit.index.identifiers import SHORTEST, identifiers_in, normalized
from services.audit.index.search import Filter
from services.audit.index.words import QueryInvalid, expression

MAX_TEXT = 256
MAX_SEVERAL = 16
VERDICTS = ("ALLOW", "FLAG", "REFUSE")
STATES = ("OPEN", "COMPLETED", "WITHHELD", "CANCELLED", "EXPIRED", "FAILED", "REFUSED", "REJECTED")
_TEXTS = ("tenant", "caller", "subject_pseudonym", "model", "verdict", "rule", "trace_id", "text", "identifier")


def filter_of(message: pb.RecordFilter, pseudonym: Callable[[str, str], str]) -> Filter:
    """`pseudonym`: of a tenant's subject."""
    _check(message)
    subject = pseudonym(message.tenant, message.subject) if message.subject else message.subject_pseudonym
    return Filter(
        start_ms=_milliseconds(message.start_time),
        end_ms=_milliseconds(message.end_time),
        tenant=message.tenant,
        caller=message.caller,
        subject=subject,
        model=message.model,
        states=tuple(message.states),
        verdict=message.verdict,
        rule=message.rule,
        classes=tuple(message.classes),
        trace_id=message.trace_id,
        text=message.text,
        identifier=message.identifier,
    )


def _check(message: pb.RecordFilter) -> None:
    for name in ("subject", *_TEXTS):
        if len(getattr(message, name)) > MAX_TEXT:
            raise _invalid(name, f"has more than {MAX_TEXT} characters")
    for name in ("states", "classes"):
        several = getattr(message, name)
        if len(several) > MAX_SEVERAL or any(not 0 < len(each) <= MAX_TEXT for each in several):
            raise _invalid(name, f"takes up to {MAX_SEVERAL} names of 1 to {MAX_TEXT} characters")
    if unknown := set(message.states) - set(STATES):
        raise _invalid("states", f"has {len(unknown)} that is none of {', '.join(STATES)}")
    if message.verdict and message.verdict not in VERDICTS:
        raise _invalid("verdict", f"is none of {', '.join(VERDICTS)}")
    if message.subject and not message.tenant:
        raise _invalid("subject", "needs a tenant: each tenant names its own subjects")
    if message.subject and message.subject_pseudonym:
        raise _invalid("subject_pseudonym", "cannot be asked for beside a subject")
    if message.identifier and len(normalized(message.identifier)) < SHORTEST:
        raise _invalid("identifier", f"has fewer than {SHORTEST} letters and digits")
    if message.text:
        try:
            expression(message.text)
        except QueryInvalid as problem:
            raise _invalid("text", f"cannot be looked for: {problem}") from None


def _invalid(name: str, problem: str) -> InvalidArgument:
    return InvalidArgument(f"filter.{name} {problem}", field=f"filter.{name}")


def _milliseconds(time: Timestamp) -> int:
    return time.seconds * 1000 + time.nanos // 1_000_000


def told(wanted: Filter, hashed: Callable[[str], str]) -> dict[str, Any]:
    """What was asked for, as the log keeps it; of an account its keyed hash alone, also where it was put as words."""
    asked = {name: value for name, value in vars(wanted).items() if value}
    if wanted.identifier:
        asked["identifier"] = hashed(wanted.identifier)
    if any(identifiers_in(wanted.text)):
        asked["text"] = hashed(wanted.text)
    return asked
