"""The credentials file, and what it is to hold one."""

import json

import pytest

from chassis.failures import Unauthenticated
from chassis.identity import (
    InvalidCredentials,
    Principal,
    admit,
    digest,
    load_credentials,
    new_token,
    service_token,
)


def written(keys, document):
    keys.mkdir(exist_ok=True)
    (keys / "credentials.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return keys


def test_the_file_holds_hashes_and_gives_holders(tmp_path):
    token = new_token("sr")
    person = {"sha256": digest(token), "kind": "person", "name": "li", "tenant": "retail", "roles": ["caller"]}
    service = {"sha256": digest("s"), "kind": "service", "name": "gateway"}
    known = load_credentials(written(tmp_path, {"credentials": [person, service]}))
    assert known[digest(token)] == Principal("person", "li", "retail", frozenset({"caller"}))
    assert known[digest(token)].grants == {"person", "role:caller"}
    assert known[digest("s")].grants == {"service:gateway"}
    assert token not in (tmp_path / "credentials.json").read_text()


def test_a_time_box_is_read_with_its_offset_or_as_utc(tmp_path):
    people = [
        {"sha256": str(n), "kind": "person", "name": "ex", "tenant": "t", "roles": ["examiner"], "expires": expires}
        for n, expires in enumerate(["2026-12-01T00:00:00+08:00", "2026-11-30T16:00:00"])
    ]
    known = load_credentials(written(tmp_path, {"credentials": people}))
    assert {holder.expires for holder in known.values()} == {1_796_054_400.0}
    people[0]["expires"] = "next week"
    with pytest.raises(InvalidCredentials):
        load_credentials(written(tmp_path, {"credentials": people}))


def test_a_credential_is_none_from_its_time_on():
    known = {digest("t"): Principal("person", "ex", "b", frozenset({"examiner"}), 100.0)}
    admit("Bearer t", known, frozenset({"role:examiner"}), "m", clock=lambda: 99.9)
    with pytest.raises(Unauthenticated, match="expired"):
        admit("Bearer t", known, frozenset({"role:examiner"}), "m", clock=lambda: 100.0)


def test_a_person_named_like_a_service_is_none():
    assert "service:gateway" not in Principal("person", "gateway", "t").grants


@pytest.mark.parametrize(
    "document", ["", "{", "[]", "{}", '{"credentials": 3}', '{"credentials": [{}]}', '{"credentials": [3]}']
)
def test_a_file_that_is_none_is_named_with_the_remedy(document, tmp_path):
    with pytest.raises(InvalidCredentials, match=r"credentials\.json is not a credentials file: restore it"):
        load_credentials(written(tmp_path, document))


def test_a_missing_file_or_token_is_named_with_the_remedy(tmp_path):
    with pytest.raises(InvalidCredentials, match=r"credentials\.json is missing"):
        load_credentials(tmp_path)
    with pytest.raises(InvalidCredentials, match="service-guard is missing"):
        service_token(tmp_path, "guard")


def test_an_empty_token_is_refused(tmp_path):
    (tmp_path / "service-guard").write_text("\n")
    with pytest.raises(InvalidCredentials, match="service-guard is empty"):
        service_token(tmp_path, "guard")


def test_tokens_are_long_and_never_the_same():
    tokens = {new_token("sr") for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith("sr_") and len(token) >= 43 for token in tokens)
