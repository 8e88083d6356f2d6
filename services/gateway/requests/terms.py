"""What is settled about a request before its life starts, and whom that life talks to."""

from __future__ import annotations

from dataclasses import dataclass

from chassis import genai
from chassis.tracing import Attributes
from services.gateway.requests.neighbours import NOT_QUANTIZED, Audit, Guard, Quantization, Queue
from services.gateway.requests.question import ADAPTER_SIGN, NO_ADAPTER, Adapter, Caller, Question, Sampling
from services.gateway.requests.recorded import Replayed


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Whom a life talks to."""

    guard: Guard
    audit: Audit
    queue: Queue

    def require(self, model: str, priority: str, choices: int) -> None:
        """Raises what stands in the way of a request of so many answers."""
        self.guard.require()
        self.audit.require()
        self.audit.require_room()
        self.queue.require(model, priority, choices)


@dataclass(frozen=True, slots=True)
class Terms:
    """What is settled about a request before it starts."""

    request_id: str
    trace_id: str
    question: Question
    caller: Caller
    model: str
    template_digest: bytes
    context_tokens: int  # the model's; 0 when no worker has said
    sampling: Sampling  # every value resolved
    deadline: float  # of the loop's clock
    deadline_ms: int  # unix
    adapter: Adapter = NO_ADAPTER
    engines: str = ""  # that the model runs on, as its workers say; empty when none has
    quantization: Quantization = NOT_QUANTIZED
    streamed: bool = True  # the caller reads the answer while it is made
    replayed: Replayed | None = None  # what it replays

    @property
    def prompt_bound(self) -> int:
        """Tokens that a prompt may have beside max_tokens; 0 when the context is not known."""
        return max(0, self.context_tokens - (self.sampling.max_tokens or 0))

    def with_adapter(self, model: str) -> str:
        """Model and adapter in one word. The model is another than ours where an earlier answer is read back."""
        return f"{model}{ADAPTER_SIGN}{self.adapter.name}" if self.adapter.name else model

    @property
    def attributes(self) -> Attributes:
        """Of the request's span."""
        return {
            genai.OPERATION: genai.CHAT,
            genai.PROVIDER: genai.OURS,
            genai.REQUEST_MODEL: self.model,
            genai.REQUEST_ID: self.request_id,
            genai.REQUEST_MAX_TOKENS: self.sampling.max_tokens or 0,
            genai.REQUEST_TEMPERATURE: self.sampling.temperature or 0.0,
            genai.REQUEST_TOP_P: self.sampling.top_p or 0.0,
            genai.REQUEST_SEED: self.sampling.seed or 0,
        }
