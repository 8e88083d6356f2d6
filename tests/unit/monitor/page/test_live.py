"""What a stream sends: framed as the standard says, only what changed, and never more than one event ahead."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.page.live import Changes, Streams, View, event
from services.monitor.status.snapshot import History, Series

TEXT = st.text(alphabet=st.characters(codec="utf-8"))


def parsed(frame):
    """As a browser reads an event: HTML standard, section 9.2.6."""
    lines = frame.decode().split("\n")
    assert lines[-2:] == ["", ""] and "" not in lines[:-2]
    fields = [line.partition(": ") for line in lines[:-2]]
    return {name: value for name, _, value in fields}


def view(time=100.0, history=None, **blocks):
    return View(time=time, title="All well", blocks=blocks, history=history or History())


def lines(*times):
    return History(times=times, series={"error_ratio": Series(values=[0.5] * len(times))})


@given(TEXT, TEXT)
def test_whatever_a_block_holds_an_event_is_one_event(name, html):
    """Fails if the JSON is written with `indent`."""
    fields = parsed(event("view", {"blocks": {name: html}}))
    assert set(fields) == {"event", "data"}
    assert json.loads(fields["data"]) == {"blocks": {name: html}}


def test_the_first_event_says_all_and_the_next_what_changed():
    changes = Changes()
    first = changes.since_last(view(banner="well", queue="0"))
    assert first["whole"] and first["blocks"] == {"banner": "well", "queue": "0"}
    second = changes.since_last(view(101.0, banner="well", queue="1"))
    assert not second["whole"] and second["blocks"] == {"queue": "1"}
    assert changes.since_last(view(102.0, banner="well", queue="1")) == {
        "time": 102.0, "title": "All well", "whole": False, "blocks": {}, "charts": {}
    }  # fmt: skip


def test_a_chart_is_sent_once_and_then_its_new_points():
    changes = Changes()
    assert changes.since_last(view(history=lines(10, 12)))["charts"]["error_rate"] == [[10, 12], [0.5, 0.5]]
    assert changes.since_last(view(history=lines(10, 12)))["charts"] == {}
    assert changes.since_last(view(history=lines(10, 12, 14)))["charts"]["error_rate"] == [[14], [0.5]]


async def test_a_reader_that_does_not_read_makes_no_work():
    """Invariant 6. Fails if events are put into a queue by a task of their own."""
    made = []
    streams = Streams(every_seconds=0.0)
    events = streams.events(lambda: made.append(1) or view())
    await anext(events)
    await anext(events)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(made) == 1
    await events.aclose()


async def test_so_many_streams_are_open_and_no_more():
    streams = Streams(most=2)
    with streams.place(), streams.place():
        assert streams.full
    assert not streams.full


async def test_a_place_is_free_again_when_its_stream_breaks():
    streams = Streams(most=1)
    with pytest.raises(ConnectionError), streams.place():
        raise ConnectionError
    assert not streams.full


async def test_streams_end_when_the_monitor_stops():
    """Fails if a stream sleeps out its pause: the monitor would then be slow to go."""
    streams = Streams(every_seconds=3600)
    events = streams.events(view)
    await anext(events)
    await anext(events)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    streams.stop()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 30)
    assert streams.full
