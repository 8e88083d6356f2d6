"""The names of the guard's metrics."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.guard.v1 import guard_pb2 as pb

from chassis.metrics import Label, Metrics
from services.guard.policy.open_filters import OpenFilters
from services.guard.policy.shelf import PolicyShelf
from services.guard.reloading import PolicyFile

SCREEN, FILTER, NOTHING = "screen", "filter", "nothing"
VERDICTS = {pb.VERDICT_ALLOW: "ALLOW", pb.VERDICT_FLAG: "FLAG", pb.VERDICT_REFUSE: "REFUSE"}

KIND = Label("kind", (SCREEN, FILTER))
ANY_KIND = Label("kind", (SCREEN, FILTER, NOTHING))
VERDICT = Label("verdict", tuple(VERDICTS.values()))
RULE = Label("rule", room=128)  # as many as a policy has, and a new policy may bring others
TYPE = Label("type", room=64)
SIDE = Label("side", ("prompt", "answer"))
REASON = Label("reason", room=32)
OUTCOME = Label("outcome", ("taken", "refused"))
WORK_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class GuardMetrics(Metrics):
    """`replied` counts an item when it is answered; the rest is read when it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._items = self.counters("strongroom_guard_items_total", "Items answered.", ANY_KIND)
        self._failures = self.counters(
            "strongroom_guard_item_failures_total", "Items answered with an error, by reason.", ANY_KIND, REASON
        )
        self._seconds = self.histograms(
            "strongroom_guard_item_seconds",
            "From when an item is begun until it is answered: one screening, or one piece of answer.",
            WORK_SECONDS,
            KIND,
        )
        self._verdicts = self.counters(
            "strongroom_guard_verdicts_total",
            "Verdicts by rule: on prompts, and on those pieces of answer that a rule flagged or withheld.",
            KIND,
            VERDICT,
            RULE,
        )
        self._findings = self.counters(
            "strongroom_guard_findings_total", "Personal data found and masked, by class.", SIDE, TYPE
        )

    def replied(self, item: pb.Item, reply: pb.ItemReply, seconds: float) -> None:
        kind = item.WhichOneof("work") or NOTHING
        self._items.of(kind).inc()
        if reply.HasField("screened"):
            screened = reply.screened
            self._seconds.of(SCREEN).observe(seconds)
            self._verdicts.of(SCREEN, VERDICTS[screened.verdict], screened.rule).inc()
            self._count_findings("prompt", screened.findings)
        elif reply.HasField("filtered"):
            filtered = reply.filtered
            self._seconds.of(FILTER).observe(seconds)
            if filtered.rule:
                self._verdicts.of(FILTER, "REFUSE" if filtered.withheld else "FLAG", filtered.rule).inc()
            self._count_findings("answer", filtered.findings)
        else:
            self._failures.of(kind, reply.status.reason).inc()

    def _count_findings(self, side: str, findings: Sequence[pb.Finding]) -> None:
        for finding in findings:
            self._findings.of(side, finding.type).inc()

    def watch(self, shelf: PolicyShelf, filters: OpenFilters, file: PolicyFile) -> None:
        self.gauge(
            "strongroom_guard_open_filters", "Output filters in memory, ended ones included.", lambda: len(filters)
        )
        self.info(
            "strongroom_guard_policy_info",
            "1 for the policy that judges now.",
            ("name", "version", "digest"),
            lambda: (shelf.in_force.name, shelf.in_force.version, shelf.in_force.digest.hex()),
        )
        self.counted_by(
            "strongroom_guard_policy_reloads_total",
            "Times that the policy file was read again, by whether it was taken.",
            OUTCOME,
            lambda: file.reloads,
        )
        self.gauge(
            "strongroom_guard_policy_file_refused",
            "1 while the policy file on disk is not what judges, because it is wrong.",
            lambda: bool(file.problems),
        )
