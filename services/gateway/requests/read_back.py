"""An answer given before, as the audit log holds it, in the words of the caller's stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from services.gateway.requests.outcome import (
    ALLOW,
    FLAG,
    REFUSE,
    REFUSED,
    WITHHELD,
    Delta,
    Ended,
    Finding,
    Outcome,
    ReadBack,
)


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """What audit tells of a finished record."""

    request_id: str
    state: str
    rule: str
    finish_reason: str  # empty for REFUSED
    model: str
    trace_id: str
    usage: tuple[int, int]
    fields: Mapping[str, bytes]
    receipt: str


def read_back(stored: StoredOutcome) -> ReadBack:
    """The same bytes of answer as were released, so that a receipt holds for both."""
    choices = json.loads(stored.fields["answer_released"])
    parameters = json.loads(stored.fields["parameters"])
    deltas = tuple(Delta(one["content"], one["reasoning"], choice=index) for index, one in enumerate(choices))
    outcome = Outcome(
        request_id=stored.request_id,
        model=stored.model,
        trace_id=stored.trace_id,
        choices=tuple(Ended(one["finish_reason"], bool(one["reasoning"] and not one["content"])) for one in choices),
        receipt=stored.receipt,
        verdict=_verdict(stored),
        rule=stored.rule,
        policy_digest=bytes.fromhex(parameters["policy_digest"]),
        findings=tuple(Finding(**finding) for finding in json.loads(stored.fields["findings"])),
        input_tokens=stored.usage[0],
        output_tokens=stored.usage[1],
        read_back=True,
    )
    return ReadBack(deltas, outcome)


def _verdict(stored: StoredOutcome) -> str:
    if stored.state in (REFUSED, WITHHELD):
        return REFUSE
    return FLAG if stored.rule else ALLOW
