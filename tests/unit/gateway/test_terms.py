"""Admission, rejections, ids and the canonical bytes."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace

import pytest
from strongroom.verify import request_bytes

from chassis.failures import InvalidArgument, NotFound, ResourceExhausted, Unavailable, Unimplemented
from services.gateway.requests import fields
from services.gateway.requests.admission import Admission
from services.gateway.requests.conductor import Conductor, _adapter
from services.gateway.requests.neighbours import Quantization, ServedModel
from services.gateway.requests.outcome import Finding
from services.gateway.requests.question import Adapter, Caller, Message, Profile, Question, Sampling
from services.gateway.requests.record_id import new_request_id
from services.gateway.requests.rejections import Rejections


def test_admission_refuses_at_once_above_its_bound_and_says_when_to_come_back():
    admission = Admission(2)
    admission.enter()
    admission.enter()
    with pytest.raises(ResourceExhausted) as full:
        admission.enter()
    assert full.value.retry_after_seconds
    admission.leave()
    admission.enter()


def test_invariant_6_a_request_for_several_answers_takes_as_many_places():
    """Fails if `enter` counts requests: each answer holds a job, a filter and a mailbox's text."""
    admission = Admission(4)
    admission.enter(3)
    with pytest.raises(ResourceExhausted, match="at most 4 answers may be in flight, and there is no room for 2 more"):
        admission.enter(2)
    admission.enter()
    admission.leave(3)
    admission.enter(3)
    assert admission.in_flight == 4


def test_invariant_6_admission_tells_when_there_will_be_room_from_how_fast_requests_leave():
    """Fails if `Admission.enter` tells a constant."""
    now = 100.0
    admission = Admission(4, lambda: now)
    for _ in range(4):
        admission.enter()
    for _ in range(20):  # four a second leave, four a second come
        now += 0.25
        admission.leave()
        admission.enter()
    with pytest.raises(ResourceExhausted) as full:
        admission.enter()
    assert full.value.reason == "TOO_MANY_IN_FLIGHT"
    assert full.value.retry_after_seconds == pytest.approx(2 * 0.25, abs=0.05)
    now += full.value.retry_after_seconds
    admission.leave()
    admission.leave()
    admission.enter()


async def test_rejections_are_written_at_once_then_aggregated_and_none_is_lost():
    written = []
    rejections = Rejections(written.append, window_seconds=0.05)
    caller = Caller("t", "c")
    for _ in range(10):
        rejections.note(caller, "INVALID_ARGUMENT", "prompt.messages", "trace")
    assert [rejection.count for rejection in written] == [1]
    await asyncio.sleep(0.12)
    assert sum(rejection.count for rejection in written) == 10 and len(written) == 2
    rejections.note(caller, "NOT_FOUND", "prompt.model", "trace")
    rejections.flush()
    assert sum(rejection.count for rejection in written) == 11


def test_request_ids_are_uuid7_and_sort_by_time():
    ids = [new_request_id(milliseconds) for milliseconds in (1, 2, 3_000_000_000_000)]
    assert ids == sorted(ids) and all(uuid.UUID(text).version == 7 for text in ids)
    assert uuid.UUID(new_request_id()).variant == uuid.RFC_4122


def test_the_bytes_of_a_request_hold_only_what_the_caller_set():
    bare = Question((Message("user", '你好 \u2028 "x"'),))
    assert json.loads(fields.received(bare)) == {
        "messages": [{"role": "user", "content": '你好 \u2028 "x"'}],
        "parameters": {},
    }
    full = Question(bare.messages, model="m", sampling=Sampling(temperature=1.0, top_p=0.7, seed=5, stop=("a",)))
    parameters = json.loads(fields.received(full))["parameters"]
    assert parameters == {"temperature": "1", "top_p": "0.7", "seed": 5, "stop": ["a"]}


async def test_a_model_that_nobody_serves_is_named_with_those_that_are(bench):
    noted = []
    conductor = Conductor(bench.neighbours, Admission(1), Rejections(noted.append), "", Profile())
    with pytest.raises(NotFound) as unknown:
        conductor.start(Question((Message("user", "hi"),), model="gpt"), bench.caller, "", 5)
    assert (
        "tiny" in str(unknown.value) and unknown.value.field == "prompt.model" and noted[0].reason == "MODEL_NOT_FOUND"
    )


class AnyGrammar:
    async def check(self, kind, text, field): ...


async def test_with_a_grammar_the_gateways_own_bound_of_answers_holds(bench):
    """Fails if `read_grammar` checks a question by the default bound."""
    rest = ("", Profile(), None, AnyGrammar(), 16)
    conductor = Conductor(bench.neighbours, Admission(20), Rejections(lambda _: None), *rest)
    asked = [Question((Message("user", "hi"),), sampling=Sampling(n=n, regex="a+")) for n in (12, 17)]
    await conductor.read_grammar(asked[0], bench.caller, "")
    with pytest.raises(InvalidArgument, match="1 to 16"):
        await conductor.read_grammar(asked[1], bench.caller, "")


def test_an_adapter_is_unimplemented_where_a_worker_of_the_model_has_no_engine_for_one():
    served = ServedModel("tiny", "echo", 256, 1, b"", 0, lacks=frozenset({"adapter"}))
    with pytest.raises(Unimplemented, match="leave it out") as refused:
        _adapter("tone", "tiny", served)
    assert (refused.value.field, refused.value.reason) == ("prompt.adapter", "NOT_SUPPORTED")
    assert _adapter("", "tiny", served) == Adapter()


async def test_the_engine_stands_in_the_record_with_its_version(bench):
    conductor = Conductor(bench.neighbours, Admission(1), Rejections(lambda _: None), "", Profile())
    served = replace(bench.queue.models()["tiny"], engines="openvino 2026.4.1.0")
    bench.queue.models = lambda: {"tiny": served}
    await bench.events(conductor.start(bench.question, bench.caller, "", 5))
    [kept] = bench.audit.accepted
    assert json.loads(kept["parameters"])["engine"] == "openvino 2026.4.1.0"


async def test_how_the_weights_are_quantized_and_what_that_costs_stands_in_the_record(bench):
    """Fails if `_settle` or `_request_fields` leaves the quantization out."""
    conductor = Conductor(bench.neighbours, Admission(1), Rejections(lambda _: None), "", Profile())
    served = replace(bench.queue.models()["tiny"], quantization=Quantization("int8", "mean NLL up to 1 % higher"))
    bench.queue.models = lambda: {"tiny": served}
    await bench.events(conductor.start(bench.question, bench.caller, "", 5))
    said = json.loads(bench.audit.accepted[0]["parameters"])
    assert (said["quantization"], said["quantization_loss"]) == ("int8", "mean NLL up to 1 % higher")


async def test_an_adapter_is_settled_with_its_digest_and_stands_in_the_record(bench):
    conductor = Conductor(bench.neighbours, Admission(1), Rejections(lambda _: None), "", Profile())
    with pytest.raises(NotFound, match="loaded: tone") as unknown:
        conductor.start(Question((Message("user", "hi"),), adapter="other"), bench.caller, "", 5)
    assert (unknown.value.field, unknown.value.reason) == ("prompt.adapter", "ADAPTER_NOT_FOUND")
    question = Question((Message("user", "hi"),), adapter="tone")
    terms = conductor.start(question, bench.caller, "", 5).terms
    assert terms.adapter == Adapter("tone", b"d" * 32)
    said = json.loads(fields.circumstances(terms.sampling, "tiny", b"", b"", "standard", terms.adapter))
    assert (said["adapter"], said["adapter_digest"]) == ("tone", (b"d" * 32).hex())
    assert fields.received(question) == request_bytes(
        {"messages": [{"role": "user", "content": "hi"}], "adapter": "tone"}
    )
    await conductor.drain(0)


@pytest.mark.parametrize("neighbour", ["guard", "audit", "queue"])
async def test_invariant_7_a_neighbour_that_is_away_refuses_before_anything_is_recorded(bench, neighbour):
    """Fails if `_settle` does not ask that neighbour."""
    noted = []
    conductor = Conductor(bench.neighbours, Admission(1), Rejections(noted.append), "", Profile())
    setattr(getattr(bench, neighbour), "full" if neighbour == "queue" else "away", True)
    with pytest.raises(Unavailable):
        conductor.start(bench.question, bench.caller, "", 5)
    assert noted == [] and bench.audit.journal == []


async def test_a_place_is_held_until_the_end_is_durable(bench):
    conductor = Conductor(bench.neighbours, Admission(1), Rejections(lambda _: None), "", Profile())
    life = conductor.start(bench.question, bench.caller, "", 5)
    await life.next_event()
    with pytest.raises(ResourceExhausted):
        conductor.start(bench.question, bench.caller, "", 5)
    await bench.events(life)
    await conductor.drain(1)
    assert conductor.cancel(life.terms.request_id, bench.caller) is False


async def test_only_the_caller_itself_cancels_its_request(bench):
    bench.queue.script = []
    conductor = Conductor(bench.neighbours, Admission(1), Rejections(lambda _: None), "", Profile())
    life = conductor.start(bench.question, bench.caller, "", 5)
    await life.next_event()
    assert conductor.cancel(life.terms.request_id, Caller("development", "other")) is False
    assert conductor.cancel(life.terms.request_id, bench.caller) is True
    await conductor.drain(1)


async def test_invariant_10_what_is_rejected_while_the_gateway_drains_is_written(bench):
    """Fails if `drain` flushes before the lives are over alone: all but the caller's first rejection are lost then."""
    found = (Finding("MOBILE_NUMBER", 0, 11, "C2", "prompt"),)
    bench.guard.screening = replace(bench.guard.screening, unmasked=found)
    noted = []
    conductor = Conductor(bench.neighbours, Admission(3), Rejections(noted.append, 600.0), "", Profile())
    question = replace(bench.question, sampling=Sampling(stop=("13912345678",)))
    for _ in range(3):
        conductor.start(question, bench.caller, "", 60)
    await conductor.drain(60)
    assert {rejection.reason for rejection in noted} == {"CANNOT_BE_MASKED"}
    assert sum(rejection.count for rejection in noted) == 3
