"""A provider whose keys never leave a token: a hardware security module, or any other that speaks PKCS#11."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11 import exceptions as failures

from services.audit.sealing.provider import KEY_BYTES, KeyUnusable, does_not_open, read_key

NONCE_BYTES = 12
T = TypeVar("T")
# After these a new session may do: a token that was reset, or taken out and put back.
_SESSION_LOST = (
    failures.SessionHandleInvalid,
    failures.SessionClosed,
    failures.KeyHandleInvalid,
    failures.ObjectHandleInvalid,
    failures.UserNotLoggedIn,
    failures.DeviceRemoved,
    failures.TokenNotPresent,
)
_ALTERED = (failures.EncryptedDataInvalid, failures.EncryptedDataLenRange, failures.GeneralError)


@dataclass(frozen=True)
class Token:
    """Where the keys are. `label` is of one log alone: whatever has it is taken for that log's."""

    module: Path  # the vendor's library
    name: str
    pin_file: Path
    label: str

    def __str__(self) -> str:
        return f"the token {self.name} of {self.module}"


class Pkcs11Provider:
    """AES-256 keys that are made in the token, sensitive and not extractable. The token encrypts with AES-GCM under a
    nonce of ours. One session, one call at a time."""

    def __init__(self, token: Token, *, new: bool, now: Callable[[], float] = time.time) -> None:
        self.kind, self._token, self._now, self._lock = "pkcs11", token, now, threading.Lock()
        self._keys: dict[str, Any] = {}  # what a key can do is not in its type
        try:
            self._open()
        except failures.PKCS11Error as error:
            raise KeyUnusable(f"{token} cannot be used ({_said(error)}): is it there, and the PIN right?") from None
        if new and self._keys:
            raise KeyUnusable(
                f"{token} already has keys with the label {token.label}, which belong to another log: give this one a "
                "label of its own"
            )
        if new:
            self.create()

    def _open(self) -> None:
        pin = read_key(self._token.pin_file, exactly=None).decode().strip()
        token = pkcs11.lib(str(self._token.module)).get_token(token_label=self._token.name)
        try:
            self._session = token.open(rw=True, user_pin=pin)
        except failures.UserAlreadyLoggedIn:  # by another session of this process
            self._session = token.open(rw=True)
        named = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: self._token.label}
        found = {key[Attribute.ID].hex(): key for key in self._session.get_objects(named)}
        self._keys = {key_id: found[key_id] for key_id in sorted(found)}

    def _within(self, work: Callable[[], T]) -> T:
        """Once more in a new session if the old one was lost."""
        with self._lock:
            try:
                try:
                    return work()
                except _SESSION_LOST:
                    self._open()
                    return work()
            except failures.PKCS11Error as error:
                raise KeyUnusable(f"{self._token} does not do what it is asked ({_said(error)})") from None

    def held(self) -> list[str]:
        return list(self._keys)

    def create(self) -> str:
        # Begins with the time, so that ids are in the order of their making.
        key_id = int(self._now()).to_bytes(4, "big") + os.urandom(4)

        def make() -> Any:
            return self._session.generate_key(
                KeyType.AES,
                KEY_BYTES * 8,
                id=key_id,
                label=self._token.label,
                store=True,
                capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
                template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )

        self._keys[key_id.hex()] = self._within(make)
        return key_id.hex()

    def wrap(self, key_id: str, key: bytes, purpose: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._within(lambda: bytes(self._key(key_id).encrypt(key, **_gcm(nonce, purpose))))

    def unwrap(self, key_id: str, wrapped: bytes, purpose: str) -> bytes:
        nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]

        def open_() -> bytes:
            try:
                return bytes(self._key(key_id).decrypt(sealed, **_gcm(nonce, purpose)))
            except _ALTERED:
                raise does_not_open(purpose) from None

        return self._within(open_)

    def _key(self, key_id: str) -> Any:
        try:
            return self._keys[key_id]
        except KeyError:
            raise KeyUnusable(
                f"the provider key {key_id} is not in {self._token} under the label {self._token.label}; if it was "
                "destroyed after a rotation, so is what only it opened"
            ) from None

    def settle(self, current: str) -> None:
        """The token need not know."""

    def destroy(self, key_id: str) -> None:
        self._within(lambda: self._key(key_id).destroy())
        del self._keys[key_id]


def _gcm(nonce: bytes, purpose: str) -> dict[str, object]:
    return {"mechanism": Mechanism.AES_GCM, "mechanism_param": GCMParams(nonce, purpose.encode(), 128)}


def _said(error: failures.PKCS11Error) -> str:
    return type(error).__name__
