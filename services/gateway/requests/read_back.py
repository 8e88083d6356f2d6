"""An answer given before, as the audit log holds it, in the words of the caller's stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from services.gateway.requests.outcome import ALLOW, FLAG, REFUSE, REFUSED, WITHHELD, Delta, Finding, Outcome, ReadBack


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
    [choice] = json.loads(stored.fields["answer_released"])
    parameters = json.loads(stored.fields["parameters"])
    delta = Delta(choice["content"], choice["reasoning"])
    outcome = Outcome(
        request_id=stored.request_id,
        model=stored.model,
        trace_id=stored.trace_id,
        finish_reason=choice["finish_reason"],
        receipt=stored.receipt,
        verdict=_verdict(stored),
        rule=stored.rule,
        policy_digest=bytes.fromhex(parameters["policy_digest"]),
        findings=tuple(Finding(**finding) for finding in json.loads(stored.fields["findings"])),
        input_tokens=stored.usage[0],
        output_tokens=stored.usage[1],
        reasoning_unfinished=bool(delta.reasoning) and not delta.text,
        read_back=True,
    )
    return ReadBack(delta, outcome)


def _verdict(stored: StoredOutcome) -> str:
    if stored.state in (REFUSED, WITHHELD):
        return REFUSE
    return FLAG if stored.rule else ALLOW
