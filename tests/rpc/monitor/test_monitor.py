"""The monitor over the wire: spans in as services send them, traces out."""

import asyncio

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from strongroom.monitor.v1 import monitor_pb2 as pb
from strongroom.monitor.v1 import monitor_pb2_grpc

from chassis.errors import from_rpc_error
from services.monitor.servicer import MAX_SPANS_A_BATCH


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def report_request(tracer_of, request_id="r-1"):
    """A root of the gateway's and a child of the guard's; the exporters block, so they run in a thread."""

    def work():
        root = tracer_of("gateway").start_span("ask", attributes={"strongroom.request_id": request_id})
        child = tracer_of("guard").start_span("screen", context=trace.set_span_in_context(root))
        child.end()
        root.end()
        return trace.format_trace_id(root.get_span_context().trace_id)

    return await asyncio.to_thread(work)


def batch(*spans):
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])


async def test_spans_of_two_services_become_one_trace_under_its_request(traces, tracer_of):
    trace_id = await report_request(tracer_of)
    for id in ("r-1", trace_id, trace_id.upper()):
        found = await traces.GetTrace(pb.GetTraceRequest(id=id))
        assert (found.trace_id, found.complete) == (trace_id, True)
        root, child = found.spans
        assert (root.name, child.name, child.parent_span_id) == ("ask", "screen", root.span_id)
        assert root.start_time.ToNanoseconds() <= child.start_time.ToNanoseconds()
        assert child.end_time.ToNanoseconds() <= root.end_time.ToNanoseconds()


async def test_a_service_is_named_by_its_credential_not_by_its_own_word(traces, tracer_of):
    await report_request(tracer_of)
    found = await traces.GetTrace(pb.GetTraceRequest(id="r-1"))
    assert [(span.service, span.pid) for span in found.spans] == [("gateway", 4242), ("guard", 4242)]


async def test_recent_traces_are_listed_newest_first(traces, tracer_of):
    ids = [await report_request(tracer_of, f"r-{n}") for n in range(3)]
    listed = (await traces.ListTraces(pb.ListTracesRequest())).traces
    assert [line.trace_id for line in listed] == ids[::-1]
    assert [line.request_id for line in listed] == ["r-2", "r-1", "r-0"]
    assert all(line.spans == 2 and line.duration_ms > 0 for line in listed)
    assert len((await traces.ListTraces(pb.ListTracesRequest(page_size=2))).traces) == 2


@pytest.mark.parametrize("id", ["", "a b", "x" * 65, "../../etc/passwd", "你好", "r-1\n"])
async def test_a_malformed_id_is_refused_with_the_remedy(id, traces):
    error = await refused(traces.GetTrace(pb.GetTraceRequest(id=id)))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "id")
    assert "`request_id` or `trace_id`" in str(error)


async def test_an_unknown_trace_is_not_found(traces):
    error = await refused(traces.GetTrace(pb.GetTraceRequest(id="0" * 31 + "1")))
    assert (error.code, error.reason) == ("NOT_FOUND", "TRACE_NOT_FOUND")


async def test_too_large_a_page_is_refused_with_its_bound(traces):
    error = await refused(traces.ListTraces(pb.ListTracesRequest(page_size=201)))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "page_size")
    assert "over 200" in str(error)


@pytest.mark.parametrize("name", ["gateway", "guard", "inference", "audit", "monitor"])
async def test_our_services_may_report_spans(name, channel_as):
    await TraceServiceStub(channel_as(f"token-{name}")).Export(batch())


@pytest.mark.parametrize(
    ("token", "code"),
    [("key-caller", "PERMISSION_DENIED"), ("token-stack", "PERMISSION_DENIED"), ("nobody", "UNAUTHENTICATED")],
)
async def test_nobody_else_may(token, code, channel_as):
    assert (await refused(TraceServiceStub(channel_as(token)).Export(batch()))).code == code


@pytest.mark.parametrize("token", ["token-gateway", "key-none", "key-caller"])
async def test_traces_of_all_callers_are_read_by_reviewers_only(token, channel_as):
    other = monitor_pb2_grpc.MonitorServiceStub(channel_as(token))
    assert (await refused(other.GetTrace(pb.GetTraceRequest(id="r-1")))).code == "PERMISSION_DENIED"
    assert (await refused(other.ListTraces(pb.ListTracesRequest()))).code == "PERMISSION_DENIED"
    reviewer = monitor_pb2_grpc.MonitorServiceStub(channel_as("key-reviewer"))
    await reviewer.ListTraces(pb.ListTracesRequest())


async def test_malformed_spans_are_refused_one_by_one_and_the_rest_is_kept(channel_as, monitor):
    good = OtlpSpan(trace_id=b"\1" * 16, span_id=b"\2" * 8, name="good")
    bad = [OtlpSpan(trace_id=b"\1" * 3, span_id=b"\2" * 8), OtlpSpan(trace_id=b"\1" * 16)]
    answer = await TraceServiceStub(channel_as("token-guard")).Export(batch(bad[0], good, bad[1]))
    assert answer.partial_success.rejected_spans == 2
    assert "span_id" in answer.partial_success.error_message
    assert [found.root.name for found in monitor.store.newest(10)] == ["good"]


async def test_a_batch_of_too_many_spans_is_refused_whole_and_the_monitor_goes_on(channel_as, monitor, tracer_of):
    receiver = TraceServiceStub(channel_as("token-guard"))
    span = OtlpSpan(trace_id=b"\1" * 16, span_id=b"\2" * 8)
    error = await refused(receiver.Export(batch(*[span] * (MAX_SPANS_A_BATCH + 1))))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "BATCH_TOO_LARGE", "resource_spans")
    assert str(MAX_SPANS_A_BATCH) in str(error)
    assert len(monitor.store) == 0
    await report_request(tracer_of)
    assert len(monitor.store) == 1


async def test_a_batch_over_the_message_bound_is_refused_and_the_monitor_goes_on(channel_as, monitor, tracer_of):
    huge = OtlpSpan(trace_id=b"\1" * 16, span_id=b"\2" * 8, name="x" * (9 << 20))
    receiver = TraceServiceStub(grpc.aio.insecure_channel(monitor.address))
    error = await refused(receiver.Export(batch(huge), metadata=(("authorization", "Bearer token-guard"),)))
    assert error.code == "RESOURCE_EXHAUSTED"
    await report_request(tracer_of)
    assert len(monitor.store) == 1


@pytest.mark.parametrize("depth", [20, 90, 2_000])
async def test_an_attribute_nested_deep_is_cut_or_refused_and_the_monitor_goes_on(
    depth, channel_as, monitor, tracer_of
):
    """Built as bytes: no library of ours would write it."""

    def varint(number: int) -> bytes:
        low, rest = number & 0x7F, number >> 7
        return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])

    def field(number: int, content: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(content)) + content

    value = field(1, b"innermost")
    for _ in range(depth):
        value = field(5, field(1, value))  # AnyValue.array_value, ArrayValue.values
    pair = field(1, b"key") + field(2, value)
    span = field(1, b"\1" * 16) + field(2, b"\2" * 8) + field(9, pair)
    message = field(1, field(2, field(2, span)))  # resource_spans, scope_spans, spans
    export = channel_as("token-guard").unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    try:
        await export(message)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    await report_request(tracer_of)
    assert monitor.store.find("r-1")


async def test_invariant_6_a_flood_of_spans_stays_within_the_stores_bounds(channel_as, monitor, tracer_of):
    """Fails if `TraceStore.add` evicts by the number of traces only."""
    receiver = TraceServiceStub(channel_as("token-guard"))
    wide = [KeyValue(key=f"key-{n}", value=AnyValue(string_value="x" * 1_000)) for n in range(100)]
    for n in range(40):
        ids = [(40 * n + k + 1).to_bytes(16, "big") for k in range(40)]
        await receiver.Export(batch(*(OtlpSpan(trace_id=id, span_id=b"\2" * 8, attributes=wide) for id in ids)))
        assert monitor.store.bytes <= 1 << 20 and len(monitor.store) <= 100
    assert monitor.store.evicted_spans > 1_000
    await report_request(tracer_of)
    assert monitor.store.find("r-1")


async def test_bytes_that_are_no_spans_are_refused_and_the_monitor_goes_on(channel_as, monitor, tracer_of):
    raw = channel_as("token-guard").unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    error = await refused(raw(b"\xff\xff\xff not a message"))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
    await report_request(tracer_of)
    assert len(monitor.store) == 1
