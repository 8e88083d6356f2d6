"""An export's records for a spreadsheet, and for people: nothing in them is ever a formula, or markup."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from strongroom.export.take import RECORDS, lines_of

# What a spreadsheet takes for the beginning of a formula, in full width too.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


class Row(NamedTuple):
    record_id: str
    time: str
    state: str
    reason: str
    verdict: str
    tenant: str
    caller: str
    subject: str
    model: str
    trace_id: str
    input_tokens: str
    output_tokens: str
    leaf_index: str
    request: str
    answer: str


def rows(folder: Path) -> Iterator[Row]:
    for record in lines_of(folder / RECORDS):
        yield _row(record)


def _row(record: dict[str, Any]) -> Row:
    last = record["entries"][-1]
    header, fields = json.loads(last["header"]), record["fields"]
    usage = header.get("usage") or {}
    return Row(
        record_id=record["record_id"],
        time=_time(header.get("accepted_ms", header["time_ms"])),
        state={"ACCEPTED": "OPEN"}.get(last["kind"], header.get("end") or last["kind"]),
        reason=header.get("reason") or header.get("rule") or "",
        verdict=record["verdict"],
        **{name: str(header.get(name, "")) for name in ("tenant", "caller", "subject", "model", "trace_id")},
        input_tokens=str(usage.get("input_tokens", "")),
        output_tokens=str(usage.get("output_tokens", "")),
        leaf_index=str(last["leaf_index"]),
        request=_request(fields.get("request_sent") or fields.get("request_received") or "{}"),
        answer=_answer(fields.get("answer_released") or "[]"),
    )


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _request(text: str) -> str:
    value = json.loads(text)
    messages = value.get("messages", ()) if isinstance(value, dict) else value
    return "\n".join(f"{each['role']}: {each['content']}" for each in messages if isinstance(each, dict))


def _answer(text: str) -> str:
    return "\n".join(str(choice.get("content", "")) for choice in json.loads(text) if isinstance(choice, dict))


def write_csv(folder: Path, target: Path) -> None:
    """With a byte order mark, by which a spreadsheet knows that it is UTF-8."""
    with target.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        for row in rows(folder):
            writer.writerow([quoted(cell) for cell in row])


def quoted(cell: str) -> str:
    return f"'{cell}" if cell.lstrip(" \u3000").startswith(_FORMULA) else cell


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 2em; }}
article {{ border-top: 1px solid #999; padding: .7em 0; break-inside: avoid; }}
pre {{ white-space: pre-wrap; background: #f4f4f4; padding: .5em; }}
dl {{ display: grid; grid-template-columns: 9em 1fr; margin: 0; }} dd {{ margin: 0; overflow-wrap: anywhere; }}
</style></head><body><h1>{title}</h1><p>{about}</p>
"""


def write_html(folder: Path, target: Path, title: str, about: str) -> None:
    with target.open("w", encoding="utf-8") as file:
        file.write(_PAGE.format(title=escape(title), about=escape(about)))
        for row in rows(folder):
            facts = "".join(
                f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in list(zip(row._fields, row))[:-2] if value
            )
            texts = f"<pre>{escape(row.request)}</pre><pre>{escape(row.answer)}</pre>"
            file.write(f'<article id="{escape(row.record_id)}"><dl>{facts}</dl>{texts}</article>\n')
        file.write("</body></html>\n")
