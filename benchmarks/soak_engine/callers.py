"""A caller's turn over the gateway's stream, and what may come of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import grpc
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc

from benchmarks.local_stack import LocalStack
from benchmarks.soak_engine.questions import MOST_TOKENS, Question, Questions, Turn

MASK = "[REDACTED]"
LEAST_MASKED = 6  # characters: no number that the guard masks is shorter
# No answer of this traffic takes so long, a killed worker's start included; on a slow machine, so many times as long as
# the slowest of them takes alone.
STUCK_SECONDS, STUCK_TIMES = 180.0, 30.0
REFERENCE_SECONDS = 600.0  # for an answer alone, by which the machine's speed is told
LEFT = "left"


@dataclass
class Seen:
    """One turn's outcome."""

    text: str = ""
    status: str = "OK"
    finish: str = ""
    seconds: float = 0.0


@dataclass
class Tally:
    """What came of all turns."""

    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of whole answers
    turns: int = 0

    def add(self, turn: Turn, seen: Seen, problem: str) -> None:
        self.turns += 1
        self.outcomes[f"{turn.kind}: {seen.status} {seen.finish}".strip()] += 1
        if turn.kind == "whole" and seen.status == "OK":
            self.seconds.append(seen.seconds)
        if problem:
            self.problems.append(f"turn {self.turns}, {turn.kind}: {problem}")


class Line:
    """One channel, shared by all callers."""

    def __init__(self, stack: LocalStack, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.GatewayServiceStub(channel)
        self._metadata = [("authorization", f"Bearer {stack.api_key}")]
        self.patience = REFERENCE_SECONDS  # until an answer counts as stuck

    async def take(self, turn: Turn) -> Seen:
        seen, began, pieces = Seen(), time.monotonic(), 0
        call = self._stub.StreamGenerate(
            turn.question.request(turn.tokens), metadata=self._metadata, timeout=turn.seconds or self.patience
        )
        try:
            async for event in call:
                if turn.kind == "leaves" and pieces >= turn.pieces:
                    seen.status = LEFT
                    break
                if event.HasField("delta"):
                    seen.text += event.delta.text
                    pieces += 1
                elif event.HasField("outcome"):
                    seen.finish = pb.FinishReason.Name(event.outcome.finish_reason).removeprefix("FINISH_REASON_")
        except grpc.aio.AioRpcError as error:
            seen.status = error.code().name
        finally:
            call.cancel()
        seen.seconds = time.monotonic() - began
        return seen

    async def references(self, questions: Questions) -> dict[Question, Seen]:
        """Each question's answer, alone on an undisturbed suite: what every later one is held against."""
        found = {one: await self.take(Turn("whole", one, MOST_TOKENS)) for one in questions.answerable}
        self.patience = patience(found.values())
        return found


def patience(alone: Iterable[Seen]) -> float:
    """Seconds until an answer counts as stuck where these came with nothing else running."""
    return max(STUCK_SECONDS, STUCK_TIMES * max(seen.seconds for seen in alone))


def judged(turn: Turn, seen: Seen, reference: dict[Question, Seen], patience: float) -> str:
    """What is wrong with an outcome; nothing where it is as promised. `patience`: seconds until it counts as stuck."""
    if turn.kind == "too long":
        return "" if seen.status == "INVALID_ARGUMENT" else f"ended as {seen.status}, not INVALID_ARGUMENT"
    wanted = reference[turn.question].text
    if seen.finish == "LENGTH" and seen.text.endswith(MASK) and not wanted.startswith(seen.text):
        # The reference goes on where this one ends by length: what nothing follows may be a name, and is masked.
        return "" if wanted.startswith(seen.text.removesuffix(MASK)) else _parting(wanted, seen.text)
    if not (wanted.startswith(seen.text) or (seen.finish == "LENGTH" and _begins_a_mask(wanted, seen.text))):
        return f"{turn.tokens} tokens of {turn.question.text[:30]!r}… {_parting(wanted, seen.text)}"
    if seen.seconds >= patience:
        return f"stuck for {seen.seconds:.0f} s"
    allowed = {"leaves": {"OK", LEFT}, "deadline": {"OK", "DEADLINE_EXCEEDED"}}.get(turn.kind, {"OK"})
    if seen.status not in allowed:
        return f"ended as {seen.status}"
    ended = seen.finish == "STOP" or (seen.finish == "LENGTH" and turn.tokens == MOST_TOKENS)
    return "an answer that is cut off" if ended and seen.text != wanted else ""


def _begins_a_mask(wanted: str, text: str) -> bool:
    """It ends within what the reference, which goes on, masks whole: a number's first digits are no number."""
    at = _alike(wanted, text)
    return wanted.startswith(MASK, at) and len(text) - at < LEAST_MASKED


def _alike(wanted: str, text: str) -> int:
    return next((at for at, (one, other) in enumerate(zip(wanted, text)) if one != other), min(len(wanted), len(text)))


def _parting(wanted: str, text: str) -> str:
    """Where two texts part. They answer the benchmark's own questions: nothing here is anybody's secret."""
    at = _alike(wanted, text)
    return f"part from the reference after {at} characters: {text[at : at + 20]!r}, not {wanted[at : at + 20]!r}"
