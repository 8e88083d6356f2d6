"""The keys of a stack: made once, readable by their owner alone, never replaced."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from strongroom.cli.main import main

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
    rotate_development_keys,
)
from stack.runfiles import holding


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


def test_rotation_replaces_all_but_the_logs_own_keys_and_revokes_the_old(tmp_path: Path) -> None:
    """Fails if the old hashes stay listed, or a key without which the log cannot be read or continued is touched."""
    make_container_secrets(tmp_path, None)
    listed = json.loads((tmp_path / "credentials.json").read_text())["credentials"]
    other = {"sha256": digest("somebody else's"), "kind": "person", "name": "else", "tenant": "t", "roles": ["caller"]}
    (tmp_path / "credentials.json").write_text(json.dumps({"credentials": [*listed, other]}))
    before = contents(tmp_path)
    rotate_development_keys(tmp_path)
    after = contents(tmp_path)
    assert {name for name in before if before[name] == after[name]} == set(LOG_SECRETS)
    known = load_credentials(tmp_path)
    assert digest("somebody else's") in known and len(known) == len(listed) + 1
    assert not {entry["sha256"] for entry in listed} & set(known)
    assert all(digest(service_token(tmp_path, name)) in known for name in SERVICES)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


KILLED = """
import os, signal, sys
from pathlib import Path
from stack.keys import rotate_development_keys

folder, step = Path(sys.argv[1]), int(sys.argv[2])
replace = os.replace

def dying(*arguments):
    global step
    step -= 1
    if step == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*arguments)

os.replace = dying
rotate_development_keys(folder)
"""


def test_a_rotation_that_is_killed_anywhere_leaves_keys_to_start_on(tmp_path: Path) -> None:
    """Fails if a key is written in place, or one is made anew by the next start though nobody lists it."""
    for step in range(1, 20):
        folder = tmp_path / str(step)
        make_development_keys(folder)
        ended = subprocess.run([sys.executable, "-c", KILLED, folder, str(step)], check=False)
        assert ended.returncode in (0, -signal.SIGKILL)
        make_development_keys(folder)
        known = load_credentials(folder)
        assert all(digest(service_token(folder, name)) in known for name in SERVICES)
        assert all(len((folder / name).read_bytes()) == 32 for name in SECRETS)
        if ended.returncode == 0:
            break
    assert len(SERVICES) < step < 19


def test_keys_of_a_stack_that_is_up_are_not_rotated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_development_keys(tmp_path / "keys")
    before = contents(tmp_path / "keys")
    with holding(tmp_path / "run"):
        assert main(["keys", str(tmp_path / "keys"), "--rotate"]) == 2
    assert "end it first" in capsys.readouterr().err and contents(tmp_path / "keys") == before
    assert main(["keys", str(tmp_path / "keys"), "--rotate"]) == 0
    assert contents(tmp_path / "keys") != before
