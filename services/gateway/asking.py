"""What the two doors, gRPC and HTTP, do alike with a question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from chassis.identity import current_principal
from chassis.tracing import trace_id
from services.gateway.requests.conductor import Conductor
from services.gateway.requests.life import Life
from services.gateway.requests.outcome import Broken, Delta, Outcome, Started
from services.gateway.requests.question import Caller, Question

CALLERS = frozenset({"role:caller"})  # the grant that opens either door


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a request may take, in seconds."""

    default: float
    most: float

    def of(self, asked: float | None) -> float:
        return min(self.default if asked is None else asked, self.most)


async def asked(conductor: Conductor, question: Question, seconds: float, *, streamed: bool) -> Life:
    """A life for this call, which holds it with `with`: it ends early when the call does."""
    await conductor.read_grammar(question, current_caller(), trace_id())
    return conductor.start(question, current_caller(), trace_id(), seconds, streamed=streamed)


def current_caller() -> Caller:
    principal = current_principal.get()
    return Caller(principal.tenant, principal.name)


async def next_event(life: Life) -> Started | Delta | Outcome:
    """What a caller is told next. Raises what the request ended with, where that is an error."""
    event = await life.next_event()
    if isinstance(event, Broken):
        raise event.error
    return event


async def whole(life: Life) -> tuple[Outcome, list[Delta]]:
    """The last event, and all that came before it as one piece a choice."""
    *before, last = await life.all_events()
    if isinstance(last, Broken):
        raise last.error
    assert isinstance(last, Outcome), "a life ends with one of the two"
    pieces: defaultdict[int, list[Delta]] = defaultdict(list)
    for event in before:
        if isinstance(event, Delta):
            pieces[event.choice].append(event)
    return last, [_joined(index, pieces[index]) for index in range(len(last.choices))]


def _joined(choice: int, pieces: Sequence[Delta]) -> Delta:
    return Delta(
        "".join(piece.text for piece in pieces),
        "".join(piece.reasoning for piece in pieces),
        tuple(logprob for piece in pieces for logprob in piece.logprobs),
        choice,
    )
