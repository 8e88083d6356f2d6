"""Decisions of custody: each is taken in the log's order, and returns the act that tells of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from hashlib import sha256

from services.audit.custody import orders as acts
from services.audit.custody.book import Book
from services.audit.custody.orders import (
    Asked,
    Changed,
    Erase,
    Held,
    Hold,
    NothingHeld,
    Rotate,
    Scope,
    TooMany,
    Withdrawn,
)
from services.audit.records.acts import RememberedActs
from services.audit.records.entries import Act
from services.audit.sealing.keytree import KeyTree
from services.audit.sealing.provider import KeyUnusable
from services.audit.sealing.tenant import NewTable

SERVICE = "audit"
MAX_KEYS = 200_000  # of one order: a whole tenant's
LISTED_KEYS = 1_000  # more are named by their number and their digest; `audit/keys/erased.jsonl` lists them


class Custody:
    """Changed by whoever commits. What a decision changes is durable, by `flush`, before its act is."""

    def __init__(
        self,
        keys: KeyTree,
        book: Book,
        last_leaf: Mapping[str, int],
        forget_claims: Callable[[Collection[str]], None],
    ) -> None:
        self.keys, self.book, self._last_leaf, self._forget_claims = keys, book, last_leaf, forget_claims

    def reopen(self, known: RememberedActs) -> None:
        """Takes up what a stop left: nothing new is sealed under keys that are to go, and a hold that the log knows is
        in the book."""
        for kept in list(self.book.orders.values()):
            if isinstance(kept, Erase):
                self.keys.detach(kept.scope.tenant, kept.key_ids)
            elif kept.id in self.keys.provider.held():
                self.keys.use_provider_key(kept.id)
            else:  # a crash before the key was durable
                self.book.strike(kept.id)
        lifted = known.targets(SERVICE, acts.HOLD_LIFTED)
        self.book.strike(*(lifted & self.book.holds.keys()))
        if lost := known.targets(SERVICE, acts.HOLD_PLACED) - lifted - self.book.holds.keys():
            raise KeyUnusable(
                f"the log places the hold {min(lost)}, and audit/keys/custody.sealed does not know it: restore that "
                "file from your backup"
            )

    def flush(self) -> None:
        self.book.flush()
        self.keys.flush()

    # --- holds -------------------------------------------------------------------------------------------------------

    def place_hold(self, hold: Hold) -> Act:
        """Withdraws the orders that it meets, of which nothing is destroyed yet."""
        met = [each for each in self.book.orders.values() if isinstance(each, Erase) and each.scope.meets(hold.scope)]
        withdrawn = [each.id for each in met if not any(map(self.keys.erased, each.key_ids))]
        self.book.add(hold)
        self.book.strike(*withdrawn)
        return _act(hold, acts.HOLD_PLACED, hold.id, {**hold.scope.stated(), "withdrawn": withdrawn})

    def lift_hold(self, hold_id: str, asked: Asked) -> Act:
        """It stays in the book until the act is durable: whoever lifts it then strikes it out."""
        hold = self.book.holds.get(hold_id)
        if hold is None:
            raise NothingHeld(f"no hold {hold_id} is in force: `strongroom audit hold list` shows those that are")
        return _act(asked, acts.HOLD_LIFTED, hold_id, hold.scope.stated(), once=True)

    def check_free(self, scope: Scope) -> None:
        if holds := self.book.holding(scope):
            more = f" and {len(holds) - 1} more" if len(holds) > 1 else ""
            raise Held(
                f"the hold {holds[0].id}{more} prevents it, placed by {holds[0].person}: it has to be lifted first "
                "(`strongroom audit hold list`)"
            )

    # --- erasure -----------------------------------------------------------------------------------------------------

    def order_erasure(self, erase: Erase) -> Act:
        self.check_free(erase.scope)
        if len(erase.key_ids) > MAX_KEYS:
            raise TooMany(f"the tenant has {len(erase.key_ids)} keys, more than {MAX_KEYS}: erase its subjects first")
        if not self.remaining(erase):
            raise NothingHeld("it was erased meanwhile")
        if not erase.basis and self.newest_leaf(erase.key_ids) != erase.newest_leaf:
            raise Changed("a request came meanwhile, which has to be kept longer: ask again")
        self.book.add(erase)
        self.keys.detach(erase.scope.tenant, erase.key_ids)
        return _act(erase, acts.ERASURE_ORDERED, erase.id, self._stated(erase))

    def destroy(self, erase: Erase, table: NewTable | None) -> Act:
        """The destruction certificate. Without a table nothing is left to destroy: a crash came before the act."""
        if erase.id not in self.book.orders:
            raise Withdrawn("a hold was placed on it meanwhile")
        if table is not None:
            self.keys.erase(erase.scope.tenant, erase.key_ids, table)
        self._forget_claims(frozenset(erase.key_ids))
        action = acts.SUBJECT_ERASED if erase.scope.subject else acts.TENANT_ERASED
        in_use = self.keys.version(erase.scope.tenant)
        versions = {"destroyed": in_use - 1, "in_use": in_use}
        return _act(erase, action, erase.id, {**self._stated(erase), "tenant_key": versions}, once=True)

    def newest_leaf(self, key_ids: Collection[str]) -> int:
        """Index of the newest leaf that these keys seal; -1 if there is none."""
        return max((self._last_leaf.get(key_id, -1) for key_id in key_ids), default=-1)

    def remaining(self, erase: Erase) -> bool:
        return any(map(self._present, erase.key_ids))

    def _present(self, key_id: str) -> bool:
        return not self.keys.erased(key_id)

    def _stated(self, erase: Erase) -> dict[str, object]:
        listed = sorted(erase.key_ids)
        stated: dict[str, object] = {
            **erase.scope.stated(),
            "basis": erase.basis,
            "retention": erase.kept.stated(),
            "keys": len(listed),
            "provider_key": self.keys.provider_key,
        }
        if len(listed) <= LISTED_KEYS:
            return {**stated, "key_ids": listed}
        return {**stated, "key_ids_sha256": sha256("\n".join(listed).encode()).hexdigest()}

    # --- the provider's keys -----------------------------------------------------------------------------------------

    def order_rotation(self, rotate: Rotate) -> Act:
        self.book.add(rotate)
        self.keys.use_provider_key(rotate.id)
        return _act(rotate, acts.ROTATION_ORDERED, rotate.id, {"before": rotate.before})

    def rotated(self, rotate: Rotate) -> Act:
        return _act(rotate, acts.ROTATED, rotate.id, {"before": rotate.before}, once=True)

    def destroyed(self, key_ids: list[str], asked: Asked) -> Act:
        return _act(asked, acts.DESTROYED, self.keys.provider_key, {"provider_keys": key_ids})


def _act(asked: Asked, action: str, target: str, stated: Mapping[str, object], *, once: bool = False) -> Act:
    return Act(
        service=SERVICE,
        actor=asked.person,
        action=action,
        target=target,
        stated={"actor_tenant": asked.unit, "asked_ms": asked.at_ms, "reason": asked.reason, **stated},
        once=once,
    )
