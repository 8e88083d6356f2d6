"""The names of what audit's metrics say of its witnesses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chassis.metrics import Label, Metrics
from services.audit.log.note import SignedCheckpoint
from services.audit.witnesses.asking import Answer
from services.audit.witnesses.rounds import Standing

WITNESS = Label("witness", room=32)
ANSWER = Label("answer", tuple(answer.name for answer in Answer))


def watch_witnesses(
    metrics: Metrics, standings: Sequence[Standing], newest: Callable[[], SignedCheckpoint | None]
) -> Callable[[str, Answer], None]:
    """What is returned counts every answer."""
    answers = metrics.counters(
        "strongroom_audit_witness_answers_total", "What witnesses said when they were asked.", WITNESS, ANSWER
    )
    metrics.gauge_by(
        "strongroom_audit_witness_refuses",
        "1 while a witness refuses this log.",
        WITNESS,
        lambda: {each.name: float(each.answer is not None and each.answer.refuses) for each in standings},
    )
    metrics.gauge_by(
        "strongroom_audit_witness_timestamp_seconds",
        "When a witness last cosigned, or when audit began to ask it, in Unix time.",
        WITNESS,
        lambda: {each.name: each.cosigned_seconds for each in standings},
    )
    metrics.gauge(
        "strongroom_audit_cosigned_entries",
        "Leaves that the newest checkpoint covers which is cosigned as the policy asks; none without a policy.",
        lambda: None if not standings else float(signed.size) if (signed := newest()) else 0.0,
    )
    return lambda name, answer: answers.of(name, answer.name).inc()
