"""`strongroom ask`: one question, its answer as it comes, and what is known about both."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from strongroom.audit.v1 import audit_pb2, audit_pb2_grpc
from strongroom.cli.ending import FAILED, OK
from strongroom.cli.services import calling, naming
from strongroom.cli.texts import text_of
from strongroom.client import DEFAULT_TIMEOUT_SECONDS, Answer, Client, Piece, Question, Started
from strongroom.failures import CallFailed, InternalFailure
from strongroom.location import Location, locate
from strongroom.verify import Verification, verify_receipt


def register(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("ask", parents=[shared], help="ask one question", description=__doc__)
    parser.add_argument("text", metavar="TEXT", help="the question, or - for standard input")
    parser.add_argument("--json", action="store_true", help="print one JSON object when the answer is whole")
    parser.add_argument("--no-stream", action="store_true", help="print the answer when it is whole")
    parser.add_argument("--model", default="", metavar="M")
    parser.add_argument("--system", default="", metavar="TEXT", help="a system message; the firm's own stays first")
    parser.add_argument("--max-tokens", type=int, metavar="N")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 to 2; 0 is greedy")
    parser.add_argument("--top-p", type=float, metavar="P")
    parser.add_argument("--top-k", type=int, metavar="K")
    parser.add_argument("--seed", type=int, metavar="S")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="may be given up to 4 times")
    parser.add_argument("--subject", default="", metavar="ID", help="whose data this is; unset means your own")
    parser.add_argument("--idempotency-key", default="", metavar="K", help="at most one answer a key in 24 hours")
    parser.add_argument("--priority", choices=("interactive", "standard", "batch"), default="")
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_SECONDS, metavar="SECONDS")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    location, question = locate(arguments.home), _question(arguments)
    whole = arguments.json or arguments.no_stream
    with Client(location, arguments.timeout) as client:
        try:
            answer = client.ask(question) if whole else _print_pieces(client.stream(question))
        except CallFailed as failure:
            raise naming("gateway", location.address("gateway"), failure) from None
    if arguments.json:
        print(json.dumps(as_json(answer), ensure_ascii=False, indent=2))
    elif whole:
        print(answer.text)
    sys.stdout.flush()
    verified = _verified(location, question, answer)
    print(summary(answer, verified), file=sys.stderr, flush=True)
    return FAILED if verified is not None and not verified else OK


def as_json(answer: Answer) -> dict[str, object]:
    """What scripts depend on."""
    return {
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


def summary(answer: Answer, verified: Verification | None) -> str:
    """Two lines for people."""
    masked = Counter(str(finding["type"]) for finding in answer.findings)
    facts = [
        answer.request_id,
        answer.finish_reason,
        answer.verdict + (f" ({answer.rule})" if answer.rule else ""),
        "masked " + ", ".join(f"{count} {name}" for name, count in sorted(masked.items())) if masked else "",
        f"{answer.input_tokens} + {answer.output_tokens} tokens",
        f"{answer.timings.get('total_ms', 0):.0f} ms",
    ]
    return f"{' · '.join(filter(None, facts))}\nreceipt {_receipt_line(answer, verified)} · trace {answer.trace_id}"


def _receipt_line(answer: Answer, verified: Verification | None) -> str:
    if verified is None:
        return f"{answer.receipt_state}, not verified: the log's key is not known here"
    if not verified:
        return f"DOES NOT VERIFY: {verified.problem}"
    kind = " of a DEVELOPMENT log" if verified.development else ""
    return f"{answer.receipt_state}, verified offline: entry {verified.index} of {verified.size}{kind}"


def _question(arguments: argparse.Namespace) -> Question:
    return Question.of(
        text_of(arguments.text),
        system=arguments.system,
        model=arguments.model,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        top_k=arguments.top_k,
        seed=arguments.seed,
        max_tokens=arguments.max_tokens,
        stop=tuple(arguments.stop),
        subject=arguments.subject,
        idempotency_key=arguments.idempotency_key,
        priority=arguments.priority,
    )


def _print_pieces(events: Iterator[Started | Piece | Answer]) -> Answer:
    """Prints as it comes; the line is ended whatever happens."""
    begun = False
    try:
        for event in events:
            if isinstance(event, Piece):
                begun = True
                print(event.text, end="", flush=True)
            elif isinstance(event, Answer):
                return event
    finally:
        if begun:
            print(flush=True)
    raise InternalFailure("the stream ended without an outcome")


def _verified(location: Location, question: Question, answer: Answer) -> Verification | None:
    """None if there is nothing to verify with: the log's key is asked of audit, which only reviewers may."""
    if not answer.receipt:
        return None
    try:
        with calling(location, "audit", audit_pb2_grpc.AuditServiceStub) as call:
            key = call("GetCheckpoint", audit_pb2.GetCheckpointRequest()).verifier_key
    except CallFailed:
        return None
    return verify_receipt(question.as_received(), answer.as_released(), answer.receipt, key)
