"""`strongroom audit list`, `show` and `search`: records, masked. Looking is itself recorded, with the reason given."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.cli.ending import OK, Complaint
from strongroom.cli.plain import plain
from strongroom.cli.services import Call, calling
from strongroom.cli.terminal import visible
from strongroom.location import locate

PAGE_SIZE = 200
DEFAULT_LIMIT = 20
COUNTED = 1_000  # a search counts exactly up to so many
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def register(actions: Any, shared: argparse.ArgumentParser) -> None:
    listing = actions.add_parser("list", parents=[shared], help="records, newest first")
    listing.set_defaults(run=_list)
    showing = actions.add_parser("show", parents=[shared], help="one record, masked; looking is itself recorded")
    showing.add_argument("id", metavar="ID")
    showing.set_defaults(run=_show)
    searching = actions.add_parser("search", parents=[shared], help="records by who, when and what, newest first")
    searching.add_argument("text", nargs="?", default="", metavar="TEXT", help='words; "in this order"; begin*')
    add_filter_options(searching)
    searching.set_defaults(run=_search)
    for action in (listing, searching):
        action.add_argument("--limit", type=int, default=DEFAULT_LIMIT, metavar="N", help=f"at most ({DEFAULT_LIMIT})")
    for action in (listing, showing, searching):
        action.add_argument("--reason", default="", metavar="WHY", help="recorded with your name")
        action.add_argument("--json", action="store_true", help="print JSON")


def add_filter_options(parser: argparse.ArgumentParser) -> None:
    when = "2026-11-26, 2026-11-26T09:30+08:00 (else UTC), or how long ago: 90m, 24h, 7d"
    parser.add_argument("--since", metavar="TIME", help=when)
    parser.add_argument("--until", metavar="TIME", help="before it")
    for name, what in (
        ("tenant", "the firm's unit"),
        ("caller", "who held the credential"),
        ("subject", "whose data it is, as the caller named it; with --tenant"),
        ("pseudonym", "the same, as a list shows it"),
        ("model", "the model asked for"),
        ("rule", "the end's reason, or the policy rule"),
        ("trace", "a trace id"),
        ("identifier", "an account or identity number in the request or answer, whole"),
    ):
        parser.add_argument(f"--{name}", default="", metavar=name.upper(), help=what)
    parser.add_argument("--verdict", default="", type=str.upper, metavar="V", help="ALLOW, FLAG or REFUSE")
    parser.add_argument("--state", action="append", default=[], type=str.upper, metavar="S", help="any of those given")
    parser.add_argument("--class", action="append", default=[], dest="classes", type=str.upper, metavar="C", help="any")


def filter_of(
    arguments: argparse.Namespace, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> pb.RecordFilter:
    wanted = pb.RecordFilter(
        tenant=arguments.tenant,
        caller=arguments.caller,
        subject=arguments.subject,
        subject_pseudonym=arguments.pseudonym,
        model=arguments.model,
        rule=arguments.rule,
        trace_id=arguments.trace,
        identifier=arguments.identifier,
        verdict=arguments.verdict,
        states=arguments.state,
        classes=arguments.classes,
        text=arguments.text,
    )
    for option, field in (("since", wanted.start_time), ("until", wanted.end_time)):
        if given := getattr(arguments, option):
            field.FromDatetime(_time_of(given, option, now()))
    return wanted


def _time_of(text: str, option: str, now: datetime) -> datetime:
    if ago := re.fullmatch("([0-9]{1,6})([mhdw])", text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Complaint(f"--{option} {text} is no time: write 2026-11-26, 2026-11-26T09:30+08:00 or 24h") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _list(arguments: argparse.Namespace) -> int:
    limit = _limit(arguments)

    def page(call: Call, size: int, token: str) -> Any:
        return call("ListRecords", pb.ListRecordsRequest(page_size=size, page_token=token, reason=arguments.reason))

    with calling(locate(arguments.home), "audit", rpc.AuditServiceStub) as call:
        records = [record for each in _pages(call, page, limit) for record in each.records][:limit]
    _print(arguments, records, "no records yet")
    return OK


def _search(arguments: argparse.Namespace) -> int:
    limit, wanted = _limit(arguments), filter_of(arguments)

    def page(call: Call, size: int, token: str) -> Any:
        request = pb.SearchRecordsRequest(filter=wanted, page_size=size, page_token=token, reason=arguments.reason)
        return call("SearchRecords", request)

    with calling(locate(arguments.home), "audit", rpc.AuditServiceStub) as call:
        pages = list(_pages(call, page, limit))
    records = [record for each in pages for record in each.records][:limit]
    _print(arguments, records, "no record matches")
    if not arguments.json:
        print(_found(len(records), pages[0]))
    return OK


def _found(shown: int, first: pb.SearchRecordsResponse) -> str:
    count = f"more than {COUNTED:,}" if first.count > COUNTED else f"{first.count:,}"
    behind = first.log_entries - first.indexed_entries
    return f"{shown:,} of {count}" + (f"; the index is {behind:,} entries behind the log" if behind > 0 else "")


def _limit(arguments: argparse.Namespace) -> int:
    if arguments.limit < 1:
        raise Complaint(f"--limit is {arguments.limit}: it must be at least 1")
    return int(arguments.limit)


def _pages(call: Call, page: Callable[[Call, int, str], Any], limit: int) -> Iterator[Any]:
    token, seen = "", 0
    while True:
        response = page(call, min(limit - seen, PAGE_SIZE), token)
        yield response
        token, seen = response.next_page_token, seen + len(response.records)
        if not token or seen >= limit:
            return


def _print(arguments: argparse.Namespace, records: Sequence[pb.RecordSummary], nothing: str) -> None:
    if arguments.json:
        print(json.dumps([plain(record) for record in records], ensure_ascii=False, indent=2))
        return
    for line in _table(records) if records else [nothing]:
        print(line)


def _show(arguments: argparse.Namespace) -> int:
    with calling(locate(arguments.home), "audit", rpc.AuditServiceStub) as call:
        record = call("GetRecord", pb.GetRecordRequest(record_id=arguments.id, reason=arguments.reason))
    if arguments.json:
        print(json.dumps(plain(record), ensure_ascii=False, indent=2))
        return OK
    for line in _record_lines(record):
        print(visible(line))
    return OK


def _table(records: Sequence[pb.RecordSummary]) -> list[str]:
    rows = [("time", "record", "state", "caller", "model", "tokens", "leaf", "trace")]
    for record in records:
        rows.append(
            (
                _time(record.create_time) if record.HasField("create_time") else "-",
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
    return [visible("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()) for row in rows]


def _record_lines(record: pb.GetRecordResponse) -> Iterator[str]:
    yield from _table([record.summary])
    yield ""
    yield f"subject {record.summary.subject_pseudonym}" + (f"  verdict {record.verdict}" if record.verdict else "")
    if record.policy_digest:
        known = record.HasField("policy_leaf_index")
        yield f"policy {record.policy_digest}" + (f", its text in leaf {record.policy_leaf_index}" if known else "")
    yield ""
    for entry in record.entries:
        leaf = f"leaf {entry.leaf_index}" if entry.HasField("leaf_index") else f"n {entry.n}"
        when = _time(entry.create_time) if entry.HasField("create_time") else "-"
        yield f"{when}  {entry.kind:<9} {leaf:<10} {entry.segment} at {entry.offset}"
    for act in record.acts:
        why = f": {act.reason}" if act.reason else ""
        yield f"{_time(act.create_time)}  {act.action} by {act.actor}, leaf {act.leaf_index}{why}"
    for field in record.fields:
        yield ""
        yield f"{field.name} ({field.length} bytes{', sealed' if field.sealed else ''})"
        if field.masked:
            yield f"  {field.masked}"


def _time(stamp: Any) -> str:
    """UTC, to the millisecond."""
    return str(stamp.ToDatetime().isoformat(sep=" ", timespec="milliseconds")) + "Z"
