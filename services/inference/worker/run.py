"""One claimed request on this worker, and what it made: gathered, then sealed and kept until the request has ended."""

from __future__ import annotations

import time
from collections.abc import Sequence

from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.engine.protocol import StepOutput, Timing, TokenLogprob
from streams.items import ItemSealer
from streams.jobs import OpenedJob, token_cost
from streams.keys import CLASSES
from streams.worker import Advance, Claim, Held

MAX_ITEMS_A_CALL = 256  # of one request, after Redis was away
OPENING_ITEMS = 3  # passed on as they are made: the output filter lets go of a word when it sees the next one begin

_FINISH = {"STOP": pb.FINISH_STOP, "LENGTH": pb.FINISH_LENGTH}


class Run:
    """Numbers and seals items, and knows which of them Redis has. Owned by the event loop."""

    def __init__(
        self, job: OpenedJob, claim: Claim, sealer: ItemSealer, emitted: tuple[int, ...], *, admitted_ns: int
    ) -> None:
        """`emitted`: tokens of earlier claims. `admitted_ns`: wall clock."""
        self.job, self.claim, self.emitted = job, claim, emitted
        self.request_id = job.body.request_id
        self.admitted_ns = admitted_ns
        self.taken_ns = time.monotonic_ns()
        self.cost = token_cost(job.body)
        self.posted_ns = 0  # monotonic: outputs of an earlier admission are not ours
        self.timing: Timing | None = None
        self.provenance: pb.Provenance | None = None  # of what it is made by; None where it is not even started
        self._prompt: Sequence[int] = ()
        self.input_tokens = 0
        self.output_tokens = len(emitted)
        self.finish: pb.Finish.ValueType = pb.FINISH_UNSPECIFIED
        self.failure = ""
        self._sealer = sealer
        self._base = len(claim.log)  # number of our first item
        self._token_ids, self._text = list[int](), ""  # made and not sealed yet
        self._logprobs: list[TokenLogprob] = []
        self._items: list[bytes] = []
        self._written = 0  # of our items, how many are known to be in Redis

    @property
    def queue_seconds(self) -> float:
        """By two processes' wall clocks, which may disagree a little."""
        return max(self.admitted_ns - self.job.queued_ns, 0) / 1e9

    @property
    def rank(self) -> int:
        """Of its class, 0 the most urgent."""
        return CLASSES.index(self.job.body.priority) if self.job.body.priority in CLASSES else len(CLASSES)

    @property
    def deadline_ns(self) -> int:
        """Monotonic."""
        return self.taken_ns + self.job.deadline_ms * 1_000_000 - self.admitted_ns

    @property
    def ended(self) -> bool:
        """Its last item is sealed; it may not be written yet."""
        return self.finish != pb.FINISH_UNSPECIFIED

    @property
    def waiting(self) -> bool:
        """It has items that are not known to be in Redis."""
        return self._written < len(self._items)

    @property
    def held(self) -> Held:
        entry = self.job.entry
        return Held(request_id=self.request_id, epoch=self.claim.epoch, work=entry.work, entry_id=entry.entry_id)

    def take(self, output: StepOutput) -> bool:
        """Gathers what a step made. The first tokens and the end are sealed at once, the rest when it is passed on.
        False if it made nothing to tell, or belongs to an earlier admission."""
        if self.ended or output.timing.admitted_ns < self.posted_ns:
            return False
        self.timing, self.input_tokens, self.output_tokens = output.timing, output.input_tokens, output.output_tokens
        self._prompt = output.prompt
        if not (output.token_ids or output.text or output.last):
            return False
        self._token_ids += output.token_ids
        self._text += output.text
        self._logprobs += output.logprobs
        if output.failure is not None:
            self._seal(pb.FINISH_FAILED, output.failure.value)
        elif output.finish is not None:
            self._seal(_FINISH[output.finish.value])
        elif len(self._items) < OPENING_ITEMS:
            self._seal()
        return True

    def pass_on(self) -> None:
        """Seals what was gathered."""
        if self._token_ids or self._text:
            self._seal()

    def end(self, finish: pb.Finish.ValueType, failure: str = "") -> None:
        """Ends it here, whatever the engine still makes of it. An end that no engine made is an item of its own."""
        if not self.ended:
            self.pass_on()
            self._seal(finish, failure)

    def advance(self) -> Advance:
        """What Redis is not known to have; without items it only asks whether the request is ours and wanted."""
        items = self._items[self._written : self._written + MAX_ITEMS_A_CALL]
        return Advance(
            request_id=self.request_id,
            epoch=self.claim.epoch,
            gateway=self.job.body.gateway_boot_id,
            first=self._base + self._written,
            items=items,
            last=self.ended and self._written + len(items) == len(self._items),
        )

    def written(self, advance: Advance) -> None:
        self._written = advance.first - self._base + len(advance.items)

    def send_again_from(self, n: int) -> bool:
        """Redis lost its tail. False: it lost items of an earlier claim too, which this worker never had."""
        if n < self._base:
            return False
        self._written = n - self._base
        return True

    def _seal(self, finish: pb.Finish.ValueType = pb.FINISH_UNSPECIFIED, failure: str = "") -> None:
        delta = pb.StepDelta(
            token_ids=self._token_ids,
            text=self._text,
            finish=finish,
            failure=failure,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            logprobs=map(_told, self._logprobs),
        )
        if not self._items:
            delta.admit_time.FromNanoseconds(self.admitted_ns)
            delta.prompt_token_ids.extend(self._prompt)
            if self.provenance:
                delta.provenance.CopyFrom(self.provenance)
        self._items.append(self._sealer.seal(self._base + len(self._items), delta))
        self._token_ids, self._text, self._logprobs = [], "", []
        self.finish, self.failure = finish, failure


def _told(one: TokenLogprob) -> pb.TokenLogprob:
    top = [pb.Alternative(token=token, logprob=logprob) for token, logprob in one.top]
    return pb.TokenLogprob(token=one.token, logprob=one.logprob, top=top, text_end=one.end)
