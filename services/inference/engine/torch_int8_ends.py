"""Embedding and head in eight bits; where the two are tied, their codes lie in memory once, packed for the products."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from services.inference.engine.torch_codes import Codes
from services.inference.engine.torch_linear import Norm
from services.inference.engine.torch_packed import blocks, memory, plain_codes, products, rows
from services.inference.engine.torch_rows import MOST, CodingNorm, Rows, coded


class Int8Embedding:
    """An embedding, a head, or both."""

    def __init__(self, weight: Tensor, made: Codes, dtype: torch.dtype) -> None:
        """`weight`: the codes packed. Where the layout is not known, codes lie beside it as they are."""
        self.vocabulary, inputs = len(made.scales), weight.shape[0]
        self._packed, self._scales, self._dtype = weight, made.scales, dtype
        self.weight = _readable(weight, made.codes, self.vocabulary, inputs)
        self._shares = made.scales / MOST
        self._even = None if made.factors is None else 1 / made.factors
        # Unless its inputs are evened out two bytes of them count: with one, 2 % more of SmolLM2's choices were others.
        self._fine = made.factors is None

    def __call__(self, ids: Tensor) -> Tensor:
        codes = self.weight[ids] if self.weight.ndim == 2 else rows(self.weight, ids)
        found = codes * self._scales[ids, None]
        return (found if self._even is None else found.mul_(self._even)).to(self._dtype)

    def behind(self, norm: Norm) -> Callable[[Tensor], Rows]:
        return CodingNorm(norm, self._even, fine=self._fine)

    def plain(self, x: Tensor | Rows) -> Tensor:
        """Logits, in float32."""
        return products(x if isinstance(x, Rows) else self._coded(x), self._packed, self._shares)

    def _coded(self, x: Tensor) -> Rows:
        return coded(x if self._even is None else x.float() * self._even, fine=self._fine)


def _readable(weight: Tensor, codes: Tensor, outputs: int, inputs: int) -> Tensor:
    """The packed weight's own memory, if some outputs' codes lie there as they are known to; else the codes."""
    found, some = memory(weight), torch.arange(0, outputs, max(outputs // 200, 1))
    if found is not None:
        expected = codes[some] if codes.ndim == 2 else rows(blocks(codes, outputs, inputs), some)
        if torch.equal(rows(blocks(found, outputs, inputs), some), expected):
            return blocks(found, outputs, inputs)
    return plain_codes(codes, outputs, inputs)
