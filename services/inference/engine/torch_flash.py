"""flash-attn over the slot cache. The only file that imports flash_attn; chosen only where it and a GPU are there."""

from __future__ import annotations

from typing import Any

import torch
from flash_attn import flash_attn_with_kvcache  # type: ignore[import-not-found, unused-ignore]
from torch import Tensor


def flash_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Rows of different lengths by `cache_seqlens`; `causal` is aligned to the last key, as chunked prefill needs."""
    if attention_mask is None:
        raise ValueError("flash attention over the slot cache needs the cache's mask")
    # The last query of a row sees exactly the row's tokens: their number is the row's length.
    lengths = (attention_mask[:, 0, -1] == 0).sum(-1, dtype=torch.int32)
    out = flash_attn_with_kvcache(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        cache_seqlens=lengths,
        softmax_scale=scaling,
        causal=True,
    )
    return out, None
