"""The tokens of a record and what made them, as its field `generation` holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from services.audit.records.entries import GENERATION

Maker = Mapping[str, Any]  # a worker, word by word, as far as it decides which tokens an answer has


@dataclass(frozen=True)
class Generation:
    """`makers`: all that differ, of all answers."""

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    makers: tuple[Maker, ...]

    @property
    def tokens(self) -> int:
        return sum(map(len, self.answers))


def generation_of(fields: Mapping[str, bytes]) -> Generation | None:
    """None of a record that kept no tokens."""
    if GENERATION not in fields:
        return None
    told = orjson.loads(fields[GENERATION])
    makers: list[Maker] = []
    for choice in told["choices"]:
        makers += [maker for maker in choice["made_by"] if maker not in makers]
    answers = tuple(tuple(choice["token_ids"]) for choice in told["choices"])
    return Generation(tuple(told["prompt_token_ids"]), answers, tuple(makers))
