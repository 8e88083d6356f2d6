"""`strongroom audit completeness` and `explain`: whether the log holds all that the workers did, and why not."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.cli.ending import OK
from strongroom.cli.plain import plain
from strongroom.cli.services import calling
from strongroom.location import locate

DIFFERS = 3  # as where a log is altered
_MEANS = {
    "unrecorded_jobs": "jobs that workers ran and the log does not know",
    "unrecorded_tokens": "tokens that workers generated and the log does not know",
    "uncounted_jobs": "answers in the log that no worker has counted",
    "uncounted_tokens": "tokens in the log that no worker has counted",
    "missing_entries": "numbers of its sequence that no entry has",
}
_COLUMNS = ("gateway process", "accepted", "completed", "otherwise", "tokens", "counted", "finished", "tokens", "")


def register(actions: Any, shared: argparse.ArgumentParser) -> None:
    showing = actions.add_parser(
        "completeness", parents=[shared], help="the log's counts beside the workers'; exit 3 while they differ"
    )
    showing.add_argument("--json", action="store_true", help="print JSON")
    showing.set_defaults(run=_show)
    explaining = actions.add_parser(
        "explain", parents=[shared], help="record why the counts of a gateway process differ; then they block no export"
    )
    explaining.add_argument("boot", metavar="GATEWAY-PROCESS")
    explaining.add_argument("--reason", required=True, metavar="TEXT", help="what was found out")
    explaining.set_defaults(run=_explain)


def _show(arguments: argparse.Namespace) -> int:
    with calling(locate(arguments.home), "audit", rpc.AuditServiceStub) as call:
        found: pb.GetCompletenessResponse = call("GetCompleteness", pb.GetCompletenessRequest())
    if arguments.json:
        print(json.dumps(plain(found), ensure_ascii=False, indent=2))
    else:
        for line in _lines(found):
            print(line)
    return DIFFERS if found.open_differences else OK


def _explain(arguments: argparse.Namespace) -> int:
    request = pb.ExplainDifferencesRequest(boot_id=arguments.boot, reason=arguments.reason)
    with calling(locate(arguments.home), "audit", rpc.AuditServiceStub) as call:
        left: pb.ExplainDifferencesResponse = call("ExplainDifferences", request)
    print(_verdict(left.open_differences))
    return OK


def _lines(found: pb.GetCompletenessResponse) -> Iterator[str]:
    rows = [_COLUMNS, *map(_row, found.boots)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
    for boot in found.boots:
        for each in boot.differences:
            state = "" if each.open else " (explained)"
            yield f"{boot.boot_id}: {each.count} {_MEANS.get(each.kind, each.kind)}{state}"
    yield _verdict(found.open_differences)


def _row(boot: pb.GatewayBoot) -> tuple[str, ...]:
    numbers = (
        boot.accepted_jobs,
        boot.completed_jobs,
        boot.otherwise_ended_jobs,
        boot.recorded_tokens,
        boot.counted_jobs,
        boot.finished_jobs,
        boot.counted_tokens,
    )
    return (boot.boot_id, *map(str, numbers), "differs" if any(each.open for each in boot.differences) else "")


def _verdict(differences: int) -> str:
    if differences:
        return f"{differences} open differences: nothing is exported until they are explained"
    return "no open difference"
