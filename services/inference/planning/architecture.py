"""What a model consists of, by its config.json alone: parameters term by term, keys and values, multiplications."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any

# Values that transformers' configurations take where config.json has none (5.23).
_UNSAID: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"num_key_value_heads": 8},
    "qwen2": {"num_key_value_heads": 32},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128},
    "deepseek_v2": {"q_lora_rank": 1536, "first_k_dense_replace": 0},
    "deepseek_v3": {"q_lora_rank": 1536, "first_k_dense_replace": 3},
}
FAMILIES = tuple(_UNSAID)
_MOST_LAYERS = 4096
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class ConfigUnreadable(ValueError):
    """A config.json that no plan can be made of; says which field, and the remedy."""


class Kind(Enum):
    EMBEDDING = "embedding"  # looked up, not multiplied
    HEAD = "head"
    LINEAR = "linear"  # each token passes it
    EXPERTS = "experts"  # each token passes some of them
    PLAIN = "plain"  # norms, biases, routers: no mode makes them smaller


@dataclass(frozen=True, slots=True)
class Term:
    """A matrix, or several of one size, in some layers."""

    kind: Kind
    name: str
    factors: tuple[int, ...]
    layers: range  # empty: outside the layers, once

    @property
    def each(self) -> int:
        return prod(self.factors)

    @property
    def parameters(self) -> int:
        return self.each * (len(self.layers) or 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    family: str
    terms: tuple[Term, ...]
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    context: int  # the most that the model knows
    tied: bool  # the head is the embedding
    cached: tuple[int, int]  # numbers that one token leaves in each layer's keys and values
    experts: int  # of a layer; 0: none
    chosen: int  # of them, for a token
    decode_work: int  # multiplications of one layer's attention for a query and one token that it sees
    prefill_work: int
    file_bytes: int  # a parameter, in the files; 0: unknown
    quantized: str  # how the files are quantized, if they are

    @property
    def parameters(self) -> int:
        return sum(term.parameters for term in self.terms)

    @property
    def active(self) -> int:
        """Parameters that one token is multiplied with: the head's too, where it is the embedding."""
        return self.count(Kind.LINEAR) + self.head + (self.count(Kind.EXPERTS) * self.chosen // (self.experts or 1))

    @property
    def head(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def latent(self) -> bool:
        return self.family.startswith("deepseek")

    def count(self, *kinds: Kind) -> int:
        return sum(term.parameters for term in self.terms if term.kind in kinds)

    def in_layer(self, number: int, kind: Kind) -> int:
        return sum(term.each for term in self.terms if term.kind is kind and number in term.layers)


def read(config: Mapping[str, Any]) -> Architecture:
    """Raises ConfigUnreadable."""
    family = config.get("model_type")
    if family not in FAMILIES:
        raise ConfigUnreadable(f"model_type must be one of {', '.join(FAMILIES)}, not {str(family)[:80]!r}")
    fields = _Fields({**_UNSAID[family], **config})
    fields.refuse_experts(family)
    return (_latent if family.startswith("deepseek") else _dense)(family, fields)


class _Fields:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def number(self, name: str, unsaid: int | None = None) -> int:
        value = self._config.get(name)
        value = unsaid if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**40:
            raise ConfigUnreadable(f"{name} must be a whole number in config.json, not {str(value)[:40]}")
        return value

    def positive(self, name: str, unsaid: int | None = None) -> int:
        if (value := self.number(name, unsaid)) == 0:
            raise ConfigUnreadable(f"{name} must be above 0 in config.json")
        return value

    def layers(self) -> range:
        if (count := self.positive("num_hidden_layers")) > _MOST_LAYERS:
            raise ConfigUnreadable(f"num_hidden_layers must be at most {_MOST_LAYERS} in config.json, not {count}")
        return range(count)

    def flag(self, name: str) -> bool:
        return self._config.get(name) is True

    def given(self, name: str) -> bool:
        return self._config.get(name) is not None

    def refuse_experts(self, family: str) -> None:
        if not family.startswith("deepseek") and (self.given("num_local_experts") or self.given("num_experts")):
            raise ConfigUnreadable(f"num_local_experts of a {family} model is not planned: see the families that are")

    @property
    def file_bytes(self) -> int:
        """transformers 5 writes `dtype`, earlier ones `torch_dtype`."""
        return _BYTES.get(str(self._config.get("dtype") or self._config.get("torch_dtype")), 0)

    @property
    def quantized(self) -> str:
        how = self._config.get("quantization_config")
        return str(how.get("quant_method", "quantized"))[:20] if isinstance(how, Mapping) else ""


def _dense(family: str, fields: _Fields) -> Architecture:
    """Llama, Mistral, Qwen2 and Qwen3: grouped queries, one MLP a layer."""
    hidden, heads = fields.positive("hidden_size"), fields.positive("num_attention_heads")
    key_heads = fields.positive("num_key_value_heads", heads)
    size = fields.positive("head_dim", hidden // heads)
    inner, layers = fields.positive("intermediate_size"), fields.layers()
    terms = [
        Term(Kind.LINEAR, "query and output", (2, hidden, heads, size), layers),
        Term(Kind.LINEAR, "key and value", (2, hidden, key_heads, size), layers),
        Term(Kind.LINEAR, "gate, up and down", (3, hidden, inner), layers),
    ]
    biased = family in ("llama", "qwen3") and fields.flag("attention_bias")
    if biased or family == "qwen2":
        terms.append(Term(Kind.PLAIN, "biases of query, key, value", (heads + 2 * key_heads, size), layers))
    if biased:
        terms.append(Term(Kind.PLAIN, "bias of the output", (hidden,), layers))
    if family == "llama" and fields.flag("mlp_bias"):
        terms.append(Term(Kind.PLAIN, "biases of the MLP", (2 * inner + hidden,), layers))
    if family == "qwen3":
        terms.append(Term(Kind.PLAIN, "norms of query and key", (2, size), layers))
    work = 2 * heads * size
    return _whole(family, fields, terms, cached=(key_heads * size, key_heads * size), decode=work, prefill=work)


def _latent(family: str, fields: _Fields) -> Architecture:
    """DeepSeek-V2 and V3: latent attention, dense first layers, then routed and shared experts. Layers for predicting
    several tokens (MTP) lie in V3's files and are not loaded by transformers."""
    hidden, heads = fields.positive("hidden_size"), fields.positive("num_attention_heads")
    rank, rope = fields.positive("kv_lora_rank"), fields.positive("qk_rope_head_dim")
    plain, value = fields.positive("qk_nope_head_dim"), fields.positive("v_head_dim")
    layers = fields.layers()
    terms = [
        *_queries(fields, hidden, heads, plain + rope, layers),
        Term(Kind.LINEAR, "latents, and the rotated key", (hidden, rank + rope), layers),
        Term(Kind.LINEAR, "keys and values of the latents", (rank, heads, plain + value), layers),
        Term(Kind.LINEAR, "output", (heads, value, hidden), layers),
        Term(Kind.PLAIN, "norm of the latents", (rank,), layers),
    ]
    if fields.flag("attention_bias"):
        terms.append(Term(Kind.PLAIN, "biases of latents and output", (rank + rope + hidden,), layers))
    terms += _mixture(family, fields, hidden, layers)
    # Absorbed, every head reads the latents themselves, as keys and as values (engine/torch_mla.py); a prompt's long
    # chunks are expanded.
    absorbed, expanded = 2 * heads * (rank + rope), heads * (plain + rope + value)
    return _whole(family, fields, terms, cached=(rank, rope), decode=absorbed, prefill=expanded)


def _queries(fields: _Fields, hidden: int, heads: int, size: int, layers: range) -> list[Term]:
    """config.json of the small ones says `"q_lora_rank": null`: then there is one matrix."""
    if not fields.given("q_lora_rank"):
        return [Term(Kind.LINEAR, "query", (hidden, heads, size), layers)]
    rank = fields.positive("q_lora_rank")
    terms = [
        Term(Kind.LINEAR, "query, down", (hidden, rank), layers),
        Term(Kind.LINEAR, "query, up", (rank, heads, size), layers),
        Term(Kind.PLAIN, "norm of the query", (rank,), layers),
    ]
    if fields.flag("attention_bias"):
        terms.append(Term(Kind.PLAIN, "bias of the query", (rank,), layers))
    return terms


def _mixture(family: str, fields: _Fields, hidden: int, layers: range) -> list[Term]:
    first = min(fields.number("first_k_dense_replace"), len(layers))
    dense, sparse = layers[:first], layers[first:]
    inner, small = fields.positive("intermediate_size"), fields.positive("moe_intermediate_size")
    terms = []
    if dense:
        terms.append(Term(Kind.LINEAR, "gate, up and down", (3, hidden, inner), dense))
    if sparse:
        experts, shared = fields.positive("n_routed_experts"), fields.number("n_shared_experts")
        if fields.positive("num_experts_per_tok") > experts:
            raise ConfigUnreadable("num_experts_per_tok must be at most n_routed_experts in config.json")
        terms += [
            Term(Kind.EXPERTS, "routed experts", (experts, 3, hidden, small), sparse),
            Term(Kind.LINEAR, "shared experts", (shared, 3, hidden, small), sparse),
            Term(Kind.PLAIN, "router", (experts, hidden), sparse),
        ]
    if family == "deepseek_v2" and fields.flag("mlp_bias"):
        for where, width in ((dense, inner), (sparse, small * fields.number("n_shared_experts"))):
            terms += [Term(Kind.PLAIN, "biases of the MLP", (2 * width + hidden,), where)] if where else []
    return terms


def _whole(
    family: str, fields: _Fields, terms: Iterable[Term], *, cached: tuple[int, int], decode: int, prefill: int
) -> Architecture:
    hidden, vocabulary = fields.positive("hidden_size"), fields.positive("vocab_size")
    layers, nowhere = fields.layers(), range(0)
    tied = fields.flag("tie_word_embeddings")
    around = [
        Term(Kind.PLAIN, "norms", (2, hidden), layers),
        Term(Kind.PLAIN, "last norm", (hidden,), nowhere),
        Term(Kind.EMBEDDING, "embedding" + (", which is the head, too" if tied else ""), (vocabulary, hidden), nowhere),
    ]
    if not tied:
        around.append(Term(Kind.HEAD, "head", (vocabulary, hidden), nowhere))
    every = (*terms, *around)
    sparse = any(term.kind is Kind.EXPERTS for term in every)
    return Architecture(
        family=family,
        terms=every,
        layers=len(layers),
        hidden=hidden,
        intermediate=fields.positive("intermediate_size"),
        vocabulary=vocabulary,
        context=fields.positive("max_position_embeddings"),
        tied=tied,
        cached=cached,
        experts=fields.positive("n_routed_experts") if sparse else 0,
        chosen=fields.positive("num_experts_per_tok") if sparse else 0,
        decode_work=decode,
        prefill_work=prefill,
        file_bytes=fields.file_bytes,
        quantized=fields.quantized,
    )
