"""The book of custody: holds in force, and orders that are not carried out yet. Sealed, and outside every hash."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.audit.custody.orders import Hold, Order, Scope, TooMany, as_json, from_json
from services.audit.sealing.hkdf import Derivation
from services.audit.sealing.key_files import write_whole
from services.audit.sealing.provider import KeyUnusable

BOOK = "custody.sealed"
MAX_HOLDS, MAX_ORDERS = 10_000, 1_000
_NAME = b"strongroom custody v1"


class Book:
    """Changed by whoever commits, in the log's order. `flush` comes before the entry that tells of what was added; what
    is struck out was told of before. So after a crash the book may hold more than the log, and never less."""

    def __init__(self, folder: Path, log_key: Callable[[], bytes]) -> None:
        self._path, self._log_key = folder / BOOK, log_key
        self.holds: dict[str, Hold] = {}
        self.orders: dict[str, Order] = {}
        self._changed = False
        if self._path.exists():
            for each in self._read():
                kept = from_json(each)
                if isinstance(kept, Hold):
                    self.holds[kept.id] = kept
                else:
                    self.orders[kept.id] = kept

    def add(self, kept: Hold | Order) -> None:
        if isinstance(kept, Hold):
            _check_room(self.holds, MAX_HOLDS, "holds are in force")
            self.holds[kept.id] = kept
        else:
            _check_room(self.orders, MAX_ORDERS, "orders wait to be carried out")
            self.orders[kept.id] = kept
        self._changed = True

    def strike(self, *ids: str) -> None:
        for each in ids:
            if self.holds.pop(each, None) or self.orders.pop(each, None):
                self._changed = True

    def holding(self, scope: Scope) -> list[Hold]:
        return [hold for hold in self.holds.values() if hold.scope.meets(scope)]

    def flush(self) -> None:
        if not self._changed:
            return
        self._changed = False
        kept: Iterable[Hold | Order] = [*self.holds.values(), *self.orders.values()]
        nonce, content = os.urandom(12), json.dumps([as_json(each) for each in kept]).encode()
        try:
            write_whole(self._path, nonce + self._cipher().encrypt(nonce, content, _NAME))
        except OSError:
            self._changed = True
            raise

    def _read(self) -> list[dict[str, object]]:
        data = self._path.read_bytes()
        try:
            stored = json.loads(self._cipher().decrypt(data[:12], data[12:], _NAME))
        except (InvalidTag, ValueError):
            raise KeyUnusable(f"{self._path} does not open: restore it with {self._path.parent}") from None
        assert isinstance(stored, list)
        return stored

    def _cipher(self) -> AESGCM:
        return AESGCM(Derivation(self._log_key()).key(_NAME))


def _check_room(kept: dict[str, Hold] | dict[str, Order], limit: int, what: str) -> None:
    if len(kept) >= limit:
        raise TooMany(f"{limit} {what}: no more are taken until some are gone")
