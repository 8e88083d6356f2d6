"""Where a quantized layer's codes come from: made of its weights now, or read from a file that holds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor


class Codes(NamedTuple):
    """Of the weights of one layer."""

    codes: Tensor
    scales: Tensor
    factors: Tensor | None = None  # that its activations are divided by: see torch_channels


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
        self.tensors |= {name: part for name, part in zip(_names(self._count), (*made, bias)) if part is not None}
        self._count += 1
        return made, bias


class CodesRead:
    """In that order again. The weights themselves are not there."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors
        self._count = 0

    def codes(self, weight: Tensor, bias: Tensor | None, encode: Encode) -> tuple[Codes, Tensor | None]:
        codes, scales, factors, kept = (self._tensors.pop(name, None) for name in _names(self._count))
        self._count += 1
        if codes is None or scales is None or (kept is None) != (bias is None) or len(codes) != len(weight):
            raise ValueError("the saved codes are not this model's: quantize it again")
        return Codes(codes, scales, factors), kept


def _names(number: int) -> tuple[str, str, str, str]:
    return f"{number}.codes", f"{number}.scales", f"{number}.factors", f"{number}.bias"
