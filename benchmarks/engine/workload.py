"""What everybody is asked. Imports nothing but the standard library: drivers read it in environments of their own."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "data" / "workload.jsonl"
CONTEXT_TOKENS = 1024  # that each contender is given; the longest prompt and its answer need 551


@dataclass(frozen=True)
class Ask:
    """One question and how many tokens its answer has: no more and no fewer."""

    id: int
    messages: list[dict[str, str]]
    text: str  # as the chat template renders it
    prompt: list[int]  # the text's tokens
    tokens: int


@dataclass(frozen=True)
class Column:
    """So many callers in a closed loop: each asks the next question as soon as it has its answer."""

    name: str
    callers: int
    questions: int
    mixed: bool = False  # answers of 8 to 128 tokens, else of 64
    per_second: float = 0.0  # above 0 nobody waits for an answer: questions arrive at this rate
    seed: int = 0

    @property
    def asks(self) -> list[Ask]:
        return [_ask(line, self.mixed) for line in _lines()[: self.questions]]

    @property
    def arrivals(self) -> list[float]:
        """Seconds from the start, as a Poisson process has them; the seed makes the same ones again."""
        chance, at = random.Random(self.seed), 0.0
        return [at := at + chance.expovariate(self.per_second) for _ in range(self.questions)]


COLUMNS = {
    column.name: column
    for column in (
        Column("1", callers=1, questions=16),
        Column("4", callers=4, questions=64),
        Column("16", callers=16, questions=64),
        Column("64", callers=64, questions=64),
        Column("mixed", callers=16, questions=64, mixed=True),
    )
}


@cache
def _lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in FILE.read_text().splitlines()]


def _ask(line: dict[str, Any], mixed: bool) -> Ask:
    return Ask(
        id=line["id"],
        messages=line["messages"],
        text=line["prompt_text"],
        prompt=line["prompt_ids"],
        tokens=line["max_new_tokens_w2" if mixed else "max_new_tokens"],
    )
