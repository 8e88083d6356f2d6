"""Choosing a token from one row of logits. The result depends on nothing but row, settings, seed and position."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from services.inference.engine.protocol import Sampling

_NUCLEUS = 256  # candidates looked at first; nearly every nucleus is smaller


def uniform(seed: int, position: int) -> float:
    """In [0, 1), 53 bits from SHA-256 of seed and position: the same on every machine and every restart."""
    digest = hashlib.sha256(seed.to_bytes(8, "big") + position.to_bytes(8, "big")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def choose(logits: Tensor, sampling: Sampling, position: int) -> int:
    """`logits` is one row in fp32. Order as elsewhere in the field: temperature, top_k, top_p."""
    if sampling.temperature == 0.0 or sampling.top_k == 1:
        return int(logits.argmax())
    values, ids, total = _candidates(logits, sampling)
    weights = values.double().exp()
    mass = weights.cumsum(0)
    if sampling.top_p < 1.0:
        kept = int((mass < sampling.top_p * total).sum()) + 1
        mass = mass[:kept]
    target = uniform(sampling.seed, position) * float(mass[-1])
    return int(ids[min(int((mass <= target).sum()), len(mass) - 1)])


def _candidates(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor, float]:
    """Scaled logits from the top down, ties by id, their ids, and the mass that top_p is a share of."""
    scaled = (logits - logits.max()) / sampling.temperature  # top at 0: no overflow, however small the temperature
    if 0 < sampling.top_k < len(logits):
        floor = scaled.topk(sampling.top_k).values[-1]  # ties with the last one stay, whoever is listed first
        values, ids = _descending(scaled, floor)
        return values, ids, float(values.double().exp().sum())
    total = float(scaled.exp().sum(dtype=torch.float64))
    if sampling.top_p < 1.0 and len(logits) > _NUCLEUS:
        floor = scaled.topk(_NUCLEUS).values[-1]
        values, ids = _descending(scaled, floor)
        if float(values.double().exp().sum()) >= sampling.top_p * total:
            return values, ids, total
    values, ids = _descending(scaled, scaled.min())
    return values, ids, total


def _descending(scaled: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    ids = (scaled >= floor).nonzero().squeeze(1)
    order = scaled[ids].argsort(descending=True, stable=True)
    return scaled[ids][order], ids[order]
