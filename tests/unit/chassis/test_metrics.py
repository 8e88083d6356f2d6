"""Labels cannot grow, what is read costs nothing until it is asked for, and a scrape is what Prometheus reads."""

from __future__ import annotations

import tracemalloc

import httpx
from prometheus_client import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from chassis.metrics import OTHER, Label, Metrics

VALUES = 100_000
ALLOWED_BYTES = 1_000_000  # 100,000 series of each would take over 100 MB


def test_invariant_6_a_hundred_thousand_label_values_do_not_grow_memory(value_of) -> None:
    """Fails if `_Values.folded` adds a value without looking at the limit."""
    metrics = Metrics()
    counter = metrics.counters("strongroom_test_rules_total", "Rules.", Label("rule", ("known",), room=10))
    histogram = metrics.histograms(
        "strongroom_test_seconds", "Times.", (1, 2), Label("model", room=10), Label("x", ("a",))
    )
    counter.of("first").inc()
    tracemalloc.start()
    for n in range(VALUES):
        counter.of(f"rule-{n}").inc()
        histogram.of(f"model-{n}", f"x-{n}").observe(1)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < ALLOWED_BYTES
    assert value_of(metrics, "strongroom_test_rules_total", rule=OTHER) == VALUES - 9
    assert value_of(metrics, "strongroom_test_rules_total") == VALUES + 1
    assert generate_latest(metrics.registry).count(b"strongroom_test_rules_total{") == 12  # known, ten more, other


def test_values_that_are_read_are_bounded_too_and_none_is_lost(value_of) -> None:
    metrics, state = Metrics(), {"taken": 1.0}
    label = Label("outcome", ("taken", "refused"), room=1)
    metrics.counted_by("strongroom_test_reads_total", "Reads.", label, lambda: state)
    assert value_of(metrics, "strongroom_test_reads_total", outcome="refused") == 0
    for n in range(VALUES):
        state[f"odd-{n}"] = 1.0
    assert value_of(metrics, "strongroom_test_reads_total") == VALUES + 1
    assert value_of(metrics, "strongroom_test_reads_total", outcome=OTHER) == VALUES - 1


def test_words_are_there_from_the_start_so_that_the_first_event_is_a_rise(value_of) -> None:
    metrics = Metrics()
    metrics.counters("strongroom_test_ends_total", "Ends.", Label("end", ("A", "B")), Label("class", ("x", "y")))
    assert value_of(metrics, "strongroom_test_ends_total", end="B", **{"class": "y"}) == 0
    assert generate_latest(metrics.registry).count(b"strongroom_test_ends_total{") == 4


def test_a_gauge_is_read_at_the_scrape(value_of) -> None:
    metrics, waiting = Metrics(), [1, 2]
    metrics.gauge("strongroom_test_waiting_items", "Waiting.", lambda: len(waiting))
    assert value_of(metrics, "strongroom_test_waiting_items") == 2
    waiting.append(3)
    assert value_of(metrics, "strongroom_test_waiting_items") == 3


def test_what_is_so_now_is_one_series_however_often_it_changes() -> None:
    metrics, digest = Metrics(), ["a"]
    metrics.info("strongroom_test_policy_info", "Policy.", ("digest",), lambda: digest)
    assert b'strongroom_test_policy_info{digest="a"} 1.0' in generate_latest(metrics.registry)
    digest[0] = 'b"\n'
    shown = [line for line in generate_latest(metrics.registry).splitlines() if line.startswith(b"strongroom_test")]
    assert shown == [b'strongroom_test_policy_info{digest="b\\"\\n"} 1.0']


async def test_both_formats_that_prometheus_asks_for_parse() -> None:
    metrics = Metrics()
    metrics.counters("strongroom_test_rules_total", "Rules.", Label("rule", room=2)).of('a"\n\\').inc()
    metrics.histogram("strongroom_test_seconds", "Times.", (1, 2)).observe(1.5)
    transport = httpx.ASGITransport(Starlette(routes=[metrics.route()]))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        plain = await client.get("/metrics")
        accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4"
        opened = await client.get("/metrics", headers={"accept": accept})
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    for families in (text_string_to_metric_families(plain.text), open_metrics(opened.text)):
        samples = {sample.name: sample for family in families for sample in family.samples}
        assert samples["strongroom_test_rules_total"].labels == {"rule": 'a"\n\\'}
        assert samples["strongroom_test_seconds_sum"].value == 1.5
