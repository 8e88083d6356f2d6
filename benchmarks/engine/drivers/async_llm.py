"""vLLM's AsyncLLM by itself, in this process: what vLLM's own server stands on, without the HTTP before it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs.engine import tokens_input
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from benchmarks.engine.drivers.vllm import CACHE_GIB
from benchmarks.engine.driving import Answer, drive, in_closed_loop
from benchmarks.engine.workload import CONTEXT_TOKENS, Ask


class Callers:
    """One event loop for good: AsyncLLM lives on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, llm: Any) -> None:
        self._loop, self._llm, self._number = loop, llm, 0

    def play(self, asks: Sequence[Ask], callers: int) -> list[Answer]:
        return self._loop.run_until_complete(in_closed_loop(asks, callers, self._asked))

    async def _asked(self, ask: Ask) -> Answer:
        answer = Answer(ask.id, time.perf_counter())
        self._number += 1
        params = SamplingParams(
            temperature=0.0, max_tokens=ask.tokens, ignore_eos=True, output_kind=RequestOutputKind.DELTA
        )
        async for output in self._llm.generate(tokens_input(list(ask.prompt)), params, str(self._number)):
            answer.tokens += output.outputs[0].token_ids
            answer.first = answer.first or time.perf_counter()
        answer.ended, answer.count = time.perf_counter(), len(answer.tokens)
        return answer


async def opened(model: str, dtype: str, *, eager: bool) -> Any:
    return AsyncLLM.from_engine_args(
        AsyncEngineArgs(
            model=model, dtype=dtype, max_model_len=CONTEXT_TOKENS, enable_prefix_caching=False, enforce_eager=eager
        )
    )


def main() -> None:
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": CACHE_GIB, "VLLM_NO_USAGE_STATS": "1", "VLLM_HOST_IP": "127.0.0.1"}
    model, dtype, *options = sys.argv[1:]
    loop = asyncio.new_event_loop()
    llm = loop.run_until_complete(opened(model, dtype, eager="--enforce-eager" in options))
    drive(Callers(loop, llm).play)
    llm.shutdown()


if __name__ == "__main__":
    main()
