"""An export as messages, made as they are asked for: little is in memory, however many records there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from strongroom.audit.v1 import audit_pb2 as pb

from services.audit.exporting import Exported, LeftOut

RECORDS, TRAIL = "records.jsonl", "trail.jsonl"
MESSAGE_BYTES, PIECE_BYTES = 256 * 1024, 1024 * 1024


def messages(records: Iterable[Exported], left_out: LeftOut) -> Iterator[pb.ExportRecordsResponse]:
    """The pieces, then the end. `left_out` is what `records` counts as it goes on."""
    count = size = 0
    lines: list[Exported] = []
    so_far = LeftOut()
    for exported in records:
        lines.append(exported)
        so_far = replace(left_out)  # up to this record: whoever goes on from here counts the rest
        size, count = size + len(exported.record) + len(exported.trail), count + 1
        if size >= MESSAGE_BYTES:
            yield from _of_lines(lines, so_far)
            lines, size = [], 0
    if lines:
        yield from _of_lines(lines, so_far)
    yield pb.ExportRecordsResponse(
        end=pb.ExportEnd(records=count), erased=left_out.erased, unreadable=left_out.unreadable
    )


def _of_lines(lines: list[Exported], left_out: LeftOut) -> Iterator[pb.ExportRecordsResponse]:
    """One message, or several where a line is long; the last one has the token."""
    contents = ((RECORDS, b"".join(each.record for each in lines)), (TRAIL, b"".join(each.trail for each in lines)))
    pieces = [
        pb.ExportPiece(file=file, content=content[at : at + PIECE_BYTES])
        for file, content in contents
        for at in range(0, len(content), PIECE_BYTES)
    ]
    *first, last = pieces
    for piece in first:
        yield pb.ExportRecordsResponse(pieces=[piece])
    yield pb.ExportRecordsResponse(
        pieces=[last], page_token=str(lines[-1].place), erased=left_out.erased, unreadable=left_out.unreadable
    )
