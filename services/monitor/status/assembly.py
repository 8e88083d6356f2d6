"""Puts a snapshot together from figures, samples, alerts and what the scraper knows of its targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from services.monitor.definition.quantities import Values
from services.monitor.definition.rules import Definition
from services.monitor.definition.selection import Labels, Samples, Selection
from services.monitor.status.snapshot import (
    AuditHealth,
    Guard,
    Latency,
    QueueClass,
    Tokens,
    Traffic,
    VerdictRate,
    WorkerState,
)

PRIORITIES = ("interactive", "standard", "batch")
MODEL_INFO = Selection("strongroom_inference_model_info")
POLICY_INFO = Selection("strongroom_guard_policy_info")
MODEL_LABELS = ("model", "engine", "dtype", "device", "attention")
POLICY_LABELS = ("name", "version", "digest")
READY = Selection("strongroom_inference_ready")
ALIVE = Selection("strongroom_inference_engine_alive")
# What a snapshot reads beside the definition's quantities.
INFORMATION = frozenset({MODEL_INFO, POLICY_INFO, READY, ALIVE, Selection("process_start_time_seconds")})

S = TypeVar("S")


@dataclass(frozen=True)
class Figures:
    """All figures of the definition at one time."""

    values: Mapping[str, Values]

    @classmethod
    def of(cls, definition: Definition, samples: Samples, now: float) -> Figures:
        return cls({figure.id: figure.quantity.values(samples, now) for figure in definition.figures})

    def one(self, id: str) -> float | None:
        """A figure without labels; None where it is not known, or beyond all numbers."""
        value = self.values[id].get(())
        return value if value is not None and math.isfinite(value) else None

    def by(self, id: str) -> dict[str, float]:
        """A figure with one label, by its value."""
        return {key[0]: value for key, value in self.values[id].items() if math.isfinite(value)}

    def filled(self, kind: type[S], **more: Any) -> S:
        """A section of the snapshot: every field that is a figure's id has the figure's value."""
        names = [field.name for field in fields(kind) if field.name not in more]  # type: ignore[arg-type]
        return kind(**{name: self.one(name) for name in names if name in self.values}, **more)


def traffic(figures: Figures) -> Traffic:
    ends, reasons = figures.by("ends_per_second"), figures.by("turned_away_per_second")
    return figures.filled(Traffic, ends_per_second=ends, turned_away_per_second=reasons)


def latency(figures: Figures) -> Latency:
    return figures.filled(Latency)


def tokens(figures: Figures) -> Tokens:
    return figures.filled(Tokens)


def queue(figures: Figures) -> Sequence[QueueClass]:
    jobs, waiting = figures.by("queue_jobs"), figures.by("queue_waiting")
    oldest = figures.by("queue_oldest_seconds")
    return [
        QueueClass(priority=name, jobs=jobs.get(name), waiting=waiting.get(name), oldest_seconds=oldest.get(name))
        for name in PRIORITIES
    ]


def guard(figures: Figures, samples: Samples) -> Guard:
    rates = [
        VerdictRate(verdict=verdict, rule=rule, per_second=rate)
        for (verdict, rule), rate in figures.values["verdicts_per_second"].items()
    ]
    refused = figures.one("policy_file_refused")
    return figures.filled(
        Guard,
        verdicts=sorted(rates, key=lambda rate: (-rate.per_second, rate.verdict, rate.rule)),
        findings_per_second=figures.by("findings_per_second"),
        policy=next((_policy(labels) for labels, _ in samples.current(POLICY_INFO)), {}),
        policy_file_refused=None if refused is None else refused > 0,
    )


def audit(figures: Figures) -> AuditHealth:
    return figures.filled(AuditHealth)


def workers(figures: Figures, samples: Samples) -> Sequence[WorkerState]:
    ready, alive = (
        {labels["instance"]: value > 0 for labels, value in samples.current(selection)} for selection in (READY, ALIVE)
    )
    # Two models of one instance are two lines: what a worker says of itself is not to be relied on.
    described = sorted(
        (labels["instance"], *(labels.get(label, "") for label in MODEL_LABELS))
        for labels, _ in samples.current(MODEL_INFO)
    )
    slots, running = figures.by("slots"), figures.by("running_requests")
    beats, used = figures.by("heartbeat_age_seconds"), figures.by("kv_used_ratio")
    return [
        WorkerState(
            instance=instance,
            ready=ready.get(instance),
            engine_alive=alive.get(instance),
            heartbeat_age_seconds=beats.get(instance),
            slots=slots.get(instance),
            running=running.get(instance),
            kv_used_ratio=used.get(instance),
            **dict(zip(MODEL_LABELS, model, strict=True)),
        )
        for instance, *model in described
    ]


def _policy(labels: Labels) -> dict[str, str]:
    return {label: labels.get(label, "") for label in POLICY_LABELS}
