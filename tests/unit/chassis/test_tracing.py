"""Which requests become spans, and that the others cost none."""

from __future__ import annotations

import pytest

from chassis import tracing
from chassis.sampling import KEPT_A_SECOND, Allowance, Sampler, Tracing
from chassis.tracing import Finished, begun, carried, finished_span, here, keep_if_odd, send_spans_to, span, traceparent

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def exported():
    found: list[Finished] = []
    yield found
    send_spans_to(None)


def choose(exported: list[Finished], **given: float) -> Clock:
    clock = Clock()
    send_spans_to(exported.append, Sampler(Tracing(**given), clock))
    return clock


def test_few_requests_are_all_traced_and_many_by_their_share():
    clock = Clock()
    sampler = Sampler(Tracing(share=0.25, all_below=2.0), clock)
    ids = [f"{n:016x}{n * 0x9E3779B97F4A7C15 % 2**64:016x}" for n in range(1, 4001)]
    chosen = sum(map(sampler.wants, ids))
    assert 900 < chosen < 1100  # a quarter, and the few that were saved up
    clock.now += 3600
    assert all(map(sampler.wants, ids[:10]))  # an hour later: two a second, for five seconds


def test_every_gateway_chooses_the_same_requests():
    one, two = (Sampler(Tracing(share=0.5, all_below=0.0)) for _ in range(2))
    ids = [f"{n * 0x9E3779B97F4A7C15 % 2**64:032x}" for n in range(1, 100)]
    assert [one.wants(i) for i in ids] == [two.wants(i) for i in ids]


def test_an_allowance_never_gives_more_than_its_rate_and_its_burst():
    clock = Clock()
    allowance = Allowance(4.0, clock)
    taken = 0
    for _ in range(1000):
        clock.now += 0.01
        taken += allowance.take()
    assert taken <= 4 * 10 + 20
    assert not Allowance(0.0, clock).take()


def test_a_caller_continues_its_trace_but_does_not_choose(exported):
    choose(exported, share=0.0, all_below=0.0)
    place = begun(PARENT)
    assert (place.trace.id, place.span_id, place.trace.sampled) == ("a" * 32, "b" * 16, False)
    choose(exported, share=1.0)
    assert begun(PARENT).trace.sampled


@pytest.mark.parametrize("odd", ["", "nonsense", f"00-{'0' * 32}-{'b' * 16}-01", f"ff-{'a' * 32}-{'b' * 16}-01"])
def test_what_is_no_traceparent_begins_a_new_trace(odd, exported):
    choose(exported, share=1.0)
    assert begun(odd).span_id == "" and carried(odd) is None


def test_the_neighbours_learn_the_choice(exported):
    choose(exported, share=1.0)
    with span("request", begun("")):
        assert traceparent().endswith("-01") and carried(traceparent())
    choose(exported, share=0.0, all_below=0.0)
    with span("request", begun("")):
        assert traceparent().endswith("-00") and carried(traceparent()) is None
        finished_span("elsewhere", traceparent(), 1, 2)
        with span("inside"):
            pass
    assert [each.name for each in exported] == ["request"]


def test_a_failure_that_nobody_chose_is_kept_with_what_led_to_it(exported):
    choose(exported, share=1e-12, all_below=0.0)
    with span("call", begun("")), span("request", attributes={"n": 1}) as request:
        here().note("screen", 1, 2)
        request.set_attribute("m", 2)
        request.fail()
        keep_if_odd(failed=True, seconds=0.0)
    screen, inner, outer = exported
    assert (screen.name, inner.name, outer.name) == ("screen", "request", "call")
    assert screen.parent_id == inner.span_id and inner.parent_id == outer.span_id and outer.parent_id == ""
    assert inner.failed and not outer.failed and inner.attributes == {"n": 1, "m": 2}


def test_slow_is_kept_and_quick_is_forgotten(exported):
    choose(exported, share=1e-12, all_below=0.0, slow_seconds=0.5)
    for seconds in (0.4, 0.6):
        with span(f"{seconds}", begun("")):
            keep_if_odd(failed=False, seconds=seconds)
    assert [each.name for each in exported] == ["0.6"]


def test_when_everything_fails_tracing_adds_little(exported):
    choose(exported, share=1e-12, all_below=0.0)
    for _ in range(1000):
        with span("call", begun("")):
            keep_if_odd(failed=True, seconds=0.0)
    assert len(exported) == KEPT_A_SECOND * 5


def test_what_is_held_back_is_bounded(exported):
    choose(exported, share=1e-12, all_below=0.0)
    with span("call", begun("")):
        for n in range(10_000):
            here().note("step", n, n)
        keep_if_odd(failed=True, seconds=0.0)
    assert len(exported) == tracing.MAX_HELD_SPANS + 1


def test_a_failing_block_says_that_it_failed_and_not_why(exported):
    choose(exported, share=1.0)
    with pytest.raises(ValueError), span("work", begun("")):
        raise ValueError("6222020200112233")
    assert exported[0].failed and "6222" not in repr(exported)
