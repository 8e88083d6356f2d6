"""OTLP spans as our own."""

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from services.monitor import otlp


def message(**fields):
    return OtlpSpan(**{"trace_id": b"\1" * 16, "span_id": b"\2" * 8, "name": "decode", **fields})


def pair(key, **value):
    return KeyValue(key=key, value=AnyValue(**value))


def test_a_span_keeps_ids_times_and_status():
    span = otlp.span(
        message(parent_span_id=b"\3" * 8, start_time_unix_nano=5, end_time_unix_nano=9, status=Status(code=2)),
        "inference",
        41,
    )
    assert (span.trace_id, span.span_id, span.parent_span_id) == ("01" * 16, "02" * 8, "03" * 8)
    assert (span.name, span.service, span.pid) == ("decode", "inference", 41)
    assert (span.start_ns, span.end_ns, span.status) == (5, 9, "ERROR")


def test_attribute_values_read_as_text():
    values = [
        pair("text", string_value="SmolLM2"),
        pair("count", int_value=41),
        pair("share", double_value=0.25),
        pair("yes", bool_value=True),
        pair("list", array_value=ArrayValue(values=[AnyValue(string_value="stop"), AnyValue(int_value=2)])),
        pair("bytes", bytes_value=b"secret"),
        pair("nothing"),
    ]
    assert otlp.attributes(values) == {
        "text": "SmolLM2",
        "count": "41",
        "share": "0.25",
        "yes": "true",
        "list": "stop, 2",
        "bytes": "",
        "nothing": "",
    }


def test_attributes_are_bounded_in_number_and_length():
    kept = otlp.attributes(pair(f"{n}" * 200, string_value="x" * 1000) for n in range(100))
    assert len(kept) == otlp.MAX_ATTRIBUTES
    assert max(map(len, kept)) == otlp.MAX_KEY_CHARACTERS
    assert max(map(len, kept.values())) == otlp.MAX_TEXT_CHARACTERS


def test_events_and_links_which_may_hold_content_are_left_out():
    event = OtlpSpan.Event(name="exception", attributes=[pair("exception.message", string_value="6222021234567890123")])
    link = OtlpSpan.Link(attributes=[pair("note", string_value="6222021234567890123")])
    assert "6222021234567890123" not in repr(otlp.span(message(events=[event], links=[link]), "guard", 1))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"trace_id": b""}, "trace_id"),
        ({"trace_id": b"\0" * 16}, "trace_id"),
        ({"span_id": b"\1" * 7}, "span_id"),
        ({"parent_span_id": b"\0" * 8}, "parent_span_id"),
    ],
)
def test_a_span_without_a_place_in_a_trace_is_malformed(fields, problem):
    with pytest.raises(otlp.MalformedSpan, match=problem):
        otlp.span(message(**fields), "guard", 1)


def test_a_span_that_ends_before_it_starts_is_an_instant():
    span = otlp.span(message(start_time_unix_nano=9, end_time_unix_nano=5), "guard", 1)
    assert (span.start_ns, span.end_ns) == (9, 9)


def test_the_process_is_told_by_the_resource():
    assert otlp.process_id([pair("service.name", string_value="guard"), pair("process.pid", int_value=7)]) == 7
    assert otlp.process_id([]) == 0
