"""Who holds which idempotency key in the last 24 hours. In memory only; rebuilt from the journal."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from dataclasses import dataclass

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


class IdempotencyKeys:
    """One holder a key, oldest first a tenant."""

    def __init__(self, keys_per_tenant: int) -> None:
        self._limit = keys_per_tenant
        self._tenants: dict[str, OrderedDict[bytes, tuple[bytes, str, int]]] = {}

    def holder(self, tenant: str, claim: Claim, now_ms: int) -> KeyHolder | None:
        held = self._current(tenant, now_ms).get(claim.key)
        return KeyHolder(held[1], held[0] == claim.request) if held else None

    def full(self, tenant: str, now_ms: int) -> bool:
        return len(self._current(tenant, now_ms)) >= self._limit

    def seconds_until_room(self, tenant: str, now_ms: int) -> float:
        """Until the oldest key is forgotten; one whose request failed may be freed before."""
        oldest = next(iter(self._current(tenant, now_ms).values()), None)
        return (oldest[2] + WINDOW_MS - now_ms) / 1000 if oldest else 0.0

    def claim(self, tenant: str, claim: Claim, record_id: str, now_ms: int) -> None:
        self._tenants.setdefault(tenant, OrderedDict())[claim.key] = (claim.request, record_id, now_ms)

    def free(self, tenant: str, key: bytes, record_id: str) -> None:
        keys = self._tenants.get(tenant, OrderedDict())
        if key in keys and keys[key][1] == record_id:
            del keys[key]

    def _current(self, tenant: str, now_ms: int) -> OrderedDict[bytes, tuple[bytes, str, int]]:
        keys = self._tenants.get(tenant)
        if keys is None:
            return OrderedDict()
        while keys and next(iter(keys.values()))[2] <= now_ms - WINDOW_MS:
            keys.popitem(last=False)
        return keys
