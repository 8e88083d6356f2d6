"""Linear layers in four bits on a CPU: a bf16 scale and zero for 32 or 64 weights of a row, activations as they are.

torch's kernel for it (tinygemm's layout) multiplies few rows as fast as it reads the weights, and many rows slowly: a
prompt's chunk takes nearly three times as long as in bf16. Unpacking the weights for it first took longer still.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from services.inference.engine.torch_codes import Codes, Source
from services.inference.engine.torch_four_bits import FourBitPacking, is_whole

GROUP = 64  # the inputs of a layer are a multiple of it
_CODES = 16
_MIDDLE = 8  # weight = (code - 8) × scale + zero
# Of a group's span: covering its outermost weights may cost the others more than it is worth.
_SHRINKS = (1.0, 0.9, 0.8)
_FITS = 2  # times that scale and zero are fitted to the codes, and these chosen again
_LEAST = 1e-8  # a group of equals has a scale, too
_OUTPUTS = 16  # the kernel takes them in such blocks


def group_of(weight: Tensor) -> int:
    """Layers that widen (an MLP's gate and up, about half of a model) suffer coarse groups better than the others."""
    outputs, inputs = weight.shape
    return GROUP if outputs >= 2 * inputs else GROUP // 2


def weight_codes(weight: Tensor) -> Codes:
    """uint8 [out, in / 2], two neighbours' codes of 0 to 15 in a byte, and bf16 [in / group, out, 2], scale and zero.

    By least squares: of each group the best of some spans, with codes, scale and zero fitted to each other.
    """
    groups = weight.detach().float().view(len(weight), -1, group_of(weight))
    best = torch.full((*groups.shape[:2], 1), torch.inf)
    codes, pair = torch.empty_like(groups), torch.empty(*groups.shape[:2], 2)
    for scale, zero in _spans(groups):
        for turn in range(1 + _FITS):
            tried = (groups - zero).div_(scale).add_(_MIDDLE).round_().clamp_(0, _CODES - 1).sub_(_MIDDLE)
            lost = (tried * scale).add_(zero).sub_(groups).square_().sum(2, keepdim=True)
            better = lost < best
            best = torch.where(better, lost, best)
            codes = torch.where(better, tried, codes)
            pair = torch.where(better, torch.cat([scale, zero], 2), pair)
            if turn < _FITS:
                scale, zero = _fitted(groups, tried, scale)
    low, high = codes.add_(_MIDDLE).view(len(weight), -1, 2).to(torch.uint8).unbind(2)
    return Codes(low | high << 4, pair.transpose(0, 1).contiguous().bfloat16())


def _spans(groups: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Scale and zero of spans around the middle of each group's own, as bf16 holds them."""
    least, most = groups.aminmax(dim=2, keepdim=True)
    for shrink in _SHRINKS:
        scale = (most - least).mul_(shrink / (_CODES - 1)).clamp_min_(_LEAST).bfloat16().float()
        yield scale, (most + least).mul_(0.5).add_(scale, alpha=0.5).bfloat16().float()


def _fitted(groups: Tensor, codes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The line through a group's weights over their codes; where all codes are one, the scale stays."""
    middle, mean = codes.mean(2, keepdim=True), groups.mean(2, keepdim=True)
    apart = codes - middle
    slope = (apart * groups).sum(2, keepdim=True) / apart.square().sum(2, keepdim=True)
    scale = torch.where(slope > _LEAST, slope, scale).bfloat16().float()  # a comparison with NaN is false
    return scale, (mean - scale * middle).bfloat16().float()


class Int4:
    """Its product."""

    def __init__(self, pairs: Tensor, scales: Tensor) -> None:
        codes = torch.stack([pairs & 15, pairs >> 4], dim=2).flatten(1).int()
        self._weight: Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
        self._scales, self._group = scales, codes.shape[1] // len(scales)

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(x, self._weight, self._group, self._scales)
        return out


class Int4Kernel:
    """torch's, a `torch_four_bits.Kernel`."""

    def fits(self, weight: Tensor) -> bool:
        return is_whole(weight, outputs=_OUTPUTS, inputs=GROUP)

    def codes(self, weight: Tensor) -> Codes:
        return weight_codes(weight)

    def product(self, made: Codes) -> Int4:
        return Int4(made.codes, made.scales)


def int4_packing(source: Source | None = None) -> FourBitPacking:
    """Raises QuantizationImpossible."""
    return FourBitPacking(Int4Kernel(), source)
