"""kill -9 of each process in turn, and of Redis, during a streamed answer of the real model.

Says what the caller saw, whether the text was the undisturbed one, how long until the suite answered again, and what
the verifier says of the log at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import grpc
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc

from benchmarks.local_stack import LocalStack, local_stack
from benchmarks.report import arguments, machine, table, write

VICTIMS = ("gateway", "guard", "inference", "audit", "redis", "monitor")
QUESTION = "Explain in a few paragraphs what a letter of credit is and who takes part in it."
TOKENS = 160
STREAM_SECONDS = 90.0
DELTAS_BEFORE = 3  # the kill falls in the middle of the stream


@dataclass
class Seen:
    """One stream as its caller saw it."""

    text: str = ""
    status: str = "OK"
    finish: str = ""
    seconds: float = 0.0
    longest_pause: float = 0.0  # between two pieces


async def stream(stack: LocalStack, kill: int | None = None) -> Seen:
    """Asks once; after a few pieces kills the process."""
    seen, began = Seen(), time.perf_counter()
    last, pieces = began, 0
    async with grpc.aio.insecure_channel(stack.gateway) as channel:
        call = rpc.GatewayServiceStub(channel).StreamGenerate(
            pb.StreamGenerateRequest(prompt=_prompt()), metadata=_key(stack), timeout=STREAM_SECONDS
        )
        try:
            async for event in call:
                now = time.perf_counter()
                seen.longest_pause, last = max(seen.longest_pause, now - last), now
                if event.HasField("delta"):
                    seen.text += event.delta.text
                    pieces += 1
                    if pieces == DELTAS_BEFORE and kill:
                        os.kill(kill, signal.SIGKILL)
                elif event.HasField("outcome"):
                    seen.finish = pb.FinishReason.Name(event.outcome.finish_reason).removeprefix("FINISH_REASON_")
        except grpc.aio.AioRpcError as error:
            seen.status = error.code().name
    seen.seconds = time.perf_counter() - began
    return seen


async def serves(stack: LocalStack) -> bool:
    """Whether a short question is answered now."""
    async with grpc.aio.insecure_channel(stack.gateway) as channel:
        prompt = _prompt()
        prompt.sampling.max_tokens = 2
        try:
            await rpc.GatewayServiceStub(channel).Generate(
                pb.GenerateRequest(prompt=prompt), metadata=_key(stack), timeout=20
            )
        except grpc.aio.AioRpcError:
            return False
    return True


async def disturb(stack: LocalStack, victim: str, undisturbed: str) -> dict[str, object]:
    """Kills one process during a stream and waits until the suite answers again."""
    pid = next(pid for name, pid in stack.pids().items() if name.startswith(victim))
    streaming = asyncio.create_task(stream(stack, kill=pid))
    while _alive(pid) and not streaming.done():
        await asyncio.sleep(0.01)
    killed = time.perf_counter()
    while not await serves(stack):
        await asyncio.sleep(0.05)
    again = time.perf_counter() - killed
    seen = await streaming
    complete, prefix = seen.text == undisturbed, undisturbed.startswith(seen.text)
    return {
        "victim": victim,
        **asdict(seen),
        "text_is": "the whole answer" if complete else "a true prefix" if prefix else "ALTERED",
        "serves_again_seconds": again,
    }


def verify(stack: LocalStack) -> tuple[int, str]:
    """The verifier's exit status and its first words."""
    key = (stack.home / "audit" / "tlog" / "log.vkey").read_text().strip()
    command = [sys.executable, "-m", "strongroom.verify", str(stack.home), "--key", key]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def main() -> None:
    options = arguments("kills").parse_args()
    with local_stack() as stack:
        undisturbed = asyncio.run(stream(stack))
        print(json.dumps(machine()))
        print(f"undisturbed: {undisturbed.seconds:.1f} s, {undisturbed.finish}, {len(undisturbed.text)} characters")
        rows = [asyncio.run(disturb(stack, victim, undisturbed.text)) for victim in VICTIMS]
        time.sleep(12)  # a lost gateway's records are ended after 10 s
        code, words = verify(stack)
    header = ["kill -9", "caller saw", "text", "stream s", "longest pause s", "serves again s"]
    print(
        table(
            header,
            [
                [
                    row["victim"],
                    f"{row['status']} {row['finish']}".strip(),
                    row["text_is"],
                    row["seconds"],
                    row["longest_pause"],
                    row["serves_again_seconds"],
                ]
                for row in rows
            ],
        )
    )
    print(f"\nstrongroom-verify exits {code}\n{words}")
    write(options.json, {"undisturbed": asdict(undisturbed), "kills": rows, "verify_exit": code})


def _prompt() -> pb.Prompt:
    messages = [pb.Message(role="user", content=QUESTION)]
    return pb.Prompt(messages=messages, sampling=pb.Sampling(temperature=0, max_tokens=TOKENS))


def _key(stack: LocalStack) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {stack.api_key}")]


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main()
