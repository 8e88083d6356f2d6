"""gRPC to core and back: nothing is decided here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc

from chassis.deadlines import REPORTING_SECONDS
from chassis.failures import InvalidArgument
from services.gateway.asking import CALLERS, Deadlines, asked, current_caller, next_event, whole
from services.gateway.audit_client import AuditClient
from services.gateway.replays import Replays
from services.gateway.requests.conductor import Conductor
from services.gateway.requests.life import Life
from services.gateway.requests.neighbours import Party
from services.gateway.requests.outcome import Delta, Finding, Outcome, Started, TokenLogprob
from services.gateway.requests.question import Message, Question, Sampling

ENDING_SECONDS = 0.05  # kept of the deadline, so that a request ends before its call does

# Far above what a prompt may have (MAX_PROMPT_CHARS), so that a caller who sends too much hears which field, and why.
MAX_CALL_BYTES = 64 * 1024 * 1024
MAX_PERMIT = 128  # characters
# A replay shows no text: also for those who may see none.
REPLAYING = frozenset({"role:reviewer", "role:auditor", "role:operator", "role:administrator"})
ALLOWED = {
    f"/strongroom.gateway.v1.GatewayService/{method}": CALLERS
    for method in ("Generate", "StreamGenerate", "Cancel", "GetReceipt", "GetConsistencyProof", "ListModels")
} | {"/strongroom.gateway.v1.GatewayService/Replay": REPLAYING}
_PRIORITIES = {
    pb.PRIORITY_UNSPECIFIED: "standard",
    pb.PRIORITY_INTERACTIVE: "interactive",
    pb.PRIORITY_STANDARD: "standard",
    pb.PRIORITY_BATCH: "batch",
}

_OPTIONAL: tuple[Any, ...] = (
    "temperature", "top_p", "top_k", "seed", "max_tokens", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "min_tokens", "logprobs", "json_schema", "regex", "n",
)  # fmt: skip

Context = grpc.aio.ServicerContext[Any, Any]


class GatewayServicer(rpc.GatewayServiceServicer):
    """The callers' door."""

    def __init__(self, conductor: Conductor, audit: AuditClient, replays: Replays, deadlines: Deadlines) -> None:
        self._conductor, self._audit, self._replays, self._deadlines = conductor, audit, replays, deadlines

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> pb.GenerateResponse:
        with await self._asked(request.prompt, context, streamed=False) as life:
            return _whole(*await whole(life))

    async def StreamGenerate(
        self, request: pb.StreamGenerateRequest, context: Context
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        with await self._asked(request.prompt, context, streamed=True) as life:
            while True:
                event = await next_event(life)
                yield _response(event)
                if isinstance(event, Outcome):
                    return

    async def Cancel(self, request: pb.CancelRequest, context: Context) -> pb.CancelResponse:
        return pb.CancelResponse(cancelled=self._conductor.cancel(_request_id(request.request_id), current_caller()))

    async def GetReceipt(self, request: pb.GetReceiptRequest, context: Context) -> pb.GetReceiptResponse:
        document = await self._audit.receipt(_request_id(request.request_id), Party(current_caller(), ""))
        return pb.GetReceiptResponse(receipt=_receipt(document, json.loads(document).get("state") == "COSIGNED"))

    async def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, context: Context
    ) -> pb.GetConsistencyProofResponse:
        proof = await self._audit.consistency(request.old_size, request.size)
        return pb.GetConsistencyProofResponse(hashes=proof)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        response = pb.ListModelsResponse()
        for name, served in sorted(self._conductor.models().items()):
            model = response.models.add(
                id=name,
                context_tokens=served.context_tokens,
                workers=served.workers,
                engine=served.engine,
                adapters=sorted(served.adapters),
            )
            model.seen_time.FromMilliseconds(served.seen_ms)
        return response

    async def Replay(self, request: pb.ReplayRequest, context: Context) -> pb.ReplayResponse:
        if not 0 < len(request.permit) <= MAX_PERMIT:
            raise InvalidArgument("permit is not one of audit's: send what PrepareReplay gave", field="permit")
        return await self._replays.run(request.permit, self._seconds(context))

    def _seconds(self, context: Context) -> float:
        seconds = self._deadlines.of(context.time_remaining())
        return max(seconds - REPORTING_SECONDS - ENDING_SECONDS, 0.0)

    async def _asked(self, prompt: pb.Prompt, context: Context, *, streamed: bool) -> Life:
        return await asked(self._conductor, _question(prompt), self._seconds(context), streamed=streamed)


def _request_id(request_id: str) -> str:
    if not 0 < len(request_id) <= 64:
        raise InvalidArgument("request_id must have 1 to 64 characters: send the id from Started", field="request_id")
    return request_id


def _question(prompt: pb.Prompt) -> Question:
    chosen = prompt.sampling
    return Question(
        messages=tuple(Message(message.role, message.content) for message in prompt.messages),
        model=prompt.model,
        sampling=Sampling(
            **{name: getattr(chosen, name) for name in _OPTIONAL if chosen.HasField(name)},
            stop=tuple(chosen.stop),
            logit_bias=tuple(sorted(chosen.logit_bias.items())),
            stop_ids=tuple(chosen.stop_ids),
        ),
        subject=prompt.subject,
        idempotency_key=prompt.idempotency_key,
        priority=_PRIORITIES.get(prompt.priority, "unknown"),
        adapter=prompt.adapter,
    )


def _whole(outcome: Outcome, said: Sequence[Delta]) -> pb.GenerateResponse:
    first, ends = said[0], _ends(outcome)
    return pb.GenerateResponse(
        outcome=_outcome(outcome),
        text=first.text,
        reasoning=first.reasoning,
        logprobs=map(_logprob, first.logprobs),
        choices=[
            pb.Choice(text=one.text, reasoning=one.reasoning, logprobs=map(_logprob, one.logprobs), end=end)
            for one, end in zip(said, ends, strict=False)
        ],
    )


def _ends(outcome: Outcome) -> list[pb.ChoiceEnd]:
    """Of several; none where there is one."""
    if len(outcome.choices) == 1:
        return []
    return [
        pb.ChoiceEnd(finish_reason=_finish(ended.finish_reason), reasoning_unfinished=ended.reasoning_unfinished)
        for ended in outcome.choices
    ]


def _finish(reason: str) -> pb.FinishReason.ValueType:
    return pb.FinishReason.Value(f"FINISH_REASON_{reason}")


def _response(event: Started | Delta | Outcome) -> pb.StreamGenerateResponse:
    if isinstance(event, Started):
        started = pb.Started(request_id=event.request_id, model=event.model, trace_id=event.trace_id)
        return pb.StreamGenerateResponse(started=started)
    if isinstance(event, Delta):
        logprobs = map(_logprob, event.logprobs)
        delta = pb.Delta(text=event.text, reasoning=event.reasoning, logprobs=logprobs, choice=event.choice)
        return pb.StreamGenerateResponse(delta=delta)
    return pb.StreamGenerateResponse(outcome=_outcome(event))


def _logprob(one: TokenLogprob) -> pb.TokenLogprob:
    top = [pb.Alternative(token=token, logprob=logprob) for token, logprob in one.top]
    return pb.TokenLogprob(token=one.token, logprob=one.logprob, top=top)


def _outcome(outcome: Outcome) -> pb.Outcome:
    return pb.Outcome(
        request_id=outcome.request_id,
        model=outcome.model,
        finish_reason=_finish(outcome.finish_reason),
        usage=pb.Usage(input_tokens=outcome.input_tokens, output_tokens=outcome.output_tokens),
        guard=pb.GuardReport(
            verdict=pb.Verdict.Value(f"VERDICT_{outcome.verdict}"),
            rule=outcome.rule,
            findings=[_finding(finding) for finding in outcome.findings],
            policy_digest=outcome.policy_digest.hex(),
        ),
        receipt=_receipt(outcome.receipt),
        trace_id=outcome.trace_id,
        read_back=outcome.read_back,
        timings=pb.Timings(**{f"{name}_ms": value for name, value in outcome.timings_ms.items()}),
        reasoning_unfinished=outcome.reasoning_unfinished,
        choices=_ends(outcome),
    )


def _finding(finding: Finding) -> pb.Finding:
    return pb.Finding(
        type=finding.type,
        start=finding.start,
        end=finding.end,
        level=finding.level,
        side=finding.side,
        message_index=finding.message_index,
        choice=finding.choice,
    )


def _receipt(document: str, cosigned: bool = False) -> pb.Receipt:
    state = pb.RECEIPT_STATE_COSIGNED if cosigned else pb.RECEIPT_STATE_DURABLE
    return pb.Receipt(state=state, document=document)
