"""Quantization of models that run in transformers' own layers: DeepSeek's latent attention, mixtures of experts.

Linear layers, the fused experts that no library's quantization touches, embedding and head. Routers stay as they are,
and so does `kv_b_proj`, which is absorbed by heads (torch_mla): 0.4 % of DeepSeek-V2-Lite's weights, 0.2 % of V3's.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from services.inference.engine.torch_channels import factors
from services.inference.engine.torch_codes import Source
from services.inference.engine.torch_int4 import int4_packing
from services.inference.engine.torch_int8 import Int8Packing
from services.inference.engine.torch_linear import Embedding, Head, Packing, PlainPacking
from services.inference.engine.torch_moe import PaddedRouter, pack_experts
from services.inference.engine.torch_nf4 import nf4_packing

_CODED = {"int8": Int8Packing, "int4": int4_packing, "nf4": nf4_packing}
_LEFT = ("kv_b_proj", "lm_head", "gate")  # by the last part of their names; `gate` is a router, `gate_proj` is not


def packing_of(mode: str, source: Source | None = None) -> Packing:
    return _CODED[mode](source) if mode else PlainPacking()


class QuantizedLinear(nn.Module):
    """Holds no parameter: inference only."""

    def __init__(self, linear: nn.Linear, packing: Packing, *, uneven: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        even = None if uneven else factors(linear)
        self._packed = packing.linear(linear.weight, linear.bias, factors=even, uneven=uneven)

    def forward(self, x: Tensor) -> Tensor:
        out = self._packed.plain(x.reshape(-1, self.in_features))
        return out.view(*x.shape[:-1], self.out_features)


class QuantizedEmbedding(nn.Module):
    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self._embedding = embedding
        self.num_embeddings = embedding.vocabulary

    @property
    def weight(self) -> Tensor:
        return self._embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self._embedding(ids.reshape(-1)).view(*ids.shape, -1)


class QuantizedHead(nn.Module):
    def __init__(self, head: Head) -> None:
        super().__init__()
        self._head = head

    def forward(self, x: Tensor) -> Tensor:
        return self._head.plain(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)


def quantize(model: Any, packing: Packing, *, saved: bool = False) -> str:
    """In place, after expert layers were turned over; returns what was quantized. Raises ValueError.

    `saved`: the packing has the codes, the model's weights are not there.
    """
    if not saved and any(parameter.device.type != "cpu" for parameter in model.parameters()):
        raise ValueError("quantization must be none where layers lie on disk or on a GPU: or leave device_map out")
    mixtures = [layer for layer in model.modules() if hasattr(layer, "experts") and hasattr(layer, "gate")]
    if not all(isinstance(layer.gate, PaddedRouter) for layer in mixtures):
        raise ValueError("quantization must be none for this model: its experts are of a kind that is not known here")
    experts = [layer.experts for layer in mixtures]
    found = _linears(model)
    for parent, name, layer in tqdm(found, "quantizing", disable=None):
        setattr(parent, name, QuantizedLinear(layer, packing, uneven=name == "down_proj"))
    for each in tqdm(experts, "quantizing experts", disable=None if experts else True):
        pack_experts(each, packing)
    _quantize_ends(model, packing)
    return f"{len(found)} linear layers, experts of {len(experts)} layers, embedding and head"


def plain_state(model: Any) -> dict[str, Tensor]:
    """What is not quantized, by its name; asked before anything is."""
    taken = {id(part) for _, _, layer in _linears(model) for part in (layer.weight, layer.bias)}
    taken |= {id(end.weight) for end in (model.get_input_embeddings(), model.get_output_embeddings())}
    for experts in (layer.experts for layer in model.modules() if hasattr(layer, "experts")):
        taken |= {id(part) for part in experts.parameters()}
    every = model.state_dict(keep_vars=True)
    return {name: part.detach() for name, part in every.items() if id(part) not in taken}


def _linears(model: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    return [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear and name not in _LEFT and not isinstance(parent, PaddedRouter)
    ]


def _quantize_ends(model: Any, packing: Packing) -> None:
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    first, last = packing.ends(embedding.weight, None if tied else head.weight, factors=factors(head))
    model.set_input_embeddings(QuantizedEmbedding(first))
    model.set_output_embeddings(QuantizedHead(last))
