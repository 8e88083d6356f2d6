"""What both clients promise, against a real gateway servicer: one suite, run on each."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from strongroom.client import (
    OFF,
    AlreadyExists,
    Answer,
    CallFailed,
    Cancelled,
    DeadlineExceeded,
    Exhausted,
    InternalFailure,
    InvalidRequest,
    Model,
    NotFound,
    PermissionDenied,
    Piece,
    Question,
    Retry,
    Started,
    TokenLogprob,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

from chassis import failures
from services.gateway.requests import outcome

WHY = Question.of("Why?")
AWAY = failures.Unavailable("audit is away: try again", reason="AUDIT_UNAVAILABLE", retry_after_seconds=0.01)
AWAY_FOR_AN_HOUR = failures.Unavailable("audit is away: try again", retry_after_seconds=3600)
LOST = failures.Unavailable("the connection broke")  # says nothing about when, as a broken transport does not
SOON = Retry(first_pause_seconds=0.01)


def test_an_answer_carries_everything_that_is_known_of_it(gateway: Any, connect: Any) -> None:
    answer = connect(gateway.address).ask(WHY)
    assert (answer.text, answer.finish_reason, answer.model) == ("The vault is closed.", "STOP", "tiny")
    assert (answer.verdict, answer.rule, answer.findings[0]["type"]) == ("FLAG", "conspiracy", "BANK_CARD")
    assert (answer.input_tokens, answer.output_tokens, answer.trace_id) == (7, 4, "ab" * 16)
    assert answer.receipt == {"version": 1} and answer.timings["total_ms"] == 12.5


def test_a_stream_is_started_pieces_and_the_answer_that_they_make(gateway: Any, connect: Any) -> None:
    events = list(connect(gateway.address).stream(WHY))
    assert [type(event) for event in events] == [Started, Piece, Piece, Answer]
    assert events[-1].text == "".join(event.text for event in events[1:3]) == "The vault is closed."
    assert events[0].request_id == events[-1].request_id == "r-1"
    assert not gateway.conductor.left.is_set()


def test_several_answers_come_apart_and_are_one_receipts_answer(gateway: Any, connect: Any) -> None:
    """Fails if pieces are put together whatever choice they are of."""
    script = [("The vault ", 0), ("It is ", 1), ("is closed.", 0), ("shut.", 1)]
    ends = (outcome.Ended("STOP"), outcome.Ended("LENGTH", reasoning_unfinished=True))
    started, *_, finished = gateway.conductor.events
    deltas = [outcome.Delta(text, choice=choice) for text, choice in script]
    gateway.conductor.events = (started, *deltas, replace(finished, choices=ends))
    several = Question.of("Why?", n=2)
    client = connect(gateway.address)
    for answer in (client.ask(several), list(client.stream(several))[-1]):
        assert [choice.text for choice in answer.choices] == ["The vault is closed.", "It is shut."]
        assert [choice.finish_reason for choice in answer.choices] == ["STOP", "LENGTH"]
        assert answer.choices[1].reasoning_unfinished and answer.text == answer.choices[0].text
        assert [released["content"] for released in answer.as_released()] == ["The vault is closed.", "It is shut."]
    pieces = [event for event in client.stream(several) if isinstance(event, Piece)]
    assert [(piece.text, piece.choice) for piece in pieces] == script
    assert gateway.conductor.asked[-1].sampling.n == 2


def test_log_probabilities_are_those_of_the_pieces_put_together(gateway: Any, connect: Any) -> None:
    likely = [outcome.TokenLogprob(token, -0.5, ((token, -0.5), (b"\xff", -9.0))) for token in (b"no", b"pe")]
    whole = gateway.conductor.events
    gateway.conductor.events = (whole[0], *(outcome.Delta("..", "", (one,)) for one in likely), whole[-1])
    *_, answer = connect(gateway.address).stream(Question.of("Why?", logprobs=2))
    expected = tuple(TokenLogprob(one.token, one.logprob, one.top) for one in likely)
    assert answer.logprobs == connect(gateway.address).ask(WHY).logprobs == expected
    assert gateway.conductor.asked[0].sampling.logprobs == 2


def test_models_receipts_and_cancelling(gateway: Any, connect: Any) -> None:
    client = connect(gateway.address)
    assert client.do("models") == [Model("tiny", context_tokens=64, workers=2, engine="echo", adapters=("tone",))]
    assert client.do("receipt", "r-1") == {"version": 1, "later": True}
    assert client.do("cancel", "r-1") is True and gateway.conductor.cancelled == ["r-1"]
    with pytest.raises(NotFound):
        client.do("receipt", "r-2")


def test_all_calls_share_one_connection(gateway: Any, connect: Any) -> None:
    client = connect(gateway.address)
    for _ in range(5):
        client.ask(WHY)
    assert len(gateway.peers) == 1


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (failures.InvalidArgument("too hot", field="prompt.sampling.temperature"), InvalidRequest),
        (failures.FailedPrecondition("not so"), InvalidRequest),
        (failures.Unimplemented("no", field="prompt.sampling.top_k"), Unimplemented),
        (failures.NotFound("no such model", field="prompt.model"), NotFound),
        (failures.AlreadyExists("taken", request_id="r-0"), AlreadyExists),
        (failures.PermissionDenied("not yours"), PermissionDenied),
        (failures.ResourceExhausted("full", reason="QUEUE_FULL", retry_after_seconds=1.5), Exhausted),
        (AWAY_FOR_AN_HOUR, Unavailable),
        (failures.DeadlineExceeded("too late"), DeadlineExceeded),
        (failures.Cancelled("cancelled"), Cancelled),
        (failures.Internal("broken"), InternalFailure),
        (failures.DataLoss("lost"), InternalFailure),
    ],
)
def test_each_failure_has_its_type_and_keeps_its_details(gateway: Any, connect: Any, failure: Any, kind: Any) -> None:
    gateway.conductor.refusals = [failure]
    with pytest.raises(CallFailed) as caught:
        connect(gateway.address).ask(WHY)
    told = caught.value
    assert type(told) is kind and (told.code, told.reason) == (failure.code, failure.reason)
    assert str(told) == str(failure) and told.field == failure.field
    assert told.retry_after_seconds == failure.retry_after_seconds
    assert told.request_id == failure.metadata.get("request_id", "")
    assert len(gateway.conductor.asked) == 1


def test_a_key_that_is_not_known_is_unauthenticated(gateway: Any, connect: Any) -> None:
    with pytest.raises(Unauthenticated):
        connect(gateway.address, api_key="wrong").ask(WHY)


def test_unavailable_is_tried_again_when_the_gateway_says_when(gateway: Any, connect: Any) -> None:
    gateway.conductor.refusals = [AWAY, AWAY]
    assert connect(gateway.address).ask(WHY).text == "The vault is closed."
    assert len(gateway.conductor.asked) == 3


def test_attempts_are_bounded_and_the_last_failure_is_told(gateway: Any, connect: Any) -> None:
    gateway.conductor.refusals = [AWAY] * 9
    with pytest.raises(Unavailable, match="audit is away"):
        connect(gateway.address, retry=Retry(attempts=4)).ask(WHY)
    assert len(gateway.conductor.asked) == 4


def test_trying_again_can_be_turned_off(gateway: Any, connect: Any) -> None:
    gateway.conductor.refusals = [AWAY, AWAY]
    client = connect(gateway.address, retry=OFF)
    with pytest.raises(Unavailable):
        client.ask(WHY)
    with pytest.raises(Unavailable):
        list(client.stream(WHY))
    assert len(gateway.conductor.asked) == 2


def test_a_longer_pause_than_the_callers_own_bound_is_not_waited_for(gateway: Any, connect: Any) -> None:
    gateway.conductor.refusals = [AWAY_FOR_AN_HOUR]
    with pytest.raises(Unavailable) as caught:
        connect(gateway.address).ask(WHY)
    assert caught.value.retry_after_seconds == 3600 and len(gateway.conductor.asked) == 1


def test_a_lost_unary_call_is_sent_again_only_under_a_key(gateway: Any, connect: Any) -> None:
    client = connect(gateway.address, retry=SOON)
    gateway.conductor.refusals = [LOST]
    with pytest.raises(Unavailable):
        client.ask(WHY)
    assert len(gateway.conductor.asked) == 1
    gateway.conductor.refusals = [LOST]
    assert client.ask(Question.of("Why?", idempotency_key="k")).text
    assert len(gateway.conductor.asked) == 3


def test_a_stream_is_tried_again_until_it_is_accepted(gateway: Any, connect: Any) -> None:
    gateway.conductor.refusals = [AWAY, LOST]
    events = list(connect(gateway.address, retry=SOON).stream(WHY))
    assert isinstance(events[0], Started) and isinstance(events[-1], Answer)
    assert len(gateway.conductor.asked) == 3


def test_a_stream_that_was_accepted_is_never_tried_again(gateway: Any, connect: Any) -> None:
    gateway.conductor.events = (
        outcome.Started("r-7", "tiny", "ab" * 16),
        outcome.Delta("The "),
        outcome.Broken(AWAY),
    )
    seen = []
    with pytest.raises(Unavailable) as caught:
        for event in connect(gateway.address).stream(Question.of("Why?", idempotency_key="k")):
            seen.append(type(event))
    assert seen == [Started, Piece] and len(gateway.conductor.asked) == 1
    assert caught.value.request_id == "r-7"


def test_a_gateway_that_comes_up_late_is_found(start_gateway: Any, connect: Any) -> None:
    with start_gateway() as earlier:
        address = earlier.address
    with pytest.raises(Unavailable):
        connect(address, retry=SOON).ask(WHY)
    patient = connect(address, retry=Retry(attempts=200, first_pause_seconds=0.1, longest_pause_seconds=0.1))
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(patient.ask, WHY)
        time.sleep(0.2)  # some attempts find nobody
        with start_gateway(address) as gateway:
            assert asking.result(20).text == "The vault is closed."
            assert len(gateway.conductor.asked) == 1


def test_every_call_has_a_deadline_which_the_gateway_learns(gateway: Any, connect: Any) -> None:
    client = connect(gateway.address, timeout_seconds=5)
    client.ask(WHY)
    client.ask(WHY, timeout_seconds=2)
    longer, shorter = gateway.conductor.seconds
    assert 2 < longer <= 5 and 0 < shorter <= 2


def test_a_deadline_that_passes_is_told_as_such(gateway: Any, connect: Any) -> None:
    gateway.conductor.events = ()
    with pytest.raises(DeadlineExceeded):
        connect(gateway.address).ask(WHY, timeout_seconds=0.2)
    assert gateway.conductor.left.wait(10)


def test_attempts_share_one_deadline(gateway: Any, connect: Any) -> None:
    gateway.conductor.refusals = [failures.Unavailable("away", retry_after_seconds=4)]
    began = time.monotonic()
    with pytest.raises(Unavailable):
        connect(gateway.address).ask(WHY, timeout_seconds=3)
    assert len(gateway.conductor.asked) == 1 and time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("question", "field"),
    [
        (Question.of("Why?", priority="now"), "prompt.priority"),
        (Question.of("Why?", seed=-1), "prompt.sampling.seed"),
        (Question.of("Why?", max_tokens="many"), "prompt.sampling.max_tokens"),
        (Question.of("secret \ud800"), "prompt.messages[0].content"),
        (Question.of(3), "prompt.messages[0].content"),  # type: ignore[arg-type]
        (Question.of("Why?", model=7), "prompt.model"),
        (Question.of("Why?", stop=(3,)), "prompt.sampling.stop"),
    ],
)
def test_what_no_field_can_hold_is_refused_here_and_not_quoted(
    gateway: Any, connect: Any, question: Question, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        connect(gateway.address).ask(question)
    assert caught.value.field == field and "secret" not in str(caught.value)
    assert not gateway.conductor.asked
