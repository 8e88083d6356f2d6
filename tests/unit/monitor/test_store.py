"""The trace store: what it finds, when a trace is complete, and that it stays within its bounds."""

from hypothesis import given
from hypothesis import strategies as st

from services.monitor.traces.span import Span
from services.monitor.traces.store import Bounds, TraceStore

QUIET = 10.0


def filled(spans, clock, **bounds):
    store = TraceStore(Bounds(**bounds), clock)
    for span in spans:
        store.add(span)
    return store


def test_a_trace_is_found_by_its_own_id_and_by_its_requests(make_span, clock):
    store = filled([make_span("root"), make_span("child", "root", request="r-1")], clock)
    by_request, by_trace = store.find("r-1"), store.find("7".rjust(32, "0"))
    assert by_request == by_trace
    assert [span.name for span in by_request.spans] == ["root", "child"]
    assert (by_request.request_id, by_request.root.name) == ("r-1", "root")
    assert store.find("r-2") is None and store.find("") is None


def test_a_trace_id_is_found_in_either_case(make_span, clock):
    store = filled([make_span("root", trace="abc")], clock)
    assert store.find("ABC".rjust(32, "0")) is not None


def test_a_trace_is_complete_once_root_and_parents_are_here_and_it_is_quiet(make_span, clock):
    store = filled([make_span("leaf", "middle", request="r")], clock)
    clock.seconds += QUIET
    assert not store.find("r").complete
    store.add(make_span("root"))
    clock.seconds += QUIET
    assert not store.find("r").complete  # "middle" is named and missing
    store.add(make_span("middle", "root"))
    assert not store.find("r").complete  # more may be on its way
    clock.seconds += QUIET
    assert store.find("r").complete


def test_a_trace_whose_root_is_missing_is_never_complete(make_span, clock):
    store = filled([make_span("a", "elsewhere", request="r"), make_span("b", "a")], clock)
    clock.seconds += QUIET
    assert not store.find("r").complete
    assert store.find("r").root.name == "a"


def test_a_span_that_comes_twice_is_kept_once(make_span, clock):
    span = make_span("root", request="r")
    store = filled([span, span, span], clock)
    assert len(store.find("r").spans) == 1
    assert store.bytes == span.bytes


def test_a_trace_over_its_bound_drops_spans_says_so_and_is_never_complete(make_span, clock):
    spans = [make_span("root", request="r"), *(make_span(parent="root") for _ in range(9))]
    store = filled(spans, clock, spans_per_trace=4)
    clock.seconds += QUIET
    trace = store.find("r")
    assert (len(trace.spans), trace.dropped, trace.complete) == (4, 6, False)


def test_over_the_bound_of_traces_the_longest_quiet_goes_with_its_request(make_span, clock):
    store = filled([make_span(f"{n}", trace=f"{n}", request=f"r{n}") for n in range(3)], clock, traces=3)
    store.add(make_span("late", "0", trace="0"))  # trace 0 is heard of again, so trace 1 is the quiet one
    store.add(make_span("3", trace="3", request="r3"))
    assert [bool(store.find(f"r{n}")) for n in range(4)] == [True, False, True, True]
    assert (len(store), store.evicted) == (3, 1)


def test_a_request_that_two_traces_name_stays_with_the_newer(make_span, clock):
    store = filled([make_span("a", trace="1", request="r"), make_span("b", trace="2", request="r")], clock, traces=2)
    store.add(make_span("c", trace="3"))  # trace 1 goes
    assert store.find("r").trace_id.endswith("2")


def test_the_newest_come_first(make_span, clock):
    store = filled([make_span(f"{n}", trace=f"{n}", at=at) for n, at in enumerate([5, 1, 9])], clock)
    assert [trace.root.name for trace in store.newest(10)] == ["2", "0", "1"]
    assert len(store.newest(2)) == 2


def test_a_trace_lasts_from_its_first_start_to_its_last_end(make_span, clock):
    store = filled([make_span("a", at=10, ms=5, request="r"), make_span("b", "a", at=12, ms=90)], clock)
    assert store.find("r").duration_ms == 92


def test_one_failed_span_marks_its_trace(make_span, clock):
    store = filled([make_span("a", request="r", status="OK"), make_span("b", "a", status="ERROR")], clock)
    assert store.find("r").failed


SPANS = st.builds(
    Span,
    trace_id=st.sampled_from(["1", "2", "3", "4", "5"]),
    span_id=st.sampled_from("abcdefgh"),
    parent_span_id=st.sampled_from(["", *"abcdefgh"]),
    name=st.text(max_size=20),
    service=st.just("guard"),
    pid=st.just(1),
    start_ns=st.integers(0, 1000),
    end_ns=st.integers(1000, 2000),
    attributes=st.dictionaries(st.just("strongroom.request_id"), st.sampled_from(["r1", "r2", "r3"]))
    | st.dictionaries(st.text(max_size=3), st.text(max_size=200), max_size=4),
)


@given(spans=st.lists(SPANS, max_size=60), traces=st.integers(1, 5), size=st.integers(2_000, 20_000))
def test_whatever_comes_the_store_keeps_its_bounds_and_its_books(spans, traces, size):
    store = TraceStore(Bounds(traces=traces, bytes=size, spans_per_trace=4))
    for span in spans:
        store.add(span)
        kept = store.newest(100)
        assert len(kept) == len(store) <= traces
        assert store.bytes == sum(span.bytes for trace in kept for span in trace.spans) <= size
        assert all(len(trace.spans) <= 4 for trace in kept)
    for request in ("r1", "r2", "r3"):
        found = store.find(request)
        assert found is None or request in {span.request_id for span in found.spans}
    assert len(store._by_request) <= sum(len(trace.spans) for trace in store.newest(100))
