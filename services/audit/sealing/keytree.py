"""The key tree: provider, tenant, subject. Only wrapped keys touch the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from pathlib import Path

from services.audit.journal.journal import open_directory
from services.audit.sealing import payload
from services.audit.sealing.key_files import append_rows, b64, read_object, row, unb64, whole_rows, write_object
from services.audit.sealing.mac import Mac
from services.audit.sealing.provider import KEY_BYTES, KeyProvider, KeyUnusable, ProviderKeys, Root, wrapped_by
from services.audit.sealing.tenant import KEY_FILE, NewTable, SubjectKey, TenantKeys

LOG_FILE, ERASED_FILE = "log.json", "erased.jsonl"
_LOG_SECRETS = ("pseudonym", "idempotency")
# Subjects whose key is found without an HMAC over their names; longer names are not kept. Erasing one clears this.
REMEMBERED_SUBJECTS, REMEMBERED_LENGTH = 1024, 512


class KeyErased(KeyUnusable):
    """The key was destroyed on purpose, and what it sealed with it."""


class KeyTree:
    """Changed by whoever commits, one group at a time. A new key is durable once `flush` returns, before any frame that
    uses it; so is the destruction of one, before the frame that tells of it."""

    def __init__(
        self, directory: Path, provider: ProviderKeys, *, new: bool, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._directory, self._random = directory, random
        self._tenants: dict[str, TenantKeys] = {}
        self._by_subject: dict[tuple[str, str], SubjectKey] = {}
        self._by_id: dict[str, SubjectKey] = {}
        self._unsaved: dict[str, TenantKeys] = {}
        open_directory(directory)
        for leftover in directory.glob("*.partial"):  # of a file that a crash kept from its name
            leftover.unlink()
        self._root = Root(provider, "")
        secrets = self._log_secrets(new)
        provider.settle(self._root.key_id)
        self._pseudonyms, self.idempotency_key = Mac(secrets["pseudonym"]), secrets["idempotency"]
        self._remembered = lru_cache(maxsize=REMEMBERED_SUBJECTS)(self._found_subject)
        self._erased = {str(each["key_id"]) for each in whole_rows(directory / ERASED_FILE)}
        self._erased_unsaved: list[str] = []
        for folder in sorted(path for path in directory.iterdir() if path.is_dir()):
            if tenant := TenantKeys.load(folder, self._root):
                self._tenants[folder.name] = tenant
                for subject in tenant.subjects.values():
                    self._remember(folder.name, subject)

    def _log_secrets(self, new: bool) -> dict[str, bytes]:
        """Keys of the log itself: for pseudonyms and for idempotency keys. Which of the provider's keys wraps them is
        the one in use."""
        path, provider = self._directory / LOG_FILE, self._root.keys
        if path.exists():
            stored = read_object(path)
            self._root.key_id = used = wrapped_by(stored, provider)
            return {name: provider.unwrap(used, unb64(stored[name]), f"log/{name}") for name in _LOG_SECRETS}
        if not new:
            raise KeyUnusable(f"{path} is missing but the log exists: restore it from your backup")
        self._root.key_id = provider.held()[0]
        secrets = {name: self._random(KEY_BYTES) for name in _LOG_SECRETS}
        self._write_log_secrets(secrets)
        return secrets

    def _write_log_secrets(self, secrets: dict[str, bytes]) -> None:
        wrap, used = self._root.keys.wrap, self._root.key_id
        wrapped = {name: b64(wrap(used, key, f"log/{name}")) for name, key in secrets.items()}
        write_object(self._directory / LOG_FILE, {"provider": used, **wrapped})

    def _keyed_name(self, *words: str) -> str:
        message = b"".join(len(word.encode()).to_bytes(4, "big") + word.encode() for word in words)
        return self._pseudonyms.of(message).hex()[:32]

    def pseudonym(self, tenant: str, subject: str) -> str:
        """It is keyed, so that the journal's reader cannot guess a subject; per tenant, so that tenants cannot be
        joined. Also of one that has no key."""
        return self._keyed_name("subject", tenant, subject)

    def subject(self, tenant: str, subject: str) -> SubjectKey:
        short = len(tenant) + len(subject) <= REMEMBERED_LENGTH
        return self._remembered(tenant, subject) if short else self._found_subject(tenant, subject)

    def _found_subject(self, tenant: str, subject: str) -> SubjectKey:
        tenant_id, pseudonym = self._keyed_name("tenant", tenant), self.pseudonym(tenant, subject)
        return self._by_subject.get((tenant_id, pseudonym)) or self._new_subject(tenant_id, pseudonym)

    def by_id(self, key_id: str) -> SubjectKey:
        try:
            return self._by_id[key_id]
        except KeyError:
            if key_id in self._erased:
                raise KeyErased(f"the key {key_id} was destroyed: what it sealed is erased") from None
            raise KeyUnusable(f"no key {key_id} in {self._directory}: restore it from your backup") from None

    def in_use(self, tenant: str, key_id: str) -> SubjectKey | None:
        """A subject's newest: neither destroyed nor about to be. None where it is another tenant's."""
        found = self._by_id.get(key_id)
        newest = found and self._by_subject.get((self._keyed_name("tenant", tenant), found.pseudonym))
        return found if newest is found else None

    def erased(self, key_id: str) -> bool:
        return key_id in self._erased and key_id not in self._by_id

    def _new_subject(self, tenant_id: str, pseudonym: str) -> SubjectKey:
        tenant = self._tenants.get(tenant_id) or self._new_tenant(tenant_id)
        made = SubjectKey(self._random(8).hex(), self._random(KEY_BYTES), pseudonym)
        tenant.add(made)
        self._unsaved[tenant_id] = tenant
        self._remember(tenant_id, made)
        return made

    def _remember(self, tenant_id: str, subject: SubjectKey) -> None:
        self._by_subject[tenant_id, subject.pseudonym] = subject
        self._by_id[subject.key_id] = subject

    def _new_tenant(self, tenant_id: str) -> TenantKeys:
        made = TenantKeys.new(self._directory / tenant_id, self._root, self._random(KEY_BYTES))
        self._tenants[tenant_id] = made
        return made

    def flush(self) -> None:
        """Makes what changed durable: that keys are erased before they are gone, so that nobody takes them for lost."""
        if self._erased_unsaved:
            append_rows(self._directory / ERASED_FILE, self._erased_unsaved)
            self._erased_unsaved.clear()
        while self._unsaved:
            tenant_id, tenant = next(iter(self._unsaved.items()))
            tenant.flush()
            del self._unsaved[tenant_id]

    # --- erasure -----------------------------------------------------------------------------------------------------

    def keys_of(self, tenant: str, pseudonym: str = "") -> tuple[str, ...]:
        """Ids of all keys of a subject; without one, of the whole tenant."""
        found = self._tenants.get(self._keyed_name("tenant", tenant))
        subjects = list(found.subjects.values()) if found else []
        return tuple(each.key_id for each in subjects if pseudonym in ("", each.pseudonym))

    def detach(self, tenant: str, key_ids: Collection[str]) -> None:
        """Seals nothing new under these keys: whoever asks for their subjects is given new ones."""
        tenant_id = self._keyed_name("tenant", tenant)
        for subject in filter(None, map(self._by_id.get, key_ids)):
            name = tenant_id, subject.pseudonym
            if self._by_subject.get(name) is subject:
                del self._by_subject[name]
        self._remembered.cache_clear()

    def table_without(self, tenant: str, key_ids: Collection[str]) -> NewTable:
        return self._named(tenant).new_table(key_ids, self._root, self._random)

    def erase(self, tenant: str, key_ids: Collection[str], table: NewTable) -> None:
        """Puts the table in place of the tenant's, whose key goes with it."""
        found = self._named(tenant)
        found.replace(table, key_ids)
        self._unsaved[found.folder.name] = found
        self.detach(tenant, key_ids)
        for key_id in key_ids:
            self._by_id.pop(key_id, None)
        self._erased.update(key_ids)
        self._erased_unsaved += [row({"key_id": key_id}) for key_id in sorted(key_ids)]
        payload.forget_keys()

    def version(self, tenant: str) -> int:
        """How many keys the tenant has had."""
        return self._named(tenant).version

    def _named(self, tenant: str) -> TenantKeys:
        return self._tenants[self._keyed_name("tenant", tenant)]

    # --- the provider's keys -----------------------------------------------------------------------------------------

    @property
    def root(self) -> KeyProvider:
        """For what else audit wraps."""
        return self._root

    @property
    def provider(self) -> ProviderKeys:
        return self._root.keys

    @property
    def provider_key(self) -> str:
        """The id of the one in use."""
        return self._root.key_id

    def use_provider_key(self, key_id: str) -> None:
        """For what is wrapped from now on; `rewrap` brings what is there after it."""
        self._root.key_id = key_id

    def rewrap(self) -> int:
        """Wraps everything that another key of the provider wrapped; returns how many tenants' keys. From any thread,
        once what was new before `use_provider_key` is durable. May be broken off and begun again at any step: the log's
        own secrets come last, and only then is the new key the one that a start finds in use."""
        count = sum([tenant.rewrap(self._root) for tenant in self._saved()])
        stored, root = read_object(self._directory / LOG_FILE), self._root
        if (used := wrapped_by(stored, root.keys)) != root.key_id or "provider" not in stored:
            unwrap = root.keys.unwrap
            self._write_log_secrets({name: unwrap(used, unb64(stored[name]), f"log/{name}") for name in _LOG_SECRETS})
        root.keys.settle(root.key_id)
        return count

    def _saved(self) -> list[TenantKeys]:
        return [tenant for tenant in list(self._tenants.values()) if (tenant.folder / KEY_FILE).exists()]

    def retired_provider_keys(self) -> list[str]:
        return [key_id for key_id in self.provider.held() if key_id != self.provider_key]

    def check_unused(self, key_ids: Iterable[str]) -> None:
        """Raises KeyUnusable where one of these keys of the provider still wraps something."""
        needed = {tenant.provider_key(self._root) for tenant in self._saved()}
        needed |= {wrapped_by(read_object(self._directory / LOG_FILE), self.provider), self.provider_key}
        if still := needed.intersection(key_ids):
            raise KeyUnusable(f"the provider key {', '.join(sorted(still))} still wraps keys of this log: rotate first")

    def destroy_provider_keys(self, key_ids: Collection[str]) -> None:
        self.check_unused(key_ids)
        for key_id in key_ids:
            self.provider.destroy(key_id)
