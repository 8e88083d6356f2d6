"""How well a model still predicts a fixed text, and chooses the right one of four words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine.workload import COLUMNS
from services.inference.engine.batch import Segment

CLOZE = Path(__file__).parents[1] / "data" / "cloze.json"
CHOICES = 4


@dataclass(frozen=True)
class Predicted:
    """Of each token of the text that has one before it: its negative log-likelihood, and the token held most likely."""

    losses: torch.Tensor
    first: torch.Tensor

    def beside(self, plain: Predicted | None) -> dict[str, float]:
        """`worse` and its standard error are of the mean difference to the plain model's, in nats."""
        found = {"nll": float(self.losses.mean())}
        if plain is None or len(plain.losses) != len(self.losses):
            return found
        worse = self.losses - plain.losses
        return found | {
            "worse": float(worse.mean()),
            "error": float(worse.std() / len(worse) ** 0.5),
            "agreement": float((self.first == plain.first).double().mean()),
        }


def predicted(runner: Any, prompts: int) -> Predicted:
    """Of so many of the workload's prompts."""
    losses, first = [], []
    for ask in COLUMNS["64"].asks[:prompts]:
        logits = _logits(runner, ask.prompt)[:-1]
        told = logits.log_softmax(-1)
        losses.append(-told[range(len(told)), ask.prompt[1:]].double())
        first.append(logits.argmax(-1))
    return Predicted(torch.cat(losses), torch.cat(first))


def cloze(runner: Any, tokenizer: Any) -> tuple[int, int]:
    """How many of how many sentences are completed by the right word, and not by one of three others of their kind."""
    right = total = 0
    for sentence, choices in _sentences():
        said = [_likelihood(runner, tokenizer, sentence, choice) for choice in choices]
        right += said.index(max(said)) == 0
        total += 1
    return right, total


def _sentences() -> Iterator[tuple[str, list[str]]]:
    """The right choice first; the others are the next ones of the list."""
    for kind in json.loads(CLOZE.read_text(encoding="utf-8")):
        pairs = kind["pairs"]
        for place, (subject, _) in enumerate(pairs):
            yield kind["text"].format(subject), [pairs[(place + n) % len(pairs)][1] for n in range(CHOICES)]


def _likelihood(runner: Any, tokenizer: Any, sentence: str, choice: str) -> float:
    before = tokenizer(sentence)["input_ids"]
    ids = tokenizer(f"{sentence} {choice}")["input_ids"]
    told = _logits(runner, ids)[len(before) - 1 : -1].log_softmax(-1)
    return float(told[range(len(ids) - len(before)), ids[len(before) :]].mean())


def _logits(runner: Any, ids: list[int]) -> torch.Tensor:
    logits: torch.Tensor = runner.run([Segment(0, 0, ids, len(ids))])
    return logits
