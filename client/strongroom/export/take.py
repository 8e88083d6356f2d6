"""Takes an export from audit's stream into a folder of its own; one that broke off goes on where it ended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.verify import LogKey, open_checkpoint, parse_vkey

RECORDS, TRAIL = "records.jsonl", "trail.jsonl"
FILES = (RECORDS, TRAIL)
_STATE = "state.json"


class Refused(Exception):
    """There is no export to be had here. Says what, and the remedy."""


class BrokenOff(Exception):
    """What came is kept; the same command goes on with it."""


@dataclass
class Taken:
    """How far an export has come. What is behind `sizes` in the files is of a record that was not whole yet."""

    asked: str  # by which another's is known
    filter: str  # in hexadecimal
    checkpoint: str = ""
    verifier_key: str = ""
    token: str = ""
    matching: int | None = None
    whole: bool = False
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FILES, 0))
    lines: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FILES, 0))
    left_out: dict[str, int] = field(default_factory=lambda: {"erased": 0, "unreadable": 0})  # of what matches

    @property
    def wanted(self) -> pb.RecordFilter:
        return pb.RecordFilter.FromString(bytes.fromhex(self.filter))

    @property
    def log_key(self) -> LogKey:
        return parse_vkey(self.verifier_key)

    @property
    def checkpoint_size(self) -> int:
        return open_checkpoint(self.checkpoint, self.log_key).size if self.checkpoint else 0


Asking = Callable[[pb.ExportRecordsRequest], Iterable[pb.ExportRecordsResponse]]


def take(
    folder: Path,
    asked: str,
    wanted: pb.RecordFilter,
    reason: str,
    ask: Asking,
    progress: Callable[[int, int | None], None],
) -> Taken:
    """Fills the folder. `asked` says what was asked for, in the asker's words: an export that broke off goes on with
    its own filter, as times such as "the last week" have moved. Raises what `ask` raises, with all that came kept."""
    taken = _begun(folder, asked, wanted)
    if taken.whole:
        return taken
    request = pb.ExportRecordsRequest(
        filter=taken.wanted, reason=reason, checkpoint_size=taken.checkpoint_size, page_token=taken.token
    )
    before = dict(taken.left_out)
    with _opened(folder, taken) as files:
        for message in ask(request):
            if message.HasField("start"):
                _start(taken, message.start)
            for piece in message.pieces:
                if piece.file not in FILES:
                    raise Refused("audit sent a file that is no part of an export")
                files[piece.file].write(piece.content)
                taken.lines[piece.file] += piece.content.count(b"\n")
            if message.page_token or message.HasField("end"):
                taken.left_out = {name: count + getattr(message, name) for name, count in before.items()}
            if message.page_token:
                taken.token = message.page_token
                _keep(folder, taken, files)
                progress(taken.lines[RECORDS], taken.matching)
            taken.whole = message.HasField("end")
        if not taken.whole:
            raise BrokenOff
        _keep(folder, taken, files)
    return taken


def _begun(folder: Path, asked: str, wanted: pb.RecordFilter) -> Taken:
    state = folder / _STATE
    if not state.exists():
        if folder.exists() and any(folder.iterdir()):
            raise Refused(f"{folder} is there and no export that broke off: move it away")
        folder.mkdir(mode=0o700, exist_ok=True)
        return Taken(asked, wanted.SerializeToString().hex())
    taken = Taken(**json.loads(state.read_text()))
    if taken.asked != asked:
        raise Refused(
            f"{folder} is an export of something else that broke off: finish it as it was asked, or remove it"
        )
    return taken


def _start(taken: Taken, start: pb.ExportStart) -> None:
    if taken.checkpoint and start.checkpoint != taken.checkpoint:
        raise Refused("audit goes on under another checkpoint: remove what broke off and begin again")
    taken.checkpoint, taken.verifier_key = start.checkpoint, start.verifier_key
    if taken.matching is None and start.HasField("matching"):
        taken.matching = start.matching


@contextmanager
def _opened(folder: Path, taken: Taken) -> Iterator[dict[str, BinaryIO]]:
    """Each cut to what was whole, and at its end."""
    files: dict[str, BinaryIO] = {}
    try:
        for name in FILES:
            path = folder / name
            path.touch(mode=0o600)
            files[name] = path.open("r+b")
            files[name].truncate(taken.sizes[name])
            files[name].seek(0, os.SEEK_END)
        yield files
    finally:
        for file in files.values():
            file.close()


def _keep(folder: Path, taken: Taken, files: dict[str, BinaryIO]) -> None:
    for name, file in files.items():
        file.flush()
        os.fsync(file.fileno())
        taken.sizes[name] = file.tell()
    partial = folder / f"{_STATE}.partial"
    partial.write_text(json.dumps(asdict(taken)))
    partial.rename(folder / _STATE)


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)
