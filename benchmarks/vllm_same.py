"""Our engine around AsyncLLM beside AsyncLLM by itself: one instance, asked in turn, so that all else is the same.

Run it with the engine's own Python: `.cache/engines/vllm/bin/python -m benchmarks.vllm_same MODEL`. By itself means
what vLLM's server does for a request: a task each, text made by vLLM. Nothing is compiled unless --compiled says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections import deque
from pathlib import Path
from typing import Any

from benchmarks.engine.drivers.ours import Callers
from benchmarks.engine.workload import COLUMNS, CONTEXT_TOKENS, Ask
from benchmarks.report import machine
from services.inference.engine.loop import EngineLoop
from services.inference.engine.opening import EngineSettings
from services.inference.engine.vllm_opening import open_vllm_engine


def bare(engine: Any, asks: list[Ask], callers: int) -> float:
    """Tokens a second, in the loop on which AsyncLLM lives."""
    from vllm import SamplingParams
    from vllm.inputs.engine import tokens_input
    from vllm.sampling_params import RequestOutputKind

    thread, waiting = engine._thread, deque(enumerate(asks))

    async def caller() -> None:
        while waiting:
            number, ask = waiting.popleft()
            params = SamplingParams(
                temperature=0.0, max_tokens=ask.tokens, ignore_eos=True, output_kind=RequestOutputKind.DELTA
            )
            prompt = tokens_input(list(ask.prompt), cache_salt=f"{number}-{time.monotonic_ns()}")
            async for _ in thread._llm.generate(prompt, params, f"bare-{number}-{time.monotonic_ns()}"):
                pass

    async def all_of_them() -> None:
        await asyncio.gather(*(caller() for _ in range(callers)))

    began = time.perf_counter()
    asyncio.run_coroutine_threadsafe(all_of_them(), thread._loop).result()
    return sum(ask.tokens for ask in asks) / (time.perf_counter() - began)


def ours(callers_: Callers, asks: list[Ask], callers: int) -> float:
    began = time.perf_counter()
    callers_.play(asks, callers)
    return sum(ask.tokens for ask in asks) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a folder that names no end of sequence")
    parser.add_argument("--columns", default="16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--asks", type=int, default=0, help="of a column; 0: all")
    parser.add_argument("--compiled", action="store_true")
    options = parser.parse_args()
    settings = EngineSettings(
        engine="vllm", model=str(options.model), dtype="bfloat16", slots=64, context_tokens=CONTEXT_TOKENS,
        fused=options.compiled,
    )  # fmt: skip
    engine = open_vllm_engine(settings, options.model.parents[1], lambda line: None)
    callers = Callers()
    loop = EngineLoop(engine, callers)
    callers.start(loop)
    found: dict[str, Any] = {"where": machine(), "rounds": []}
    print("open", flush=True)
    for column in options.columns.split(","):
        asks = COLUMNS[column].asks[: options.asks or None]
        ours(callers, asks[: COLUMNS[column].callers], COLUMNS[column].callers)  # caches are made
        for _ in range(options.rounds):
            one = {"column": column, "bare": bare(engine, asks, COLUMNS[column].callers)}
            one |= {"engine": ours(callers, asks, COLUMNS[column].callers)}
            one["ratio"] = one["engine"] / one["bare"]
            found["rounds"].append(one)
            print(json.dumps(one), flush=True)
    for column in options.columns.split(","):
        ratios = [one["ratio"] for one in found["rounds"] if one["column"] == column]
        print(f"{column} callers: {statistics.median(ratios):.2f} x AsyncLLM by itself", flush=True)
    loop.stop()


if __name__ == "__main__":
    main()
