"""The worker's spans: children of the request's trace, with GenAI names and without content."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.engine.protocol import Finish, StepOutput, Timing
from services.inference.worker.run import Run
from services.inference.worker.spans import record_generation, record_queue_wait
from streams.items import ItemSealer
from streams.jobs import Entry, OpenedJob
from streams.seal import QueueKeys
from streams.worker import Claim, ClaimState

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_request_leaves_queue_wait_prefill_and_decode(spans: Callable[[], list[ReadableSpan]]) -> None:
    body = pb.JobBody(request_id="r", model="m", traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    body.messages.add(role="user", content="canary")
    entry = Entry(work="w", entry_id="1-1", request_id="r", key_id="", sealed=b"")
    claim = Claim(state=ClaimState.CLAIMED, epoch=5, deliveries=1)
    run = Run(
        OpenedJob(entry=entry, body=body, queued_ns=1_000, kept_until_ms=0),
        claim,
        ItemSealer(QueueKeys(bytes(32)), "r", 5),
        (),
        admitted_ns=3_000,
    )
    record_queue_wait(run)
    timing = Timing(admitted_ns=10, prefill_started_ns=20, prefill_finished_ns=30, first_token_ns=40)
    run.take(
        StepOutput(
            request_id="r",
            token_ids=(1,),
            text="canary",
            finish=Finish.STOP,
            input_tokens=3,
            output_tokens=1,
            timing=timing,
        )
    )
    record_generation(run, "torch")
    found = {span.name: span for span in spans()}
    assert list(found) == ["queue wait", "prefill", "decode"]
    assert {trace.format_trace_id(span.context.trace_id) for span in found.values()} == {TRACE}
    assert (found["queue wait"].start_time, found["queue wait"].end_time) == (1_000, 3_000)
    assert found["prefill"].end_time - found["prefill"].start_time == 20
    assert found["decode"].attributes["gen_ai.usage.output_tokens"] == 1
    assert found["decode"].attributes["gen_ai.response.finish_reasons"] == "stop"
    assert found["prefill"].attributes["strongroom.engine"] == "torch"
    assert "canary" not in "".join(span.to_json() for span in found.values())
