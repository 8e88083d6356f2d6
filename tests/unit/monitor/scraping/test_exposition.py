"""Scrapes as text: what is wanted is read, and an enemy's is refused with a word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from services.monitor.scraping.exposition import Problem, Reader, Unreadable
from services.monitor.windows.windows import Sample

WANTED = frozenset({"a_total", "b_seconds_bucket", "b_seconds_count", "depth"})


def problem_of(body: bytes, max_series: int = 100) -> Problem:
    with pytest.raises(Unreadable) as caught:
        Reader(WANTED, max_series).read(body)
    return caught.value.problem


def test_what_prometheus_client_writes_is_read_back():
    registry = CollectorRegistry()
    counter = Counter("a", "A.", ["kind"], registry=registry)
    counter.labels('odd "}{\\ \n, =').inc(3)
    Histogram("b_seconds", "B.", buckets=(0.1, 1), registry=registry).observe(0.5)
    Gauge("unwanted", "U.", registry=registry).set(7)
    found = Reader(WANTED, 100).read(generate_latest(registry))
    assert Sample("a_total", (("kind", 'odd "}{\\ \n, ='),), 3) in found
    assert Sample("b_seconds_bucket", (("le", "1.0"),), 1) in found
    assert {sample.name for sample in found} == {"a_total", "b_seconds_bucket", "b_seconds_count"}


@given(
    st.dictionaries(
        st.text(max_size=20), st.floats(allow_nan=False, min_value=0, max_value=1e12), min_size=1, max_size=8
    )
)
def test_any_label_value_survives_the_way_there_and_back(values):
    registry = CollectorRegistry()
    counter = Counter("a", "A.", ["kind"], registry=registry)
    for text, amount in values.items():
        counter.labels(text).inc(amount)
    reader = Reader(WANTED, 100)
    body = generate_latest(registry)
    for _ in range(2):  # the second time from what was parsed before
        assert {dict(s.labels)["kind"]: s.value for s in reader.read(body) if s.name == "a_total"} == values


def test_a_timestamp_behind_the_value_is_left_out():
    assert Reader(WANTED, 100).read(b"depth 5 1700000000000\n") == [Sample("depth", (), 5)]


def test_not_a_number_says_nothing():
    assert Reader(WANTED, 100).read(b"depth NaN\na_total 1\n") == [Sample("a_total", (), 1)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>It works</body></html>",
        b"\xff\xfe\x00depth 5",
        b"depth\n",
        b"depth five\n",
        b'a_total{kind="x" 5\n',
        b"a_total{kind=x} 5\n",
        b"a_total{ 5\n",
        b"a_total} 5\n",
        b'a_total{kind="x"}\n',
        b"other_total 5\n",
    ],
)
def test_garbage_is_called_garbage(body):
    assert problem_of(body) is Problem.GARBAGE


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    try:
        Reader(WANTED, 100).read(b"depth 1\na_total" + body)
    except Unreadable as unreadable:
        assert unreadable.problem in Problem


def test_a_hundred_thousand_label_values_are_refused():
    body = b"".join(b'a_total{kind="%d"} 1\n' % n for n in range(100_000))
    assert problem_of(body, 2_000) is Problem.TOO_MANY_SERIES


def test_a_line_without_end_is_refused():
    assert problem_of(b'a_total{kind="' + b"x" * 100_000 + b'"} 1\n') is Problem.TOO_LARGE


def test_series_that_are_not_wanted_cost_no_room():
    body = b"".join(b'unwanted{kind="%d"} 1\n' % n for n in range(10_000)) + b"depth 1\n"
    assert Reader(WANTED, 10).read(body) == [Sample("depth", (), 1)]


def test_what_was_parsed_is_forgotten_when_it_is_gone():
    reader = Reader(WANTED, 100)
    for n in range(1_000):
        reader.read(b'a_total{kind="%d"} 1\n' % n)
    assert len(reader._parsed) == 1
