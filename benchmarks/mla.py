"""Latent attention's decode step: absorbed, over the slot cache, against transformers' own expansion of the context.

One layer of DeepSeek-V2-Lite's sizes (its first, whose MLP is dense), random weights, fp32, one request. Both decode
the same token after the same cached latents; the vocabulary is cut to 512, since the head is not what is compared.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DeepseekV2Config, DeepseekV2ForCausalLM, DynamicCache

from benchmarks import report
from services.inference.engine.batch import Segment
from services.inference.engine.torch_attention import choose_attention, install
from services.inference.engine.torch_linear import replace_linears
from services.inference.engine.torch_mla import absorb
from services.inference.engine.torch_runner import ModelRunner
from services.inference.engine.torch_slots import SlotCache

WANTED = 10.0
V2_LITE: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "q_lora_rank": None,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}


class Side:
    """One way to decode, timed as a whole and inside its attention layer."""

    def __init__(self, attention: nn.Module, step: Callable[[], Tensor]) -> None:
        self._step, self._began = step, 0.0
        self.attention_ms: list[float] = []
        self.step_ms: list[float] = []
        attention.register_forward_pre_hook(self._enters)
        attention.register_forward_hook(self._leaves)

    def run(self, *, counted: bool = True) -> Tensor:
        began = time.perf_counter()
        logits = self._step()
        self.step_ms.append((time.perf_counter() - began) * 1000)
        if not counted:
            self.step_ms.clear()
            self.attention_ms.clear()
        return logits

    def medians(self) -> dict[str, float]:
        return {"attention": statistics.median(self.attention_ms), "step": statistics.median(self.step_ms)}

    def _enters(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def _leaves(self, *_: Any) -> None:
        self.attention_ms.append((time.perf_counter() - self._began) * 1000)


def main() -> int:
    parser = report.arguments("mla")
    parser.add_argument("--context", type=int, default=4096, metavar="TOKENS")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="with more, a neighbour's load counts for more")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = compare(options.context, options.rounds)
    print(
        report.table(
            ["ms", "attention", "whole layer"],
            [[name, *result[name].values()] for name in ("transformers", "absorbed", "ratio")],
        )
    )
    print(
        f"\nlogits differ by at most {result['largest_difference']:.1e}; wanted: attention {WANTED:.0f} times as fast"
    )
    report.write(options.json, result)
    return 0 if result["ratio"]["attention"] >= WANTED else 1


def compare(context: int, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    config = DeepseekV2Config(
        **V2_LITE, vocab_size=512, num_hidden_layers=1, first_k_dense_replace=1, max_position_embeddings=context + 512
    )
    model: Any = DeepseekV2ForCausalLM(config)
    model.eval().requires_grad_(False)
    latents, ropes = (torch.randn(1, 1, context, size) for size in (config.kv_lora_rank, config.qk_rope_head_dim))
    sides = {
        "transformers": _expanded(copy.deepcopy(model), latents, ropes),
        "absorbed": _absorbed(model, latents, ropes),
    }
    reference, logits = (side.run(counted=False) for side in sides.values())
    for _ in range(rounds):  # in turn, so that a neighbour's load meets both
        for side in sides.values():
            side.run()
    figures = {name: side.medians() for name, side in sides.items()}
    return {
        "context_tokens": context,
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        **figures,
        "ratio": {part: figures["transformers"][part] / figures["absorbed"][part] for part in ("attention", "step")},
        "largest_difference": float((logits.flatten() - reference.flatten()).abs().max()),
    }


def _expanded(model: Any, latents: Tensor, ropes: Tensor) -> Side:
    """As `generate` decodes: transformers' own cache and SDPA."""
    model.set_attn_implementation("sdpa")
    cache: Any = DynamicCache(config=model.config)
    cache.update(latents, ropes, 0)

    @torch.inference_mode()
    def step() -> Tensor:
        logits: Tensor = model(input_ids=torch.tensor([[5]]), past_key_values=cache, use_cache=True).logits
        cache.crop(-1)
        return logits

    return Side(model.model.layers[0].self_attn, step)


def _absorbed(model: Any, latents: Tensor, ropes: Tensor) -> Side:
    """As the engine decodes. Changes the model in place."""
    context = latents.shape[2]
    choice = choose_attention(device_type="cpu", dtype=torch.float32, same_head_sizes=False, flash_attn=False)
    install(choice)
    choice = absorb(model, choice, exact=True)
    model.set_attn_implementation(choice.implementation)
    replace_linears(model)
    cache = SlotCache(1, 1, context + 512)
    runner = ModelRunner(model, cache, choice, context=context + 512)
    runner.run([Segment(0, 0, [0])])
    with torch.inference_mode():
        layer: Any = cache.layers[0]
        layer.keys[0, :, :context], layer.values[0, :, :context] = latents[0], ropes[0]
    return Side(model.model.layers[0].self_attn, lambda: runner.run([Segment(0, context, [5])]))


if __name__ == "__main__":
    raise SystemExit(main())
