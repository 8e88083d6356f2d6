"""What packings of four bits share: which layers they take, gate and up as one product, the rest in eight bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from services.inference.engine.torch_codes import Codes, Source
from services.inference.engine.torch_int8 import Int8Packing, both
from services.inference.engine.torch_linear import Fused, Mlp, Norm

Product = Callable[[Tensor], Tensor]  # [rows, in] to [rows, out]


class Kernel(Protocol):
    """What multiplies by weights of four bits: which of them it takes, their codes, and a product made of these."""

    def fits(self, weight: Tensor) -> bool: ...

    def codes(self, weight: Tensor) -> Codes: ...

    def product(self, made: Codes) -> Product: ...


class FourBits:
    """A `torch_linear.Fused` whose activations stay as they are."""

    def __init__(self, product: Product, bias: Tensor | None) -> None:
        self.product = product
        self._bias = None if bias is None else bias.detach().clone()

    def behind(self, norm: Norm) -> Norm:
        return norm

    def plain(self, x: Tensor) -> Tensor:
        out = self.product(x)
        return out if self._bias is None else out.add_(self._bias)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        return self.plain(x).add_(other)


class FourBitMlp:
    """gate and up are one product."""

    def __init__(self, both: Fused, down: Fused) -> None:
        self._both, self._down = both, down

    def behind(self, norm: Norm) -> Callable[[Tensor], Any]:
        return self._both.behind(norm)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        return self._down.plus(self.mixed(x), other)

    def mixed(self, x: Tensor) -> Tensor:
        gate, up = self.halves(x)
        return nn.functional.silu(gate).mul_(up)

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = self._both.plain(x).chunk(2, 1)
        return gate, up

    def down(self, mixed: Tensor, other: Tensor) -> Tensor:
        return self._down.plus(mixed, other)


class FourBitPacking(Int8Packing):
    """Embedding and head in eight bits, and so are layers whose sizes the kernel does not take."""

    def __init__(self, kernel: Kernel, source: Source | None = None) -> None:
        super().__init__(source)
        self._kernel = kernel

    def linear(
        self, weight: Tensor, bias: Tensor | None = None, *, factors: Tensor | None = None, uneven: bool = False
    ) -> Fused:
        if not self._kernel.fits(weight):
            return super().linear(weight, bias, factors=factors, uneven=uneven)
        return self._four(weight, bias)

    def mlp(self, gate: nn.Linear, up: nn.Linear, down: nn.Linear) -> Mlp:
        weights, biases = both(gate, up)
        if not (self._kernel.fits(weights) and self._kernel.fits(down.weight)):
            return super().mlp(gate, up, down)
        return FourBitMlp(self._four(weights, biases), self._four(down.weight, down.bias))

    def _four(self, weight: Tensor, bias: Tensor | None) -> FourBits:
        made, bias = self._source.codes(weight, bias, self._kernel.codes)
        return FourBits(self._kernel.product(made), bias)


def is_whole(weight: Tensor, *, outputs: int, inputs: int) -> bool:
    """In blocks of so many outputs, and groups of so many inputs."""
    return weight.shape[0] % outputs == 0 and weight.shape[1] % inputs == 0
