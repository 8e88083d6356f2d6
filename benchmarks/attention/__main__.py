"""flash-attn beside torch's SDPA on a GPU, from 512 to 8,192 tokens: reading prompts, and a decode step over a cache.

Shapes of Llama 3 8B's attention, bf16. Both compute the same and are held against each other first; then medians of
CUDA event times, in turn. Nothing is claimed about machines on which it has not run.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.report import arguments, machine, table, write
from services.inference.models.cuda import found, obstacle

LENGTHS = (512, 1024, 2048, 4096, 8192)
HEADS, KEY_HEADS, SIZE = 32, 8, 128
PROMPTS, ROWS = 4, 16  # sequences that are read together; rows of a decode step
ROUNDS = 20
CLOSE = 2e-2  # of bf16 values of about 1


@dataclass(frozen=True)
class Pair:
    """The same attention twice; each call gives [tokens, heads, size]."""

    flash: Callable[[], Tensor]
    sdpa: Callable[[], Tensor]


def prompts(kernels: Any, tokens: int, device: str, dtype: torch.dtype) -> Pair:
    """Whole prompts, packed for flash-attn, as a batch for SDPA."""
    q, k, v = (_random(PROMPTS * tokens, heads, device, dtype) for heads in (HEADS, KEY_HEADS, KEY_HEADS))
    cuts = torch.arange(0, (PROMPTS + 1) * tokens, tokens, dtype=torch.int32, device=device)
    queries, keys, values = (tensor.view(PROMPTS, tokens, -1, SIZE).transpose(1, 2) for tensor in (q, k, v))

    def sdpa() -> Tensor:
        out = scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
        return out.transpose(1, 2).reshape(q.shape)

    return Pair(lambda: kernels.flash_attn_varlen_func(q, k, v, cuts, cuts, tokens, tokens, causal=True), sdpa)


def decoding(kernels: Any, tokens: int, device: str, dtype: torch.dtype) -> Pair:
    """One token a row over a cache in which rows have different lengths; SDPA sees all of it, masked."""
    q = _random(ROWS, HEADS, device, dtype).view(ROWS, 1, HEADS, SIZE)
    k, v = (_random(ROWS * tokens, KEY_HEADS, device, dtype).view(ROWS, tokens, KEY_HEADS, SIZE) for _ in range(2))
    lengths = torch.linspace(tokens // 2, tokens, ROWS, device=device).to(torch.int32)
    seen = torch.arange(tokens, device=device)[None, None, None, :] < lengths[:, None, None, None]

    def flash() -> Tensor:
        out: Tensor = kernels.flash_attn_with_kvcache(q, k, v, cache_seqlens=lengths, causal=True)
        return out[:, 0]

    def sdpa() -> Tensor:
        queries, keys, values = (tensor.transpose(1, 2) for tensor in (q, k, v))
        return scaled_dot_product_attention(queries, keys, values, attn_mask=seen, enable_gqa=True)[:, :, 0]

    return Pair(flash, sdpa)


def apart(pair: Pair) -> float:
    """The largest difference between the two."""
    return float((pair.flash().float() - pair.sdpa().float()).abs().max())


def measured(pair: Pair, rounds: int) -> dict[str, float]:
    """Milliseconds, in turn."""
    took: dict[str, list[float]] = {"flash_ms": [], "sdpa_ms": []}
    for number in range(rounds + 3):  # the first three warm both
        for name, call in (("flash_ms", pair.flash), ("sdpa_ms", pair.sdpa)):
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            began.record()
            call()
            ended.record()
            torch.cuda.synchronize()
            if number >= 3:
                took[name].append(began.elapsed_time(ended))
    flash, sdpa = (statistics.median(took[name]) for name in took)
    return {"flash_ms": flash, "sdpa_ms": sdpa, "ratio": sdpa / flash}


def refusal() -> str:
    """Why it cannot run here and what to do; empty where it can."""
    if problem := obstacle(found()):
        return f"it needs a GPU: {problem}"
    if importlib.util.find_spec("flash_attn") is None:
        return "flash-attn is not installed: pip install 'strongroom[gpu]' on a machine with the CUDA compiler"
    return ""


def main() -> None:
    parser = arguments("attention")
    parser.add_argument("--tokens", type=int, nargs="+", default=LENGTHS, help="of a prompt, or of a cache")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="whose medians are shown")
    options = parser.parse_args()
    if problem := refusal():
        raise SystemExit(f"benchmarks.attention: {problem}")
    result = run(options)
    print(" · ".join(f"{name} {value}" for name, value in {**machine(), **result["software"]}.items()) + "\n")
    print(
        table(
            ["", "tokens", "flash ms", "SDPA ms", "SDPA / flash", "apart"],
            [list(row.values()) for row in result["rows"]],
        )
    )
    write(options.json, result)


def run(options: argparse.Namespace) -> dict[str, Any]:
    kernels, rows = importlib.import_module("flash_attn"), []
    for name, make in (("prompts", prompts), ("decode step", decoding)):
        for tokens in options.tokens:
            pair = make(kernels, tokens, "cuda", torch.bfloat16)
            if (difference := apart(pair)) > CLOSE:
                raise SystemExit(f"{name} of {tokens} tokens: the two differ by {difference:.3f}")
            rows.append({"what": name, "tokens": tokens, **measured(pair, options.rounds), "apart": difference})
    software = {
        "gpu": torch.cuda.get_device_name(0),
        "torch": torch.__version__,
        "flash_attn": importlib.metadata.version("flash-attn"),
    }
    return {"software": software, "rows": rows}


def _random(tokens: int, heads: int, device: str, dtype: torch.dtype) -> Tensor:
    return torch.randn(tokens, heads, SIZE, device=device, dtype=dtype)


if __name__ == "__main__":
    main()
