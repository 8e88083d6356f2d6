"""What the callers ask: few enough questions that each one's undisturbed answer is known."""

from __future__ import annotations

import random
from dataclasses import dataclass

from strongroom.gateway.v1 import gateway_pb2 as pb

from benchmarks.engine.workload import COLUMNS

LONG_TOKENS = 1400  # about: with the guard's system prompt below the default context of 2,048
MOST_TOKENS = 48
TOO_LONG_WORDS = 6000
SHARES = {"whole": 0.55, "leaves": 0.2, "deadline": 0.1, "long": 0.1, "too long": 0.05}


@dataclass(frozen=True)
class Question:
    """One prompt and how it is sampled: greedy, or by a seed of its own, so that it has one answer."""

    text: str
    seed: int | None = None

    def request(self, tokens: int) -> pb.StreamGenerateRequest:
        sampling = pb.Sampling(temperature=0, max_tokens=tokens)
        if self.seed is not None:
            sampling = pb.Sampling(temperature=0.8, top_p=0.95, seed=self.seed, max_tokens=tokens)
        messages = [pb.Message(role="user", content=self.text)]
        return pb.StreamGenerateRequest(prompt=pb.Prompt(messages=messages, sampling=sampling))


@dataclass(frozen=True)
class Turn:
    """What a caller does next."""

    kind: str
    question: Question
    tokens: int
    pieces: int = 0  # after which the caller leaves
    seconds: float = 0.0  # until the caller's deadline


class Questions:
    """A pool that a seed decides, and turns drawn from it."""

    def __init__(self, seed: int, count: int) -> None:
        chance = random.Random(seed)
        texts = [ask.messages[-1]["content"] for ask in COLUMNS["64"].asks]
        chosen = chance.sample(texts, count)
        self.short = [Question(text, number if number % 2 else None) for number, text in enumerate(chosen)]
        long = " ".join(texts)
        self.long = [Question(long[start : start + LONG_TOKENS * 4]) for start in (0, 4000)]
        self.too_long = Question("word " * TOO_LONG_WORDS)

    @property
    def answerable(self) -> list[Question]:
        return self.short + self.long

    def turn(self, chance: random.Random) -> Turn:
        [kind] = chance.choices(list(SHARES), list(SHARES.values()))
        tokens = chance.randint(4, MOST_TOKENS)
        if kind == "too long":
            return Turn(kind, self.too_long, tokens)
        if kind == "long":
            return Turn(kind, chance.choice(self.long), min(tokens, 16))
        question = chance.choice(self.short)
        if kind == "leaves":
            return Turn(kind, question, MOST_TOKENS, pieces=chance.randint(0, 4))
        if kind == "deadline":
            return Turn(kind, question, MOST_TOKENS, seconds=chance.uniform(0.2, 4.0))
        return Turn(kind, question, tokens)
