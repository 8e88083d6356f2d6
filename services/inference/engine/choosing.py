"""Choosing a token from one row of logits. The result depends on nothing but row, settings, seed and position."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.inference.engine.protocol import Sampling

# How far below the top candidates are looked for, in units of the temperature: nearly every nucleus lies within the
# first (weights down to 0.25 % of the top's), nearly every draw within the second.
_REACHES = (6.0, 12.0, math.inf)
_COLDEST = 1e-30  # below it all weight is on the top in any case, and fp32 would divide by zero

Row = NDArray[np.floating[Any]]
Ids = NDArray[np.intp]


def uniform(seed: int, position: int) -> float:
    """In [0, 1), 53 bits from SHA-256 of seed and position: the same on every machine and every restart."""
    digest = hashlib.sha256(seed.to_bytes(8, "big") + position.to_bytes(8, "big")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def choose(row: Row, sampling: Sampling, position: int) -> int | None:
    """`row` is in fp32; None where its top is not finite. Order as elsewhere in the field: temperature, top_k, top_p,
    min_p. The draw falls into the weights from the top down, equals by id."""
    best = int(row.argmax())  # of a row with a NaN: the NaN
    if not math.isfinite(row[best]):
        return None
    if greedy(sampling):
        return best
    heat, peak = _heat(sampling), float(row[best])
    total = 0.0 if sampling.top_k else float(_weights(row, peak, heat).sum(dtype=np.float64))
    for reach in _REACHES:
        ids, values = _candidates(row, peak - reach * heat)
        mass = _weights(values.astype(np.float64), peak, heat).cumsum()
        place = draw(values, mass, total, sampling, position, reach=len(ids), whole=math.isinf(reach))
        if place is not None:
            return int(ids[place])
    raise AssertionError("a draw from the whole row finds a place")


def draw(
    values: Row, mass: Row, total: float, sampling: Sampling, position: int, *, reach: int, whole: bool
) -> int | None:
    """The place of the choice among a row's top logits, `mass` their weights summed up to each; `total` is that of all.

    The first `reach` lie in order with nothing missing between them. `whole`: nothing comes after. If something does,
    None says that the choice may lie there.
    """
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
    if sampling.min_p > 0.0:
        kept = int((values[:reach] >= values[0] + _heat(sampling) * math.log(sampling.min_p)).sum())
        if kept == reach and not whole:
            return None
        reach, whole = kept, True
        bound = float(mass[reach - 1])
    place = int(mass[:reach].searchsorted(uniform(sampling.seed, position) * bound, side="right"))
    if place >= reach and not whole:
        return None
    return min(place, reach - 1)


def greedy(sampling: Sampling) -> bool:
    return sampling.temperature == 0.0 or sampling.top_k == 1


def top_of(row: Row, count: int) -> Ids:
    """The ids of the `count` largest, from the top down, equals by id."""
    count = min(count, len(row))
    if not count:
        return np.empty(0, np.intp)
    least = np.partition(row, len(row) - count)[len(row) - count]
    ids, _ = _candidates(row, float(least))
    return ids[:count]


def log_normaliser(row: Row) -> float:
    """log of the sum of exp: what turns a logit into a log-probability."""
    peak = float(row.max())
    return peak + math.log(float(np.exp(row - np.float32(peak)).sum(dtype=np.float64)))


def _heat(sampling: Sampling) -> float:
    return max(sampling.temperature, _COLDEST)


def _candidates(row: Row, least: float) -> tuple[Ids, Row]:
    """All ids whose logit is at least that, from the top down, equals by id."""
    ids = np.flatnonzero(row >= least) if math.isfinite(least) else np.flatnonzero(row > -math.inf)
    ids = _in_order(ids, row[ids])
    return ids, row[ids]


def _in_order(ids: Ids, values: Row) -> Ids:
    """By one sort of whole numbers: a float's bits, read so that larger floats come first, with the id behind them. A
    stable sort of floats costs ten times as much."""
    bits = (values + np.float32(0)).view(np.int32)  # no negative zero
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys = (~rising).astype(np.int64) << 32 | ids
    keys.sort()
    return keys & 0xFFFFFFFF


def _weights(row: Row, peak: float, heat: float) -> Row:
    """Probabilities before they are normalised, the top at 1: no overflow, however small the temperature."""
    weights = row - row.dtype.type(peak)
    weights /= row.dtype.type(heat)
    return np.exp(weights, out=weights)
