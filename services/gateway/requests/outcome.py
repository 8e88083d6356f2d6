"""What a request meets on its way and how it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chassis.failures import ServiceError
from services.gateway.requests.question import Message

# Ends of a record, as audit knows them.
COMPLETED, WITHHELD, CANCELLED, EXPIRED, FAILED = "COMPLETED", "WITHHELD", "CANCELLED", "EXPIRED", "FAILED"
REFUSED = "REFUSED"  # an entry of its own, with no end
READ_BACK = "READ_BACK"  # no record of its own: the answer of an earlier request under the same idempotency key

ALLOW, FLAG, REFUSE = "ALLOW", "FLAG", "REFUSE"
_STRICTNESS = {ALLOW: 0, FLAG: 1, REFUSE: 2}


def stricter(one: str, other: str) -> str:
    """The stricter of two verdicts."""
    return max(one, other, key=_STRICTNESS.__getitem__)


@dataclass(frozen=True, slots=True)
class Finding:
    """Where the guard found something; `side` is "prompt", "answer" or "reasoning", the latter two of a choice.
    `token`: what stands in its place in the prompt, where the caller gets it back."""

    type: str
    start: int
    end: int
    level: str
    side: str
    message_index: int = 0
    rule: str = ""
    choice: int = 0
    token: str = ""


@dataclass(frozen=True, slots=True)
class Screening:
    """The guard's answer to a prompt; `messages` is what the model may see."""

    verdict: str
    policy_digest: bytes
    rule: str = ""
    refusal_text: str = ""
    messages: tuple[Message, ...] = ()
    findings: tuple[Finding, ...] = ()
    unmasked: tuple[Finding, ...] = ()  # in texts beside the messages; `message_index` is the text's


@dataclass(frozen=True, slots=True)
class Filtered:
    """What the guard lets out of a piece of answer."""

    text: str
    findings: tuple[Finding, ...] = ()
    withheld: bool = False
    rule: str = ""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely the model held a token of the answer, and the likeliest ones in its place."""

    token: bytes  # may end within a character
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()
    end: int = 0  # characters of the model's text up to and with this token's


@dataclass(frozen=True, slots=True)
class Step:
    """What one decode step did to a request. `finish` is empty while it goes on."""

    text: str
    finish: str = ""  # STOP, LENGTH, FAILED, CANCELLED or EXPIRED
    failure: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    admitted_ns: int = 0  # wall clock; 0 but in a claim's first item
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """The tokens of one answer, and what made them: of several workers all that differ."""

    prompt: Sequence[int] = ()  # as rendered
    tokens: Sequence[int] = ()
    by: Sequence[Mapping[str, str | bool]] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """Audit's word that the request is recorded: the tickets its jobs carry."""

    tickets: tuple[bytes, ...]
    log_origin: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class End:
    """How an accepted request ended, as the record keeps it."""

    state: str
    reason: str = ""
    finish_reason: str = ""


# What a caller's stream carries.


@dataclass(frozen=True, slots=True)
class Started:
    """The request is accepted."""

    request_id: str
    model: str
    trace_id: str


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of answer that is durable. Of the two, what is reasoning comes first."""

    text: str
    reasoning: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()  # of the text's tokens
    choice: int = 0
    restored: tuple[Finding, ...] = ()  # where it holds what the prompt's tokens stand for; the record's alone


@dataclass(frozen=True, slots=True)
class Ended:
    """How one choice ended."""

    finish_reason: str
    reasoning_unfinished: bool = False  # within the reasoning: there is no answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """The last event of a request that ended with status OK."""

    request_id: str
    model: str
    trace_id: str
    choices: tuple[Ended, ...]  # one at least
    receipt: str
    verdict: str
    rule: str
    policy_digest: bytes
    findings: tuple[Finding, ...]
    input_tokens: int = 0
    output_tokens: int = 0
    timings_ms: dict[str, float] = field(default_factory=dict)
    read_back: bool = False  # of an answer given before, under the same idempotency key

    @property
    def finish_reason(self) -> str:
        """The first choice's."""
        return self.choices[0].finish_reason

    @property
    def reasoning_unfinished(self) -> bool:
        """The first choice's."""
        return self.choices[0].reasoning_unfinished


@dataclass(frozen=True, slots=True)
class ReadBack:
    """An answer given before, whole, from the audit log."""

    deltas: tuple[Delta, ...]  # a choice each
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Broken:
    """The last event of a request that ended with an error."""

    error: ServiceError


Event = Started | Delta | Outcome | Broken
