"""A log of so many records, made through the writer itself."""

from __future__ import annotations

import secrets
import time
from contextlib import closing
from typing import Any

from benchmarks.audit.texts import Texts
from services.audit.records.entries import Accept, End, Ending, Refuse
from services.audit.records.planning import Clock, Item
from services.audit.writer import Folders, Writer

SEED, GROUP_RECORDS = 7, 256
TENANTS, CALLERS = 4, 100  # of a million records a caller has 10,000


def grow(folders: Folders, records: int, refused: bool) -> float:
    """Through the writer itself; seconds that it took. `refused`: of one entry each, instead of two."""
    began, texts, boot = time.perf_counter(), Texts(SEED), secrets.token_hex(8)
    writer = Writer(folders, Clock(time.time, time.monotonic))
    with closing(writer):
        for first in range(0, records, GROUP_RECORDS):
            count = min(GROUP_RECORDS, records - first)
            make = _refused if refused else _answered
            items = [item for n in range(first, first + count) for item in make(boot, n, texts)]
            failed = [answer for answer in writer.commit(items) if isinstance(answer, Exception)]
            assert not failed, failed[0]
        writer.stop()
    return time.perf_counter() - began


def _answered(boot: str, number: int, texts: Texts) -> list[Item]:
    place: dict[str, Any] = {"record_id": f"{number:012x}{secrets.token_hex(10)}", "boot": boot}
    accept = Accept(
        **place, sequence=2 * number, tenant=f"tenant-{number % TENANTS}", caller=f"desk-{number % CALLERS}",
        model="deepseek", deadline_ms=1, job_digests=(bytes(32),), fields=texts.request(),
    )  # fmt: skip
    end = End(
        **place, sequence=2 * number + 1, end=Ending.COMPLETED, finish_reason="STOP",
        reason="advice/2" if number % 50 == 0 else "", usage={"input_tokens": 150, "output_tokens": 60},
        fields=texts.answer(),
    )  # fmt: skip
    return [accept, end]


def _refused(boot: str, number: int, texts: Texts) -> list[Item]:
    fields = {**texts.request(), **texts.answer()}
    del fields["request_sent"], fields["answer_generated"]
    refuse = Refuse(
        record_id=f"{number:012x}{secrets.token_hex(10)}", boot=boot, sequence=number, rule="advice/2",
        tenant=f"tenant-{number % TENANTS}", caller=f"desk-{number % CALLERS}", fields=fields,
    )  # fmt: skip
    return [refuse]
