"""Activations in eight bits: whole numbers of -127 to 127, and a scale for each row, which no other row changes.

Where a processor multiplies no such bytes exactly they have seven, -63 to 63 (torch_cpu). oneDNN's fast products want
them unsigned: a code is 128 more, or 64. All sums are in float32, in any dtype of the model: torch
takes half of the time for it that it takes for bfloat16.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import torch
from torch import Tensor

from services.inference.engine.torch_cpu import EIGHT, most
from services.inference.engine.torch_linear import Norm

MOST = most() or EIGHT
ZERO = MOST + 1  # of the codes
FINE = 1 / (2 * MOST)  # of a step: what is left of a number is at most half a step, and has a byte to itself
_MOST_ROW = torch.full((1, 1), float(MOST))
# Between 2^23 and 2^24 neighbouring float32 numbers are 1 apart: adding this rounds to the nearest whole number, and
# leaves it, plus ZERO, in the last byte. `round` and a conversion to bytes cost three times as much.
_LAST_BYTE = 1.5 * 2**23 + ZERO


class Rows(NamedTuple):
    """Activations in eight bits, for all layers that read the same ones."""

    codes: Tensor  # uint8 [rows, in], or [2 * rows, in]: then behind all rows comes what rounding took from them
    largest: Tensor  # of each row's numbers, without sign, float32 [rows, 1]; a code is a MOSTth of it


class Scratch(threading.local):
    """Each thread's memory that is used again: for more than 1 MiB the C library would ask the kernel every time."""

    def __init__(self) -> None:
        self._held = torch.empty(0)

    def like(self, x: Tensor, times: int = 1) -> Tensor:
        """float32 [times * rows, in]"""
        size = times * x.numel()
        if len(self._held) < size:
            with torch.inference_mode(False):  # so that it serves outside of it, too
                self._held = torch.empty(size)
        return self._held[:size].view(-1, x.shape[1])


_scratch = Scratch()


def coded(x: Tensor, *, fine: bool = False) -> Rows:
    """Of a row of zeros the codes mean nothing, and are multiplied with its largest number. NaN stays NaN.

    `fine`: in two bytes, the nearest codes and how far off they are, in steps of `FINE`.
    """
    full = x.float()
    largest = full.abs().amax(1, keepdim=True)
    return Rows((_fine_codes if fine else _codes)(full, largest), largest)


class CodingNorm:
    """A norm whose result is coded: what it divides a row by changes the row's scale and none of its codes."""

    def __init__(self, norm: Norm, evened: Tensor | None, *, fine: bool = False) -> None:
        """`evened`: [in], that the result is multiplied with."""
        weight = norm.weight.float()
        self._weight = weight if evened is None else weight * evened
        self._code = _fine_codes if fine else _codes
        self._epsilon = torch.full((1, 1), norm.epsilon)

    def __call__(self, x: Tensor) -> Rows:
        full = x.float()
        weighed = full * self._weight
        largest = weighed.abs().amax(1, keepdim=True)
        size = torch.linalg.vector_norm(full, dim=1, keepdim=True)
        inverse = torch.addcmul(self._epsilon, size, size, value=1 / x.shape[1]).rsqrt_()
        return Rows(self._code(weighed, largest), largest * inverse)


def _codes(x: Tensor, largest: Tensor) -> Tensor:
    spread = torch.mul(x, torch.div(_MOST_ROW, largest), out=_scratch.like(x))
    return spread.add_(_LAST_BYTE).view(torch.int32).to(torch.uint8)


def _fine_codes(x: Tensor, largest: Tensor) -> Tensor:
    both = _scratch.like(x, times=2)
    coarse, rest = both[: len(x)], both[len(x) :]
    torch.mul(x, torch.div(_MOST_ROW, largest), out=rest)
    torch.add(rest, _LAST_BYTE, out=coarse).sub_(_LAST_BYTE)
    rest.sub_(coarse).mul_(1 / FINE)
    return both.add_(_LAST_BYTE).view(torch.int32).to(torch.uint8)
