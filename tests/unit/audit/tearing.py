"""What tests of crashes do to a journal's files, and how they ask again."""

from __future__ import annotations

from pathlib import Path

from services.audit.journal.frame import FRAME_HEADER_BYTES, MAGIC


def used_of(segment: bytes) -> int:
    """Where its last frame ends. That may end with zeroes itself."""
    last = segment.rfind(MAGIC)
    return last + FRAME_HEADER_BYTES + int.from_bytes(segment[last + len(MAGIC) :][:4], "big")


def crashed_after_a_release(audit_log, writer, gateway) -> tuple[Path, bytes, int, int]:
    """The segment's file, its bytes, and where its last entry, a RELEASE, begins and ends."""
    path = audit_log.segments()[-1]
    start = used_of(path.read_bytes())
    writer.commit([gateway.release("r1", 0)])
    audit_log.crash()
    whole = path.read_bytes()
    return path, whole, start, len(whole.rstrip(b"\0"))  # the last byte that is missed when it is cut off


def zero_after(path: Path, at: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:at] + bytes(max(len(data) - at, 0)))


def gateway_copy(gateway, sequence: int):
    return type(gateway)(sequence=sequence - 1).accept("r1")
