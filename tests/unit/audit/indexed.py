"""A log and its index, opened and closed as audit does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from services.audit.index.files import IndexFolder
from services.audit.index.follower import Follower
from services.audit.index.record_keys import TreeKeys
from services.audit.index.search import Filter, search
from services.audit.journal.reading import JournalReader
from services.audit.writer import Writer

CARD = "6222020011223344556"
RAW = f'{{"messages":[{{"content":"pay {CARD} zanzibar","role":"user"}}],"parameters":{{}}}}'.encode()


def asked(text: str) -> dict[str, bytes]:
    sent = [{"role": "system", "content": "house rules"}, {"role": "user", "content": text}]
    findings = [{"type": "BANK_CARD", "start": 4, "end": 23, "level": "C2", "message_index": 0, "side": "prompt"}]
    return {
        "request_received": RAW,
        "request_sent": json.dumps({"messages": sent}).encode(),
        "parameters": b"{}",
        "findings": json.dumps([{**found, "rule": "x"} for found in findings]).encode(),
    }


def answered(text: str) -> dict[str, bytes]:
    return {name: json.dumps([{"content": text}]).encode() for name in ("answer_generated", "answer_released")}


class Indexed:
    """A log and its index, opened and closed as audit does."""

    def __init__(self, log: object) -> None:
        self.log = log
        self.folder = log.folders.index
        self.followers: list[Follower] = []
        self.writer: Writer = log.open()

    def open(self, batch_leaves: int = 3, room: Callable[[int], bool] = lambda size: True) -> Follower:
        folder = IndexFolder(self.folder, self.writer.provider)
        self.follower = Follower(
            JournalReader(self.log.folders.journal, self.writer.origin),
            TreeKeys(self.writer.custody.keys),
            folder,
            lambda: self.writer.publisher.published,
            room=room,
            batch_leaves=batch_leaves,
            look_seconds=0.01,
        )
        self.writer.records.known_span = self.follower.span
        self.followers.append(self.follower)
        self.follower.start()
        return self.follower

    def close(self) -> None:
        while self.followers:
            self.followers.pop().close()

    def commit(self, *items: object) -> None:
        self.writer.commit(items)
        self.writer.publish()

    def level(self) -> Follower:
        """Once the index has everything."""
        wait_for(lambda: self.follower.leaves == self.writer.tree.size)
        return self.follower

    def ids(self, **wanted: object) -> list[str]:
        page = search(self.level().store, Filter(**wanted), None, 100)
        assert page.total == len(page.found)
        return [summary.record_id for _, summary in page.found]

    def problems(self) -> list[str]:
        *_, result = self.level().check()
        return result.problems


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
