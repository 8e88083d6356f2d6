"""Linear layers and the embedding in eight bits on a CPU: a scale for each output, and at every pass one for each row.

Symmetric codes of -127 to 127. A row is measured by itself, and sums of whole numbers are exact, so batch mates change
nothing, in any dtype. oneDNN's fast kernels want unsigned activations: their codes lie around 128.
"""

from __future__ import annotations

import threading
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from services.inference.engine.quantization import QuantizationImpossible
from services.inference.engine.torch_codes import Codes, CodesMade, Source
from services.inference.engine.torch_linear import Fused

_MOST = 127
_ZERO = 128  # of the activations' codes
_FINE = 1 / (2 * _MOST)  # of a step: what is left of a number is at most half a step, and has a byte to itself
_LEAST = 1e-30  # a row of zeros has a scale, too
_MOST_ROW = torch.full((1, 1), float(_MOST))  # not a plain number: that would divide in the rows' own dtype
# Between 2^23 and 2^24 neighbouring float32 numbers are 1 apart: adding this rounds to the nearest whole number, and
# leaves it, plus 128, in the last byte. `round` and a conversion to bytes cost three times as much.
_LAST_BYTE = 1.5 * 2**23 + _ZERO


class Rows(NamedTuple):
    """Activations in eight bits, for all layers that read the same ones."""

    codes: Tensor  # uint8 [rows, in], or [2 * rows, in]: then behind all rows comes what rounding took from them
    largest: Tensor  # of each row's numbers, without sign, in the rows' dtype [rows, 1]; a code is a 127th of it


class Scratch(threading.local):
    """Each thread's memory that is used again: for more than 1 MiB the C library would ask the kernel every time."""

    def __init__(self) -> None:
        self._held = torch.empty(0)

    def like(self, x: Tensor, times: int = 1) -> Tensor:
        """[times * rows, in]"""
        size = times * x.numel()
        if len(self._held) < size:
            with torch.inference_mode(False):  # so that it serves outside of it, too
                self._held = torch.empty(size)
        return self._held[:size].view(-1, x.shape[1])


_scratch = Scratch()


def coded(x: Tensor) -> Rows:
    """Of a row of zeros the codes mean nothing, and are multiplied with its largest number. NaN stays NaN."""
    largest = x.abs().amax(1, keepdim=True)
    spread = torch.mul(x, torch.div(_MOST_ROW, largest), out=_scratch.like(x))
    return Rows(spread.add_(_LAST_BYTE).view(torch.int32).to(torch.uint8), largest)


def finely_coded(x: Tensor) -> Rows:
    """In two bytes: the nearest codes, and how far off they are, in steps of `_FINE`."""
    largest = x.abs().amax(1, keepdim=True)
    both = _scratch.like(x, times=2)
    coarse, rest = both[: len(x)], both[len(x) :]
    torch.mul(x, torch.div(_MOST_ROW, largest), out=rest)
    torch.add(rest, _LAST_BYTE, out=coarse).sub_(_LAST_BYTE)
    rest.sub_(coarse).mul_(1 / _FINE)
    return Rows(both.add_(_LAST_BYTE).view(torch.int32).to(torch.uint8), largest)


def weight_codes(weight: Tensor, factors: Tensor | None = None) -> Codes:
    """int8 [out, in], float32 scales [out], and the factors."""
    full = weight.detach().float()
    if factors is not None:
        full = full * factors
    scales = full.abs().amax(1).clamp_min_(_LEAST).mul_(1 / _MOST)
    return Codes((full / scales[:, None]).round_().to(torch.int8), scales, factors)


class Int8:
    """`torch_linear.Packed` in eight bits."""

    def __init__(self, weight: Codes, bias: Tensor | None, dtype: torch.dtype, *, fine: bool = False) -> None:
        """`fine`: activations have two bytes."""
        self._weight = torch.ops.onednn.qlinear_prepack(weight.codes, None)
        self._scales = weight.scales / _MOST  # the rows' share of 1/127 with it
        self._zeros = _zeros(len(weight.codes))
        self._evened = None if weight.factors is None else (1 / weight.factors).to(dtype)
        self._bias = None if bias is None else bias.detach().contiguous()
        self._dtype = dtype
        self._code, self._sums = (finely_coded, torch.float32) if fine else (coded, dtype)

    def rows(self, x: Tensor) -> Rows:
        return self._code(x if self._evened is None else x * self._evened)

    def plain(self, x: Tensor | Rows) -> Tensor:
        rows = x if isinstance(x, Rows) else self.rows(x)
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            rows.codes, 1.0, _ZERO, self._weight, self._scales, self._zeros, None, 1.0, 0, self._sums, "none", [], ""
        )
        if (count := len(rows.largest)) < len(out):
            out = out[:count].add_(out[count:].mul_(_FINE))  # not at once: where a vector ends it would round otherwise
        out = out.mul_(rows.largest).to(self._dtype)
        return out if self._bias is None else out.add_(self._bias)

    def silu(self, x: Tensor | Rows) -> Tensor:
        return nn.functional.silu(self.plain(x), inplace=True)

    def times(self, x: Tensor | Rows, other: Tensor) -> Tensor:
        return self.plain(x).mul_(other)

    def plus(self, x: Tensor | Rows, other: Tensor) -> Tensor:
        return self.plain(x).add_(other)


class Int8Embedding:
    """An embedding, a head, or both where the two are tied: then its codes lie in memory once."""

    def __init__(self, codes: Tensor, scales: Tensor, dtype: torch.dtype) -> None:
        self.weight, self._scales, self._dtype = codes, scales, dtype
        self._turned = self.weight.t()  # a view

    def __call__(self, ids: Tensor) -> Tensor:
        return (self.weight[ids] * self._scales[ids, None]).to(self._dtype)

    def plain(self, x: Tensor) -> Tensor:
        """Logits, in float32. Of `x` two bytes count: with one, 2 % more of SmolLM2's first choices were others."""
        scales = x.abs().amax(1, keepdim=True).float().clamp_min_(_LEAST).mul_(1 / _MOST)
        spread = x / scales
        high = spread.round()
        low = spread.sub_(high).mul_(1 / _FINE).round_()
        codes = torch.cat([high, low]).to(torch.int8)
        sums: Tensor = torch._int_mm(codes, self._turned).float()
        logits = sums[: len(x)].add_(sums[len(x) :], alpha=_FINE)
        return logits.mul_(self._scales).mul_(scales)


@cache
def _zeros(count: int) -> Tensor:
    """The weights' zero points, which are none: the same for all layers of a width."""
    return torch.zeros(count, dtype=torch.int32)


@cache
def products_are_exact() -> bool:
    """Older processors add two products of bytes in sixteen bits, which the largest ones do not fit."""
    weight = torch.full((16, 64), _MOST, dtype=torch.int8)
    largest = torch.full((1, 1), float(_MOST))
    try:
        layer = Int8(Codes(weight, torch.ones(16)), None, torch.float32)
        found = layer.plain(Rows(torch.full((1, 64), 255, dtype=torch.uint8), largest))
        head = torch._int_mm(weight[:1], weight.t())
    except (AttributeError, RuntimeError, NotImplementedError):  # operators that this build of torch has not
        return False
    return bool((found.round() == 127 * _MOST * 64).all() and (head == _MOST * _MOST * 64).all())


class Int8Packing:
    """A `torch_linear.Packing`."""

    def __init__(self, source: Source | None = None) -> None:
        """Raises QuantizationImpossible."""
        if not products_are_exact():
            raise QuantizationImpossible(
                "quantization int8 and int4 cannot be had on this CPU, whose products of bytes are not exact "
                "(AVX512-VNNI or AVX-VNNI is missing): none can"
            )
        self._source = source or CodesMade()

    def linear(
        self, weight: Tensor, bias: Tensor | None = None, *, factors: Tensor | None = None, uneven: bool = False
    ) -> Fused:
        codes, bias = self._source.codes(weight, bias, partial(weight_codes, factors=factors))
        return Int8(codes, bias, weight.dtype, fine=uneven)

    def ends(self, embedding: Tensor, head: Tensor | None) -> tuple[Int8Embedding, Int8Embedding]:
        first = self._end(embedding)
        return first, first if head is None else self._end(head)

    def _end(self, weight: Tensor) -> Int8Embedding:
        made, _ = self._source.codes(weight, None, weight_codes)
        return Int8Embedding(made.codes, made.scales, weight.dtype)
