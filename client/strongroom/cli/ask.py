"""`strongroom ask`: one question, its answer as it comes, and what is known about both."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from strongroom.cli.ending import FAILED, OK
from strongroom.cli.findings import log_key, summary, verified
from strongroom.cli.options import add_question_options, question_options
from strongroom.cli.services import naming
from strongroom.cli.terminal import visible
from strongroom.cli.texts import text_of
from strongroom.client import Answer, CallFailed, Client, Event, InternalFailure, Piece, Question
from strongroom.location import locate


def register(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("ask", parents=[shared], help="ask one question", description=__doc__)
    parser.add_argument("text", metavar="TEXT", help="the question, or - for standard input")
    parser.add_argument("--json", action="store_true", help="print one JSON object when the answer is whole")
    parser.add_argument("--no-stream", action="store_true", help="print the answer when it is whole")
    add_question_options(parser, priority="")
    parser.add_argument("--n", type=int, metavar="N", help="so many answers, each printed when all are whole")
    parser.add_argument("--idempotency-key", default="", metavar="K", help="at most one answer a key in 24 hours")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    location, question = locate(arguments.home), _question(arguments)
    whole = arguments.json or arguments.no_stream or (arguments.n or 1) > 1
    with Client(location, arguments.timeout) as client:
        try:
            answer = client.ask(question) if whole else _print_pieces(client.stream(question))
        except CallFailed as failure:
            raise naming("gateway", location.address("gateway"), failure) from None
    if arguments.json:
        print(json.dumps(as_json(answer), ensure_ascii=False, indent=2))
    elif whole:
        print(visible(_texts(answer)) if sys.stdout.isatty() else _texts(answer))
    sys.stdout.flush()
    verification = verified(question, answer, log_key(location))
    print(summary(answer, verification), file=sys.stderr, flush=True)
    return FAILED if verification is not None and not verification else OK


def as_json(answer: Answer) -> dict[str, object]:
    """What scripts depend on. `choices`, which are all answers, is there where several were asked for."""
    several = [
        {"text": choice.text, "reasoning": choice.reasoning, "finish_reason": choice.finish_reason}
        for choice in answer.choices
    ]
    return {
        **({"choices": several} if several else {}),
        "request_id": answer.request_id,
        "model": answer.model,
        "text": answer.text,
        "reasoning": answer.reasoning,
        "finish_reason": answer.finish_reason,
        "usage": {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens},
        "guard": {"verdict": answer.verdict, "rule": answer.rule, "findings": answer.findings},
        "receipt": answer.receipt,
        "trace_id": answer.trace_id,
        "timings": answer.timings,
    }


def _question(arguments: argparse.Namespace) -> Question:
    how = question_options(arguments)
    key = arguments.idempotency_key
    return Question.of(text_of(arguments.text), system=arguments.system, idempotency_key=key, n=arguments.n, **how)


def _texts(answer: Answer) -> str:
    """Several answers one below the other, each under its number."""
    if not answer.choices:
        return answer.text
    count = len(answer.choices)
    return "\n\n".join(f"[{n} of {count}]\n{choice.text}" for n, choice in enumerate(answer.choices, 1))


def _print_pieces(events: Iterator[Event]) -> Answer:
    """Prints as it comes; the line is ended whatever happens."""
    begun, shown = False, visible if sys.stdout.isatty() else str
    try:
        for event in events:
            if isinstance(event, Piece):
                begun = True
                print(shown(event.text), end="", flush=True)
            elif isinstance(event, Answer):
                return event
    finally:
        if begun:
            print(flush=True)
    raise InternalFailure("the stream ended without an outcome")
