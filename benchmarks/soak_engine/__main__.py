"""An hour of mixed traffic on the whole suite and the real model: whole answers, callers who leave, deadlines, long
prompts, prompts that are too long, and kill -9 of a worker every few minutes.

Every text must be the undisturbed answer's, or its beginning where the caller left early; in fp32, where batch mates
change nothing. At the end no slot is held, and the log has to verify. Ends with 1 when a promise was broken.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from benchmarks.kills import verify
from benchmarks.local_stack import LocalStack, local_stack
from benchmarks.report import arguments, machine, table, write
from benchmarks.soak_engine.callers import Line, Seen, Tally, judged, patience
from benchmarks.soak_engine.memory import Memory
from benchmarks.soak_engine.questions import Question, Questions
from services.inference.models.convert import converted

MINUTES, CALLERS, QUESTIONS = 60.0, 8, 16
KILL_SECONDS = 240.0  # between two kills
SLOW_SECONDS = 45.0  # what takes longer is told as it happens: which kind, how long, after which kill
SHOWN_PROBLEMS = 20
SETTLE_SECONDS = 60.0  # a lost worker's requests have ended everywhere by then
SLOPE_MIB = 1.0  # per 1,000 requests
WATCHED = ("inference", "gateway", "guard", "audit")
WORKERS = 2
HELD = "strongroom_inference_running_requests"


@dataclass
class Soak:
    """One stack, its callers, and who kills its second worker; the first one's memory is watched."""

    stack: LocalStack
    questions: Questions
    seed: int
    seconds: float
    kill_seconds: float
    tally: Tally = field(default_factory=Tally)
    memory: Memory = field(default_factory=Memory)
    kills: int = 0
    reference: dict[Question, Seen] = field(default_factory=dict)

    async def run(self) -> None:
        async with grpc.aio.insecure_channel(self.stack.gateway) as channel:
            line = Line(self.stack, channel)
            self.reference = await line.references(self.questions)
            bad = [seen.status for seen in self.reference.values() if seen.status != "OK"]
            self.tally.problems += [f"without a disturbance a question ended as {status}" for status in bad]
            until = time.monotonic() + self.seconds
            beside = [asyncio.create_task(self._watch()), asyncio.create_task(self._kill())]
            await asyncio.gather(*(self._call(line, number, until) for number in range(CALLERS)))
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        await self._settled()

    async def _call(self, line: Line, number: int, until: float) -> None:
        chance = random.Random(self.seed * 1000 + number)
        while time.monotonic() < until:
            turn = self.questions.turn(chance)
            seen = await line.take(turn)
            if seen.seconds > SLOW_SECONDS:
                print(f"{turn.kind}: {seen.status} after {seen.seconds:.0f} s, {self.kills} kills", file=sys.stderr)
            self.tally.add(turn, seen, judged(turn, seen, self.reference, line.patience))

    async def _watch(self) -> None:
        while True:
            self.memory.sample(self.stack.pids(), self.tally.turns)
            await asyncio.sleep(2)

    async def _kill(self) -> None:
        while True:
            await asyncio.sleep(self.kill_seconds)
            victim = next(pid for name, pid in self.stack.pids().items() if name.startswith("inference-1"))
            os.kill(victim, signal.SIGKILL)
            self.kills += 1
            print(f"killed {victim}; {self.tally.turns} turns so far", file=sys.stderr, flush=True)

    async def _settled(self) -> None:
        """No slot is held and nothing waits, soon after the last caller has left."""
        until = time.monotonic() + SETTLE_SECONDS
        while (held := await asyncio.to_thread(self._held)) and time.monotonic() < until:
            await asyncio.sleep(0.5)
        self.tally.problems += [f"after the last caller had left: {what}" for what in held]

    def _held(self) -> list[str]:
        ports = (self.stack.port_base + 12, self.stack.port_base + 23)
        found = [gauges(port) for port in ports[:WORKERS]]
        names = ("strongroom_inference_running_requests", "strongroom_inference_kv_used_tokens")
        return [
            f"worker {k}: {name} {told[name]:g}" for k, told in enumerate(found) for name in names if told.get(name)
        ]


def gauges(port: int) -> dict[str, float]:
    """A worker's figures without labels; none while it starts again."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {HELD: -1.0}
    told = (line.split() for line in lines if not line.startswith("#") and "{" not in line)
    return {name: float(value) for name, value, *_ in told}


def main() -> None:
    parser = arguments("soak_engine")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--home", type=Path, default=Path(".strongroom"), help="where the default model lies")
    parser.add_argument("--seed", type=int, default=secrets.randbits(16), help="of questions and turns")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="different short ones")
    parser.add_argument("--kill-seconds", type=float, default=KILL_SECONDS, help="between two kill -9 of a worker")
    options = parser.parse_args()
    where, model = machine(), converted(options.home)
    # A thread each: two workers share the cores.
    environment = {"STRONGROOM_INFERENCE_THREADS": "1", "STRONGROOM_MODEL": str(model.resolve())}
    with local_stack("--workers", str(WORKERS), environment=environment) as stack:
        questions = Questions(options.seed, options.questions)
        soak = Soak(stack, questions, options.seed, options.minutes * 60, options.kill_seconds)
        asyncio.run(soak.run())
        time.sleep(1)
        code, _ = verify(stack)
    result = told(soak, options, code)
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    show(result)
    write(options.json, result)
    sys.exit(1 if result["problems"] else 0)


def told(soak: Soak, options: Any, code: int) -> dict[str, Any]:
    slopes = soak.memory.slopes()
    grows = [f"{name} grew by {slope:.2f} MiB per 1,000 requests" for name, slope in slopes.items()
             if name.startswith(WATCHED) and slope > SLOPE_MIB]  # fmt: skip
    ordered = sorted(soak.tally.seconds) or [0.0]
    return {
        "seed": options.seed,
        "minutes": options.minutes,
        "turns": soak.tally.turns,
        "kills": soak.kills,
        "outcomes": dict(sorted(soak.tally.outcomes.items())),
        "whole_answer_s": {"p50": ordered[len(ordered) // 2], "longest": ordered[-1]},
        "stuck_after_s": patience(soak.reference.values()),
        "resident_mib": soak.memory.last(),
        "mib_per_1000_requests": slopes,
        "verify_exit": code,
        "problems": soak.tally.problems + grows + ([f"strongroom-verify ended with {code}"] if code else []),
    }


def show(result: dict[str, Any]) -> None:
    print(f"\nseed {result['seed']}, {result['minutes']:g} minutes, {result['turns']} turns, {result['kills']} kills\n")
    print(table(["turn, outcome", "times"], list(map(list, result["outcomes"].items()))))
    print(f"\na whole answer, seconds: {result['whole_answer_s']}; stuck after {result['stuck_after_s']:.0f}")
    print(f"verify exits {result['verify_exit']}\n")
    slopes = result["mib_per_1000_requests"]
    rows = [[name, mib, slopes.get(name, "too few requests")] for name, mib in result["resident_mib"].items()]
    print(table(["", "resident MiB", "MiB per 1,000 requests"], rows))
    problems = result["problems"]
    print(f"\n{len(problems)} promises were broken; the first of them:" if problems else "\nnothing was broken")
    print("\n".join(problems[:SHOWN_PROBLEMS]))


if __name__ == "__main__":
    main()
