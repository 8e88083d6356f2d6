"""What audit keeps beside the checkpoint: the newest one that was cosigned as the policy asks, and that policy."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from services.audit.log.note import NoteInvalid, SignedCheckpoint, Verifier, open_checkpoint
from services.audit.publishing import write_atomically
from services.audit.witnesses.cosignatures import Cosignature, cosignature_in
from services.audit.witnesses.policy import Witness, WitnessPolicy

COSIGNED, POLICY = "checkpoint.cosigned", "witness-policy"
MAX_NOTE_BYTES = 64 * 1024


def cosigned(signed: SignedCheckpoint, cosignatures: Iterable[Cosignature]) -> SignedCheckpoint:
    note = signed.note + "".join(each.line for each in cosignatures)
    return SignedCheckpoint(signed.checkpoint, note, cosigned=True)


class Kept:
    """The two files. A policy never stands beside a checkpoint that was cosigned under another."""

    def __init__(self, tlog: Path, policy: WitnessPolicy, verifier: Verifier) -> None:
        self._tlog, self._policy, self._verifier = tlog, policy, verifier
        text = policy.text.encode("utf-8", "surrogateescape")
        # The hash is there so that no altered byte, and be it of a comment or a threshold, goes unseen.
        self._policy_file = f"# sha256 {sha256(text).hexdigest()}\n".encode() + text

    def load(self) -> SignedCheckpoint | None:
        """What an earlier start kept under the same policy. The caller has seen that the log still holds it."""
        try:
            if (self._tlog / POLICY).read_bytes() != self._policy_file:
                return None
            note = (self._tlog / COSIGNED).read_bytes()[:MAX_NOTE_BYTES].decode()
            checkpoint = open_checkpoint(note, self._verifier)
            found = [name for name, each in self._policy.witnesses.items() if _cosigned(note, each)]
        except (FileNotFoundError, UnicodeDecodeError, NoteInvalid):
            return None
        return SignedCheckpoint(checkpoint, note, cosigned=True) if self._policy.met_by(found) else None

    def keep(self, signed: SignedCheckpoint) -> None:
        if self._current_policy() != self._policy_file:
            (self._tlog / COSIGNED).unlink(missing_ok=True)
            write_atomically(self._tlog / POLICY, self._policy_file)
        write_atomically(self._tlog / COSIGNED, signed.note.encode())

    def _current_policy(self) -> bytes:
        try:
            return (self._tlog / POLICY).read_bytes()
        except FileNotFoundError:
            return b""


def _cosigned(note: str, witness: Witness) -> bool:
    text, _, signatures = note.rpartition("\n\n")
    try:
        cosignature_in(signatures, text + "\n", witness.cosigner)
    except NoteInvalid:
        return False
    return True


def kept_files(tlog: Path) -> dict[str, bytes]:
    """Both, or none, for a copy of the log."""
    try:
        return {name: (tlog / name).read_bytes() for name in (COSIGNED, POLICY)}
    except FileNotFoundError:
        return {}
