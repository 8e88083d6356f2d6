"""The vectors in docs/audit-format.md are what the code makes. Run this file as a script to write them there."""

from __future__ import annotations

import json
import tempfile
from hashlib import sha256
from pathlib import Path

from strongroom.verify import answer_bytes, request_bytes, verify_receipt

from services.audit.journal.frame import ClearPart, Entry, encode_frame
from services.audit.journal.segment import encode_header
from services.audit.log.leaf import Kind
from services.audit.log.merkle import leaf_hash
from services.audit.records.entries import Accept, End, Ended, Ending, Release
from services.audit.records.fields import Content, Salts, header_hash, leaves_of
from services.audit.records.open_records import chained
from services.audit.records.planning import Clock
from services.audit.records.ticket import TicketKey
from services.audit.sealing.payload import RecordCipher, encode_parts, nonce_for, record_key
from services.audit.writer import Folders, Writer

DOCUMENT = Path(__file__).parents[3] / "docs" / "audit-format.md"
BEGIN, END_MARK = "<!-- vectors -->\n```json\n", "\n```\n<!-- end of vectors -->"
REQUEST = {
    "messages": [{"role": "user", "content": "What is 2 + 2?"}],
    "model": "smollm2",
    "parameters": {"max_tokens": 16, "temperature": 0.7, "top_p": 1.0},
}
ANSWER = [{"content": "4", "finish_reason": "STOP"}]


class Counting:
    """Randomness for vectors: SHA-256 of 0, 1, 2, …"""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return sha256(self._count.to_bytes(8, "big")).digest()[:size]


def vectors() -> dict[str, object]:
    return {
        "ticket": ticket_vector(),
        "canonical": {"request": request_bytes(REQUEST).decode(), "answer": answer_bytes(ANSWER).decode()},
        "fields": fields_vector(),
        "frame": frame_vector(),
        "receipt": receipt_vector(),
    }


def ticket_vector() -> dict[str, object]:
    key, digest = bytes(range(32)), sha256(b"job").digest()
    mac = TicketKey(key, "dev.strongroom/00000000").mac("0190-request", 1_800_000_060_000, digest)
    return {
        "key": key.hex(),
        "origin": "dev.strongroom/00000000",
        "request_id": "0190-request",
        "expires_ms": 1_800_000_060_000,
        "job_digest": digest.hex(),
        "mac": mac.hex(),
    }


def fields_vector() -> dict[str, object]:
    seed = bytes(range(32, 64))
    texts = {"request_received": b"{}", "findings": b"[]", "parameters": b"{}"}
    salts = Salts(seed)
    leaves = leaves_of(salts, texts)
    header = b'{"time_ms":1800000000000}'
    return {
        "seed": seed.hex(),
        "fields": {name: text.decode() for name, text in texts.items()},
        "salts": {name: salts.of(name).hex() for name in texts},
        "leaves": {name: leaf.hex() for name, leaf in leaves.items()},
        "content": Content(leaves).root.hex(),
        "header_json_of_an_END": header.decode(),
        "header": header_hash(salts, "END", header).hex(),
    }


def frame_vector() -> dict[str, object]:
    subject_key = bytes(range(64, 96))
    accepted = sha256(b"accepted").digest()
    clear = ClearPart(Kind.RELEASE, "0190-request", 3, "boot-1", 7, "00112233aabbccdd", accepted)
    parts = {"body": b"[]", "time": (1_800_000_000_000).to_bytes(8, "big")}
    random = bytes(range(7))
    cipher, nonce = RecordCipher(subject_key, clear.record_id), nonce_for(Kind.RELEASE, clear.n, random)
    entry = Entry(Kind.RELEASE, b"", clear.encode(), cipher.seal(nonce, clear.encode(), parts))
    return {
        "segment_header": encode_header("dev.strongroom/00000000", 40).hex(),
        "subject_key": subject_key.hex(),
        "record_key": record_key(subject_key, "0190-request").hex(),
        "parts": encode_parts(parts).hex(),
        "nonce_random": random.hex(),
        "clear": clear.encode().hex(),
        "ciphertext": entry.ciphertext.hex(),
        "sealed": entry.sealed_hash.hex(),
        "number": 42,
        "group": 41,
        "frame": encode_frame(42, 41, entry).hex(),
        "release_chain": {"before": accepted.hex(), "after": chained(accepted, entry.sealed_hash).hex()},
    }


def receipt_vector() -> dict[str, object]:
    """A whole small log, with counted randomness and a standing clock."""
    with tempfile.TemporaryDirectory() as folder:
        folders = Folders(Path(folder) / "audit", Path(folder) / "keys")
        writer = Writer(folders, Clock(lambda: 1_800_000_000.0, lambda: 0.0), random=Counting())
        place = {"record_id": "0190-request", "boot": "boot-1"}
        request = {"request_received": request_bytes(REQUEST)}
        answers = writer.commit(
            [
                Accept(
                    **place, sequence=0, tenant="bank", caller="desk", deadline_ms=1_800_000_060_000, fields=request
                ),
                Release(**place, sequence=1, n=0, body=b"[]"),
                End(
                    **place,
                    sequence=2,
                    end=Ending.COMPLETED,
                    finish_reason="STOP",
                    fields={"answer_released": answer_bytes(ANSWER)},
                ),
            ]
        )
        ended = answers[-1]
        assert isinstance(ended, Ended)
        vkey = writer.verifier_key
        leaves = writer.stored.leaf_bytes(0, writer.tree.size)
        writer.close()
    return {
        "log_key": vkey,
        "request": REQUEST,
        "answer": ANSWER,
        "leaf_entries": [leaf.hex() for leaf in leaves],
        "leaf_hashes": [leaf_hash(leaf).hex() for leaf in leaves],
        "receipt": ended.receipt,
    }


def test_the_documented_vectors_are_what_the_code_makes() -> None:
    document = DOCUMENT.read_text()
    written = document[document.index(BEGIN) + len(BEGIN) : document.index(END_MARK)]
    assert json.loads(written) == vectors()


def test_the_documented_receipt_verifies() -> None:
    made = vectors()["receipt"]
    assert isinstance(made, dict)
    assert verify_receipt(made["request"], made["answer"], made["receipt"], made["log_key"])


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END_MARK) :]
    DOCUMENT.write_text(head + json.dumps(vectors(), indent=2, ensure_ascii=False) + tail)
