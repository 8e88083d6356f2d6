"""Linear layers whose rows do not know each other: a row's result has the same bits whatever else is in the batch.

MKL, behind `torch.nn.Linear` in fp32 on CPU, picks its kernel by the number of rows, so one request's logits change
in the last bits when another joins. oneDNN on a weight packed once does not, and is faster (measured, not promised:
`rows_are_independent` checks it at start on the layers that will run). The operators are internal to torch, hence the
fallback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

TRIED_ROWS = (1, 2, 3, 5, 8, 16, 33, 64)  # row counts that took different MKL kernels


class PackedLinear(nn.Module):
    """oneDNN on a weight reordered once. Holds no parameter: inference only."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), 16)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)
        count = len(rows)
        if count == 1 and x.dtype is torch.float32:
            # One row alone takes a kernel that adds up in another order where the inner size is above about 1,000.
            rows = nn.functional.pad(rows, (0, 0, 0, 1))
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.packed, self.bias, "none", [], "")[:count]
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
    except (AttributeError, RuntimeError, NotImplementedError):  # the operator is not in this build
        return False


def _replace(model: nn.Module, wrap: Callable[[nn.Linear], nn.Module]) -> None:
    for parent, name, layer in _linears(model):
        setattr(parent, name, wrap(layer))
