"""A witness' metrics."""

from __future__ import annotations

from services.witness.metrics import WitnessMetrics


def test_every_metric_is_documented_and_says_what_was_cosigned(new_watcher, world, as_documented, value_of) -> None:
    metrics, watcher = WitnessMetrics(), world.watchers[0]
    metrics.watch(watcher.memory)
    metrics.answered(200)
    as_documented("witness", metrics)
    assert value_of(metrics, "strongroom_witness_submissions_total", status="200") == 1
