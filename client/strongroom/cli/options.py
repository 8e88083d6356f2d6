"""The options of a question, the same for `ask` and `chat`."""

from __future__ import annotations

import argparse
from pathlib import Path
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
    parser.add_argument("--min-p", type=float, metavar="P", help="0 to 1: of the likeliest token's probability")
    parser.add_argument("--repetition-penalty", type=float, metavar="R", help="above 0, at most 2; 1 is off")
    parser.add_argument("--presence-penalty", type=float, metavar="R", help="-2 to 2")
    parser.add_argument("--frequency-penalty", type=float, metavar="R", help="-2 to 2")
    parser.add_argument("--min-tokens", type=int, metavar="N")
    grammar = parser.add_mutually_exclusive_group()
    grammar.add_argument("--json-schema", type=_file, metavar="FILE", help="the answer is JSON that the schema allows")
    grammar.add_argument("--regex", metavar="PATTERN", help="the whole answer matches it")
    parser.add_argument("--seed", type=int, metavar="S")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="may be given up to 4 times")
    parser.add_argument("--subject", default="", metavar="ID", help="whose data this is; unset means your own")
    parser.add_argument("--priority", choices=("interactive", "standard", "batch"), default=priority)
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_SECONDS, metavar="SECONDS")


def question_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `Question` takes beside its messages."""
    names = (
        "model", "adapter", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
        "frequency_penalty", "min_tokens", "json_schema", "regex", "seed", "max_tokens", "subject", "priority",
    )  # fmt: skip
    return {**{name: getattr(arguments, name) for name in names}, "stop": tuple(arguments.stop)}


def _file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise argparse.ArgumentTypeError(f"{path} cannot be read as text") from None
