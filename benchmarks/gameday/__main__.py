"""A game day on local stacks of its own: breaks one thing after the other and listens to the monitor.

Prints which alert came after how many seconds with which remedy, how long after the repair it resolved, and that calm
and busy minutes bring none. The hours of calm are tests on a clock of their own (tests/unit/monitor/gameday).
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strongroom.monitor.v1 import monitor_pb2 as pb

from benchmarks.gameday import faults
from benchmarks.gameday.alert_log import AlertLog, listening
from benchmarks.gameday.callers import trickle
from benchmarks.gameday.faults import Fault
from benchmarks.kills import verify
from benchmarks.local_stack import LocalStack, local_stack
from benchmarks.report import arguments, machine, table, write
from services.guard.settings import SHIPPED_POLICY

CALM_SECONDS = 60.0
RESOLVED_SECONDS = 120.0
# The echo engine answers with the question, so that what is measured is the stack and not a model.
ECHO = {"STRONGROOM_INFERENCE_ENGINE": "echo", "STRONGROOM_INFERENCE_CONTEXT_TOKENS": "2048"}
SLOW = {**ECHO, "STRONGROOM_INFERENCE_MAX_STEPS_PER_SECOND": "1", "STRONGROOM_INFERENCE_SLOTS": "4"}
FULL_QUEUE = {**SLOW, "STRONGROOM_GATEWAY_MAX_QUEUED": "30"}
HUNG = {**ECHO, "STRONGROOM_INFERENCE_MAX_STEPS_PER_SECOND": "0.01"}  # the second step takes a hundred seconds
WORDS = 250  # of a long request: over four minutes at a step a second


async def strike(stack: LocalStack, log: AlertLog, fault: Fault) -> dict[str, Any]:
    """Breaks one thing, waits for its alerts, mends it, and waits until they have resolved."""
    struck = time.monotonic()
    async with fault.strike(stack):
        await log.until(fault.rules, pb.ALERT_STATE_FIRING, struck, fault.seconds)
        if not fault.rules:
            await asyncio.sleep(fault.seconds)
    mended = time.monotonic()
    fired = log.first(pb.ALERT_STATE_FIRING, struck)
    await log.until(fired, pb.ALERT_STATE_RESOLVED, struck, RESOLVED_SECONDS)
    resolved = log.first(pb.ALERT_STATE_RESOLVED, struck)
    alerts = [
        {
            "alert": rule,
            "place": heard.alert.id.partition("/")[2],
            "severity": heard.severity,
            "seconds": round(heard.at - struck, 1),
            "resolved_seconds": round(resolved[rule].at - mended, 1) if rule in resolved else None,
            "expected": rule in fault.rules,
            "title": {"en": heard.alert.title.en, "zh": heard.alert.title.zh},
            "remedy": {"en": heard.alert.remedy.en, "zh": heard.alert.remedy.zh},
        }
        for rule, heard in fired.items()
    ]
    missing = sorted(set(fault.rules) - fired.keys())
    return {"fault": fault.name, "alerts": alerts, "missing": missing}


async def calm(stack: LocalStack, log: AlertLog, name: str, a_second: float) -> dict[str, Any]:
    """A minute in which nothing is wrong."""
    began = time.monotonic()
    async with trickle(stack, a_second, 20) as seen:
        await asyncio.sleep(CALM_SECONDS)
    alerts = sorted(log.first(pb.ALERT_STATE_FIRING, began))
    return {"calm": name, "seconds": CALM_SECONDS, "requests": dict(seen), "alerts": alerts}


async def day(stack: LocalStack, calms: Sequence[tuple[str, float]], struck: Sequence[Fault]) -> list[dict[str, Any]]:
    async with listening(stack) as log:
        results = [await calm(stack, log, *each) for each in calms]
        for fault in struck:
            results.append(await strike(stack, log, fault))
            print(_lines(results[-1]), flush=True)
    return results


def processes(policy: Path) -> list[Fault]:
    """On a stack whose engine is quick."""
    return [
        Fault("the guard is stopped", faults.stopped("guard"), ("guard_down", "neighbour_unavailable")),
        Fault("audit is stopped", faults.stopped("audit"), ("audit_down", "neighbour_unavailable")),
        Fault("the gateway is stopped", faults.stopped("gateway"), ("gateway_down",)),
        Fault("the worker is stopped", faults.stopped("inference"), ("worker_down", "no_worker")),
        Fault("Redis is stopped", faults.stopped("redis"), ("queue_unavailable",)),
        Fault("the guard is killed once", faults.killed("guard"), (), 30.0),
        Fault("the policy file is spoilt", faults.bad_policy(policy), ("policy_refused",)),
        Fault("a job is forged", faults.forged, ("jobs_forged",)),
    ]


def everything() -> list[dict[str, Any]]:
    results = []
    with tempfile.TemporaryDirectory(prefix="strongroom-gameday-") as folder:
        policy = Path(shutil.copy(SHIPPED_POLICY, folder))
        quick = {**ECHO, "STRONGROOM_INFERENCE_MAX_STEPS_PER_SECOND": "50", "STRONGROOM_GUARD_POLICY_FILE": str(policy)}
        with local_stack(environment=quick) as stack:
            calms = [("idle", 0.0), ("ten requests a second", 10.0)]
            results += asyncio.run(day(stack, calms, processes(policy)))
    with local_stack(environment=FULL_QUEUE) as stack:
        rules = ("queue_full", "queue_waits", "queue_stuck")
        fault = Fault("the queue fills: 60 long requests, 4 slots", faults.working(WORDS, 60), rules, 90.0)
        results += asyncio.run(day(stack, (), [fault]))
    with local_stack(environment=SLOW) as stack:
        fault = Fault("the KV cache is exhausted", faults.working(WORDS, 8), ("kv_cache_full",), 90.0)
        results += asyncio.run(day(stack, (), [fault]))
    with local_stack(environment=HUNG) as stack:
        fault = Fault("the engine hangs in a step", faults.working(20, 2), ("engine_frozen",), 60.0)
        results += asyncio.run(day(stack, (), [fault]))
    return results + full_disk()


def full_disk() -> list[dict[str, Any]]:
    """On a disk of its own in memory; the log must verify after it was full."""
    problem = faults.small_disk_problem()
    if problem:
        return [{"fault": "the disk fills", "alerts": [], "missing": [], "not_run": problem}]
    # Small segments: what is allocated of one already is soon used up.
    environment = {**ECHO, "STRONGROOM_AUDIT_SEGMENT_MIB": "1"}
    rules = ("disk_low", "disk_nearly_full", "journal_full")
    with local_stack(environment=environment, inside=faults.small_disk) as stack:
        fault = Fault("the disk fills, to the last byte", faults.filling_disk, rules, 180.0)
        [result] = asyncio.run(day(stack, (), [fault]))
        seen = Path(f"/proc/{stack.pids()['audit']}/root{stack.home}")  # its disk is not there for others
        code, said = verify(LocalStack(seen, stack.port_base))
    print(f"strongroom-verify exits {code}: {said.splitlines()[0] if said else ''}", flush=True)
    return [{**result, "verify_exit": code}]


def _lines(result: dict[str, Any]) -> str:
    head = f"\n{result.get('fault') or result['calm']}"
    if "calm" in result:
        return f"{head}: {', '.join(result['alerts']) or 'no alert'} in {result['seconds']:.0f} s"
    if result.get("not_run"):
        return f"{head}: not run, as {result['not_run']}"
    if not result["alerts"] and not result["missing"]:
        return f"{head}: no alert, as it should be"
    rows = [
        [
            each["alert"],
            each["severity"],
            each["seconds"],
            each["resolved_seconds"],
            "" if each["expected"] else "beside",
        ]
        for each in result["alerts"]
    ]
    remedies = [f"  {each['alert']}: {each['remedy']['en']}" for each in result["alerts"]]
    missing = [f"  MISSING: {', '.join(result['missing'])}"] if result["missing"] else []
    return "\n".join([head, table(["alert", "severity", "after s", "resolved after s", ""], rows), *remedies, *missing])


def main() -> None:
    options = arguments("gameday").parse_args()
    print(json.dumps(machine()))
    results = everything()
    print("\n".join(_lines(result) for result in results if "calm" in result or result.get("not_run")))
    write(options.json, {"gameday": results})
    if failed := [result for result in results if result.get("missing") or ("calm" in result and result["alerts"])]:
        raise SystemExit(f"{len(failed)} of {len(results)} did not go as they should")


if __name__ == "__main__":
    main()
