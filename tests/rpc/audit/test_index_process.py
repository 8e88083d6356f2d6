"""The index is written by a process of its own: it gives way, catches up, ends with audit, and is started again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.audit.custody.custodian import Custodian
from services.audit.custody.orders import Scope
from services.audit.index.files import IndexFolder
from services.audit.index.process import IndexAway, IndexProcess
from services.audit.index.search import Filter, search
from services.audit.records.entries import Outcome, Refuse
from services.audit.records.planning import Clock, Item
from services.audit.writer import Folders, Writer


class Log:
    """A log, and the process that writes its index."""

    def __init__(self, home: Path) -> None:
        self.folders = Folders(home / "audit", home / "keys")
        self.writer = Writer(self.folders, Clock(time.time, time.monotonic))
        self.indexes: list[IndexProcess] = []
        self.sequence = 0

    def start(self, **settings: object) -> IndexProcess:
        places = {name: str(getattr(self.folders, name)) for name in ("journal", "tlog", "index")}
        index = IndexProcess(
            {**places, "vkey": self.writer.verifier_key, "kept_free_bytes": 0},
            IndexFolder(self.folders.index, self.writer.provider),
            self.writer.custody.keys,
            lambda: self.writer.publisher.published,
            **settings,
        )
        index.start()
        self.indexes.append(index)
        return index

    def refuse(self, record: str, subject: str = "") -> None:
        request = b'{"messages":[{"content":"a loan","role":"user"}],"parameters":{}}'
        item = Refuse(
            record_id=record, boot="boot", sequence=self.sequence, tenant="bank", caller="desk", subject=subject,
            rule="x/1", fields={"request_received": request, "findings": b"[]", "answer_released": b"[]"},
        )  # fmt: skip
        self.sequence += 1
        self.commit(item)

    def commit(self, item: Item) -> Outcome | Exception:
        [answer] = self.writer.commit([item])
        self.writer.publish()
        return answer

    async def append(self, item: Item) -> Outcome:
        answer = self.commit(item)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        while self.indexes:
            self.indexes.pop().close()
        self.writer.close()


@pytest.fixture
def log(tmp_path) -> Iterator[Log]:
    made = Log(tmp_path / "home")
    yield made
    made.close()


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def level(log: Log, index: IndexProcess) -> None:
    wait_for(lambda: index.leaves == log.writer.tree.size)


def found(index: IndexProcess, **wanted: object) -> list[str]:
    return [summary.record_id for _, summary in search(index.store, Filter(**wanted), None, 100).found]


def process_of(log: Log) -> int:
    """The one that holds the lock on the index."""
    wait_for((log.folders.index / "lock").exists)
    inode = (log.folders.index / "lock").stat().st_ino
    locks: list[str] = []

    def holders() -> list[str]:
        locks[:] = [line.split()[4] for line in Path("/proc/locks").read_text().splitlines() if f":{inode} " in line]
        return locks

    wait_for(holders)
    return int(locks[0])


def test_what_another_process_writes_is_searched_here_and_goes_on_after_a_restart(log) -> None:
    index = log.start()
    log.refuse("r1")
    level(log, index)
    assert found(index, text="loan") == ["r1"] and index.span("r1")[0] is not None
    process = process_of(log)
    assert process != os.getpid()
    index.close()
    assert not Path(f"/proc/{process}").exists()
    log.indexes.clear()
    log.refuse("r2")
    again = log.start()
    assert found(again) == ["r1"]  # at once, from what is there
    level(log, again)
    assert found(again, text="loan") == ["r2", "r1"]
    *_, check = again.check()
    assert (check.problems, check.records) == ([], 2)


def test_one_that_is_killed_is_started_again_and_nothing_is_missing(log) -> None:
    """Fails if whoever asks it for something then waits for ever."""
    index = log.start()
    log.refuse("r1")
    level(log, index)
    process = process_of(log)
    os.kill(process, signal.SIGSTOP)
    rebuild = index.rebuild()
    os.kill(process, signal.SIGKILL)
    rebuild.wait(60)
    assert rebuild.finished and rebuild.failed
    log.refuse("r2")
    level(log, index)
    assert found(index) == ["r2", "r1"] and index.restarts == 1
    again = index.rebuild()
    again.wait(60)
    wait_for(lambda: len(list(log.folders.index.glob("*.db"))) == 1)
    assert not again.failed and found(index) == ["r2", "r1"]


def test_it_gives_way_until_it_is_too_far_behind(log) -> None:
    """Fails if a machine that is always busy keeps the index from ever going on."""
    ticks = [0.0]
    index = log.start(gives_way_seconds=300.0, monotonic=lambda: ticks[0])
    log.refuse("r1")
    level(log, index)
    process = process_of(log)
    weighed = Path(f"/proc/{process}/autogroup")
    idle, others = threads_of(process)
    assert idle and os.getsid(process) == process
    if weighed.exists():
        wait_for(lambda: weighed.read_text().endswith("nice 19\n"))
    os.kill(process, signal.SIGSTOP)
    log.refuse("r2")
    wait_for(lambda: (log.writer.tree.size, 0.0) in index._lag._seen)
    ticks[0] = 301.0
    wait_for(lambda: index.lag_seconds > 300)
    wait_for(lambda: index._hurried)
    os.kill(process, signal.SIGCONT)
    level(log, index)
    assert threads_of(process)[1] > others  # those that do not give way
    wait_for(lambda: index.lag_seconds == 0 and not index._hurried)
    if weighed.exists():
        wait_for(lambda: weighed.read_text().endswith("nice 19\n"))


def threads_of(process: int) -> tuple[int, int]:
    """How many run only when nothing else does, and how many others."""
    policies = [os.sched_getscheduler(int(path.name)) for path in Path(f"/proc/{process}/task").iterdir()]
    return policies.count(os.SCHED_IDLE), len(policies) - policies.count(os.SCHED_IDLE)


async def test_an_erasure_is_reported_once_no_row_of_it_is_left(log) -> None:
    """Fails if the custodian does not wait for the index."""
    index = log.start()
    log.refuse("r1", subject="ann")
    log.refuse("r2", subject="ben")
    await asyncio.to_thread(level, log, index)
    process = process_of(log)
    writer = log.writer
    made = Custodian(
        log, writer.custody, writer.open_under, writer.time_of, lambda erased: index.forget(erased.key_ids),
        patience_seconds=1.0,
    )  # fmt: skip
    async with made.running() as custodian:
        os.kill(process, signal.SIGSTOP)
        scope = Scope("bank", writer.custody.keys.pseudonym("bank", "ann"))
        order, done = await custodian.erase(scope, custodian.asked("officer", "bank", "why"), basis="asked for")
        assert not done and order.id in writer.custody.book.orders
        os.kill(process, signal.SIGCONT)
        async with asyncio.timeout(120):
            while order.id in writer.custody.book.orders:
                await asyncio.sleep(0.02)
        assert found(index) == ["r2"] == found(index, text="loan")
    await asyncio.to_thread(level, log, index)
    assert found(index) == ["r2"]


def test_it_is_given_keys_for_the_index_alone_and_none_that_was_destroyed(log) -> None:
    index = log.start()
    root = log.writer.custody.keys.root
    wrapped = root.wrap(bytes(32), "tenant/bank/1")
    assert index._answer({"unwrap": "", "purpose": "tenant/bank/1"}) == {"key": None}
    assert root.unwrap(wrapped, "tenant/bank/1") == bytes(32)
    assert index._answer({"keys": ["nobody"]}) == {"keys": {}}
    log.refuse("r1")
    level(log, index)
    process = process_of(log)
    said = Path(f"/proc/{process}/cmdline").read_bytes() + Path(f"/proc/{process}/environ").read_bytes()
    assert log.writer.custody.keys.idempotency_key.hex().encode() not in said and b"services.audit.index" in said


def test_before_there_is_any_index_who_looks_is_told(log) -> None:
    places = {"journal": "", "tlog": "", "index": "", "vkey": "", "kept_free_bytes": 0}
    folder = IndexFolder(log.folders.index, log.writer.provider)
    never = IndexProcess(places, folder, log.writer.custody.keys, lambda: 0, there_seconds=0.05)
    with pytest.raises(IndexAway):
        _ = never.store
    with pytest.raises(IndexAway):
        never.forget(["x"])
    never.close()
