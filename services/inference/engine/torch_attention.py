"""Attention over the slot cache: which implementation, why, and the one for CPU whose rows do not know each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ROW_EXACT = "strongroom_row_exact"
FLASH = "strongroom_flash"

# torch's CPU kernel walks keys in blocks of 512 and picks matmul kernels by the sizes at hand. With whole blocks and
# query rows in fours a row's bits depend on nothing but the row: measured, and held by the tests of invariant 11.
VIEW_TOKENS = 512
QUERY_ROWS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionChoice:
    implementation: str  # what transformers is told
    name: str  # what people are told
    reason: str
    view_tokens: int  # the visible part of the cache is a multiple of this


def choose_attention(
    *, device_type: str, dtype: torch.dtype, same_head_sizes: bool, flash_attn: bool, sliding: bool = False
) -> AttentionChoice:
    """flash-attn where package and GPU are there and the model fits it, else SDPA."""
    if device_type == "cpu":
        return AttentionChoice(
            implementation=ROW_EXACT, name="sdpa", reason="flash-attn needs a GPU", view_tokens=VIEW_TOKENS
        )
    blocked = [
        (device_type != "cuda", f"flash-attn does not run on {device_type}"),
        (not flash_attn, "the flash-attn package is not installed"),
        (dtype not in (torch.float16, torch.bfloat16), f"flash-attn does not compute in {dtype}"),
        (sliding, "flash-attn's windows are not used over the slot cache"),
        (not same_head_sizes, "flash-attn's cache kernel needs keys and values of one size"),
    ]
    for applies, reason in blocked:
        if applies:
            return AttentionChoice(implementation="sdpa", name="sdpa", reason=reason, view_tokens=64)
    return AttentionChoice(implementation=FLASH, name="flash-attn", reason="package and GPU are there", view_tokens=64)


def install(choice: AttentionChoice) -> None:
    """Make our functions known to transformers, by its public registries."""
    if choice.implementation == ROW_EXACT:
        AttentionInterface.register(ROW_EXACT, RowExactAttention())
        AttentionMaskInterface.register(ROW_EXACT, sdpa_mask)
    elif choice.implementation == FLASH:
        from services.inference.engine.torch_flash import flash_attention  # fails where flash_attn is missing

        AttentionInterface.register(FLASH, flash_attention)
        AttentionMaskInterface.register(FLASH, sdpa_mask)


def causal_bias(positions: Tensor, view: int, dtype: torch.dtype) -> Tensor:
    """[rows, 1, queries, view]: 0 where a query at its position may look, else minus infinity."""
    hidden = torch.arange(view, device=positions.device) > positions[:, None, :, None]
    return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(hidden, float("-inf"))


class RowExactAttention:
    """SDPA with the query heads that share a key head laid side by side as rows (no copy of the cache for GQA)."""

    def __init__(self) -> None:
        self._packed: list[tuple[Tensor, Tensor]] = []

    def __call__(
        self,
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        **unused: Any,
    ) -> tuple[Tensor, None]:
        if attention_mask is None or key.shape[2] % VIEW_TOKENS:
            raise ValueError("row-exact attention needs the slot cache and its mask")
        if unused.get("softcap") is not None:
            raise ValueError("row-exact attention has no soft cap")
        rows, heads, queries, size = query.shape
        groups = heads // key.shape[1]
        packed = query.reshape(rows, key.shape[1], groups * queries, size)
        missing = -packed.shape[2] % QUERY_ROWS
        packed = torch.nn.functional.pad(packed, (0, 0, 0, missing))
        width = value.shape[-1]
        if width != size:  # the blocked kernel wants one size (MLA has two)
            value = torch.nn.functional.pad(value, (0, size - width))
        bias = self._pack(attention_mask, groups, missing)
        out = torch.nn.functional.scaled_dot_product_attention(packed, key, value, attn_mask=bias, scale=scaling)
        out = out[:, :, : groups * queries, :width].reshape(rows, heads, queries, width)
        return out.transpose(1, 2).contiguous(), None

    def _pack(self, bias: Tensor, groups: int, missing: int) -> Tensor:
        """All layers of a kind bring the same mask: pack it once. A sliding window is in the mask already."""
        for known, packed in self._packed:
            if known is bias:
                return packed
        packed = torch.nn.functional.pad(bias.repeat(1, 1, groups, 1), (0, 0, 0, missing))
        self._packed = [*self._packed[-1:], (bias, packed)]  # two kinds of layers are all that a model has
        return packed
