"""What a stack takes of disk and memory: bytes of the journal a request, memory of each service, of a waiting job."""

from __future__ import annotations

import asyncio
import re
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import redis
from strongroom.client import Answer, AsyncClient, Question

from benchmarks import report
from benchmarks.local_stack import LocalStack, local_stack

QUESTION = "What is the difference between a forward contract and a futures contract? Explain it at length."
LONG_QUESTION = (QUESTION + " ") * 20  # about 2,000 characters
ANSWER_TOKENS = (8, 64, 256)
LOAD_CALLERS, LOAD_TOKENS = 8, 64
WAITING = 200
SETTLE_SECONDS = 5.0


def journalled(stack: LocalStack) -> tuple[int, int]:
    """Bytes of frames and RELEASE entries since the start, by audit's own count."""
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.port_base + 13}/metrics") as answer:
        shown = answer.read().decode()
    counted = [
        re.search(rf"^strongroom_audit_{name} (\S+)$", shown, re.MULTILINE)
        for name in ("journal_bytes_total", r'entries_total\{kind="RELEASE"\}')
    ]
    size, releases = (int(float(found[1])) if found else 0 for found in counted)
    return size, releases


def pss(pid: int) -> int:
    """Bytes of a process; what it shares with others is counted to each in part."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss: +(\d+) kB$", rollup, re.MULTILINE)[1]) * 1024  # type: ignore[index]


def memory(stack: LocalStack) -> dict[str, int]:
    return {name: pss(pid) for name, pid in stack.pids().items()}


async def bytes_by_answer(stack: LocalStack, client: AsyncClient) -> list[dict[str, Any]]:
    """One request after the other, streamed at the model's own pace; the mean of three."""
    rows = []
    for tokens in ANSWER_TOKENS:
        (size, releases), produced, characters = journalled(stack), 0, 0
        for seed in range(3):
            stream = client.stream(Question.of(QUESTION, max_tokens=tokens, seed=seed))
            answer = [event async for event in stream][-1]
            assert isinstance(answer, Answer)
            produced += answer.output_tokens
            characters += len(answer.text)
        after = journalled(stack)
        each = {"characters": characters / 3, "releases": (after[1] - releases) / 3, "bytes": (after[0] - size) / 3}
        rows.append({"max_tokens": tokens, "tokens": produced / 3, **each})
    return rows


@asynccontextmanager
async def asking(client: AsyncClient, count: int, question: Question) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """That many at once; what still runs at the end is cancelled."""
    tasks = [asyncio.create_task(client.ask(question)) for _ in range(count)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def memory_under_load(stack: LocalStack, client: AsyncClient, seconds: float) -> dict[str, int]:
    """The highest of each service while callers ask again and again."""
    highest = memory(stack)
    until = time.monotonic() + seconds

    async def caller(number: int) -> None:
        while time.monotonic() < until:
            await client.ask(Question.of(QUESTION, max_tokens=LOAD_TOKENS, seed=number))

    load = asyncio.gather(*(caller(number) for number in range(LOAD_CALLERS)))
    while not load.done():
        await asyncio.sleep(0.5)
        for name, size in memory(stack).items():
            highest[name] = max(highest.get(name, 0), size)
    await load
    return highest


async def bytes_a_waiting_job(stack: LocalStack, client: AsyncClient, text: str) -> float:
    """Redis' own count with many waiting less without, by how many wait."""
    queue: Any = redis.Redis(port=stack.port_base + 9)
    before = int(queue.info("memory")["used_memory"])
    async with asking(client, WAITING, Question.of(text, max_tokens=LOAD_TOKENS, temperature=0.0)):
        most, used = 0, 0
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until:
            await asyncio.sleep(0.1)
            waiting = sum(queue.xlen(key) for key in queue.scan_iter("sr:work:*"))
            if waiting > most:
                most, used = waiting, int(queue.info("memory")["used_memory"])
    await asyncio.sleep(SETTLE_SECONDS)
    return (used - before) / most


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def measure(stack: LocalStack, seconds: float) -> dict[str, Any]:
    client = AsyncClient(address=stack.gateway, api_key=stack.api_key, timeout_seconds=600)
    await client.ask(Question.of(QUESTION, max_tokens=4))
    await asyncio.sleep(SETTLE_SECONDS)
    idle = memory(stack)
    answers = await bytes_by_answer(stack, client)
    loaded = await memory_under_load(stack, client, seconds)
    waiting = {name: await bytes_a_waiting_job(stack, client, text) for name, text in _QUESTIONS.items()}
    await client.close()
    models = {path.name: folder_bytes(path) for path in sorted((stack.home / "models").iterdir()) if path.is_dir()}
    return {"answers": answers, "idle": idle, "loaded": loaded, "waiting_job_bytes": waiting, "models": models}


_QUESTIONS = {f"{len(QUESTION)} characters": QUESTION, f"{len(LONG_QUESTION)} characters": LONG_QUESTION}


def main() -> int:
    parser = report.arguments("sizes")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the load (30)")
    options = parser.parse_args()
    with local_stack() as stack:
        result = asyncio.run(measure(stack, options.seconds))
    header = ("tokens", "characters", "releases", "bytes")
    answers = [(row["max_tokens"], *(row[name] for name in header)) for row in result["answers"]]
    print(report.table(("max tokens", *header[:3], "journal bytes a request"), answers))
    mib = 1024 * 1024
    rows = [(name, size / mib, result["loaded"][name] / mib) for name, size in result["idle"].items()]
    print("\n" + report.table(("service", "idle MiB", f"{LOAD_CALLERS} callers, highest MiB"), rows))
    rows = [*result["waiting_job_bytes"].items()]
    print("\n" + report.table(("a waiting job", "Redis bytes"), rows))
    print("\n" + report.table(("model folder", "MiB"), [(name, size / mib) for name, size in result["models"].items()]))
    report.write(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
