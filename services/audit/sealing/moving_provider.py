"""Two providers, of which the first is left: a rotation puts everything under a key of the second."""

from __future__ import annotations

from services.audit.sealing.provider import KeyUnusable, ProviderKeys


class MovingProvider:
    """Opens what either wrapped. New keys are the second's."""

    def __init__(self, left: ProviderKeys, taken: ProviderKeys) -> None:
        self._left, self._taken, self.kind = left, taken, f"{left.kind}, moving to {taken.kind}"

    def held(self) -> list[str]:
        return [*self._left.held(), *self._taken.held()]

    def _of(self, key_id: str) -> ProviderKeys:
        for provider in (self._left, self._taken):
            if key_id in provider.held():
                return provider
        raise KeyUnusable(f"the provider key {key_id} is held neither by {self._left.kind} nor by {self._taken.kind}")

    def create(self) -> str:
        return self._taken.create()

    def wrap(self, key_id: str, key: bytes, purpose: str) -> bytes:
        return self._of(key_id).wrap(key_id, key, purpose)

    def unwrap(self, key_id: str, wrapped: bytes, purpose: str) -> bytes:
        return self._of(key_id).unwrap(key_id, wrapped, purpose)

    def settle(self, current: str) -> None:
        self._of(current).settle(current)

    def destroy(self, key_id: str) -> None:
        self._of(key_id).destroy(key_id)
