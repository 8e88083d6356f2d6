"""A small home folder made by the real service, for the verifier to judge."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from strongroom.verify import answer_bytes, request_bytes

from services.audit.journal.journal import JournalLimits
from services.audit.records.entries import Accept, Act, End, Ended, Ending, Refuse, Refused, Reject, Release
from services.audit.records.planning import Clock, Item
from services.audit.writer import Folders, Writer, WriterLimits

REQUEST = {
    "messages": [{"role": "user", "content": "What is 2 + 2?\u2028 你好"}],
    "model": "smollm2",
    "parameters": {"temperature": 0.7, "max_tokens": 16, "stop": ["\n"]},
}
ANSWER = [{"content": "4", "finish_reason": "STOP"}]
REFUSAL = [{"content": "此内容违反使用政策", "finish_reason": "REFUSED"}]


@dataclass
class Made:
    """A cleanly stopped home, and what callers were given while it ran."""

    home: Path
    vkey: str
    receipt: dict[str, object]
    refusal_receipt: dict[str, object]
    reaped: str

    def copy(self, target: Path) -> Path:
        shutil.copytree(self.home / "audit", target / "audit")
        return target


def _items(number: int, sequence: int) -> list[Item]:
    record, boot, fields = f"record-{number}", "boot-1", {"request_received": request_bytes(REQUEST)}
    place = {"record_id": record, "boot": boot}
    return [
        Accept(**place, sequence=sequence, tenant="bank", caller="desk", deadline_ms=1, fields=fields),
        Release(**place, sequence=sequence + 1, n=0, body=b"4"),
        Release(**place, sequence=sequence + 2, n=1, body=b""),
        End(**place, sequence=sequence + 3, end=Ending.COMPLETED, fields={"answer_released": answer_bytes(ANSWER)}),
    ]


def make_home(home: Path, records: int, segment_bytes: int = 8 * 1024) -> Made:
    limits = WriterLimits(journal=JournalLimits(segment_bytes=segment_bytes, chunk_bytes=1024))
    writer = Writer(Folders(home / "audit", home / "keys"), Clock(time.time, time.monotonic), limits)
    receipts: list[dict[str, object]] = []
    for number in range(records):
        *_, ended = writer.commit(_items(number, 4 * number))
        assert isinstance(ended, Ended), ended
        receipts.append(json.loads(ended.receipt))
        writer.publish()
    place = {"boot": "boot-1", "tenant": "bank", "caller": "desk"}
    fields = {"request_received": request_bytes(REQUEST), "answer_released": answer_bytes(REFUSAL)}
    at = 4 * records
    refused, *_ = writer.commit(
        [
            Refuse(record_id="refused", sequence=at, fields=fields, **place),
            Reject(record_id="rejected", sequence=at + 1, reason="PROMPT_EMPTY", **place),
            Act(service="guard", actor="guard-0", action="policy loaded"),
            Accept(record_id="open", sequence=at + 2, deadline_ms=1, **place),
            Release(record_id="open", boot="boot-1", sequence=at + 3, n=0, body=b"begun"),
        ]
    )
    assert isinstance(refused, Refused), refused
    writer.stop()
    writer.close()
    vkey = (home / "audit" / "tlog" / "log.vkey").read_text().strip()
    return Made(home, vkey, receipts[0], json.loads(refused.receipt), "open")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_home(tmp_path_factory.mktemp("made"), records=6)
