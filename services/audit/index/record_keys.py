"""The keys that open records, as whoever writes the index gets at them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from services.audit.sealing.keytree import KeyTree
from services.audit.sealing.provider import KeyUnusable


class RecordKeys(Protocol):
    def expect(self, key_ids: Collection[str]) -> None:
        """They are about to be asked for, so that whoever has to fetch them does so at once."""

    def key(self, key_id: str) -> bytes:
        """Raises KeyUnusable where it was destroyed, or is not there."""

    def fetch(self, key_ids: Collection[str]) -> None:
        """The same, also of those that were fetched before: they may have been destroyed since."""

    def forget(self, key_ids: Collection[str]) -> None:
        """They were destroyed: none of them is kept here any longer."""


class TreeKeys:
    """For whoever is in the process that has the key tree."""

    def __init__(self, tree: KeyTree) -> None:
        self._tree = tree

    def expect(self, key_ids: Collection[str]) -> None:
        pass

    def key(self, key_id: str) -> bytes:
        return self._tree.by_id(key_id).key

    def fetch(self, key_ids: Collection[str]) -> None:
        pass

    def forget(self, key_ids: Collection[str]) -> None:
        pass


def lost(keys: RecordKeys, key_ids: Collection[str]) -> list[str]:
    """Those of which there is no key any more."""
    keys.fetch(key_ids)
    gone = []
    for key_id in key_ids:
        try:
            keys.key(key_id)
        except KeyUnusable:
            gone.append(key_id)
    return gone
