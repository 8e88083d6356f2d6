"""The worker's part of a request's trace: queue wait, prefill, decode. Counts and names, no content."""

from __future__ import annotations

import time

from strongroom.inference.v1 import inference_pb2 as pb

from chassis import genai
from chassis.tracing import finished_span
from services.inference.worker.run import Run

FINISH_REASONS = {pb.FINISH_STOP: "stop", pb.FINISH_LENGTH: "length"}


def record_queue_wait(run: Run) -> None:
    """From when the gateway queued the job, or from the claim before this one, to its admission."""
    finished_span(
        "queue wait", run.job.body.traceparent, run.job.queued_ns, run.admitted_ns,
        {genai.REQUEST_ID: run.request_id, genai.EPOCH: run.claim.epoch, "strongroom.deliveries": run.claim.deliveries},
    )  # fmt: skip


def record_generation(run: Run, engine: str) -> None:
    """Prefill and decode, as far as they came; called once, when the run ends."""
    timing = run.timing
    if timing is None or not timing.prefill_started_ns:
        return
    to_wall = time.time_ns() - time.monotonic_ns()
    attributes = _attributes(run) | {genai.ENGINE: engine}
    ended = time.monotonic_ns()
    first_token = timing.first_token_ns or ended
    finished_span(
        "prefill", run.job.body.traceparent, timing.prefill_started_ns + to_wall, first_token + to_wall, attributes
    )
    if timing.first_token_ns:
        finished_span(
            "decode", run.job.body.traceparent, first_token + to_wall, ended + to_wall,
            attributes | {genai.OUTPUT_TOKENS: run.output_tokens} | _outcome(run),
        )  # fmt: skip


def _attributes(run: Run) -> dict[str, str | int | float | bool]:
    sampling = run.job.body.sampling
    return {
        genai.OPERATION: genai.CHAT,
        genai.PROVIDER: genai.OURS,
        genai.REQUEST_MODEL: run.job.body.model,
        genai.REQUEST_MAX_TOKENS: sampling.max_tokens,
        genai.REQUEST_TEMPERATURE: sampling.temperature,
        genai.REQUEST_TOP_P: sampling.top_p,
        genai.INPUT_TOKENS: run.input_tokens,
        genai.REQUEST_ID: run.request_id,
        genai.EPOCH: run.claim.epoch,
    }


def _outcome(run: Run) -> dict[str, str]:
    if run.failure:
        return {genai.ERROR_TYPE: run.failure}
    return {genai.FINISH_REASONS: FINISH_REASONS.get(run.finish, pb.Finish.Name(run.finish))}
