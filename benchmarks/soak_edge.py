"""The HTTP edge among hostile callers for minutes: drippers, hoarders, a hundred megabytes, what Hypothesis makes up.

Meanwhile somebody else asks over and over, and the gateway's memory is watched; afterwards the log has to verify. Ends
with 1 when a promise of docs/http.md was broken; the seed makes the same attacks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.hostile.attacks import OK, PATH, Attack, as_json, attacks, request
from benchmarks.hostile.judging import Broken, judge, parsed, play
from benchmarks.local_stack import LocalStack, local_stack
from benchmarks.report import arguments, machine, table, write

MINUTES, BATCHES_A_ROUND = 8.0, 200
DRIPPERS, HOARDERS = 64, 64
MEBIBYTE = 2**20
ROOM_MIB = 96.0  # that the gateway may keep more than it had after the first round
SLOWEST_SECONDS = 20.0  # for somebody else's question


@dataclass
class Watched:
    """What was seen so far."""

    answers: Counter[str] = field(default_factory=Counter)
    asked: list[float] = field(default_factory=list)  # seconds of somebody else's questions
    harmed: list[str] = field(default_factory=list)
    resident_mib: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)  # their seeds


class Siege:
    """One stack, and everybody who calls it; all connections live on a loop of their own thread."""

    def __init__(self, stack: LocalStack) -> None:
        self.watched = Watched()
        self._port, self._key = stack.port_base + 10, stack.api_key
        self._gateway = psutil.Process(stack.pids()["gateway"])
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._run(self._begin())

    def attack(self, number: int) -> None:
        """A round of attacks. Raises Broken."""

        @seed(number)
        @settings(
            max_examples=BATCHES_A_ROUND, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.lists(attacks(self._key), min_size=4, max_size=12))
        def batch(each: list[Attack]) -> None:
            self._run(self._play(each))

        self.watched.rounds.append(number)
        batch()
        self._run(self._heap())
        self.watched.resident_mib.append(self._gateway.memory_info().rss / MEBIBYTE)

    def lift(self) -> None:
        """Everybody leaves."""

        async def leave() -> None:
            for task in self._forever:
                task.cancel()
            await asyncio.gather(*self._forever, return_exceptions=True)

        self._run(leave())

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _begin(self) -> None:
        head = b"POST %s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\n" % (PATH, self._key.encode())
        forever = [self._somebody_else()]
        forever += [self._drip(head, b"x") for _ in range(DRIPPERS // 2)]
        forever += [self._drip(head + b"content-length: 1000\r\n\r\n", b" ") for _ in range(DRIPPERS // 2)]
        forever += [self._hoard() for _ in range(HOARDERS)]
        self._forever = [asyncio.create_task(each) for each in forever]

    async def _play(self, batch: list[Attack]) -> None:
        for attack, answers in zip(batch, await asyncio.gather(*(play(self._port, each) for each in batch))):
            statuses = [str(answer.status) for answer in answers[:1]] or ["hung up on"]
            self.watched.answers.update(f"{attack.kind} {status}" for status in statuses)

    async def _somebody_else(self) -> None:
        body = request(self._key, as_json(OK), b"connection: close")
        while True:
            began = time.monotonic()
            try:
                [answer] = await play(self._port, Attack("somebody else", (body,), whole=True))
                if answer.status != 200:
                    raise Broken(f"status {answer.status}")
            except (Broken, ValueError) as broken:
                self.watched.harmed.append(str(broken) or type(broken).__name__)
            self.watched.asked.append(time.monotonic() - began)
            await asyncio.sleep(0.1)

    async def _drip(self, head: bytes, byte: bytes) -> None:
        """A request that never becomes whole, over and over; the edge hangs up each time."""
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(head)
                reading = asyncio.create_task(reader.read())
                while not reading.done():
                    writer.write(byte)
                    await asyncio.sleep(0.25)
                said = reading.result()
                for answer in parsed(said):
                    judge(answer)
                self.watched.answers[f"dripper {'408' if said else 'hung up on'}"] += 1
                writer.transport.abort()

    async def _hoard(self) -> None:
        """A connection kept open for nothing."""
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                await reader.read()
                self.watched.answers["hoarder hung up on"] += 1
                writer.transport.abort()

    async def _heap(self) -> None:
        """A hundred megabytes, declared and not."""
        whole = b" " * (100 * MEBIBYTE)
        for size in (0, MEBIBYTE):
            await self._play([Attack("heap", (request(self._key, whole, size=size),))])


def main() -> None:
    parser = arguments("soak_edge")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="of the first round; each adds one")
    options = parser.parse_args()
    broken, where = "", machine()
    with local_stack("--engine", "echo") as stack:
        siege, until, number = Siege(stack), time.monotonic() + options.minutes * 60, options.seed
        while time.monotonic() < until and not broken:
            try:
                siege.attack(number)
            except Broken as found:
                broken = f"seed {number}: {found}"
            number += 1
            seen = siege.watched
            print(
                f"{len(seen.rounds)} rounds, {sum(seen.answers.values())} attacks, {len(seen.asked)} asked",
                file=sys.stderr,
            )
        siege.lift()
        verified = subprocess.run([sys.executable, "-m", "strongroom.verify", stack.home], capture_output=True)
    problems = [problem for problem in (broken, *_problems(siege.watched)) if problem]
    problems += [f"strongroom-verify ended with {verified.returncode}"] if verified.returncode else []
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    show(siege.watched, options.seed, problems)
    write(options.json, _result(siege.watched, options.seed, problems))
    sys.exit(1 if problems else 0)


def _problems(seen: Watched) -> list[str]:
    grown = max(seen.resident_mib, default=0.0) - (seen.resident_mib or [0.0])[0]
    return [
        *(f"somebody else was told: {what}" for what in sorted(set(seen.harmed))),
        f"the gateway grew by {grown:.0f} MiB" if grown > ROOM_MIB else "",
        f"somebody else waited {max(seen.asked):.1f} s" if max(seen.asked, default=0.0) > SLOWEST_SECONDS else "",
    ]


def _result(seen: Watched, first: int, problems: list[str]) -> dict[str, Any]:
    ordered = sorted(seen.asked)
    return {
        "seed": first,
        "rounds": len(seen.rounds),
        "answers": dict(sorted(seen.answers.items())),
        "somebody_else": {"asked": len(ordered), "p50_s": ordered[len(ordered) // 2], "longest_s": ordered[-1]},
        "resident_mib": {"first": seen.resident_mib[0], "most": max(seen.resident_mib), "last": seen.resident_mib[-1]}
        if seen.resident_mib
        else {},
        "resident_mib_by_round": [round(each, 1) for each in seen.resident_mib],
        "problems": problems,
    }


def show(seen: Watched, first: int, problems: list[str]) -> None:
    result = _result(seen, first, problems)
    print(f"\nseed {first}, {result['rounds']} rounds, {sum(seen.answers.values())} attacks\n")
    print(table(["attack, answer", "times"], [[what, times] for what, times in result["answers"].items()]))
    print(f"\nsomebody else: {result['somebody_else']}\nthe gateway's resident memory, MiB: {result['resident_mib']}")
    print("\n".join(problems) if problems else "\nnothing was broken")


if __name__ == "__main__":
    main()
