"""`strongroom guard`: what the guard would say of a text, and the text with personal data masked."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from strongroom.cli.ending import OK, Complaint
from strongroom.cli.services import calling
from strongroom.cli.texts import text_of, texts_of_lines
from strongroom.guard.v1 import guard_pb2 as pb
from strongroom.guard.v1 import guard_pb2_grpc as rpc
from strongroom.location import locate

Judgement = dict[str, object]


class Guard(Protocol):
    """A guard, near or far."""

    def check(self, text: str) -> Judgement: ...

    def redact(self, text: str) -> Judgement: ...


def register(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("guard", help="check or redact a text", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, what in (("check", "the verdict on a text"), ("redact", "the text with personal data masked")):
        action = actions.add_parser(name, parents=[shared], help=what)
        action.add_argument("text", metavar="TEXT", help="the text, or - for standard input")
        action.add_argument("--json", action="store_true", help="print one JSON object")
        action.add_argument("--jsonl", action="store_true", help="read an object with `text` a line, print one a line")
        action.add_argument("--local", action="store_true", help="in this process, without a stack")
        action.set_defaults(run=run, action=name)


def run(arguments: argparse.Namespace) -> int:
    with _local() if arguments.local else _remote(arguments.home) as guard:
        judge = guard.check if arguments.action == "check" else guard.redact
        if arguments.jsonl:
            _print_lines(judge(text) for text in texts_of_lines(arguments.text))
            return OK
        judgement = judge(text_of(arguments.text))
    if arguments.json:
        print(json.dumps(judgement, ensure_ascii=False, indent=2))
    elif arguments.action == "check":
        print(" ".join(str(judgement[name]) for name in ("verdict", "rule", "stage", "score") if judgement[name] != ""))
    else:
        _print_redacted(judgement)
    return OK


def _print_lines(judgements: Iterable[Judgement]) -> None:
    for judgement in judgements:
        print(json.dumps(judgement, ensure_ascii=False), flush=True)


def _print_redacted(judgement: dict[str, Any]) -> None:
    """The text alone on standard output, so that it can be piped on."""
    print(judgement["text"], flush=True)
    for finding in judgement["findings"]:
        print(f"{finding['type']} {finding['level']} {finding['start']}-{finding['end']}", file=sys.stderr)


@contextmanager
def _remote(home: str | None) -> Iterator[Guard]:
    with calling(locate(home), "guard", rpc.GuardServiceStub) as call:
        yield _RemoteGuard(call)


@contextmanager
def _local() -> Iterator[Guard]:
    """The suite's own guard, where the suite is installed; a caller's machine has only the client."""
    try:
        from services.guard.local import UNUSABLE, LocalGuard
    except ModuleNotFoundError:
        raise Complaint("--local needs the suite, and only its client is installed here: leave --local out") from None
    try:
        guard = LocalGuard()
    except UNUSABLE as wrong:
        raise Complaint(str(wrong)) from None
    yield guard


class _RemoteGuard:
    def __init__(self, call: Any) -> None:
        self._call = call

    def check(self, text: str) -> Judgement:
        reply = self._call("CheckText", pb.CheckTextRequest(text=text))
        verdict = pb.Verdict.Name(reply.verdict).removeprefix("VERDICT_")
        return {"verdict": verdict, "score": reply.score, "rule": reply.rule, "stage": reply.stage}

    def redact(self, text: str) -> Judgement:
        reply = self._call("RedactText", pb.RedactTextRequest(text=text))
        findings = [
            {"type": found.type, "start": found.start, "end": found.end, "level": found.level}
            for found in reply.findings
        ]
        return {"text": reply.text, "findings": findings}
