"""Choosing tokens for a batch whose logits lie where the model runs."""

from __future__ import annotations

import math
from collections.abc import Sequence as Rows

import torch
from torch import Tensor

from services.inference.engine import choosing
from services.inference.engine.answer import Answer
from services.inference.engine.choosing import draw, greedy
from services.inference.engine.protocol import Sampling

_TOP = 256  # candidates looked at first; nearly every nucleus is smaller
_BLOCK = 64  # rows at once: what a GPU needs beside the logits stays below 100 MB at 130,000 tokens of vocabulary

Wanted = tuple[Sampling, int]  # how to choose, and at which position of the answer


def choose_next(logits: Tensor, answers: Rows[Answer]) -> list[int | None]:
    """The next token of each answer, from its row of fp32 logits; None for a row that is not finite.

    Rows whose logits are changed or told are brought to the CPU, all at once; the others are chosen where they lie.
    """
    asked = [n for n, answer in enumerate(answers) if not answer.plain]
    if not asked:
        return choose_each(logits, [(answer.sampling, len(answer.tokens)) for answer in answers])
    rows = logits[asked].cpu().numpy()
    chosen = {n: answers[n].choose(row) for n, row in zip(asked, rows)}
    plain = [n for n in range(len(answers)) if n not in chosen]
    if plain:
        wanted = [(answers[n].sampling, len(answers[n].tokens)) for n in plain]
        chosen |= zip(plain, choose_each(logits[plain], wanted))
    return [chosen[n] for n in range(len(answers))]


def choose_each(logits: Tensor, wanted: Rows[Wanted]) -> list[int | None]:
    """A token for each row of fp32 logits; None for a row that is not finite. No row knows of the others."""
    if logits.device.type == "cpu":
        return [choosing.choose(row, *asked) for row, asked in zip(logits.numpy(), wanted, strict=True)]
    blocks = range(0, len(wanted), _BLOCK)
    return [
        token
        for first in blocks
        for token in _choose_block(logits[first : first + _BLOCK], wanted[first : first + _BLOCK])
    ]


def _choose_block(logits: Tensor, wanted: Rows[Wanted]) -> list[int | None]:
    """Waits for the device a few times in all, not a few times a row, unless a row must be sorted whole.

    The draw is made from the top logits on the CPU, as there. Only the mass of all is added up by the device, in
    double: another order of addition moves a border between two tokens by 1e-15.
    """
    peaks, best = logits.max(-1)
    chosen = [token if math.isfinite(peak) else None for peak, token in zip(peaks.tolist(), best.tolist())]
    drawn = [n for n, (sampling, _) in enumerate(wanted) if chosen[n] is not None and not greedy(sampling)]
    if not drawn:
        return chosen
    heat = torch.tensor([[sampling.temperature or 1.0] for sampling, _ in wanted], dtype=torch.float64)
    totals = _weights(logits, peaks[:, None], heat.to(logits.device)).sum(-1).tolist()
    values, ids = _in_order(*(found.cpu() for found in logits.topk(min(_TOP, logits.shape[-1]))))
    mass = _weights(values, values[:, :1], heat).cumsum(-1).numpy()
    for n in drawn:
        top = values[n].numpy()
        whole = len(top) == logits.shape[-1]
        reach = len(top) if whole else int((top > top[-1]).sum())  # equals of the last may be missing
        place = draw(top, mass[n], totals[n], *wanted[n], reach=reach, whole=whole)
        chosen[n] = _choose_from_all(logits[n], *wanted[n]) if place is None else int(ids[n, place])
    return chosen


def _choose_from_all(logits: Tensor, sampling: Sampling, position: int) -> int:
    """Where many tokens are about equally likely: sorts the row, on the device where it lies."""
    values, ids = logits.sort(descending=True, stable=True)
    mass = _weights(values, values[0], sampling.temperature).cumsum(0)
    place = draw(values.cpu().numpy(), mass.cpu().numpy(), 0.0, sampling, position, reach=len(values), whole=True)
    assert place is not None
    return int(ids[place])


def _weights(logits: Tensor, peak: Tensor, temperature: Tensor | float) -> Tensor:
    """Probabilities before they are normalised, the top at 1: no overflow, however small the temperature."""
    return (logits - peak).double().div_(temperature).exp_()


def _in_order(values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """From the top down, equals by id: a device lists them as it likes."""
    by_id = ids.argsort(dim=-1)
    values, ids = values.gather(-1, by_id), ids.gather(-1, by_id)
    order = values.argsort(dim=-1, descending=True, stable=True)
    return values.gather(-1, order), ids.gather(-1, order)
