"""`up --detach`: the supervisor in the background, and the command that waits until it is ready or has failed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

from stack.options import Stack, stack_options
from stack.process import Plan
from stack.reporting import Pipe, Reporter, Say
from stack.up import FAILED, run_stack


def start_detached(stack: Stack, say: Say) -> int:
    """0 when every service is ready. Ctrl-C while waiting stops what was started."""
    stack.log_folder.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    with (stack.log_folder / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            (sys.executable, "-m", "stack.detached", str(writing)),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=stack.environment, pass_fds=(writing,),
            start_new_session=True,
        )  # fmt: skip
    os.close(writing)
    try:
        return _relay(reading, say)
    except KeyboardInterrupt:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        process.wait()
        return 130


def _relay(reading: int, say: Say) -> int:
    with os.fdopen(reading) as lines:
        for line in lines:
            message = json.loads(line)
            if "exit" in message:
                return int(message["exit"])
            say(message["line"])
    say("✗ the supervisor ended without a word; see HOME/log/supervisor.log")
    return FAILED


async def _background(stack: Stack, pipe: Pipe) -> int:
    async def ready(plans: list[Plan]) -> None:
        pipe.finish(0)

    code = await run_stack(stack, Reporter(pipe.say, stack.log_folder / "supervisor.log"), ready)
    pipe.finish(code or FAILED)  # only heard if it was never ready
    return code


def main() -> None:
    raise SystemExit(asyncio.run(_background(stack_options({}), Pipe(int(sys.argv[1])))))


if __name__ == "__main__":
    main()
