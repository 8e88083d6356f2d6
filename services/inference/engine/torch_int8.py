"""Linear layers in eight bits on a CPU: a scale for each output, and at every pass one for each row.

A row is measured by itself, and sums of whole numbers are exact, so batch mates change nothing, in any dtype.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from services.inference.engine.quantization import QuantizationImpossible
from services.inference.engine.torch_channels import crowded, factors
from services.inference.engine.torch_codes import Codes, CodesMade, Source
from services.inference.engine.torch_cpu import WEIGHT, most
from services.inference.engine.torch_int8_ends import Int8Embedding
from services.inference.engine.torch_linear import Fused, Mlp, Norm
from services.inference.engine.torch_packed import Packer, products
from services.inference.engine.torch_rows import MOST, CodingNorm, Rows, coded

_LEAST = 1e-30  # a row of zeros has a scale, too


def weight_codes(weight: Tensor, factors: Tensor | None = None, *, fine: bool = False) -> Codes:
    """int8 [out, in], float32 scales [out], and the factors."""
    full = weight.detach().float()
    if factors is not None:
        full = full * factors
    scales = full.abs().amax(1).clamp_min_(_LEAST).mul_(1 / WEIGHT)
    return Codes((full / scales[:, None]).round_().to(torch.int8), scales, factors, fine)


class Int8:
    """`torch_linear.Packed` in eight bits."""

    def __init__(self, weight: Tensor, made: Codes, bias: Tensor | None, dtype: torch.dtype) -> None:
        self._weight = weight
        self._shares = made.scales / MOST
        self.evened = None if made.factors is None else 1 / made.factors  # what inputs are multiplied with
        self._bias = None if bias is None else bias.detach().to(torch.float32, copy=True)
        self._dtype, self.fine = dtype, made.fine

    def behind(self, norm: Norm) -> CodingNorm:
        return CodingNorm(norm, self.evened, fine=self.fine)

    def plain(self, x: Tensor | Rows) -> Tensor:
        return self.sums(x).to(self._dtype)

    def plus(self, x: Tensor | Rows, other: Tensor) -> Tensor:
        return self.sums(x).add_(other).to(self._dtype)

    def sums(self, x: Tensor | Rows) -> Tensor:
        """In float32."""
        out = products(x if isinstance(x, Rows) else self._coded(x), self._weight, self._shares)
        return out if self._bias is None else out.add_(self._bias)

    def _coded(self, x: Tensor) -> Rows:
        return coded(x if self.evened is None else x.float() * self.evened, fine=self.fine)


class Int8Mlp:
    """gate and up are one product. What evens down's inputs out is in up's weights already."""

    def __init__(self, both: Int8, down: Int8) -> None:
        self._both, self._down = both, down

    def behind(self, norm: Norm) -> CodingNorm:
        return self._both.behind(norm)

    def plus(self, x: Rows, other: Tensor) -> Tensor:
        return self._down.plus(coded(self._evened(x), fine=self._down.fine), other)

    def mixed(self, x: Rows) -> Tensor:
        """In float32, which `down` needs to the last bit."""
        found, evened = self._evened(x), self._down.evened
        return found if evened is None else found / evened

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = self._both.sums(x).chunk(2, 1)
        evened = self._down.evened
        return gate.to(x.dtype), (up if evened is None else up / evened).to(x.dtype)

    def down(self, mixed: Tensor, other: Tensor) -> Tensor:
        return self._down.plus(mixed, other)

    def _evened(self, x: Rows) -> Tensor:
        gate, up = self._both.sums(x).chunk(2, 1)
        return nn.functional.silu(gate, inplace=True).mul_(up)


class Int8Packing:
    """A `torch_linear.Packing`."""

    def __init__(self, source: Source | None = None) -> None:
        """Raises QuantizationImpossible."""
        if not most():
            raise QuantizationImpossible(
                "quantization int8, int4 and nf4 cannot be had on this CPU, whose products of bytes are not exact: "
                "none can"
            )
        self._source = source or CodesMade()
        self._packer = Packer()

    def linear(
        self, weight: Tensor, bias: Tensor | None = None, *, factors: Tensor | None = None, uneven: bool = False
    ) -> Fused:
        return self._eight(weight, bias, factors, uneven)

    def mlp(self, gate: nn.Linear, up: nn.Linear, down: nn.Linear) -> Mlp:
        even = factors(down)
        last = self._eight(down.weight, down.bias, even, crowded(down))
        weights, biases = both(gate, up, even)
        return Int8Mlp(self._eight(weights, biases, factors(gate, up), False), last)

    def ends(
        self, embedding: Tensor, head: Tensor | None, *, factors: Tensor | None = None
    ) -> tuple[Int8Embedding, Int8Embedding]:
        if head is None:
            first = self._end(embedding, factors)
            return first, first
        return self._end(embedding, None), self._end(head, factors)

    def _eight(self, weight: Tensor, bias: Tensor | None, factors: Tensor | None, fine: bool) -> Int8:
        made, bias = self._source.codes(weight, bias, partial(weight_codes, factors=factors, fine=fine))
        return Int8(self._packer(made.codes, *weight.shape), made, bias, weight.dtype)

    def _end(self, weight: Tensor, factors: Tensor | None) -> Int8Embedding:
        made, _ = self._source.codes(weight, None, partial(weight_codes, factors=factors))
        return Int8Embedding(self._packer(made.codes, *weight.shape), made, weight.dtype)


def both(gate: nn.Linear, up: nn.Linear, even: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Weights and biases of the two as one layer, the outputs of `up` divided by `even`, powers of two."""
    weight, bias = up.weight.detach(), None if up.bias is None else up.bias.detach()
    if even is not None:
        divisor = even.to(weight.dtype)
        weight, bias = weight / divisor[:, None], None if bias is None else bias / divisor
    biases = None if bias is None else torch.cat([gate.bias.detach(), bias])
    return torch.cat([gate.weight.detach(), weight]), biases
