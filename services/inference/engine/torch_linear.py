"""Linear layers whose rows do not know each other: a row's result has the same bits whatever else is in the batch.

MKL, behind `torch.nn.Linear` in fp32 on CPU, picks its kernel by the number of rows, so one request's logits change
in the last bits when another joins. oneDNN on a weight packed once does not, and is faster (measured, not promised:
`rows_are_independent` checks it at start on the layers that will run). The operators are internal to torch, hence the
fallback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from services.inference.engine.torch_cpu import NO_OPERATOR

log = logging.getLogger(__name__)

_PACKING_ROWS = 16  # a hint for the layout: measured, it makes no difference between 1 and 256
TRIED_ROWS = (1, 2, 3, 5, 8, 16, 33, 64)  # row counts that took different MKL kernels


@dataclass(frozen=True, slots=True)
class Norm:
    """Root mean square norm over the last dimension."""

    weight: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class Fused(Protocol):
    """A linear layer. [rows, in], or what `behind` makes of it, to [rows, out]."""

    def behind(self, norm: Norm) -> Callable[[Tensor], Any]:
        """The norm, and whatever the layer does to its result before it is multiplied."""
        ...

    def plain(self, x: Any) -> Tensor: ...

    def plus(self, x: Any, other: Tensor) -> Tensor: ...


class Mlp(Protocol):
    """down(silu(gate) × up), whole, or in the parts that an adapter changes."""

    def behind(self, norm: Norm) -> Callable[[Tensor], Any]: ...

    def plus(self, x: Any, other: Tensor) -> Tensor: ...

    def mixed(self, x: Any) -> Tensor:
        """silu(gate) × up."""
        ...

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """gate and up, of rows as the norm leaves them."""
        ...

    def down(self, mixed: Tensor, other: Tensor) -> Tensor: ...


class Embedding(Protocol):
    """Token ids to vectors."""

    weight: Tensor  # numbers, [vocabulary, hidden], or their codes
    vocabulary: int

    def __call__(self, ids: Tensor) -> Tensor: ...


class Head(Protocol):
    """[rows, hidden] to logits."""

    def behind(self, norm: Norm) -> Callable[[Tensor], Any]: ...

    def plain(self, x: Any) -> Tensor: ...


class Packing(Protocol):
    """How the weights of a decoder lie in memory."""

    def linear(
        self, weight: Tensor, bias: Tensor | None = None, *, factors: Tensor | None = None, uneven: bool = False
    ) -> Fused:
        """`factors`: [in], that even its input channels out (torch_channels). `uneven`: others stand out in each row,
        which is not evened out."""
        ...

    def mlp(self, gate: nn.Linear, up: nn.Linear, down: nn.Linear) -> Mlp: ...

    def ends(self, embedding: Tensor, head: Tensor | None, *, factors: Tensor | None = None) -> tuple[Embedding, Head]:
        """No head: the embedding is it, too. `factors`: of the head's input channels."""
        ...


class Packed:
    """A linear layer of oneDNN on a weight reordered once, with what follows the product fused into it."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _PACKING_ROWS)
        self._bias = None if bias is None else bias.detach().clone()
        # In fp32 oneDNN splits a lone row's sums among the cores: other bits than the same row gets in company.
        self._pairs = weight.dtype is torch.float32

    def behind(self, norm: Norm) -> Norm:
        return norm

    def plain(self, x: Tensor) -> Tensor:
        return self._product(x, "none")

    def silu(self, x: Tensor) -> Tensor:
        return self._product(x, "swish")

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        return self._joined(x, other, "mul")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        return self._joined(x, other, "add")

    def _product(self, x: Tensor, then: str) -> Tensor:
        rows = len(x)
        if rows == 1 and self._pairs:
            x = x.repeat(2, 1)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, then, [], "")
        return out[:rows]

    def _joined(self, x: Tensor, other: Tensor, how: str) -> Tensor:
        rows = len(x)
        if rows == 1 and self._pairs:
            x, other = x.repeat(2, 1), other.repeat(2, 1)
        out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, how)
        return out[:rows]


class PackedMlp:
    """Its activation and its product, each as oneDNN's while a matrix product is still in the cache."""

    def __init__(self, gate: Packed, up: Packed, down: Packed) -> None:
        self._gate, self._up, self._down = gate, up, down

    def behind(self, norm: Norm) -> Norm:
        return norm

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        return self._down.plus(self.mixed(x), other)

    def mixed(self, x: Tensor) -> Tensor:
        return self._up.times(x, self._gate.silu(x))

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._gate.plain(x), self._up.plain(x)

    def down(self, mixed: Tensor, other: Tensor) -> Tensor:
        return self._down.plus(mixed, other)


class PlainEmbedding:
    """The numbers as they are, in memory of their own: a view of a mapped file would hold all of it."""

    def __init__(self, weight: Tensor) -> None:
        self.weight, self.vocabulary = weight.detach().clone(), len(weight)

    def __call__(self, ids: Tensor) -> Tensor:
        return nn.functional.embedding(ids, self.weight)


class PlainPacking:
    """In the model's own dtype. A tied head lies in memory a second time, packed."""

    def linear(
        self, weight: Tensor, bias: Tensor | None = None, *, factors: Tensor | None = None, uneven: bool = False
    ) -> Fused:
        return Packed(weight, bias)

    def mlp(self, gate: nn.Linear, up: nn.Linear, down: nn.Linear) -> PackedMlp:
        return PackedMlp(*(Packed(linear.weight, linear.bias) for linear in (gate, up, down)))

    def ends(self, embedding: Tensor, head: Tensor | None, *, factors: Tensor | None = None) -> tuple[Embedding, Head]:
        return PlainEmbedding(embedding), Packed(embedding if head is None else head)


class PackedLinear(nn.Module):
    """`Packed` in the place of a module. Holds no parameter: inference only."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._packed = Packed(linear.weight, linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        out = self._packed.plain(x.reshape(-1, self.in_features))
        return out.view(*x.shape[:-1], self.out_features)


class PaddedLinear(nn.Module):
    """The fallback: MKL gives every row count that is a multiple of 4 the same bits (measured on AVX2)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.linear.in_features)
        missing = -len(rows) % 4
        out: Tensor = self.linear(nn.functional.pad(rows, (0, 0, 0, missing)))[: len(rows)]
        return out.view(*x.shape[:-1], self.linear.out_features)


def rows_are_independent(layer: Callable[[Tensor], Tensor], in_features: int, dtype: torch.dtype) -> bool:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(max(TRIED_ROWS), in_features, generator=generator).to(dtype)
    whole = layer(x)
    return all(torch.equal(layer(x[-count:]), whole[-count:]) for count in TRIED_ROWS)


def replace_linears(model: nn.Module) -> str:
    """Make the model's linear layers row-independent; returns how: packed, padded or plain (= could not)."""
    for how, wrap in (("packed", PackedLinear), ("padded", PaddedLinear)):
        if _holds(model, wrap):
            _replace(model, wrap)
            return how
    log.warning("no row-independent linear layer on this machine: batch mates may change the last bits")
    return "plain"


def _linears(model: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    return [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear
    ]


def _holds(model: nn.Module, wrap: Callable[[nn.Linear], nn.Module]) -> bool:
    """Try one layer of each shape."""
    shapes = {(layer.in_features, layer.out_features): layer for _, _, layer in _linears(model)}
    try:
        return all(
            rows_are_independent(wrap(layer), layer.in_features, layer.weight.dtype) for layer in shapes.values()
        )
    except NO_OPERATOR:
        return False


def _replace(model: nn.Module, wrap: Callable[[nn.Linear], nn.Module]) -> None:
    for parent, name, layer in _linears(model):
        setattr(parent, name, wrap(layer))
