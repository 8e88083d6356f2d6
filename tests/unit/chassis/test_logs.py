"""Log lines: JSON, with ids and places, without an exception's text."""

import asyncio
import io
import json
import logging

import pytest

from chassis.logs import JsonLines, log_loop_errors
from chassis.tracing import begun, span, trace_id

CARD = "6222021234567890123"


@pytest.fixture
def lines():
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines("guard"))
    logging.getLogger().addHandler(handler)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logging.getLogger().removeHandler(handler)


def test_a_line_is_one_json_object(lines):
    logging.getLogger("a").warning("two\nlines of %s", "文字")
    [line] = lines()
    assert (line["level"], line["service"], line["event"]) == ("warning", "guard", "two\nlines of 文字")
    assert line["pid"] > 0 and line["time"].endswith("+00:00")
    assert "trace_id" not in line


def test_an_exception_shows_its_type_and_place_and_not_its_text(lines):
    try:
        try:
            raise ValueError(CARD)
        except ValueError as cause:
            raise KeyError(CARD) from cause
    except KeyError:
        logging.getLogger("a").exception("screening failed")
    [line] = lines()
    assert line["exception"] == "KeyError"
    assert "test_an_exception_shows" in line["frames"][-1]
    assert CARD not in json.dumps(line)


async def test_a_tasks_forgotten_exception_shows_no_text(lines):
    """asyncio's own handler writes `Task exception was never retrieved … exception=KeyError('…')`."""
    asyncio.get_running_loop().set_exception_handler(log_loop_errors)

    async def fails():
        raise KeyError(CARD)

    task = asyncio.create_task(fails())
    await asyncio.wait([task])
    del task
    [line] = lines()
    assert (line["event"], line["exception"]) == ("Task exception was never retrieved", "KeyError")
    assert CARD not in json.dumps(line)


def test_a_line_names_the_trace_it_belongs_to(lines):
    with span("work", begun("")):
        logging.getLogger("a").warning("inside")
        assert lines()[0]["trace_id"] == trace_id() != "0" * 32
