"""`strongroom audit reveal`: a record's texts as they were received, generated and released. For auditors; recorded."""

from __future__ import annotations

import argparse
import json
from typing import Any

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.cli.ending import OK
from strongroom.cli.plain import plain
from strongroom.cli.services import calling
from strongroom.cli.terminal import visible
from strongroom.location import locate

FIELDS = (
    "request_received", "request_sent", "answer_generated", "answer_released", "findings", "parameters", "generation",
)  # fmt: skip


def register(actions: Any, shared: argparse.ArgumentParser) -> None:
    parser = actions.add_parser("reveal", parents=[shared], help="one record, not masked; recorded with your reason")
    parser.add_argument("id", metavar="ID", help="a request id")
    parser.add_argument("--reason", required=True, metavar="WHY", help="recorded with your name")
    which = "one of the record's; may be given again. Without: request_received, answer_generated, answer_released"
    parser.add_argument("--field", action="append", default=[], choices=FIELDS, dest="fields", help=which)
    parser.add_argument("--json", action="store_true", help="print one JSON object, with a receipt that opens them")
    parser.set_defaults(run=_reveal)


def _reveal(arguments: argparse.Namespace) -> int:
    request = pb.RevealRecordRequest(record_id=arguments.id, fields=arguments.fields, reason=arguments.reason)
    with calling(locate(arguments.home), "audit", rpc.AuditServiceStub) as call:
        shown = call("RevealRecord", request)
    fields = {field.name: field.content.decode(errors="replace") for field in shown.fields}
    if arguments.json:
        told = {"summary": plain(shown.summary), "fields": fields, "receipt": json.loads(shown.receipt)}
        print(json.dumps(told, ensure_ascii=False, indent=2))
        return OK
    print(visible(f"{shown.summary.record_id}  {shown.summary.state}"))
    for name, text in fields.items():
        print(f"\n{name} ({len(text.encode())} bytes)\n  {visible(text)}")
    return OK
