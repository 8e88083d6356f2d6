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
TOGETHER = 16  # completions in a pass


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
    asked = [_completion(tokenizer, text, choice) for text, choices in _sentences() for choice in choices]
    said = [told for first in range(0, len(asked), TOGETHER) for told in _likelihoods(runner, asked[first:][:TOGETHER])]
    sentences = [said[first : first + CHOICES] for first in range(0, len(said), CHOICES)]
    return sum(each.index(max(each)) == 0 for each in sentences), len(sentences)


def _sentences() -> Iterator[tuple[str, list[str]]]:
    """The right choice first; the others are the next ones of the list."""
    for kind in json.loads(CLOZE.read_text(encoding="utf-8")):
        pairs = kind["pairs"]
        for place, (subject, _) in enumerate(pairs):
            yield kind["text"].format(subject), [pairs[(place + n) % len(pairs)][1] for n in range(CHOICES)]


def _completion(tokenizer: Any, sentence: str, choice: str) -> tuple[list[int], int]:
    """Tokens, and how many of them are the choice."""
    ids = tokenizer(f"{sentence} {choice}")["input_ids"]
    return ids, len(ids) - len(tokenizer(sentence)["input_ids"])


def _likelihoods(runner: Any, asked: list[tuple[list[int], int]]) -> Iterator[float]:
    """Mean log-likelihood of a token of each choice; all in one pass."""
    logits = runner.run([Segment(slot, 0, ids, own + 1) for slot, (ids, own) in enumerate(asked)])
    for (ids, own), rows in zip(asked, logits.split([own + 1 for _, own in asked]), strict=True):
        yield float(rows[:-1].log_softmax(-1)[range(own), ids[-own:]].mean())


def _logits(runner: Any, ids: list[int]) -> torch.Tensor:
    logits: torch.Tensor = runner.run([Segment(0, 0, ids, len(ids))])
    return logits
