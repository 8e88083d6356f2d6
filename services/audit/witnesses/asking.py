"""Asks one witness for its cosignature (c2sp.org/tlog-witness, add-checkpoint), and judges what it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from services.audit.log.note import NoteInvalid, SignedCheckpoint, b64
from services.audit.witnesses.cosignatures import Cosignature, cosignature_in
from services.audit.witnesses.policy import Witness

OK, UNTRUSTED, UNKNOWN, CONFLICT, INCONSISTENT = 200, 403, 404, 409, 422


class Reply(NamedTuple):
    status: int
    media_type: str
    body: bytes


Post = Callable[[str, bytes], Awaitable[Reply]]  # raises NoReply
Prove = Callable[[int, int], Sequence[bytes]]  # consistency between the trees of two sizes


class NoReply(Exception):
    """Nothing came, or nothing that can be read."""


class Answer(Enum):
    """What a witness last said. The text is for people."""

    COSIGNED = "cosigned"
    BEHIND = "it has cosigned more than this log holds: the log was cut back, restored from an old copy or is run twice"
    FORKED = "this log does not continue what it cosigned: entries were replaced"
    STRANGER = "it does not know this log's name or key: give it the log's public key"
    SILENT = "it does not answer"

    @property
    def refuses(self) -> bool:
        return self in (Answer.BEHIND, Answer.FORKED, Answer.STRANGER)


class NotCosigned(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.value)
        self.answer = answer


@dataclass
class Asking:
    """The conversation with one witness. Used by one task at a time."""

    witness: Witness
    size: int = 0  # of what it cosigned last, as far as is known

    async def ask(self, signed: SignedCheckpoint, prove: Prove, post: Post) -> Cosignature:
        """Raises NotCosigned. A witness that is at another size than was thought says so, and is asked once more."""
        reply = await self._post(signed, prove, post)
        if reply.status == CONFLICT:
            self.size = _size_in(reply)
            if self.size > signed.size:
                raise NotCosigned(Answer.BEHIND)
            reply = await self._post(signed, prove, post)
        if reply.status == INCONSISTENT:
            raise NotCosigned(Answer.FORKED)
        if reply.status in (UNTRUSTED, UNKNOWN):
            raise NotCosigned(Answer.STRANGER)
        if reply.status != OK:
            raise NotCosigned(Answer.SILENT)
        try:
            cosignature = cosignature_in(reply.body.decode(), signed.checkpoint.text, self.witness.cosigner)
        except (NoteInvalid, UnicodeDecodeError):
            raise NotCosigned(Answer.SILENT) from None
        self.size = signed.size
        return cosignature

    async def _post(self, signed: SignedCheckpoint, prove: Prove, post: Post) -> Reply:
        old = min(self.size, signed.size)
        lines = [f"old {old}", *map(b64, prove(old, signed.size))]
        try:
            return await post(f"{self.witness.url}/add-checkpoint", ("\n".join(lines) + "\n\n" + signed.note).encode())
        except NoReply:
            raise NotCosigned(Answer.SILENT) from None


def _size_in(reply: Reply) -> int:
    size = reply.body.decode("ascii", "replace").removesuffix("\n")
    if reply.media_type != "text/x.tlog.size" or not size.isdecimal() or len(size) > 19:
        raise NotCosigned(Answer.SILENT)
    return int(size)
