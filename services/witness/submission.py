"""The body of add-checkpoint, taken apart. Nothing in it is believed yet."""

from __future__ import annotations

import re
from typing import NamedTuple

from strongroom.consistency import MAX_HASHES
from strongroom.verify import Checkpoint, Malformed, parts_of, unb64

MAX_BODY_BYTES = 128 * 1024  # 63 hashes, and a checkpoint with the 16 signatures that everybody has to bear
_NUMBER = "0|[1-9][0-9]{0,18}"


class Submission(NamedTuple):
    """A checkpoint, and the proof that it continues one of `old` entries."""

    old: int
    proof: list[bytes]
    checkpoint: Checkpoint
    note: str


def parse_submission(body: bytes) -> Submission:
    try:
        head, separator, note = body.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None
    first, *hashes = head.split("\n")
    old = re.fullmatch(f"old ({_NUMBER})", first)
    if not separator or not old:
        raise Malformed("the body begins with `old`, a size, a line for each hash of the proof, and an empty line")
    if len(hashes) > MAX_HASHES:
        raise Malformed(f"a proof has at most {MAX_HASHES} hashes")
    return Submission(int(old[1]), [unb64(line, 32) for line in hashes], checkpoint_in(parts_of(note)[0]), note)


def checkpoint_in(text: str) -> Checkpoint:
    """Of a note's text; whatever lines a log adds behind the third are signed and not understood."""
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not lines[0] or not re.fullmatch(_NUMBER, lines[1]) or not all(lines[3:]):
        raise Malformed("a checkpoint has an origin, a size and a root")
    return Checkpoint(lines[0], int(lines[1]), unb64(lines[2], 32))
