"""The key tree on the disk: changes are whole after a crash at any step, and a rotation goes on where it was broken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from services.audit.sealing.file_provider import PROVIDER, FileProvider
from services.audit.sealing.keytree import KeyErased, KeyTree
from services.audit.sealing.provider import KeyUnusable, create_key
from services.audit.sealing.tenant import KEY_FILE, NEXT_KEY_FILE, NEXT_TABLE, TABLE


class Crash(Exception):
    """The process dies here."""


class CrashingProvider(FileProvider):
    """Dies before it wraps the key that is due."""

    crash_in = -1

    def wrap(self, key_id: str, key: bytes, purpose: str) -> bytes:
        if self.crash_in == 0:
            raise Crash
        self.crash_in -= 1
        return super().wrap(key_id, key, purpose)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[], KeyTree]:
    create_key(tmp_path / "keys" / PROVIDER, bytes(range(32)))

    def open_() -> KeyTree:
        wrapped = tmp_path / "wrapped"
        return KeyTree(wrapped, CrashingProvider(tmp_path / "keys"), new=not wrapped.exists())

    return open_


def filled(tree: KeyTree) -> dict[tuple[str, str], bytes]:
    names = [(tenant, subject) for tenant in ("bank", "fund", "desk") for subject in ("a", "b")]
    keys = {name: tree.subject(*name).key for name in names}
    tree.flush()
    return keys


def test_rotation_leaves_every_key_what_it_was(opened) -> None:
    tree = opened()
    keys, before = filled(tree), tree.provider_key
    rotate(tree)
    assert tree.provider_key != before and tree.retired_provider_keys() == [before]
    tree.destroy_provider_keys([before])
    again = opened()
    assert {name: again.subject(*name).key for name in keys} == keys
    assert (again.provider_key, again.retired_provider_keys()) == (tree.provider_key, [])


def rotate(tree: KeyTree) -> None:
    tree.use_provider_key(tree.provider.create())
    tree.rewrap()


@pytest.mark.parametrize("wrapped", range(5))  # three tenants, then the two secrets of the log
def test_a_rotation_that_a_crash_breaks_off_goes_on(opened, wrapped) -> None:
    """Fails if `rewrap` writes the log's secrets first: the next start would take the new key for the one in use, and
    the old one for one that nothing needs."""
    tree = opened()
    keys, old = filled(tree), tree.provider_key
    new = tree.provider.create()
    tree.use_provider_key(new)
    tree.provider.crash_in = wrapped
    with pytest.raises(Crash):
        tree.rewrap()
    again = opened()
    assert again.provider_key == old
    assert {name: again.subject(*name).key for name in keys} == keys
    again.use_provider_key(new)
    assert again.rewrap() == 3 - min(wrapped, 3)
    again.destroy_provider_keys([old])
    assert {name: opened().subject(*name).key for name in keys} == keys


def test_a_key_that_still_wraps_something_is_not_destroyed(opened) -> None:
    tree = opened()
    filled(tree)
    old = tree.provider_key
    tree.use_provider_key(tree.provider.create())
    with pytest.raises(KeyUnusable, match="still wraps"):
        tree.destroy_provider_keys([old])
    assert old in tree.provider.held()


def test_a_crash_between_the_renames_of_provider_keys_is_mended(opened, tmp_path) -> None:
    tree = opened()
    keys = filled(tree)
    rotate(tree)
    folder = tmp_path / "keys"
    (folder / PROVIDER).rename(folder / f"{PROVIDER}.{tree.provider_key}")
    again = opened()
    assert {name: again.subject(*name).key for name in keys} == keys
    assert (folder / PROVIDER).exists() and not (folder / f"{PROVIDER}.{again.provider_key}").exists()


def test_a_log_from_before_there_could_be_a_second_provider_key_opens_and_is_rotated(opened, tmp_path) -> None:
    tree = opened()
    keys = filled(tree)
    for path in (tmp_path / "wrapped").rglob("*.json"):
        path.write_text("".join(line for line in path.read_text().splitlines(True) if '"provider"' not in line))
    again = opened()
    assert {name: again.subject(*name).key for name in keys} == keys
    old = again.provider_key
    rotate(again)
    again.destroy_provider_keys([old])
    assert {name: opened().subject(*name).key for name in keys} == keys


def test_an_erased_key_is_gone_from_memory_and_disk_and_its_tenant_has_another_key(opened, tmp_path) -> None:
    tree = opened()
    keys = filled(tree)
    gone = tree.keys_of("bank", tree.pseudonym("bank", "a"))
    folder = next(path.parent for path in (tmp_path / "wrapped").rglob(TABLE) if gone[0] in path.read_text())
    before = (folder / KEY_FILE).read_bytes()
    table = tree.table_without("bank", gone)
    since = tree.subject("bank", "since then").key
    tree.erase("bank", gone, table)
    tree.flush()
    assert gone[0] not in (folder / TABLE).read_text() and (folder / KEY_FILE).read_bytes() != before
    assert not (folder / NEXT_TABLE).exists() and not (folder / NEXT_KEY_FILE).exists()
    for each in (tree, opened()):
        with pytest.raises(KeyErased):
            each.by_id(gone[0])
        assert each.subject("bank", "a").key != keys["bank", "a"]
        assert each.subject("bank", "b").key == keys["bank", "b"]
        assert each.subject("bank", "since then").key == since
        assert each.version("bank") == 2


@pytest.mark.parametrize(("renamed", "erased"), [(None, False), ("", True), (TABLE, True)])
def test_a_change_of_tables_is_whole_or_not_at_all(opened, tmp_path, renamed, erased) -> None:
    """The states that a crash can leave. Fails if the new key is renamed before its table."""
    tree = opened()
    keys = filled(tree)
    gone = tree.keys_of("bank", tree.pseudonym("bank", "a"))
    folder = next(path.parent for path in (tmp_path / "wrapped").rglob(TABLE) if gone[0] in path.read_text())
    table = tree.table_without("bank", gone)  # None: and the process dies
    if renamed is not None:
        old = {name: (folder / name).read_bytes() for name in (KEY_FILE, TABLE)}
        tree.erase("bank", gone, table)
        tree.flush()
        (folder / KEY_FILE).rename(folder / NEXT_KEY_FILE)
        (folder / KEY_FILE).write_bytes(old[KEY_FILE])
        if renamed != TABLE:
            (folder / TABLE).rename(folder / NEXT_TABLE)
            (folder / TABLE).write_bytes(old[TABLE])
    again = opened()
    assert (again.subject("bank", "a").key != keys["bank", "a"]) is erased
    assert again.subject("bank", "b").key == keys["bank", "b"]


def test_an_old_copy_of_the_keys_is_worth_nothing_once_the_old_provider_key_is_destroyed(opened, tmp_path) -> None:
    tree = opened()
    filled(tree)
    shutil.copytree(tmp_path / "wrapped", tmp_path / "copy")
    gone = tree.keys_of("bank", tree.pseudonym("bank", "a"))
    tree.erase("bank", gone, tree.table_without("bank", gone))
    tree.flush()
    old = tree.provider_key
    copy = KeyTree(tmp_path / "copy", FileProvider(tmp_path / "keys"), new=False)
    assert copy.by_id(gone[0]).key  # as long as the provider's key is there
    rotate(tree)
    tree.destroy_provider_keys([old])
    with pytest.raises(KeyUnusable, match=old):
        KeyTree(tmp_path / "copy", FileProvider(tmp_path / "keys"), new=False)
