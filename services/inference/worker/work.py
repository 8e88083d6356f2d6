"""A claimed job in the engine's words."""

from __future__ import annotations

from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.engine.protocol import Message, Sampling, Work
from services.inference.engine.sampling import Grammar, GrammarKind
from services.inference.worker.prefix_scope import prefix_scope
from services.inference.worker.run import Run

_GRAMMARS = {"json_schema": GrammarKind.JSON_SCHEMA, "regex": GrammarKind.REGEX}


def work_of(run: Run, setting: str) -> Work:
    """`setting`: whose prompts may share what was computed of them. Raises ImpossibleSampling."""
    body = run.job.body
    return Work(
        request_id=run.request_id,
        messages=tuple(Message(role=message.role, content=message.content) for message in body.messages),
        sampling=_sampling(body.sampling),
        emitted=run.emitted,
        rank=run.rank,
        adapter=body.adapter,
        scope=prefix_scope(setting, body),
        deadline_ns=run.deadline_ns,
        traceparent=body.traceparent,
    )


def _sampling(chosen: pb.Sampling) -> Sampling:
    kind = chosen.WhichOneof("grammar")
    return Sampling(
        temperature=chosen.temperature,
        top_p=chosen.top_p,
        top_k=chosen.top_k,
        min_p=chosen.min_p,
        seed=chosen.seed,
        max_tokens=chosen.max_tokens,
        min_tokens=chosen.min_tokens,
        stop=tuple(chosen.stop),
        stop_ids=tuple(chosen.stop_ids),
        repetition_penalty=chosen.repetition_penalty if chosen.HasField("repetition_penalty") else 1.0,
        presence_penalty=chosen.presence_penalty,
        frequency_penalty=chosen.frequency_penalty,
        logit_bias=tuple(sorted(chosen.logit_bias.items())),
        grammar=Grammar(kind=_GRAMMARS[kind], text=getattr(chosen, kind)) if kind else None,
        logprobs=chosen.logprobs if chosen.HasField("logprobs") else None,
    )
