"""The guard alone: what it costs to judge, redact and filter a text, and an item of its stream.

In this process: CPU of one text of 2,000 characters, and of a piece of an answer; the floor beside it is Unicode
normalisation (NFKC) of the same text, which looks at every character and decides nothing. The core runs as in a
service, compiled where `make compiled` was run, and the output says which: compare STRONGROOM_COMPILED=false. The
service, as a process of its own: prompts screened and answers filtered by callers in a closed loop, and once by eight
whose pieces come every 20 ms, its CPU read from the kernel; the floor there is the same stream answered at once.
"""

from __future__ import annotations

import asyncio
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.as_deployed import CORE
from benchmarks.guard_redaction import measure, shown
from benchmarks.guard_stream import TOKEN, Asking, answering_at_once
from benchmarks.guard_texts import CHINESE, ENGLISH, LENGTH, texts
from benchmarks.local_service import local_service
from benchmarks.local_stack import cpu_seconds
from benchmarks.report import arguments, machine, table, write
from chassis.client import connect
from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.loading import load_bundle
from services.guard.policy.output_filter import OutputFilter
from services.guard.policy.screening import Message, judge, screen
from services.guard.redaction.redactor import redact
from services.guard.settings import SHIPPED_POLICY

PIECES = (20, 40)  # characters; 40 is about what a release of eight tokens has
STREAM = 8  # pieces of a streamed answer
BEAT = 0.02  # seconds; a decode step
# Callers, pieces an answer, seconds between them: 0 is a closed loop.
LOADS = {
    **{f"{callers} · {pieces}": (callers, pieces, 0.0) for pieces in (1, STREAM) for callers in (1, 8, 64)},
    f"8 · {STREAM} · every 20 ms": (8, STREAM, BEAT),
}
SECONDS, ROUNDS = 2.0, 5
SLICE_SECONDS = 0.05  # between changes from a text to its floor and back


def cheapest(work: Callable[[], object], seconds: float) -> float:
    """CPU microseconds of one call: the least of many slices, as others on the machine only ever add to it."""
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        calls, began, end = 0, time.process_time(), time.perf_counter() + SLICE_SECONDS
        while time.perf_counter() < end:
            work()
            calls += 1
        best = min(best, (time.process_time() - began) / calls * 1e6)
    return best


def filtered(bundle: PolicyBundle, text: str, size: int) -> int:
    """Feeds an answer piece by piece; returns the characters held back, summed over the pieces."""
    output_filter, given, held = OutputFilter(bundle), 0, 0
    for at in range(0, len(text), size):
        given += len(output_filter.feed(text[at : at + size]).released)
        held += min(at + size, len(text)) - given
    output_filter.finish()
    return held


def measure_texts(bundle: PolicyBundle, seconds: float) -> dict[str, dict[str, float]]:
    found = {}
    for kind, text in texts().items():
        message = [Message("user", text)]
        found[kind] = {
            "judge_us": cheapest(lambda text=text: judge(bundle.prompt_terms, text), seconds),  # type: ignore[misc]
            "redact_us": cheapest(lambda text=text: redact(bundle.maskings, text), seconds),  # type: ignore[misc]
            "screen_us": cheapest(lambda message=message: screen(bundle, message), seconds),  # type: ignore[misc]
            "floor_us": cheapest(lambda text=text: unicodedata.normalize("NFKC", text), seconds),  # type: ignore[misc]
        }
    return found


def measure_pieces(bundle: PolicyBundle, seconds: float) -> dict[str, dict[str, float]]:
    found = {}
    for kind, text in {"English": ENGLISH, "Chinese": CHINESE}.items():
        text = (text * (LENGTH // len(text) + 1))[:LENGTH]
        for size in PIECES:
            pieces = -(-len(text) // size)
            spent = cheapest(lambda text=text, size=size: filtered(bundle, text, size), seconds)  # type: ignore[misc]
            found[f"{kind}/{size}"] = {
                "us_per_piece": spent / pieces,
                "held_back_characters": filtered(bundle, text, size) / pieces,
            }
    return found


async def measure_service(
    asking: Asking, pid: int, callers: int, pieces: int, seconds: float, beat: float = 0.0
) -> dict[str, float]:
    """Over one stream each caller has a prompt screened and an answer filtered, piece by piece."""
    await asking.load(callers, pieces, 0.3)  # warm
    cpu, began = cpu_seconds(pid), time.perf_counter()
    requests = await asking.load(callers, pieces, seconds, beat)
    wall, cpu = time.perf_counter() - began, cpu_seconds(pid) - cpu
    items = requests * (1 + pieces)
    return {
        "cpu_ms_per_request": cpu * 1000 / requests,
        "cpu_us_per_item": cpu * 1e6 / items,
        "items_per_s": items / wall,
    }


def best(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """The round that cost least CPU: on a machine that others use too, the others only ever add to it."""
    return min(rounds, key=lambda one: one["cpu_us_per_item"])


async def measure_services(rounds: int, seconds: float) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    with local_service("guard") as service, answering_at_once() as floor:
        async with (
            connect(service.address, service.gateway_token) as channel,
            connect(floor.address, TOKEN) as bare,
            Asking.through(channel) as guard,
            Asking.through(bare) as nobody,
        ):
            for name, (callers, pieces, beat) in LOADS.items():
                taken, floors = [], []
                for _ in range(rounds):
                    taken.append(await measure_service(guard, service.pid, callers, pieces, seconds, beat))
                    floors.append(await measure_service(nobody, floor.pid, callers, pieces, seconds, beat))
                found[name] = {"guard": best(taken), "floor": best(floors)}
    return found


def main() -> None:
    parser = arguments("guard")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of which the cheapest is shown")
    parser.add_argument("--only", choices=("texts", "redaction", "service"), help="one part alone")
    parser.add_argument("--data", type=Path, help="folder of the guard data, whose sentences are redacted, too")
    options = parser.parse_args()
    result: dict[str, Any] = {"core": CORE}
    bundle = load_bundle(SHIPPED_POLICY)
    if options.only in (None, "redaction"):
        result["redaction"] = measure(bundle, options.data)
    if options.only in (None, "texts"):
        result["texts"] = measure_texts(bundle, options.seconds)
        result["pieces"] = measure_pieces(bundle, options.seconds)
    if options.only in (None, "service"):
        result["service"] = asyncio.run(measure_services(options.rounds, options.seconds))
    show(result)
    write(options.json, result)


def show(result: dict[str, Any]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"core {result['core']}")
    if "redaction" in result:
        print("\n" + shown(result["redaction"]))
    if "texts" in result:
        rows = [[kind, *figures.values()] for kind, figures in result["texts"].items()]
        print("\n" + table([f"{LENGTH:,} characters", "judge µs", "redact µs", "screen µs", "NFKC µs"], rows))
        rows = [[*name.split("/"), *figures.values()] for name, figures in result["pieces"].items()]
        print("\n" + table(["filter", "piece", "µs/piece", "held back"], rows))
    header = [
        "service: callers · pieces",
        "CPU ms/request",
        "CPU µs/item",
        "items/s",
        "floor µs/item",
        "floor items/s",
    ]
    rows = []
    for name, figures in result.get("service", {}).items():
        guard, floor = figures["guard"], figures["floor"]
        rows.append([name, *guard.values(), floor["cpu_us_per_item"], floor["items_per_s"]])
    if rows:
        print("\n" + table(header, rows))


if __name__ == "__main__":
    main()
