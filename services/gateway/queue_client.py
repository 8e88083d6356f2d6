"""The queue as the gateway sees it: jobs made and ticketed, replies read, models known."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from strongroom.inference.v1 import inference_pb2 as pb

from chassis.tracing import traceparent
from services.gateway.requests.neighbours import NOT_QUANTIZED, Job, Quantization, ServedModel, Steps
from services.gateway.requests.outcome import Accepted, Made, Step, TokenLogprob
from services.gateway.requests.question import Adapter, Caller, Message, Sampling
from streams.failures import ReplyLost
from streams.gateway import JobQueue
from streams.jobs import job_id
from streams.reply import Reply

SEEN_MS = 60_000  # a model whose workers all restart stays known this long
WORKERS_KEPT = 256  # whose provenance is told often
_FINISH = {
    pb.FINISH_STOP: "STOP",
    pb.FINISH_LENGTH: "LENGTH",
    pb.FINISH_FAILED: "FAILED",
    pb.FINISH_CANCELLED: "CANCELLED",
    pb.FINISH_EXPIRED: "EXPIRED",
}


class Working(NamedTuple):
    """A live worker. `adapters`: digests by name."""

    made_by: Mapping[str, str | bool]
    adapters: Mapping[str, bytes]


class QueueClient:
    """The streams of this gateway boot, which are read while they are open."""

    def __init__(self, streams: JobQueue, boot_id: str) -> None:
        self._streams, self._boot = streams, boot_id
        self._models: dict[str, ServedModel] = {}
        self._noted: Sequence[pb.Worker] | None = None  # the workers that these are of
        self._forget_ms = 0  # when the first of these is forgotten

    @property
    def available(self) -> bool:
        return self._streams.available

    def require(self, model: str, priority: str, jobs: int = 1) -> None:
        self._streams.require_room(model, priority, jobs)

    def job(
        self,
        request_id: str,
        messages: Sequence[Message],
        model: str,
        sampling: Sampling,
        caller: Caller,
        deadline_ms: int,
        priority: str,
        adapter: Adapter,
        choice: int = 0,
    ) -> Job:
        body = pb.JobBody(
            request_id=job_id(request_id, choice),
            gateway_boot_id=self._boot,
            messages=[pb.Message(role=message.role, content=message.content) for message in messages],
            model=model,
            sampling=_sampling(sampling),
            tenant=caller.tenant,
            caller=caller.name,
            traceparent=traceparent(),
            priority=priority,
            adapter=adapter.name,
            adapter_digest=adapter.digest,
        )
        body.deadline_time.FromMilliseconds(deadline_ms)
        return Job(body.request_id, body.SerializeToString(), model, priority, deadline_ms)

    async def submit(self, job: Job, accepted: Accepted, choice: int = 0) -> Steps:
        ticket = pb.Ticket(log_origin=accepted.log_origin, mac=accepted.tickets[choice])
        ticket.expire_time.FromMilliseconds(accepted.expires_ms)
        queued = pb.Job(body=job.body, ticket=ticket)
        queued.queue_time.FromNanoseconds(time.time_ns())
        return _Steps(await self._streams.submit(queued), partial(self.cancel, job.job_id))

    async def cancel(self, job_id: str) -> None:
        await self._streams.cancel(job_id)

    def forget(self, job_id: str) -> None:
        self._streams.forget(job_id)

    def working(self) -> list[Working]:
        """Live workers, and what each makes answers by."""
        return [
            Working(
                made_by(worker.provenance.SerializeToString(deterministic=True)),
                {adapter.name: adapter.digest for adapter in worker.adapters},
            )
            for worker in self._streams.workers
            if worker.HasField("provenance")
        ]

    def models(self) -> Mapping[str, ServedModel]:
        """Every request asks; what it is told changes once a second."""
        now_ms, workers = int(time.time() * 1000), self._streams.workers
        if workers is not self._noted or now_ms >= self._forget_ms:
            self._note(workers, now_ms)
        return self._models

    def _note(self, workers: Sequence[pb.Worker], now_ms: int) -> None:
        counts: dict[str, int] = {}
        common, lacks, engines = _common_adapters(workers), _lacks(workers), _engines(workers)
        quantized = _quantizations(workers)
        for worker in workers:
            counts[worker.model] = counts.get(worker.model, 0) + 1
            self._models[worker.model] = ServedModel(
                name=worker.model,
                engine=worker.engine,
                context_tokens=worker.context_tokens,
                workers=counts[worker.model],
                template_digest=worker.template_digest,
                seen_ms=worker.seen_time.ToMilliseconds(),
                adapters=common[worker.model],
                vocabulary=worker.vocabulary_tokens,
                lacks=lacks[worker.model],
                engines=engines[worker.model],
                quantization=quantized[worker.model],
            )
        self._models = {name: model for name, model in self._models.items() if now_ms < model.seen_ms + SEEN_MS}
        self._noted = workers
        self._forget_ms = min((model.seen_ms for model in self._models.values()), default=0) + SEEN_MS


def _common_adapters(workers: Iterable[pb.Worker]) -> dict[str, dict[str, bytes]]:
    """By model: those that each of its workers has, the very same. Any of them may claim the job."""
    common: dict[str, dict[str, bytes]] = {}
    for worker in workers:
        own = {adapter.name: adapter.digest for adapter in worker.adapters}
        before = common.get(worker.model, own)
        common[worker.model] = {name: digest for name, digest in own.items() if before.get(name) == digest}
    return common


def _quantizations(workers: Iterable[pb.Worker]) -> dict[str, Quantization]:
    """By model: where its workers differ, all of theirs, for any of them may claim the job."""
    found: dict[str, dict[str, str]] = {}
    for worker in workers:
        found.setdefault(worker.model, {})[worker.quantization or "none"] = worker.quantization_loss
    plain = {"none": ""}
    return {model: NOT_QUANTIZED if said == plain else _joined(said) for model, said in found.items()}


def _joined(said: Mapping[str, str]) -> Quantization:
    return Quantization(" or ".join(sorted(said)), "; ".join(said[mode] for mode in sorted(said) if said[mode]))


def _lacks(workers: Iterable[pb.Worker]) -> dict[str, frozenset[str]]:
    """By model: what one of its workers has not, since any may claim the job. One that tells no buckets is of a
    version that knows one answer to a prompt: it would take the others' tickets for forged, and drop their jobs."""
    lacks: dict[str, frozenset[str]] = {}
    for worker in workers:
        own = {*worker.lacks} if worker.tenant_buckets else {*worker.lacks, "n"}
        lacks[worker.model] = lacks.get(worker.model, frozenset()) | own
    return lacks


def _engines(workers: Iterable[pb.Worker]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for worker in workers:
        found.setdefault(worker.model, set()).add(f"{worker.engine} {worker.engine_version}".strip())
    return {model: " or ".join(sorted(names)) for model, names in found.items()}


def _sampling(chosen: Sampling) -> pb.Sampling:
    """What has no value is off."""
    sampling = pb.Sampling(
        temperature=chosen.temperature or 0.0,
        top_p=chosen.top_p or 0.0,
        top_k=chosen.top_k or 0,
        seed=chosen.seed or 0,
        max_tokens=chosen.max_tokens or 0,
        stop=chosen.stop,
        min_p=chosen.min_p or 0.0,
        repetition_penalty=chosen.repetition_penalty,
        presence_penalty=chosen.presence_penalty or 0.0,
        frequency_penalty=chosen.frequency_penalty or 0.0,
        logit_bias=dict(chosen.logit_bias),
        stop_ids=chosen.stop_ids,
        min_tokens=chosen.min_tokens or 0,
        logprobs=chosen.logprobs,
    )
    if chosen.json_schema is not None:
        sampling.json_schema = chosen.json_schema
    elif chosen.regex is not None:
        sampling.regex = chosen.regex
    return sampling


class _Steps:
    """A reply of the streams as the life of a request reads it."""

    def __init__(self, reply: Reply, cancel: Callable[[], Awaitable[None]]) -> None:
        self._reply, self._cancel = reply, cancel

    async def take(self) -> list[Step]:
        deltas = await self._reply.next()
        if not deltas:  # nothing follows its last item: whoever asks for more would ask for ever
            raise ReplyLost("REPLY_ENDED")
        return [_step(delta) for delta in deltas]

    def made(self) -> Made:
        reply = self._reply
        by = [made_by(each.SerializeToString(deterministic=True)) for each in reply.made_by]
        return Made(reply.prompt_token_ids, reply.token_ids, by)

    async def stop(self) -> None:
        await self._cancel()


@lru_cache(WORKERS_KEPT)
def made_by(provenance: bytes) -> dict[str, str | bool]:
    """In words, as records have it; the same for all that a worker makes. Never to be changed."""
    read = pb.Provenance.FromString(provenance)
    words: dict[str, str | bool] = {}
    for field in read.DESCRIPTOR.fields:
        value = getattr(read, field.name)
        words[field.name] = value.hex() if isinstance(value, bytes) else value
    return words


def _step(delta: pb.StepDelta) -> Step:
    return Step(
        text=delta.text,
        finish=_FINISH.get(delta.finish, "FAILED" if delta.finish else ""),  # a word of a newer worker's is a failure
        failure=delta.failure,
        input_tokens=delta.input_tokens,
        output_tokens=delta.output_tokens,
        admitted_ns=delta.admit_time.ToNanoseconds() if delta.HasField("admit_time") else 0,
        logprobs=tuple(map(_logprob, delta.logprobs)),
    )


def _logprob(told: pb.TokenLogprob) -> TokenLogprob:
    top = tuple((one.token, one.logprob) for one in told.top)
    return TokenLogprob(told.token, told.logprob, top, told.text_end)
