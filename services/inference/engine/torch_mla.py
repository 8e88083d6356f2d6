"""Multi-head latent attention (DeepSeek) in the absorbed form: over the latents as they are cached.

With W = `kv_b_proj` in its key part K and value part V, a head's score is q·(K c) = (Kᵀ q)·c and its output is
Σ p (V c) = V (Σ p c). So the small query and output go through W, and the cache of c, shared by all heads, is read as
it lies. transformers (5.23) applies W to the whole context at every token. See DeepSeek-V2, arXiv 2405.04434, 2.1.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from services.inference.engine.torch_attention import AttentionChoice

LATENT = "strongroom_latent"

_HEAD_ROWS = 8  # query rows, of several heads, that read the latents together; more would leave cores idle
_ROW_GRAIN = 4  # rows of a matrix product come in fours: then a row's bits depend on nothing but the row
_MOST_QUERIES = 128  # in a longer chunk expanding costs less (measured at V2-Lite's sizes, 1,024 tokens of context)

Attend = Callable[..., tuple[Tensor, Any]]


def absorb(
    model: nn.Module, choice: AttentionChoice, *, exact: bool, most_queries: int = _MOST_QUERIES
) -> AttentionChoice:
    """Turns the model's latent attention layers over; the choice as it was for a model that has none.

    `exact`: a token gets the same bits however its prompt is cut, so that no chunk is ever expanded and the expansion
    is dropped from the model. Layers whose weights are not in memory (offloaded) stay as they are.
    """
    layers = [layer for layer in model.modules() if _is_latent(layer)]
    for layer in layers:
        _turn(layer, keep_expansion=not exact)
    if not layers:
        return choice
    known: Any = AttentionInterface()  # type: ignore[no-untyped-call]
    inner = known[choice.implementation]
    AttentionInterface.register(LATENT, LatentAttention(inner, math.inf if exact else most_queries))
    AttentionMaskInterface.register(LATENT, sdpa_mask)
    return replace(choice, implementation=LATENT, name=f"{choice.name}, latent")


def _is_latent(layer: Any) -> bool:
    projection = getattr(layer, "kv_b_proj", None)
    return (
        hasattr(layer, "expand_kv")
        and isinstance(projection, nn.Linear)
        and projection.bias is None
        and projection.weight.device.type != "meta"
    )


def _turn(layer: Any, *, keep_expansion: bool) -> None:
    layer.absorbed = Absorbed(layer)
    layer.expand_kv = _as_cached
    if not keep_expansion:
        layer.kv_b_proj = nn.Identity()


def _as_cached(latents: Tensor, ropes: Tensor) -> tuple[Tensor, Tensor]:
    return latents, ropes


class Absorbed:
    """One layer's `kv_b_proj`, by heads. Views of its weight."""

    def __init__(self, layer: Any) -> None:
        key_size, value_size = layer.qk_nope_head_dim, layer.v_head_dim
        by_head = layer.kv_b_proj.weight.detach().view(-1, key_size + value_size, layer.kv_lora_rank)
        key, value = by_head.split([key_size, value_size], dim=1)
        self._key, self._value = key, value.transpose(1, 2)  # [heads, in, out]
        self._key_size, self._rank = key_size, layer.kv_lora_rank

    def attend(self, query: Tensor, latents: Tensor, ropes: Tensor, bias: Tensor, scaling: float) -> Tensor:
        """[rows, queries, heads, value size]; the cache is [rows, 1, view, …]."""
        rows, heads, queries, _ = query.shape
        plain, rotated = torch.split(query, [self._key_size, query.shape[-1] - self._key_size], dim=-1)
        wanted = torch.cat([_by_head(plain, self._key), rotated], dim=-1)
        together = _together(heads, queries)
        lines = together * queries
        wanted = wanted.reshape(rows, heads // together, lines, -1)
        bias = bias if together == 1 else bias.unsqueeze(2).expand(-1, -1, together, -1, -1).flatten(2, 3)
        if missing := -lines % _ROW_GRAIN:
            wanted, bias = (nn.functional.pad(each, (0, 0, 0, missing)) for each in (wanted, bias))
        cached = side_by_side(latents, ropes).expand(-1, heads // together, -1, -1)
        # As values too: the kernel wants keys and values of one size, and the last columns are cut off.
        out = nn.functional.scaled_dot_product_attention(wanted, cached, cached, attn_mask=bias, scale=scaling)
        out = out[:, :, :lines, : self._rank].reshape(rows, heads, queries, self._rank)
        return _by_head(out, self._value).transpose(1, 2).contiguous()


class LatentAttention:
    """For transformers' registry: absorbed where a layer is turned over and the chunk short, else `inner`."""

    def __init__(self, inner: Attend, most_queries: float) -> None:
        self._inner, self._most_queries = inner, most_queries

    def __call__(
        self,
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        **options: Any,
    ) -> tuple[Tensor, Any]:
        absorbed: Absorbed | None = getattr(module, "absorbed", None)
        if absorbed is not None and query.shape[2] <= self._most_queries:
            if attention_mask is None or scaling is None:
                raise ValueError("latent attention needs the slot cache, its mask and a scale")
            return absorbed.attend(query, key, value, attention_mask, scaling), None
        if absorbed is not None:
            key, value = type(module).expand_kv(module, key, value)
        return self._inner(module, query, key, value, attention_mask, scaling=scaling, **options)


def side_by_side(latents: Tensor, ropes: Tensor) -> Tensor:
    """Both as one tensor: without a copy where the cache keeps them as the two halves of one."""
    size = latents.shape[-1] + ropes.shape[-1]
    behind = latents.data_ptr() + latents.shape[-1] * latents.itemsize
    if ropes.data_ptr() == behind and ropes.stride() == latents.stride() and latents.stride(-2) == size:
        return latents.as_strided((*latents.shape[:-1], size), latents.stride())
    return torch.cat([latents, ropes], dim=-1)


def _by_head(x: Tensor, weight: Tensor) -> Tensor:
    """[rows, heads, queries, in] times [heads, in, out]."""
    rows, heads, queries, _ = x.shape
    count = rows * queries
    flat = x.transpose(0, 1).reshape(heads, count, -1)
    flat = nn.functional.pad(flat, (0, 0, 0, -count % _ROW_GRAIN))
    return torch.bmm(flat, weight)[:, :count].view(heads, rows, queries, -1).transpose(0, 1)


def _together(heads: int, queries: int) -> int:
    """How many heads' rows lie in one matrix."""
    most = max(_HEAD_ROWS // queries, 1)
    return max(count for count in range(1, min(most, heads) + 1) if heads % count == 0)
