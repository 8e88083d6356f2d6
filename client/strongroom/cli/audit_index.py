"""`strongroom audit index`: makes the index of the log again, or checks it against the log."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.cli.ending import OK
from strongroom.cli.plain import plain
from strongroom.cli.progress import Progress
from strongroom.cli.services import streaming
from strongroom.location import locate
from strongroom.verify import ALTERED

UPKEEP_SECONDS = 24 * 3600.0


def register(actions: Any, shared: argparse.ArgumentParser) -> None:
    parser = actions.add_parser("index", help="look after the index that searches use")
    upkeep = parser.add_subparsers(metavar="WHAT", required=True)
    rebuilding = upkeep.add_parser(
        "rebuild",
        parents=[shared],
        help="make it again from the journal, under new keys; the old one answers meanwhile",
    )
    rebuilding.set_defaults(run=_rebuild)
    checking = upkeep.add_parser(
        "check", parents=[shared], help="compare every row with the journal (exit 3 if one is another)"
    )
    checking.set_defaults(run=_check)
    for action in (rebuilding, checking):
        action.add_argument("--json", action="store_true", help="print one JSON object")


def _rebuild(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    last = _followed(arguments, "RebuildIndex", pb.RebuildIndexRequest(), "indexing")
    seconds = round(time.monotonic() - began, 1)
    if arguments.json:
        print(json.dumps({"entries": last.done, "seconds": seconds}, indent=2))
    else:
        print(f"the index was made again: {last.done:,} entries in {seconds} s")
    return OK


def _check(arguments: argparse.Namespace) -> int:
    last = _followed(arguments, "CheckIndex", pb.CheckIndexRequest(), "comparing")
    if arguments.json:
        print(json.dumps(plain(last), ensure_ascii=False, indent=2))
    else:
        for problem in last.problems:
            print(problem)
        if last.more_problems:
            print(f"and {last.more_problems:,} more")
        said = (
            "`strongroom audit index rebuild` makes it again" if last.problems else "the index is as the journal has it"
        )
        print(f"{last.done:,} entries, {last.records:,} records: {said}")
    return ALTERED if last.problems else OK


def _followed(arguments: argparse.Namespace, method: str, request: Any, what: str) -> Any:
    """The last message; what comes before it only tells how far it is."""
    progress, last = Progress(), None
    try:
        with streaming(
            locate(arguments.home), "audit", rpc.AuditServiceStub, method, request, UPKEEP_SECONDS
        ) as responses:
            for last in responses:
                progress.show(what, last.done, last.total)
    finally:
        progress.end()
    return last
