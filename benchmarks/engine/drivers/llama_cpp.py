"""llama.cpp's server, built for this machine, asked with token ids; the wheel's GGUF requantised to q8_0."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.engine.driving import Answer, drive
from benchmarks.engine.served import Server, free_port, running
from benchmarks.engine.workload import CONTEXT_TOKENS, Ask
from services.inference.models.container import available_cores
from services.inference.models.wheel import find

SLOTS = 16


def body(ask: Ask) -> dict[str, Any]:
    return {
        "prompt": ask.prompt,
        "n_predict": ask.tokens,
        "ignore_eos": True,
        "temperature": 0,
        "samplers": ["temperature"],
        "cache_prompt": False,
        "stream": True,
        "return_tokens": True,
    }


def read(event: dict[str, Any], answer: Answer) -> None:
    answer.tokens += event.get("tokens") or ()
    answer.count = event["tokens_predicted"] if event.get("stop") else max(answer.count, len(answer.tokens))


def quantised(folder: Path) -> Path:
    """Made once. It was Q4_1 before: q8_0 keeps what that left."""
    source = find()
    target = folder / f"{source.path.stem}-{source.revision}-q8_0.gguf"
    if not target.exists():
        half = target.with_suffix(".part")
        tool: list[str | Path] = [folder / "llama-quantize", "--allow-requantize", source.path, half, "q8_0"]
        subprocess.run(tool, check=True, stdout=sys.stderr)
        half.rename(target)
    return target


def main() -> None:
    _, place = sys.argv[1:]
    folder, port = Path(place), free_port()
    command: list[object] = [
        folder / "llama-server",
        "--model",
        quantised(folder),
        "--host",
        "127.0.0.1",
        "--port",
        port,
    ]
    command += ["--parallel", SLOTS, "--ctx-size", SLOTS * CONTEXT_TOKENS, "--threads", available_cores()]
    with running([str(part) for part in command], port) as pid:
        drive(Server(port, "/completion", body, read).play, [pid])


if __name__ == "__main__":
    main()
