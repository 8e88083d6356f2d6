"""The keys of a stack: made once, readable by their owner alone, never replaced."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chassis.identity import digest, load_credentials, service_token
from chassis.start import CannotStart
from services.audit.keys import open_keys
from stack.keys import (
    API_KEY_FILE,
    LOG_SECRETS,
    SECRETS,
    SERVICES,
    make_container_secrets,
    make_development_keys,
)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_key_is_there_readable_by_its_owner_alone(tmp_path: Path) -> None:
    keys = tmp_path / "home" / "keys"
    assert make_development_keys(keys)
    expected = {*SECRETS, *(f"service-{name}" for name in SERVICES), API_KEY_FILE, "credentials.json"}
    assert set(contents(keys)) == expected
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {0o600}
    assert all(len((keys / name).read_bytes()) == 32 for name in SECRETS)


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    make_development_keys(tmp_path)
    before = contents(tmp_path)
    assert not make_development_keys(tmp_path)
    assert contents(tmp_path) == before


def test_many_at_once_agree_on_one_set_of_keys(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: make_development_keys(tmp_path), range(8)))
    known = load_credentials(tmp_path)
    assert all(digest(service_token(tmp_path, name)) in known for name in SERVICES)
    assert not [name for name in contents(tmp_path) if name.startswith(".")]


def test_the_boundary_knows_every_holder_and_the_file_holds_no_token(tmp_path: Path) -> None:
    make_development_keys(tmp_path)
    known = load_credentials(tmp_path)
    developer = known[digest((tmp_path / API_KEY_FILE).read_text().strip())]
    assert (developer.tenant, developer.name) == ("development", "developer")
    assert developer.grants >= {"role:caller", "role:reviewer"}
    for name in SERVICES:
        assert known[digest(service_token(tmp_path, name))].grants >= {f"service:{name}"}
        assert service_token(tmp_path, name) not in (tmp_path / "credentials.json").read_text()


def test_credentials_that_somebody_added_stay(tmp_path: Path) -> None:
    make_development_keys(tmp_path)
    file = tmp_path / "credentials.json"
    listed = json.loads(file.read_text())["credentials"]
    added = {"sha256": "ab" * 32, "kind": "person", "name": "batch", "tenant": "risk", "roles": ["caller"]}
    file.write_text(json.dumps({"credentials": [*listed, added]}))
    (tmp_path / API_KEY_FILE).unlink()
    assert make_development_keys(tmp_path)
    known = load_credentials(tmp_path)
    assert known["ab" * 32].name == "batch"
    assert digest((tmp_path / API_KEY_FILE).read_text().strip()) in known


def test_a_broken_credentials_file_is_named_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text("{}")
    with pytest.raises(CannotStart, match=r"credentials\.json is not a credentials file"):
        make_development_keys(tmp_path)
    assert (tmp_path / "credentials.json").read_text() == "{}"


def test_containers_secrets_have_the_logs_keys_and_an_owner_and_stay_as_they_are(tmp_path: Path) -> None:
    owner = (10_001, 10_001) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    assert make_container_secrets(tmp_path / "secrets", owner)
    before = contents(tmp_path / "secrets")
    assert set(before) >= {*SECRETS, *LOG_SECRETS}
    assert not make_container_secrets(tmp_path / "secrets", owner)
    assert contents(tmp_path / "secrets") == before
    for path in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.name == API_KEY_FILE or (path.stat().st_uid, path.stat().st_gid) == owner


def test_a_log_takes_the_keys_that_were_made_for_it(tmp_path: Path) -> None:
    """Fails if a name here is not the one that audit reads: a container can make none, and would not start."""
    make_container_secrets(tmp_path / "secrets", None)
    before = contents(tmp_path / "secrets")
    keys = open_keys(tmp_path / "secrets", tmp_path / "tlog", new=True)
    assert contents(tmp_path / "secrets") == before
    assert keys.ticket == before["ticket"]


def test_whoever_cannot_give_secrets_away_is_told(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root can")
    with pytest.raises(CannotStart, match="run this as root"):
        make_container_secrets(tmp_path, (10_001, 10_001))
