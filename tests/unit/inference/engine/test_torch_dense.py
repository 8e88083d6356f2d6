"""The fused layers beside transformers' own: one pass over many requests gives what each one alone gives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf

from services.inference.engine.batch import Segment
from services.inference.engine.torch_dense import DenseDecoder, Layer, obstacle
from services.inference.engine.torch_linear import Packed, rows_are_independent
from services.inference.engine.torch_slots import SlotCache
from services.inference.engine.torch_spans import by_length

CONTEXT, SLOTS = 512, 6
SHAPE = {
    "vocab_size": 260,
    "hidden_size": 96,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": CONTEXT,
}
KINDS: dict[str, Callable[[], Any]] = {
    "llama, six heads on two": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SHAPE)),
    "llama, biases, tied": lambda: hf.LlamaForCausalLM(
        hf.LlamaConfig(**SHAPE, attention_bias=True, tie_word_embeddings=True)
    ),
    "llama 3's rotations": lambda: hf.LlamaForCausalLM(
        hf.LlamaConfig(
            **SHAPE,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 10_000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        )
    ),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SHAPE)),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SHAPE)),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**SHAPE, sliding_window=None)),
}
TOKENS = [[(7 * row + 3 * place * place) % 260 for place in range(40 + 9 * row)] for row in range(SLOTS)]


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(1)
    made = KINDS[request.param]().eval().requires_grad_(False)
    for name, parameter in made.named_parameters():
        if "norm" in name or name.endswith("bias"):  # ones and zeros would hide a weight that is left out
            torch.nn.init.normal_(parameter, 1.0, 0.3)
    return made


def fused(model: Any, slots: int = SLOTS) -> DenseDecoder:
    why = obstacle(model)
    if why == "this CPU has no bfloat16":
        pytest.skip(why)
    assert why == ""
    layers = model.config.num_hidden_layers
    return DenseDecoder(copy.deepcopy(model), SlotCache(layers, slots, CONTEXT), context=CONTEXT)


@torch.inference_mode()
def reference(model: Any, ids: list[int]) -> torch.Tensor:
    logits: torch.Tensor = model(torch.tensor([ids])).logits[0].float()
    return logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mixed_pass_gives_each_request_what_transformers_gives_it_alone(model: Any, dtype: torch.dtype) -> None:
    """Decoding rows, a whole prompt, a chunk that goes on and one whose last three logits are wanted, in one pass."""
    model.to(dtype)
    decoder = fused(model)
    starts = [len(ids) - 1 for ids in TOKENS[:3]] + [0, 11, 20]
    decoder.run([Segment(row, 0, TOKENS[row][:start], 0) for row, start in enumerate(starts) if start])
    logits = decoder.run(
        [Segment(row, starts[row], TOKENS[row][starts[row] :], wanted) for row, wanted in enumerate((1, 1, 1, 1, 0, 3))]
    )
    expected = [reference(model, TOKENS[row])[-wanted:] for row, wanted in ((0, 1), (1, 1), (2, 1), (3, 1), (5, 3))]
    close = {torch.float32: 1e-4, torch.bfloat16: 4e-2}[dtype]
    found = torch.cat(expected)
    assert torch.allclose(logits, found, rtol=0, atol=close * float(found.abs().max()))


def test_invariant_11_a_row_has_the_same_bits_whatever_shares_its_pass(model: Any) -> None:
    """Fails if `_exact` is False in fp32: matrix products over views of other lengths add up in another order."""
    decoder = fused(model)
    decoder.run([Segment(row, 0, TOKENS[row][:-1], 0) for row in range(SLOTS)])
    last = [Segment(row, len(TOKENS[row]) - 1, TOKENS[row][-1:]) for row in range(SLOTS)]
    together = decoder.run(last)
    for row in range(SLOTS):
        assert torch.equal(decoder.run([last[row]])[0], together[row])
    for chunk in (1, 7, 64):
        for start in range(0, len(TOKENS[0]), chunk):
            logits = decoder.run([Segment(3, start, TOKENS[0][start : start + chunk]), last[5]])
        assert torch.equal(logits[0], together[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_with_unlike_numbers_of_guesses_are_each_what_transformers_gives(model: Any, dtype: torch.dtype) -> None:
    """One group of slots with 1, 4, 2, 1, 3 and 1 tokens. Fails if a filled place is taken for a row's own."""
    model.to(dtype)
    decoder = fused(model)
    counts = (1, 4, 2, 1, 3, 1)
    parts = [Segment(row, len(ids) - n, ids[-n:], n) for row, (ids, n) in enumerate(zip(TOKENS, counts, strict=True))]
    decoder.run([Segment(row, 0, ids[:-n], 0) for row, (ids, n) in enumerate(zip(TOKENS, counts, strict=True))])
    logits = decoder.run(parts)
    expected = torch.cat([reference(model, ids)[-n:] for ids, n in zip(TOKENS, counts, strict=True)])
    close = {torch.float32: 1e-4, torch.bfloat16: 4e-2}[dtype]
    assert torch.allclose(logits, expected, rtol=0, atol=close * float(expected.abs().max()))
    if dtype is torch.float32:  # invariant 11
        alone = torch.cat([decoder.run([part]) for part in parts])
        assert torch.equal(alone, logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_unlike_lengths_look_over_their_own_past(model: Any, dtype: torch.dtype) -> None:
    """Short and long ones in turn, beside a prompt's chunk: in bfloat16 two groups whose slots lie apart.
    Fails if `_copied` takes as many neighbouring slots instead, or if what attends is not put back by its rows."""
    model.to(dtype)
    decoder, slots = fused(model, 2 * SLOTS), range(2 * SLOTS)
    texts = [[(7 * row + 3 * place * place) % 260 for place in range((30, 500)[row % 2])] for row in slots]
    decoder.run([Segment(row, 0, ids[:-1], 0) for row, ids in enumerate(texts[:-1])])
    parts = [Segment(row, len(ids) - 1, ids[-1:]) for row, ids in enumerate(texts[:-1])]
    logits = decoder.run([*parts, Segment(slots[-1], 0, texts[-1][:48])])
    assert len(by_length(parts, 1)) == 2
    expected = torch.cat([reference(model, ids)[-1:] for ids in (*texts[:-1], texts[-1][:48])])
    close = {torch.float32: 1e-4, torch.bfloat16: 4e-2}[dtype]
    assert torch.allclose(logits, expected, rtol=0, atol=close * float(expected.abs().max()))


def test_a_long_chunk_is_looked_at_in_pieces_and_stays_what_it_is(model: Any) -> None:
    """Fails if a piece does not see all that lies before it."""
    model.to(torch.bfloat16)
    decoder, ids = fused(model), [(11 * place + place * place) % 260 for place in range(400)]
    decoder.run([Segment(2, 0, ids[:50], 0)])
    logits, expected = decoder.run([Segment(2, 50, ids[50:], 350)]), reference(model, ids)[50:]
    assert torch.allclose(logits, expected, rtol=0, atol=4e-2 * float(expected.abs().max()))


def test_many_rows_are_filled_up_so_that_few_shapes_are_ever_compiled(model: Any) -> None:
    """Fails if rows of no token are left out: every prompt's length is then a shape that oneDNN has not seen."""
    decoder, shapes, layer = fused(model.bfloat16()), set(), Layer.__call__

    class Noting(Layer):
        def __init__(self, of: Layer) -> None:
            self.__dict__ = of.__dict__

        def __call__(self, x: torch.Tensor, *rest: Any) -> torch.Tensor:
            shapes.add(len(x))
            return layer(self, x, *rest)

    decoder._layers = [Noting(layer) for layer in decoder._layers]
    for length in range(1, 65):
        out = decoder.run([Segment(slot=0, start=0, ids=[5] * length, logits=1)])
        assert out.shape == (1, decoder.vocabulary) and out.isfinite().all()
    assert shapes == {*range(1, 17), 32, 48, 64}


def test_what_the_layers_do_not_do_is_named(model: Any) -> None:
    assert "float16" in obstacle(copy.deepcopy(model).to(torch.float16))
    model.config.hidden_act = "gelu"
    assert "gelu" in obstacle(model)


def test_sliding_windows_and_other_layers_are_left_to_transformers(tiny_model: Callable[[str], Any]) -> None:
    sliding = hf.MistralForCausalLM(hf.MistralConfig(**SHAPE, sliding_window=32))
    assert "sliding window" in obstacle(sliding)
    assert "DeepseekV2ForCausalLM" in obstacle(tiny_model("deepseek-v2"))


def test_a_token_beyond_the_vocabulary_is_refused_before_the_pass(model: Any) -> None:
    with pytest.raises(IndexError):
        fused(model).run([Segment(0, 0, [260])])


def test_invariant_11_a_row_alone_has_the_bits_that_it_has_in_company() -> None:
    """At SmolLM2's widths, where oneDNN sums up a lone row in another order. Fails if `_pairs` is False."""
    generator = torch.Generator().manual_seed(0)
    for inputs, outputs in ((576, 960), (1536, 576)):
        packed = Packed(torch.randn(outputs, inputs, generator=generator))
        assert rows_are_independent(packed.plain, inputs, torch.float32)
