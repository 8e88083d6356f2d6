"""What the index's process is told by audit: it holds no key but those that it was given for this work."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection
from concurrent.futures import Future
from itertools import count
from typing import Any

from services.audit.index.channel import Channel, Gone, bytes_of, text_of
from services.audit.sealing.provider import KeyUnusable

REMEMBERED_KEYS = 16_384


class Asking:
    """Asks, and waits for the answer, which whoever receives gives to `answered`. From any thread."""

    def __init__(self, channel: Channel) -> None:
        self._channel, self._numbers = channel, count()
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._gone = False

    def ask(self, **question: Any) -> dict[str, Any]:
        answer: Future[dict[str, Any]] = Future()
        with self._lock:
            if self._gone:
                raise Gone
            number = next(self._numbers)
            self._waiting[number] = answer
        self._channel.send({"ask": number, **question})
        return answer.result()

    def answered(self, message: dict[str, Any]) -> None:
        with self._lock:
            answer = self._waiting.pop(message["answer"])
        answer.set_result(message)

    def end(self) -> None:
        """Nobody answers any more."""
        with self._lock:
            self._gone = True
            waiting = list(self._waiting.values())
        for answer in waiting:
            answer.set_exception(Gone())


class AskedProvider:
    """A KeyProvider: audit wraps and unwraps, and the provider's own key stays there."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def wrap(self, key: bytes, purpose: str) -> bytes:
        return self._key(self._asking.ask(wrap=text_of(key), purpose=purpose), purpose)

    def unwrap(self, wrapped: bytes, purpose: str) -> bytes:
        return self._key(self._asking.ask(unwrap=text_of(wrapped), purpose=purpose), purpose)

    def _key(self, answer: dict[str, Any], purpose: str) -> bytes:
        if answer["key"] is None:
            raise KeyUnusable(f"audit does not open the key of {purpose}")
        return bytes_of(answer["key"])


class AskedKeys:
    """Keys of subjects, those used last kept in memory until they are forgotten, which is for good."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._absent: frozenset[str] = frozenset()  # of those that were asked for last
        self._forgotten: set[str] = set()
        self._lock = threading.Lock()

    def expect(self, key_ids: Collection[str]) -> None:
        with self._lock:
            missing = [key_id for key_id in key_ids if key_id not in self._kept]
        if missing:
            self.fetch(missing)

    def fetch(self, key_ids: Collection[str]) -> None:
        answer = self._asking.ask(keys=list(key_ids))["keys"]
        with self._lock:
            known = {key_id: bytes_of(key) for key_id, key in answer.items() if key_id not in self._forgotten}
            for key_id in key_ids:
                self._kept.pop(key_id, None)
            self._kept.update(known)
            self._absent = frozenset(key_ids) - known.keys()
            while len(self._kept) > max(REMEMBERED_KEYS, len(key_ids)):
                self._kept.popitem(last=False)

    def key(self, key_id: str) -> bytes:
        if key_id not in self._kept and key_id not in self._absent:
            self.fetch([key_id])
        with self._lock:
            if key_id not in self._kept:
                raise KeyUnusable(f"audit has no key {key_id}")
            self._kept.move_to_end(key_id)
            return self._kept[key_id]

    def forget(self, key_ids: Collection[str]) -> None:
        with self._lock:
            self._forgotten.update(key_ids)
            for key_id in key_ids:
                self._kept.pop(key_id, None)
