"""The keys of a stack: made once, readable by their owner alone, never replaced."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chassis.identity import digest, load_credentials, service_token
from chassis.start import CannotStart
from stack.keys import API_KEY_FILE, SECRETS, SERVICES, make_development_keys


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
