"""What custody is asked to do, what it keeps of that, and why it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from services.audit.custody.retention import Kept

# Actions of ACT entries that audit itself writes.
ERASURE_ORDERED, SUBJECT_ERASED, TENANT_ERASED = "ERASURE_ORDERED", "SUBJECT_ERASED", "TENANT_ERASED"
HOLD_PLACED, HOLD_LIFTED = "HOLD_PLACED", "HOLD_LIFTED"
ROTATION_ORDERED, ROTATED = "PROVIDER_KEY_ROTATION_ORDERED", "PROVIDER_KEY_ROTATED"
DESTROYED = "PROVIDER_KEYS_DESTROYED"


class Scope(NamedTuple):
    """A subject of a tenant, by its pseudonym; without one the whole tenant."""

    tenant: str
    subject: str = ""

    def meets(self, other: Scope) -> bool:
        """Whether something belongs to both."""
        return self.tenant == other.tenant and (not self.subject or not other.subject or self.subject == other.subject)

    def stated(self) -> dict[str, object]:
        return {"tenant": self.tenant, "scope": "subject" if self.subject else "tenant", "subject": self.subject}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who decided, and why: in the person's own words, which are kept for good."""

    person: str
    unit: str  # the person's tenant
    reason: str
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class Hold(Asked):
    """While it is in force nothing in its scope is erased."""

    id: str
    scope: Scope


@dataclass(frozen=True, kw_only=True)
class Erase(Asked):
    """The keys that a subject had when it was ordered are to be destroyed."""

    id: str
    scope: Scope
    key_ids: tuple[str, ...]
    newest_leaf: int  # that they sealed
    kept: Kept
    basis: str = ""  # why before the end of the retention period; empty: it had passed


@dataclass(frozen=True, kw_only=True)
class Rotate(Asked):
    """Everything that the provider wraps is to be under this key of it."""

    id: str  # of the key
    before: str  # the key that was in use


Order = Erase | Rotate


class Erased(NamedTuple):
    """What was destroyed; whoever holds copies of it drops them. `subject` is empty for a whole tenant."""

    tenant: str
    subject: str
    key_ids: tuple[str, ...]


class CustodyRefused(Exception):
    """A decision that is not taken. The text names what stands against it, and the remedy."""

    reason = "CUSTODY_REFUSED"


class Held(CustodyRefused):
    reason = "HELD"


class RetentionRuns(CustodyRefused):
    reason = "RETENTION"


class Changed(CustodyRefused):
    reason = "CHANGED"


class NothingHeld(CustodyRefused):
    """There is no such thing: a subject without a key, a hold that is not in force."""

    reason = "NOT_FOUND"


class Withdrawn(CustodyRefused):
    reason = "WITHDRAWN"


class TooMany(CustodyRefused):
    reason = "TOO_MANY"


def as_json(kept: Hold | Order) -> dict[str, Any]:
    return {"is": type(kept).__name__, **asdict(kept)}


def from_json(stored: Mapping[str, Any]) -> Hold | Order:
    values = {name: value for name, value in stored.items() if name != "is"}
    if "scope" in values:
        values["scope"] = Scope(*values["scope"])
    if "key_ids" in values:
        values |= {"key_ids": tuple(values["key_ids"]), "kept": Kept(*values["kept"])}
    kinds: dict[str, type[Hold] | type[Erase] | type[Rotate]] = {"Hold": Hold, "Erase": Erase, "Rotate": Rotate}
    return kinds[stored["is"]](**values)
