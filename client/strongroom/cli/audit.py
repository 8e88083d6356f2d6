"""`strongroom audit` and `strongroom receipt`: the records, masked; the log's head, its public key, its backups."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.cli import backup, completeness
from strongroom.cli.ending import OK, Complaint
from strongroom.cli.findings import log_key
from strongroom.cli.plain import plain
from strongroom.cli.services import Call, calling, naming
from strongroom.client import Client
from strongroom.failures import CallFailed
from strongroom.known import KnownCheckpoints, LogRewritten
from strongroom.location import Location, locate
from strongroom.verify import ALTERED, Malformed

PAGE_SIZE = 200
DEFAULT_LIMIT = 20


def register(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("audit", help="look at the audit log", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", parents=[shared], help="records, newest first")
    listing.add_argument("--limit", type=int, default=DEFAULT_LIMIT, metavar="N", help=f"at most ({DEFAULT_LIMIT})")
    listing.set_defaults(run=_list)
    showing = actions.add_parser("show", parents=[shared], help="one record, masked; looking is itself recorded")
    showing.add_argument("id", metavar="ID")
    showing.set_defaults(run=_show)
    for action in (listing, showing):
        action.add_argument("--json", action="store_true", help="print JSON")
    key = actions.add_parser("key", parents=[shared], help="the log's public key, for strongroom-verify --key")
    key.set_defaults(run=_key)
    checkpoint = actions.add_parser("checkpoint", parents=[shared], help="the newest signed checkpoint")
    checkpoint.set_defaults(run=_checkpoint)
    backup.register(actions, shared)
    completeness.register(actions, shared)
    receipt = commands.add_parser("receipt", parents=[shared], help="the receipt of a finished request, as JSON")
    receipt.add_argument("id", metavar="ID", help="a request id")
    kept = "keep the newest checkpoint seen there; the log has to prove that it continues it (exit 3 if not)"
    receipt.add_argument("--checkpoints", metavar="DIR", type=Path, help=kept)
    receipt.set_defaults(run=_receipt)


def _list(arguments: argparse.Namespace) -> int:
    if arguments.limit < 1:
        raise Complaint(f"--limit is {arguments.limit}: it must be at least 1")
    with calling(locate(arguments.home), "audit", rpc.AuditServiceStub) as call:
        records = [record for record, _ in zip(_pages(call, arguments.limit), range(arguments.limit))]
    if arguments.json:
        print(json.dumps([plain(record) for record in records], ensure_ascii=False, indent=2))
    else:
        for line in _table(records):
            print(line)
    return OK


def _show(arguments: argparse.Namespace) -> int:
    with calling(locate(arguments.home), "audit", rpc.AuditServiceStub) as call:
        record = call("GetRecord", pb.GetRecordRequest(record_id=arguments.id))
    if arguments.json:
        print(json.dumps(plain(record), ensure_ascii=False, indent=2))
        return OK
    for line in _record_lines(record):
        print(line)
    return OK


def _key(arguments: argparse.Namespace) -> int:
    print(_head(arguments).verifier_key.strip())
    return OK


def _checkpoint(arguments: argparse.Namespace) -> int:
    print(_head(arguments).checkpoint, end="")
    return OK


def _head(arguments: argparse.Namespace) -> pb.GetCheckpointResponse:
    with calling(locate(arguments.home), "audit", rpc.AuditServiceStub) as call:
        head: pb.GetCheckpointResponse = call("GetCheckpoint", pb.GetCheckpointRequest())
    return head


def _receipt(arguments: argparse.Namespace) -> int:
    location = locate(arguments.home)
    with Client(location, known=_known(location, arguments.checkpoints)) as client:
        try:
            print(json.dumps(client.receipt(arguments.id), ensure_ascii=False, indent=2))
        except CallFailed as failure:
            raise naming("gateway", location.address("gateway"), failure) from None
        except (LogRewritten, Malformed) as altered:
            print(f"strongroom: {altered}", file=sys.stderr)
            return ALTERED
    return OK


def _known(location: Location, folder: Path | None) -> KnownCheckpoints | None:
    if folder is None:
        return None
    if not (key := log_key(location)):
        raise Complaint("--checkpoints needs the log's public key, which audit gives to reviewers only")
    return KnownCheckpoints(key, folder)


def _pages(call: Call, limit: int) -> Iterator[pb.RecordSummary]:
    token = ""
    while True:
        request = pb.ListRecordsRequest(page_size=min(limit, PAGE_SIZE), page_token=token)
        page: pb.ListRecordsResponse = call("ListRecords", request)
        yield from page.records
        token = page.next_page_token
        if not token:
            return


def _table(records: list[pb.RecordSummary]) -> list[str]:
    if not records:
        return ["no records yet"]
    rows = [("time", "record", "state", "caller", "model", "tokens", "leaf", "trace")]
    for record in records:
        rows.append(
            (
                _time(record.create_time),
                record.record_id,
                record.state + (f" {record.reason}" if record.reason else ""),
                f"{record.tenant}/{record.caller}",
                record.model,
                f"{record.input_tokens}+{record.output_tokens}",
                str(record.leaf_index),
                record.trace_id,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _record_lines(record: pb.GetRecordResponse) -> Iterator[str]:
    yield from _table([record.summary])
    yield ""
    for entry in record.entries:
        leaf = f"leaf {entry.leaf_index}" if entry.HasField("leaf_index") else f"n {entry.n}"
        yield f"{_time(entry.create_time)}  {entry.kind:<9} {leaf:<10} {entry.segment} at {entry.offset}"
    for field in record.fields:
        yield ""
        yield f"{field.name} ({field.length} bytes{', sealed' if field.sealed else ''})"
        if field.masked:
            yield f"  {field.masked}"


def _time(stamp: Any) -> str:
    """UTC, to the millisecond."""
    return str(stamp.ToDatetime().isoformat(sep=" ", timespec="milliseconds")) + "Z"
