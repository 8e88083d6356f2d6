"""The torch engine by itself: steps, tokens and prefill in a second, by how many requests share the batch.

`--random llama-8b` and `--random deepseek-v2-lite` measure models of these published shapes with random weights, in
the layout that a checkpoint would have: speed depends on the shapes, not on what the weights say.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.report import arguments, machine, table, write
from services.inference.engine.opening import EngineSettings
from services.inference.engine.protocol import Message, Sampling, StepOutput, Work
from services.inference.engine.torch_engine import TorchEngine
from services.inference.engine.torch_opening import assemble
from services.inference.models.container import available_cores
from services.inference.models.device import choose_device, choose_dtype
from services.inference.models.loading import LoadedModel, ModelSource, load, locate
from services.inference.models.prompt import Prompt
from services.inference.models.wheel import NAME

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-8b": (  # Llama 3 8B
        "LlamaConfig",
        {
            "vocab_size": 128_256,
            "hidden_size": 4096,
            "intermediate_size": 14_336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
        },
    ),
    "deepseek-v2-lite": (  # 15.7 B parameters, 2.4 B of them for a token
        "DeepseekV2Config",
        {
            "vocab_size": 102_400,
            "hidden_size": 2048,
            "intermediate_size": 10_944,
            "moe_intermediate_size": 1408,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "n_shared_experts": 2,
            "n_routed_experts": 64,
            "num_experts_per_tok": 6,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
            "q_lora_rank": None,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "max_position_embeddings": 8192,
        },
    ),
}
WARM_STEPS = 3  # after every row decodes, before the clock starts


@dataclass(frozen=True, kw_only=True, slots=True)
class EndlessModel(LoadedModel):
    """Its answers end at max_tokens alone, so that every row lives as long as it is measured."""

    @property
    def end_ids(self) -> frozenset[int]:
        return frozenset()


def opened(options: argparse.Namespace) -> LoadedModel:
    source = ModelSource(model=options.model, dtype=options.dtype, device=options.device)
    if not options.random:
        return load(source, options.home)
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    config, shape = SHAPES[options.random]
    tokenizer = transformers.AutoTokenizer.from_pretrained(locate(source, options.home))
    torch.manual_seed(0)
    with torch.device(device.name):
        make: Any = transformers.AutoModelForCausalLM.from_config
        model = make(getattr(transformers, config)(**shape), dtype=dtype)
    return LoadedModel(
        model=model.eval().requires_grad_(False),
        prompt=Prompt(tokenizer),
        name=f"{options.random}, random weights",
        revision="",
        digest="",
        device=device,
        dtype=dtype,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def engine_of(options: argparse.Namespace) -> TorchEngine:
    torch.set_num_threads(available_cores())
    loaded = opened(options)
    endless = EndlessModel(**{field.name: getattr(loaded, field.name) for field in fields(LoadedModel)})
    settings = EngineSettings(
        slots=max(options.rows),
        context_tokens=options.context,
        prefill_tokens=options.prefill,
        kv_memory_share=0.8,
        cuda_graphs=options.cuda_graphs,
    )
    return assemble(endless, settings)


def asked(number: int, words: int, tokens: int, temperature: float) -> Work:
    text = " ".join(f"{number}" if n % 9 == 0 else "word" for n in range(words))
    sampling = Sampling(temperature=temperature, top_p=0.9, seed=number, max_tokens=tokens)
    return Work(request_id=f"r{number}", messages=(Message(role="user", content=text),), sampling=sampling)


def prefilled(engine: TorchEngine, words: int) -> tuple[int, float]:
    """Tokens of one long prompt, and how many a second; the last of three, by when the chunks are learned."""
    rate, tokens = 0.0, 0
    for number in range(3):
        engine.admit(asked(number, words, 1, 0.0))
        outputs: list[StepOutput] = []
        while engine.live():
            outputs += engine.step()
        timing, tokens = outputs[-1].timing, outputs[-1].input_tokens
        rate = tokens / ((timing.prefill_finished_ns - timing.prefill_started_ns) / 1e9)
    return tokens, rate


def decoded(engine: TorchEngine, rows: int, options: argparse.Namespace, temperature: float) -> list[float]:
    """Seconds of each step in which all rows decode."""
    for number in range(rows):
        engine.admit(asked(number, options.words, options.context // 2, temperature))
    while len(engine.step()) < rows:
        pass
    for _ in range(WARM_STEPS):
        engine.step()
    seconds = []
    for _ in range(options.steps):
        began = time.perf_counter()
        if len(engine.step()) < rows:
            raise SystemExit("a row ended while it was measured: raise --context or lower --steps")
        seconds.append(time.perf_counter() - began)
    engine.close()
    return seconds


def measure(options: argparse.Namespace) -> dict[str, Any]:
    began = time.perf_counter()
    engine = engine_of(options)
    opening = time.perf_counter() - began
    long, prefill = prefilled(engine, options.long)
    decode = []
    for temperature in options.temperatures:
        for rows in options.rows:
            decode.append(
                {"rows": rows, "temperature": temperature, **figures(decoded(engine, rows, options, temperature), rows)}
            )
            print(json.dumps(decode[-1]), file=sys.stderr)
    info = engine.model
    return {
        "model": {name: getattr(info, name) for name in ("name", "parameters", "dtype", "device", "device_reason")},
        "attention": f"{info.attention}: {info.attention_reason}",
        "software": {"torch": torch.__version__, "transformers": transformers.__version__},
        "opening_seconds": opening,
        "cuda_graphs": len(getattr(engine._runner, "graphs", None) or ()),
        "prefill": {"prompt_tokens": long, "tokens_per_second": prefill, "chunk_tokens": options.prefill},
        "decode": decode,
        "gpu_peak_mib": torch.cuda.max_memory_allocated() >> 20 if engine.model.device.startswith("cuda") else None,
    }


def figures(seconds: list[float], rows: int) -> dict[str, float]:
    median = statistics.median(seconds)
    return {
        "step_ms_p50": median * 1e3,
        "step_ms_max": max(seconds) * 1e3,
        "steps_per_second": 1 / median,
        "tokens_per_second": rows * len(seconds) / sum(seconds),
    }


def main() -> None:
    parser = arguments("decode")
    parser.add_argument("--model", default=NAME, help="as STRONGROOM_INFERENCE_MODEL")
    parser.add_argument("--home", type=Path, default=Path(".strongroom"), help="where its models lie")
    parser.add_argument("--random", choices=SHAPES, help="this shape with random weights; the tokenizer is --model's")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64], help="requests that share the batch")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 0.7], help="0 is greedy")
    parser.add_argument("--steps", type=int, default=64, help="decode steps that are measured")
    parser.add_argument("--words", type=int, default=100, help="of a decoding request's prompt")
    parser.add_argument("--long", type=int, default=1500, help="words of the prompt whose prefill is measured")
    parser.add_argument("--context", type=int, default=2048, help="tokens of prompt and answer")
    parser.add_argument("--cuda-graphs", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--prefill", type=int, default=0, help="tokens of a chunk; 0: learned, as a worker does")
    options = parser.parse_args()
    result = measure(options)
    print(json.dumps(machine()))
    print(json.dumps({name: result[name] for name in result if name != "decode"}))
    columns = ("rows", "temperature", "step_ms_p50", "step_ms_max", "steps_per_second", "tokens_per_second")
    print(table(columns, [[row[column] for column in columns] for row in result["decode"]]))
    write(options.json, result)


if __name__ == "__main__":
    main()
