"""The names of the index's metrics."""

from __future__ import annotations

from collections.abc import Callable

from chassis.metrics import Metrics
from services.audit.index.process import IndexProcess


def watch_index(metrics: Metrics, index: IndexProcess, log_leaves: Callable[[], int]) -> None:
    metrics.gauge(
        "strongroom_audit_index_entries",
        "Leaves of the Merkle tree that the index has taken in.",
        lambda: index.leaves,
    )
    metrics.gauge(
        "strongroom_audit_index_lag_entries",
        "Leaves that are durable and not yet in the index.",
        lambda: max(log_leaves() - index.leaves, 0),
    )
    metrics.gauge(
        "strongroom_audit_index_lag_seconds",
        "For how long the oldest leaf that the index lacks has been published; 0 if it lacks none.",
        lambda: index.lag_seconds,
    )
    metrics.counted(
        "strongroom_audit_index_restarts_total",
        "How often the process that writes the index ended by itself and was started again.",
        lambda: index.restarts,
    )
    metrics.counted(
        "strongroom_audit_index_unreadable_entries_total",
        "Entries left out of the index, as they are damaged or their key was destroyed.",
        lambda: index.unreadable,
    )
