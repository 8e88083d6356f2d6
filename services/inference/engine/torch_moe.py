"""Mixture-of-experts layers whose rows do not know each other: a token's result has the same bits in any batch.

Which tokens an expert gets depends on the batch, and MKL picks its kernel by their number: so every product here has
its rows in fours, as in `torch_linear.PaddedLinear`. In transformers' own grouped product it does not hold.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from services.inference.engine.torch_linear import Packing

ROW_EXACT_EXPERTS = "strongroom_row_exact"

_ROW_GRAIN = 4


class PaddedRouter(nn.Module):
    """Chooses the experts of whole fours of rows."""

    def __init__(self, router: nn.Module) -> None:
        super().__init__()
        self.router = router

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        rows = hidden.reshape(-1, hidden.shape[-1])
        return tuple(each[: len(rows)] for each in self.router(_in_fours(rows)))


def separate_rows(model: Any) -> int:
    """Turns the model's expert layers over, all or none; returns how many there were."""
    layers = [layer for layer in model.modules() if hasattr(layer, "experts") and hasattr(layer, "gate")]
    if not layers or not all(_is_plain(layer.experts) for layer in layers):
        return 0
    ALL_EXPERTS_FUNCTIONS.register(ROW_EXACT_EXPERTS, row_exact_experts)
    model.set_experts_implementation(ROW_EXACT_EXPERTS)
    for layer in layers:
        layer.gate = PaddedRouter(layer.gate)
    return len(layers)


def row_exact_experts(experts: Any, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """[rows, hidden] through each row's chosen experts; summed in the order of their numbers, whatever the batch."""
    out = torch.zeros_like(hidden)
    apply = _plain_expert if experts.gate_up_proj is not None else _packed_expert
    for number in sorted(set(chosen.flatten().tolist())):
        row, place = torch.where(chosen == number)
        result = apply(experts, number, hidden[row])
        out.index_add_(0, row, (result * weights[row, place, None]).to(out.dtype))
    return out


def pack_experts(experts: Any, packing: Packing) -> None:
    """Holds each expert's two products as `packing` does, and leaves the module without its weights."""
    experts.packed = []
    for gate_up, down in zip(experts.gate_up_proj.detach(), experts.down_proj.detach(), strict=True):
        experts.packed.append((packing.linear(gate_up), packing.linear(down, uneven=True)))
    experts.gate_up_proj = experts.down_proj = None


def _plain_expert(experts: Any, number: int, x: Tensor) -> Tensor:
    gate_up = nn.functional.linear(_in_fours(x), experts.gate_up_proj[number])
    return nn.functional.linear(experts._apply_gate(gate_up), experts.down_proj[number])[: len(x)]


def _packed_expert(experts: Any, number: int, x: Tensor) -> Tensor:
    gate_up, down = experts.packed[number]
    out: Tensor = down.plain(experts._apply_gate(gate_up.plain(x)))
    return out


def _is_plain(experts: Any) -> bool:
    """Gate and up side by side, no bias, weights as [expert, out, in]: DeepSeek's, Qwen's and Mixtral's."""
    return (
        all(hasattr(experts, name) for name in ("gate_up_proj", "down_proj", "_apply_gate"))
        and experts.has_gate
        and experts.is_concatenated
        and not (experts.has_bias or experts.is_transposed or experts.has_post_expert_norm)
    )


def _in_fours(rows: Tensor) -> Tensor:
    return nn.functional.pad(rows, (0, 0, 0, -len(rows) % _ROW_GRAIN))
