"""Where a quantized layer's codes come from: made of its weights now, or read from a file that holds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from services.inference.engine.torch_packed import kept


class Codes(NamedTuple):
    """Of the weights of one layer."""

    codes: Tensor
    scales: Tensor
    factors: Tensor | None = None  # that its activations are divided by: see torch_channels
    fine: bool = False  # its activations have two bytes


Encode = Callable[[Tensor], Codes]


class Source(Protocol):
    def codes(self, weight: Tensor, bias: Tensor | None, encode: Encode) -> tuple[Codes, Tensor | None]: ...


class CodesMade:
    """Made now."""

    def codes(self, weight: Tensor, bias: Tensor | None, encode: Encode) -> tuple[Codes, Tensor | None]:
        return encode(weight), bias


class CodesKept(CodesMade):
    """Made now, and kept in the order in which a model is put together."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._count = 0

    def codes(self, weight: Tensor, bias: Tensor | None, encode: Encode) -> tuple[Codes, Tensor | None]:
        made, bias = super().codes(weight, bias, encode)
        codes = kept(made.codes) if made.codes.dtype is torch.int8 else made.codes
        fine = torch.ones(1, dtype=torch.uint8) if made.fine else None
        parts = zip(_names(self._count), (codes, made.scales, made.factors, fine, bias))
        self.tensors |= {name: part for name, part in parts if part is not None}
        self._count += 1
        return made, bias


class CodesRead:
    """In that order again. The weights themselves are not there."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors
        self._count = 0

    def codes(self, weight: Tensor, bias: Tensor | None, encode: Encode) -> tuple[Codes, Tensor | None]:
        codes, scales, factors, fine, told = (self._tensors.pop(name, None) for name in _names(self._count))
        self._count += 1
        if codes is None or scales is None or (told is None) != (bias is None) or not _fits(codes, weight):
            raise ValueError("the saved codes are not this model's: quantize it again")
        return Codes(codes, scales, factors, fine is not None), told


def _fits(codes: Tensor, weight: Tensor) -> bool:
    return len(codes) == len(weight) if codes.ndim > 1 else codes.numel() >= weight.numel()


def _names(number: int) -> list[str]:
    return [f"{number}.{part}" for part in ("codes", "scales", "factors", "fine", "bias")]
