"""Who holds which idempotency key in the last 24 hours. In memory only; rebuilt from the journal."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from services.audit.records.entries import KeyHolder

WINDOW_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class Claim:
    """Both are HMACs under audit's own key: neither the key nor the request is kept."""

    key: bytes
    request: bytes


def claim_of(secret: bytes, tenant: str, caller: str, key: str, request: bytes) -> Claim:
    words = (tenant.encode(), caller.encode(), key.encode())
    message = b"key" + b"".join(len(word).to_bytes(4, "big") + word for word in words)
    return Claim(hmac.digest(secret, message, "sha256"), hmac.digest(secret, b"request" + request, "sha256"))


class _Held(NamedTuple):
    request: bytes
    record_id: str
    since_ms: int
    key_id: str


class IdempotencyKeys:
    """One holder a key, oldest first a tenant."""

    def __init__(self, keys_per_tenant: int) -> None:
        self._limit = keys_per_tenant
        self._tenants: dict[str, OrderedDict[bytes, _Held]] = {}

    def holder(self, tenant: str, claim: Claim, now_ms: int) -> KeyHolder | None:
        held = self._current(tenant, now_ms).get(claim.key)
        return KeyHolder(held.record_id, held.request == claim.request) if held else None

    def full(self, tenant: str, now_ms: int) -> bool:
        return len(self._current(tenant, now_ms)) >= self._limit

    def seconds_until_room(self, tenant: str, now_ms: int) -> float:
        """Until the oldest key is forgotten; one whose request failed may be freed before."""
        oldest = next(iter(self._current(tenant, now_ms).values()), None)
        return (oldest.since_ms + WINDOW_MS - now_ms) / 1000 if oldest else 0.0

    def claim(self, tenant: str, claim: Claim, record_id: str, now_ms: int, key_id: str) -> None:
        """`key_id` is of the key that seals the record."""
        self._tenants.setdefault(tenant, OrderedDict())[claim.key] = _Held(claim.request, record_id, now_ms, key_id)

    def free(self, tenant: str, key: bytes, record_id: str) -> None:
        keys = self._tenants.get(tenant, OrderedDict())
        if key in keys and keys[key].record_id == record_id:
            del keys[key]

    def forget(self, key_ids: Collection[str]) -> None:
        """Frees what erased records held: their outcomes cannot be read back."""
        for keys in self._tenants.values():
            for name in [name for name, held in keys.items() if held.key_id in key_ids]:
                del keys[name]

    def _current(self, tenant: str, now_ms: int) -> OrderedDict[bytes, _Held]:
        keys = self._tenants.get(tenant)
        if keys is None:
            return OrderedDict()
        while keys and next(iter(keys.values())).since_ms <= now_ms - WINDOW_MS:
            keys.popitem(last=False)
        return keys
