"""What flash-attn's two functions compute, by their documented signatures (2.8), slowly and on any device.

Shapes, types and lengths are asserted as the kernels demand them: what passes here may still be slow there, but is not
misread. Only the arguments that the suite uses are computed; the others must keep their defaults.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
MOST_HEAD_SIZE = 256


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
) -> Tensor:
    """Sequences one after the other, [tokens, heads, size], cut at `cu_seqlens`."""
    assert dropout_p == 0.0 and window_size == (-1, -1) and softcap == 0.0
    _check_heads(q, k, v)
    for lengths, most, packed in ((cu_seqlens_q, max_seqlen_q, q), (cu_seqlens_k, max_seqlen_k, k)):
        assert packed.dim() == 3 and lengths.dtype == torch.int32 and lengths.dim() == 1
        ends = lengths.tolist()
        assert ends[0] == 0 and ends[-1] == len(packed), "cu_seqlens starts at 0 and ends at the number of tokens"
        sizes = [after - before for before, after in itertools.pairwise(ends)]
        assert min(sizes) >= 0 and max(sizes) <= most, "a sequence is longer than the longest that was named"
    assert len(cu_seqlens_q) == len(cu_seqlens_k)
    pieces = [
        _attended(q[slice(*queries)], k[slice(*keys)], v[slice(*keys)], softmax_scale, causal)
        for queries, keys in zip(
            itertools.pairwise(cu_seqlens_q.tolist()), itertools.pairwise(cu_seqlens_k.tolist()), strict=True
        )
    ]
    return torch.cat(pieces)


def flash_attn_with_kvcache(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    k: Tensor | None = None,
    v: Tensor | None = None,
    cache_seqlens: Tensor | None = None,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
) -> Tensor:
    """Rows of a cache, [rows, tokens, heads, size], each valid up to its length: the newest queries are its last."""
    assert k is None and v is None and window_size == (-1, -1) and softcap == 0.0
    _check_heads(q, k_cache, v_cache)
    rows, queries = q.shape[:2]
    assert q.dim() == k_cache.dim() == v_cache.dim() == 4 and len(k_cache) == len(v_cache) == rows
    assert cache_seqlens is not None and cache_seqlens.dtype == torch.int32 and cache_seqlens.shape == (rows,)
    lengths = cache_seqlens.tolist()
    assert all(queries <= length <= k_cache.shape[1] for length in lengths), "a row is longer than its cache"
    return torch.stack(
        [
            _attended(q[row], k_cache[row, :length], v_cache[row, :length], softmax_scale, causal)
            for row, length in enumerate(lengths)
        ]
    )


def _check_heads(q: Tensor, k: Tensor, v: Tensor) -> None:
    assert q.dtype == k.dtype == v.dtype and q.dtype in HALF, "flash-attn computes in fp16 and bf16 only"
    assert q.device == k.device == v.device
    assert q.shape[-1] == k.shape[-1] == v.shape[-1] <= MOST_HEAD_SIZE, "one head size, at most 256"
    assert k.shape[:-1] == v.shape[:-1] and q.shape[-2] % k.shape[-2] == 0, "query heads are a multiple of key heads"
    assert all(tensor.stride(-1) == 1 for tensor in (q, k, v)), "the last dimension is contiguous"


def _attended(q: Tensor, k: Tensor, v: Tensor, scale: float | None, causal: bool) -> Tensor:
    """One sequence, [tokens, heads, size], in fp32; `causal` is aligned to the last key."""
    groups = q.shape[1] // k.shape[1]
    queries, keys, values = (tensor.transpose(0, 1).float() for tensor in (q, k, v))
    keys, values = keys.repeat_interleave(groups, 0), values.repeat_interleave(groups, 0)
    scores = queries @ keys.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        visible = torch.ones(len(q), len(k), dtype=torch.bool, device=q.device).tril(len(k) - len(q))
        scores = scores.masked_fill(~visible, float("-inf"))
    return (scores.softmax(-1) @ values).transpose(0, 1).to(q.dtype)
