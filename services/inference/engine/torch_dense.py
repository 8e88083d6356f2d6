"""The decoder of Llama-like models on a CPU, flat and fused: all tokens of a pass side by side, whosever they are.

transformers loads the model and says what it computes; this runs the same layers with what a CPU is good at: weights
packed once for oneDNN, its activation, product and residual sums done while a matrix product is still in the cache,
one matrix product for query, key and value, and no padding: a pass of 16 newest tokens and a chunk of 100 has 116 rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from services.inference.engine.batch import Segment
from services.inference.engine.torch_adapters import AdapterSet
from services.inference.engine.torch_channels import factors
from services.inference.engine.torch_cpu import NO_OPERATOR, has_bfloat16
from services.inference.engine.torch_dense_attention import Attention
from services.inference.engine.torch_linear import (
    TRIED_ROWS,
    Embedding,
    Head,
    Norm,
    Packing,
    PlainPacking,
    rows_are_independent,
)
from services.inference.engine.torch_slots import SlotCache
from services.inference.engine.torch_spans import FILLED_ROWS, Spans

# Model classes of transformers whose layers are the ones below.
_KNOWN = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
_PLAIN = PlainPacking()


class Layer:
    """One decoder layer, made from transformers' and leaving that one without its weights."""

    def __init__(self, layer: Any, packing: Packing, heads: int, key_heads: int, size: int) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._turned = heads + key_heads  # heads that are rotated: the queries', then the keys'
        self._heads, self._key_heads, self._size = heads, key_heads, size
        projections = [attention.q_proj, attention.k_proj, attention.v_proj]
        biases = [projection.bias for projection in projections]
        self._qkv = packing.linear(
            torch.cat([projection.weight for projection in projections]),
            None if biases[0] is None else torch.cat(biases),
            factors=factors(*projections),
        )
        self._out = packing.linear(attention.o_proj.weight, attention.o_proj.bias)
        self._mlp = packing.mlp(mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        self._before, self._after = _norm(layer.input_layernorm), _norm(layer.post_attention_layernorm)
        self._to_attention, self._to_mlp = self._qkv.behind(self._before), self._mlp.behind(self._after)
        self._query_norm = _norm(attention.q_norm) if hasattr(attention, "q_norm") else None
        self._key_norm = _norm(attention.k_norm) if hasattr(attention, "k_norm") else None
        _empty(layer)

    def __call__(self, x: Tensor, turn: Turn, attention: Attention, number: int) -> Tensor:
        """[tokens, hidden] to the same."""
        qkv = self._qkv.plain(self._to_attention(x)).view(len(x), -1, self._size)
        turned = turn(self._normed(qkv[:, : self._turned]))
        seen = attention(number, turned[:, : self._heads], turned[:, self._heads :], qkv[:, self._turned :])
        x = self._out.plus(seen, x)
        return self._mlp.plus(self._to_mlp(x), x)

    def adapted(self, x: Tensor, turn: Turn, attention: Attention, number: int, adapters: AdapterSet) -> Tensor:
        """The same where some rows have an adapter: what is fused for the others is not touched, bit for bit."""
        path = f"model.layers.{number}."
        y = self._before(x)
        sizes = [self._heads * self._size, *[self._key_heads * self._size] * 2]
        parts = zip(
            ("q_proj", "k_proj", "v_proj"),
            torch.split(self._qkv.plain(self._to_attention(x)), sizes, dim=1),
            strict=True,
        )
        qkv = torch.cat([adapters.add(f"{path}self_attn.{name}", y, part) for name, part in parts], dim=1)
        qkv = qkv.view(len(x), -1, self._size)
        turned = turn(self._normed(qkv[:, : self._turned]))
        seen = attention(number, turned[:, : self._heads], turned[:, self._heads :], qkv[:, self._turned :])
        x = adapters.add(f"{path}self_attn.o_proj", seen, self._out.plus(seen, x))
        mixed, own = self._mlp.mixed(self._to_mlp(x)), self._after(x)[adapters.rows]
        gate, up = self._mlp.halves(own)
        gate = adapters.add(f"{path}mlp.gate_proj", own, gate, within=True)
        up = adapters.add(f"{path}mlp.up_proj", own, up, within=True)
        mixed = mixed.index_copy(0, adapters.rows, (nn.functional.silu(gate) * up).to(mixed.dtype))
        return adapters.add(f"{path}mlp.down_proj", mixed.to(x.dtype), self._mlp.down(mixed, x))

    def _normed(self, heads: Tensor) -> Tensor:
        if self._query_norm is None or self._key_norm is None:
            return heads
        return torch.cat([self._query_norm(heads[:, : self._heads]), self._key_norm(heads[:, self._heads :])], dim=1)


class Turn:
    """Rotary position embedding of the pass's tokens: halves of a head as the parts of complex numbers.

    cos(p) x + sin(p) rotate_half(x); the sign of rotate_half stands in the sines, so that a roll does for it.
    """

    def __init__(self, cosines: Tensor, sines: Tensor) -> None:
        """[tokens, 1, size] both."""
        self._half = cosines.shape[-1] // 2
        self._cosines = cosines
        self._sines = torch.cat([-sines[..., : self._half], sines[..., self._half :]], dim=-1)

    def __call__(self, heads: Tensor) -> Tensor:
        return torch.addcmul(heads * self._cosines, heads.roll(self._half, -1), self._sines)


class DenseDecoder:
    """Runs a transformers model for which there is no `obstacle`. Takes its weights away, layer by layer, so that no
    more than one lies in memory twice: the model's own forward cannot be used after."""

    mixes = True

    def __init__(self, model: Any, cache: SlotCache, *, context: int, packing: Packing = _PLAIN) -> None:
        config, decoder = model.config, model.model
        self._size = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
        self.dtype, self.device = model.dtype, torch.device("cpu")
        self._cosines, self._sines = _rotations(decoder.rotary_emb, context, self.dtype)
        self._embedding, self._head = _ends(model, packing)
        self._to_head = self._head.behind(_norm(decoder.norm))
        shape = (config.num_attention_heads, config.num_key_value_heads, self._size)
        self._layers = [Layer(layer, packing, *shape) for layer in decoder.layers]
        _empty(model)
        self._adapters: AdapterSet | None = None
        self._attention = Attention(cache, *shape, context=context, dtype=self.dtype)

    @property
    def embedding(self) -> Tensor:
        return self._embedding.weight

    @property
    def vocabulary(self) -> int:
        return self._embedding.vocabulary

    def follow(self, adapters: AdapterSet) -> None:
        self._adapters = adapters

    @torch.inference_mode()
    def run(self, segments: Sequence[Segment]) -> Tensor:
        """As ModelRunner.run. Rows that lie in neighbouring slots are best given in their order."""
        spans = Spans.of(segments)
        if max(spans.ids) >= self.vocabulary:
            raise IndexError("a token id beyond the embedding")
        positions = torch.tensor(spans.positions)
        more = -len(positions) % FILLED_ROWS if len(positions) > FILLED_ROWS else 0  # rows of no token
        x = self._embedding(torch.tensor(spans.ids + [0] * more))
        rotated = torch.nn.functional.pad(positions, (0, more))
        turn = Turn(self._cosines[rotated], self._sines[rotated])
        self._attention.look(segments, spans, positions)
        names = [segment.adapter for segment in segments for _ in segment.ids]
        adapters = self._adapters if self._adapters and self._adapters.look(names) else None
        for number, layer in enumerate(self._layers):
            if adapters:
                x = layer.adapted(x, turn, self._attention, number, adapters)
            else:
                x = layer(x, turn, self._attention, number)
        if not spans.wanted:
            return torch.empty(0, self.vocabulary)
        if len(spans.wanted) < len(x):
            x = x[torch.tensor(spans.wanted)]
        return self._head.plain(self._to_head(x)).float()


def obstacle(model: Any, packing: Packing = _PLAIN) -> str:
    """Why this model is not run so; empty when it can be."""
    config = model.config
    if type(model).__name__ not in _KNOWN:
        return f"{type(model).__name__} has layers of another kind"
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act}"
    if getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None):
        return "it has a sliding window"
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope in ("dynamic", "longrope"):
        return f"its rotations ({rope}) change with the length"
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        return "it is not on the CPU alone"
    if model.dtype not in (torch.float32, torch.bfloat16):
        return f"oneDNN does not compute in {model.dtype}"
    return _operators(model, packing)


def _operators(model: Any, packing: Packing) -> str:
    """Tried on the first layer: the operators are internal to torch."""
    try:
        if model.dtype is torch.bfloat16 and not has_bfloat16():
            return "this CPU has no bfloat16"
        independent = _rows_are_independent(model.model.layers[0], packing, model.dtype)
    except NO_OPERATOR:
        return "this torch has no packed linear layers"
    if model.dtype is torch.float32 and not independent:
        return "its packed linear layers let one row change another"  # invariant 11 is promised in fp32
    return ""


def _rows_are_independent(layer: Any, packing: Packing, dtype: torch.dtype) -> bool:
    attention, gate, up, down = layer.self_attn, layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj
    query, out = (packing.linear(linear.weight, linear.bias) for linear in (attention.q_proj, attention.o_proj))
    mlp = packing.mlp(gate, up, down)
    enter, turn = query.behind(_norm(layer.input_layernorm)), mlp.behind(_norm(layer.post_attention_layernorm))
    beside = torch.randn(max(TRIED_ROWS), down.out_features, generator=torch.Generator().manual_seed(1)).to(dtype)
    ways: list[tuple[Callable[[Tensor], Tensor], int]] = [
        (lambda x: query.plain(enter(x)), gate.in_features),
        (lambda x: out.plus(x, beside[len(beside) - len(x) :]), attention.o_proj.in_features),
        (lambda x: mlp.plus(turn(x), beside[len(beside) - len(x) :]), gate.in_features),
    ]
    return all(rows_are_independent(way, inputs, dtype) for way, inputs in ways)


def _ends(model: Any, packing: Packing) -> tuple[Embedding, Head]:
    """Embedding and head; transformers' own are left without their weights."""
    embedding, head = model.model.embed_tokens, model.lm_head
    tied = model.config.tie_word_embeddings
    found = packing.ends(embedding.weight, None if tied else head.weight, factors=factors(head))
    _empty(embedding)
    _empty(head)
    return found


def _norm(norm: Any) -> Norm:
    return Norm(norm.weight.detach().clone(), float(norm.variance_epsilon))


def _empty(module: nn.Module) -> None:
    """A file of weights stays mapped, whole, for as long as one tensor of it is held."""
    for part in module.modules():
        for name, _ in list(part.named_parameters(recurse=False)):
            part.register_parameter(name, None)


def _rotations(embedding: Any, context: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of all positions, [context, 1, size], by transformers' own rotary embedding."""
    with torch.inference_mode():
        cosines, sines = embedding(torch.zeros(1, dtype=dtype), torch.arange(context)[None])
    return cosines[0, :, None], sines[0, :, None]
