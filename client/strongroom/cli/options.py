"""The options of a question, the same for `ask` and `chat`."""

from __future__ import annotations

import argparse
from typing import Any

from strongroom.client import DEFAULT_TIMEOUT_SECONDS


def add_question_options(parser: argparse.ArgumentParser, priority: str) -> None:
    """`priority` is the command's own default; empty leaves it to the gateway."""
    parser.add_argument("--model", default="", metavar="M")
    parser.add_argument("--adapter", default="", metavar="NAME", help="a LoRA adapter that the workers have loaded")
    parser.add_argument("--system", default="", metavar="TEXT", help="a system message; the firm's own stays first")
    parser.add_argument("--max-tokens", type=int, metavar="N")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 to 2; 0 is greedy")
    parser.add_argument("--top-p", type=float, metavar="P")
    parser.add_argument("--top-k", type=int, metavar="K")
    parser.add_argument("--seed", type=int, metavar="S")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="may be given up to 4 times")
    parser.add_argument("--subject", default="", metavar="ID", help="whose data this is; unset means your own")
    parser.add_argument("--priority", choices=("interactive", "standard", "batch"), default=priority)
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_SECONDS, metavar="SECONDS")


def question_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `Question` takes beside its messages."""
    names = ("model", "adapter", "temperature", "top_p", "top_k", "seed", "max_tokens", "subject", "priority")
    return {**{name: getattr(arguments, name) for name in names}, "stop": tuple(arguments.stop)}
