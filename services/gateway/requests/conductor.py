"""All requests of this gateway: settles their terms, admits them, and knows which are alive."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chassis.failures import NotFound, ServiceError, Unavailable, Unimplemented
from services.gateway.requests.account import Observer
from services.gateway.requests.admission import Admission
from services.gateway.requests.life import Life
from services.gateway.requests.neighbours import NOT_QUANTIZED, AuditFull, Grammars, ServedModel
from services.gateway.requests.outcome import CANCELLED, FAILED, End
from services.gateway.requests.question import ADAPTER_SIGN, Adapter, Caller, Profile, Question, check
from services.gateway.requests.record_id import new_request_id
from services.gateway.requests.recorded import PRIORITY, NothingOut, Recorded
from services.gateway.requests.rejections import Rejections
from services.gateway.requests.sampling import MAX_CHOICES, Able
from services.gateway.requests.terms import Neighbours, Terms

RETRY_AFTER_SECONDS = 2.0


class Conductor:
    """Starts lives and finds them again."""

    def __init__(
        self,
        neighbours: Neighbours,
        admission: Admission,
        rejections: Rejections,
        default_model: str,
        profile: Profile,
        observer: Observer | None = None,
        grammars: Grammars | None = None,
        max_choices: int = MAX_CHOICES,
    ) -> None:
        self._neighbours, self._admission, self._rejections = neighbours, admission, rejections
        self._default_model, self._profile, self._observer = default_model, profile, observer or Observer()
        self._grammars, self._max_choices = grammars, max_choices
        self._lives: dict[str, Life] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def addressed(self, question: Question) -> Question:
        """For a door with one field for both: `model:adapter` names model and adapter, unless a model has that name."""
        model, sign, adapter = question.model.rpartition(ADAPTER_SIGN)
        if not (model and sign and adapter) or question.model in {*self.models(), self._default_model}:
            return question
        return replace(question, model=model, adapter=adapter)

    async def read_grammar(self, question: Question, caller: Caller, trace_id: str) -> None:
        """Before `start`, because it takes a while. Raises what a caller should hear of a grammar of theirs."""
        grammar = question.sampling.grammar
        if grammar is None or self._grammars is None:
            return
        kind, text, name = grammar
        try:
            check(question, Able(choices=self._max_choices), self._profile)
            await self._grammars.check(kind, text, f"prompt.sampling.{name}")
        except ServiceError as error:
            self.reject(error, caller, trace_id)
            raise

    def start(
        self, question: Question, caller: Caller, trace_id: str, deadline_seconds: float, *, streamed: bool = True
    ) -> Life:
        """Admits a question and starts its life. Raises what a caller should hear: nothing was accepted then.

        Bad input of a known caller leaves a REJECTED entry; a neighbour that is away or full leaves none.
        """
        try:
            terms = self._settle(question, caller, trace_id, deadline_seconds, streamed)
            return self._begin(terms, self._neighbours)[0]
        except (Unavailable, AuditFull) as away:
            self._observer.turned_away(away.reason)
            raise
        except ServiceError as error:
            self.reject(error, caller, trace_id)
            raise

    def replay(self, recorded: Recorded, trace_id: str, deadline_seconds: float) -> tuple[Life, asyncio.Task[None]]:
        """Admits a recorded request as any other; the task ends once the replay's own record has. Raises what whoever
        asked should hear: nothing was accepted then."""
        question = recorded.question
        self._require_going()
        neighbours = replace(self._neighbours, guard=NothingOut(recorded))
        neighbours.require(question.model, PRIORITY, question.sampling.choices)
        terms = Terms(
            request_id=new_request_id(),
            trace_id=trace_id,
            question=question,
            caller=recorded.caller,
            model=question.model,
            adapter=recorded.adapter,
            sampling=question.sampling,
            streamed=False,
            replayed=recorded.replayed,
            **_circumstances(self.models().get(question.model), deadline_seconds),
        )
        return self._begin(terms, neighbours)

    def _begin(self, terms: Terms, neighbours: Neighbours) -> tuple[Life, asyncio.Task[None]]:
        self._admission.enter(terms.sampling.choices)
        life = Life(terms, neighbours)
        self._lives[terms.request_id] = life
        task = asyncio.create_task(self._see_through(life), name=f"request {terms.request_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return life, task

    def reject(self, error: ServiceError, caller: Caller, trace_id: str) -> None:
        """Leaves a REJECTED entry for what a door could not even read as a question."""
        self._observer.turned_away(error.reason)
        self._rejections.note(caller, error.reason, error.field, trace_id)

    def cancel(self, request_id: str, caller: Caller) -> bool:
        """Ends a running request of this caller; False when it is over or not theirs."""
        life = self._lives.get(request_id)
        return life is not None and life.terms.caller == caller and life.cancel(End(CANCELLED))

    def models(self) -> Mapping[str, ServedModel]:
        """What live workers serve."""
        return self._neighbours.queue.models()

    async def drain(self, grace_seconds: float) -> None:
        """Takes nothing new; waits for what runs, then ends the rest."""
        self._stopping = True
        self._rejections.flush()
        try:
            await self._end_lives(grace_seconds)
        finally:
            self._rejections.flush()  # of what ran, the guard may have found bad input until now

    async def _end_lives(self, grace_seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        for life in list(self._lives.values()):
            life.cancel(End(FAILED, "GATEWAY_STOPPING"))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)

    async def _see_through(self, life: Life) -> None:
        try:
            self._observer.ended(await life.run())
            if found := life.rejection:
                self._rejections.note(life.terms.caller, found.reason, found.field, life.terms.trace_id)
        finally:
            self._lives.pop(life.terms.request_id, None)
            self._admission.leave(life.terms.sampling.choices)

    def _settle(
        self, question: Question, caller: Caller, trace_id: str, deadline_seconds: float, streamed: bool
    ) -> Terms:
        self._require_going()
        model, served = self._model(question.model)
        check(question, self._able(served), self._profile)
        self._neighbours.require(model, question.priority, question.sampling.choices)
        return Terms(
            request_id=new_request_id(),
            trace_id=trace_id,
            question=question,
            caller=caller,
            model=model,
            adapter=_adapter(question.adapter, model, served),
            sampling=self._profile.resolve(question.sampling, secrets.randbits(53)),
            streamed=streamed,
            **_circumstances(served, deadline_seconds),
        )

    def _require_going(self) -> None:
        if self._stopping:
            raise Unavailable("this gateway is stopping; try again", reason="GATEWAY_STOPPING", retry_after_seconds=1.0)

    def _able(self, served: ServedModel | None) -> Able:
        if served is None:
            return Able(choices=self._max_choices)
        return Able(served.context_tokens, served.vocabulary, served.lacks, self._max_choices)

    def _model(self, asked: str) -> tuple[str, ServedModel | None]:
        """The model to ask. One that no worker serves now is known only as our default: its worker may be back."""
        models = self.models()
        name = asked or self._default_model or min(models, default="")
        if not name:
            raise Unavailable(
                "no worker serves a model yet; try again shortly",
                reason="NO_MODEL",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        if name not in models and name != self._default_model:
            known = ", ".join(sorted({*models, *([self._default_model] if self._default_model else [])}))
            raise NotFound(
                f"prompt.model is not served here; served: {known}", field="prompt.model", reason="MODEL_NOT_FOUND"
            )
        return name, models.get(name)


def _circumstances(served: ServedModel | None, deadline_seconds: float) -> dict[str, Any]:
    """Of terms: what they owe to the model's workers, and to now."""
    return {
        "template_digest": served.template_digest if served else b"",
        "engines": served.engines if served else "",
        "quantization": served.quantization if served else NOT_QUANTIZED,
        "context_tokens": served.context_tokens if served else 0,
        "deadline": asyncio.get_running_loop().time() + deadline_seconds,
        "deadline_ms": int((time.time() + deadline_seconds) * 1000),
    }


def _adapter(asked: str, model: str, served: ServedModel | None) -> Adapter:
    if not asked:
        return Adapter()
    if served and "adapter" in served.lacks:
        raise Unimplemented(
            f"prompt.adapter is not known to the engine of {model}: leave it out, or ask another model",
            field="prompt.adapter",
            reason="NOT_SUPPORTED",
        )
    loaded = served.adapters if served else {}
    if asked not in loaded:
        known = ", ".join(sorted(loaded)) or "none"
        raise NotFound(
            f"prompt.adapter names one that not every worker of {model} has loaded; loaded: {known}",
            field="prompt.adapter",
            reason="ADAPTER_NOT_FOUND",
        )
    return Adapter(asked, loaded[asked])
