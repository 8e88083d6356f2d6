"""Choosing a token from one row of logits. The result depends on nothing but row, settings, seed and position."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence as Rows
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.inference.engine.protocol import Sampling

_TOP = 256  # candidates looked at first; nearly every nucleus is smaller
_BLOCK = 64  # rows at once: what a GPU needs beside the logits stays below 100 MB at 130,000 tokens of vocabulary

Row = NDArray[np.floating[Any]]
Wanted = tuple[Sampling, int]  # how to choose, and at which position of the answer


def uniform(seed: int, position: int) -> float:
    """In [0, 1), 53 bits from SHA-256 of seed and position: the same on every machine and every restart."""
    digest = hashlib.sha256(seed.to_bytes(8, "big") + position.to_bytes(8, "big")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def choose_each(logits: Tensor, wanted: Rows[Wanted]) -> list[int | None]:
    """A token for each row of fp32 logits; None for a row that is not finite. No row knows of the others."""
    if logits.device.type == "cpu":
        return [
            choose(row, *asked) if bool(torch.isfinite(row.max())) else None  # max passes NaN on
            for row, asked in zip(logits, wanted, strict=True)
        ]
    blocks = range(0, len(wanted), _BLOCK)
    return [
        token
        for first in blocks
        for token in _choose_block(logits[first : first + _BLOCK], wanted[first : first + _BLOCK])
    ]


def choose(logits: Tensor, sampling: Sampling, position: int) -> int:
    """`logits` is one row in fp32. Order as elsewhere in the field: temperature, top_k, top_p."""
    if _greedy(sampling):
        return int(logits.argmax())
    total = 0.0 if sampling.top_k else float(_weights(logits, logits.max(), sampling.temperature).sum())
    values, ids = _in_order(*logits.topk(min(_TOP, len(logits))))
    mass = _weights(values, values[0], sampling.temperature).cumsum(0)
    place = _draw(values.numpy(), mass.numpy(), total, sampling, position, whole=len(logits) <= _TOP)
    return _choose_from_all(logits, sampling, position) if place is None else int(ids[place])


def _choose_block(logits: Tensor, wanted: Rows[Wanted]) -> list[int | None]:
    """Waits for the device a few times in all, not a few times a row, unless a row must be sorted whole.

    The draw is made from the top logits on the CPU, as there. Only the mass of all is added up by the device, in
    double: another order of addition moves a border between two tokens by 1e-15.
    """
    peaks, best = logits.max(-1)
    chosen = [token if math.isfinite(peak) else None for peak, token in zip(peaks.tolist(), best.tolist())]
    drawn = [n for n, (sampling, _) in enumerate(wanted) if chosen[n] is not None and not _greedy(sampling)]
    if not drawn:
        return chosen
    heat = torch.tensor([[sampling.temperature or 1.0] for sampling, _ in wanted], dtype=torch.float64)
    totals = _weights(logits, peaks[:, None], heat.to(logits.device)).sum(-1).tolist()
    values, ids = _in_order(*(found.cpu() for found in logits.topk(min(_TOP, logits.shape[-1]))))
    mass = _weights(values, values[:, :1], heat).cumsum(-1).numpy()
    for n in drawn:
        place = _draw(values[n].numpy(), mass[n], totals[n], *wanted[n], whole=logits.shape[-1] <= _TOP)
        chosen[n] = _choose_from_all(logits[n], *wanted[n]) if place is None else int(ids[n, place])
    return chosen


def _choose_from_all(logits: Tensor, sampling: Sampling, position: int) -> int:
    """Where many tokens are about equally likely: sorts the row, on the device where it lies."""
    values, ids = logits.sort(descending=True, stable=True)
    mass = _weights(values, values[0], sampling.temperature).cumsum(0)
    place = _draw(values.cpu().numpy(), mass.cpu().numpy(), 0.0, sampling, position, whole=True)
    assert place is not None
    return int(ids[place])


def _greedy(sampling: Sampling) -> bool:
    return sampling.temperature == 0.0 or sampling.top_k == 1


def _weights(logits: Tensor, peak: Tensor, temperature: Tensor | float) -> Tensor:
    """Probabilities before they are normalised, the top at 1: no overflow, however small the temperature."""
    return (logits - peak).double().div_(temperature).exp_()


def _in_order(values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """From the top down, equals by id: a device lists them as it likes."""
    by_id = ids.argsort(dim=-1)
    values, ids = values.gather(-1, by_id), ids.gather(-1, by_id)
    order = values.argsort(dim=-1, descending=True, stable=True)
    return values.gather(-1, order), ids.gather(-1, order)


def _draw(values: Row, mass: Row, total: float, sampling: Sampling, position: int, *, whole: bool) -> int | None:
    """The place of the choice among a row's top logits, `mass` their weights summed up to each; `total` is that of all.

    `whole`: there are no other tokens. If there are, equals of the last may be missing, so they are left out, and None
    says that the choice may lie beyond.
    """
    reach = len(values) if whole else int((values > values[-1]).sum())
    if 0 < sampling.top_k <= reach:
        reach, whole = int((values >= values[sampling.top_k - 1]).sum()), True  # equals of the last one stay
    if not whole and (sampling.top_k or not reach):
        return None
    bound = float(mass[reach - 1]) if whole else total
    if sampling.top_p < 1.0:
        kept = int(mass[:reach].searchsorted(sampling.top_p * bound)) + 1
        if kept > reach and not whole:
            return None
        reach, whole = min(kept, reach), True
        bound = float(mass[reach - 1])
    place = int(mass[:reach].searchsorted(uniform(sampling.seed, position) * bound, side="right"))
    if place >= reach and not whole:
        return None
    return min(place, reach - 1)
