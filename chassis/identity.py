"""Who calls: services and people by bearer token, of which receivers hold only hashes, and what each may call."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from chassis.boundary import Call, Layer, Proceed
from chassis.disk import refusal_of_secret
from chassis.failures import PermissionDenied, Unauthenticated

CREDENTIALS_FILE = "credentials.json"


@dataclass(frozen=True)
class Principal:
    """The holder of a credential. A service has a name and no tenant; a person or program has both. `expires`: Unix
    time, from which on the credential is none; an examiner's, say."""

    kind: str  # "service" or "person"
    name: str  # service name, or caller
    tenant: str = ""
    roles: frozenset[str] = frozenset()
    expires: float = inf

    @cached_property
    def grants(self) -> frozenset[str]:
        """What allow-lists name: `service:gateway`, `role:caller`."""
        own = f"service:{self.name}" if self.kind == "service" else "person"
        return frozenset({own}) | {f"role:{role}" for role in self.roles}


# Set by the boundary, in the task of the call.
current_principal: ContextVar[Principal] = ContextVar("current_principal")

# method → grants, of which one suffices; a method that is not listed is refused.
AllowList = Mapping[str, frozenset[str]]


class InvalidCredentials(Exception):
    """The credentials file cannot be used; names the file and the remedy."""


def identified(known: Mapping[str, Principal], allowed: AllowList) -> Layer:
    """A layer that knows the caller by its token and checks it against the method's allow-list."""

    async def layer(call: Call, proceed: Proceed) -> None:
        admit(str(call.metadata.get("authorization", "")), known, allowed.get(call.method, frozenset()), call.method)
        await proceed()

    return layer


def admit(
    authorization: str,
    known: Mapping[str, Principal],
    grants: frozenset[str],
    method: str,
    clock: Callable[[], float] = time.time,
) -> None:
    """Sets the current principal from an `authorization` value, if one of `grants` is its own; both edges call it."""
    principal = _principal(authorization, known, clock())
    if not principal.grants & grants:
        raise PermissionDenied(f"this credential may not call {method}", reason="METHOD_NOT_ALLOWED")
    current_principal.set(principal)


def _principal(authorization: str, known: Mapping[str, Principal], now: float) -> Principal:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("no credential: send `authorization: Bearer <key>`", reason="NO_CREDENTIAL")
    principal = known.get(digest(token.strip()))
    if principal is None:
        raise Unauthenticated("this credential is not known here: check the key", reason="UNKNOWN_CREDENTIAL")
    if now >= principal.expires:
        raise Unauthenticated("this credential has expired: ask for another", reason="CREDENTIAL_EXPIRED")
    return principal


def digest(token: str) -> str:
    """What is stored of a token. Tokens are random and long, so a plain hash cannot be searched."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token(prefix: str) -> str:
    """A fresh token of 256 random bits."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def load_credentials(keys: Path) -> dict[str, Principal]:
    """Hash of token → holder, from `credentials.json` in the keys folder."""
    path = keys / CREDENTIALS_FILE
    try:
        entries = json.loads(path.read_text())["credentials"]
        return {str(entry["sha256"]): _holder(entry) for entry in entries}
    except OSError as error:
        raise InvalidCredentials(refusal_of_secret(error, path)) from None
    except (ValueError, KeyError, TypeError):
        raise InvalidCredentials(
            f"{path} is not a credentials file: restore it, or remove it to make a new one"
        ) from None


def _holder(entry: Mapping[str, Any]) -> Principal:
    return Principal(
        kind=str(entry["kind"]),
        name=str(entry["name"]),
        tenant=str(entry.get("tenant", "")),
        roles=frozenset(map(str, entry.get("roles", ()))),
        expires=_unix_time(str(entry["expires"])) if "expires" in entry else inf,
    )


def _unix_time(text: str) -> float:
    """Of ISO 8601; without an offset it is UTC."""
    read = datetime.fromisoformat(text)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def service_token(keys: Path, service: str) -> str:
    """The token with which a service names itself to its neighbours."""
    path = keys / f"service-{service}"
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise InvalidCredentials(refusal_of_secret(error, path)) from None
    if not token:
        raise InvalidCredentials(f"{path} is empty: restore it, or remove it to have `strongroom up` make a new one")
    return token
