"""The gateway over the wire: what callers see, what neighbours are told."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.guard.v1 import guard_pb2

from services.gateway.requests.outcome import Step
from services.gateway.servicer import MAX_CALL_BYTES


def prompt(text="hello", **kwargs):
    return pb.Prompt(messages=[pb.Message(role="user", content=text)], **kwargs)


def details(error, kind):
    for detail in rpc_status.from_call(error).details:
        message = kind()
        if detail.Unpack(message):
            return message
    return None


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_unary_answer_carries_text_usage_verdict_and_receipt(door):
    reply = await door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key())
    assert reply.text == "Hello world"
    assert reply.outcome.finish_reason == pb.FINISH_REASON_STOP
    assert (reply.outcome.usage.input_tokens, reply.outcome.usage.output_tokens) == (7, 2)
    assert reply.outcome.guard.verdict == pb.VERDICT_ALLOW and reply.outcome.receipt.document == "{}"
    assert len(reply.outcome.trace_id) == 32
    assert door.audit.kinds() == ["accept", "release", "end"] and door.audit.boots == {"boot-1"}


async def test_a_stream_is_started_deltas_and_one_outcome(door):
    call = door.stub.StreamGenerate(pb.StreamGenerateRequest(prompt=prompt()), metadata=door.key())
    events = [event async for event in call]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["started", "delta", "delta", "outcome"]
    assert events[0].started.request_id == events[-1].outcome.request_id


async def test_while_audits_disk_is_full_callers_are_turned_away_without_an_entry_each(door):
    """Fails if `start` notes a rejection of them: each would be one more entry on the full disk."""
    door.audit.refusing = "JOURNAL_FULL"
    for _ in range(3):
        error = await refused(door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details(error, error_details_pb2.ErrorInfo).reason == "JOURNAL_FULL"
        assert details(error, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
    assert door.audit.kinds() == ["accept"]


async def test_the_policy_text_reaches_the_log_once_a_boot(door):
    for _ in range(3):
        await door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key())
    assert [(act.action, act.target, act.detail) for act in door.audit.acts] == [
        ("POLICY_USED", (b"p" * 32).hex(), b"policy: text")
    ]


async def test_invariant_7_a_verdict_that_is_not_set_refuses(door):
    """Fails if `_VERDICTS` maps VERDICT_UNSPECIFIED to ALLOW."""
    door.guard.verdict = guard_pb2.VERDICT_UNSPECIFIED
    reply = await door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key())
    assert reply.outcome.finish_reason == pb.FINISH_REASON_REFUSED and reply.text == "此内容违反使用政策"
    assert door.audit.kinds() == ["refuse"] and door.queue.jobs == []


async def test_a_guard_that_lost_the_filter_is_fed_again_and_no_text_is_lost(door):
    door.queue.script = [Step("one "), Step("two "), Step("three", "STOP")]
    door.guard.losing = True
    reply = await door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key())
    assert reply.text == "one two three"


@pytest.mark.parametrize("reason", ["POLICY_UNKNOWN", "FILTER_CANNOT_RESUME"])
async def test_invariant_7_an_answer_whose_filter_cannot_be_had_again_ends_withheld(door, reason):
    """Fails if `_CANNOT_GO_ON` lacks the reason: the answer then breaks instead of ending by policy."""
    door.queue.script = [Step("one "), Step("two ")]
    door.guard.losing, door.guard.unable = True, reason
    reply = await door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key())
    assert reply.outcome.finish_reason == pb.FINISH_REASON_WITHHELD and reply.outcome.guard.rule == reason
    assert reply.text == "" and door.audit.kinds() == ["accept", "end"]


async def test_a_caller_who_leaves_cancels_and_the_record_ends(door, until):
    door.queue.script = [Step("Hello")]
    call = door.stub.StreamGenerate(pb.StreamGenerateRequest(prompt=prompt()), metadata=door.key())
    await call.read()
    await call.read()
    call.cancel()
    await until(lambda: door.audit.kinds()[-1:] == ["end"])
    assert door.audit.entries[-1].end.state == 3 and len(door.queue.cancelled) == 1


async def test_cancel_ends_a_running_request_of_the_same_caller_only(door):
    door.queue.script = [Step("Hello")]
    call = door.stub.StreamGenerate(pb.StreamGenerateRequest(prompt=prompt()), metadata=door.key())
    request = pb.CancelRequest(request_id=(await call.read()).started.request_id)
    assert not (await door.stub.Cancel(request, metadata=door.key("other"))).cancelled
    assert (await door.stub.Cancel(request, metadata=door.key())).cancelled
    error = await refused(_drained(call))
    assert error.code() is grpc.StatusCode.CANCELLED


async def test_a_deadline_is_reported_as_such_and_recorded(door, until):
    door.queue.script = []
    call = door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key(), timeout=0.5)
    assert (await refused(call)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: door.audit.kinds()[-1:] == ["end"])
    assert door.audit.entries[-1].end.state == 4


@pytest.mark.parametrize(
    ("bad", "code", "field"),
    [
        (pb.Prompt(), "INVALID_ARGUMENT", "prompt.messages"),
        (pb.Prompt(messages=[pb.Message(role="wizard", content="x")]), "INVALID_ARGUMENT", "prompt.messages[0].role"),
        (prompt(model="gpt"), "NOT_FOUND", "prompt.model"),
        (prompt(sampling=pb.Sampling(temperature=9)), "INVALID_ARGUMENT", "prompt.sampling.temperature"),
        (prompt(sampling=pb.Sampling(max_tokens=999)), "INVALID_ARGUMENT", "prompt.sampling.max_tokens"),
        (prompt("x" * 300_000), "INVALID_ARGUMENT", "prompt.messages"),
        (prompt("x" * 20_000_000), "INVALID_ARGUMENT", "prompt.messages"),
        (prompt(priority=77), "INVALID_ARGUMENT", "prompt.priority"),
    ],
)
async def test_bad_input_names_the_field_and_leaves_a_rejected_entry(door, until, bad, code, field):
    error = await refused(door.stub.Generate(pb.GenerateRequest(prompt=bad), metadata=door.key()))
    assert error.code().name == code
    violation = details(error, error_details_pb2.BadRequest).field_violations[0]
    assert violation.field == field and details(error, error_details_pb2.ErrorInfo).domain == "strongroom"
    await until(lambda: door.audit.kinds() == ["reject"])
    assert door.audit.entries[0].reject.field == field
    assert (await door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key())).text == "Hello world"


async def test_an_unknown_key_leaves_no_entry(door):
    error = await refused(door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key("wrong")))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED and door.audit.entries == []


async def test_invariant_6_above_the_bound_in_flight_the_answer_comes_at_once_with_a_time_to_come_back(door):
    """Fails if `Conductor.start` does not enter the admission."""
    door.queue.script = []
    calls = [door.stub.StreamGenerate(pb.StreamGenerateRequest(prompt=prompt()), metadata=door.key()) for _ in range(4)]
    for call in calls:
        await call.read()
    error = await refused(door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(error, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
    for call in calls:
        call.cancel()


async def test_invariant_6_a_message_over_the_bound_is_refused_unread_and_the_next_is_answered(door):
    """Fails if the server takes any size. It is gRPC that refuses: no time to come back, since that would not help."""
    message = prompt("x" * (MAX_CALL_BYTES + 1))
    error = await refused(door.stub.Generate(pb.GenerateRequest(prompt=message), metadata=door.key()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and door.audit.entries == []
    assert (await door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key())).text == "Hello world"


async def test_an_idempotency_key_in_use_names_the_request_that_holds_it(door):
    door.audit.refusing = "IDEMPOTENCY_CONFLICT"
    bad = prompt(idempotency_key="k")
    error = await refused(door.stub.Generate(pb.GenerateRequest(prompt=bad), metadata=door.key()))
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert details(error, error_details_pb2.ErrorInfo).metadata["request_id"] == "other"
    assert door.audit.kinds() == ["accept"] and door.queue.jobs == []


async def test_models_are_listed_as_the_workers_announce_them(door):
    reply = await door.stub.ListModels(pb.ListModelsRequest(), metadata=door.key())
    assert [(model.id, model.context_tokens, model.workers) for model in reply.models] == [("tiny", 256, 1)]


async def test_a_receipt_is_given_again_to_its_own_caller_only(door):
    reply = await door.stub.Generate(pb.GenerateRequest(prompt=prompt()), metadata=door.key())
    request = pb.GetReceiptRequest(request_id=reply.outcome.request_id)
    again = await door.stub.GetReceipt(request, metadata=door.key())
    assert again.receipt.document == '{"later":true,"state":"COSIGNED"}'
    assert (reply.outcome.receipt.state, again.receipt.state) == (pb.RECEIPT_STATE_DURABLE, pb.RECEIPT_STATE_COSIGNED)
    error = await refused(door.stub.GetReceipt(request, metadata=door.key("other")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    error = await refused(door.stub.GetReceipt(pb.GetReceiptRequest(), metadata=door.key()))
    assert details(error, error_details_pb2.BadRequest).field_violations[0].field == "request_id"


async def test_consistency_is_proved_to_any_caller_as_audit_does(door):
    request = pb.GetConsistencyProofRequest(old_size=3, size=7)
    assert (await door.stub.GetConsistencyProof(request, metadata=door.key())).hashes == [bytes([3]) * 32]
    longer = pb.GetConsistencyProofRequest(old_size=3, size=8)
    error = await refused(door.stub.GetConsistencyProof(longer, metadata=door.key()))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details(error, error_details_pb2.ErrorInfo).reason == "LOG_SHORTER"


async def _drained(call):
    while await call.read() is not grpc.aio.EOF:
        pass
