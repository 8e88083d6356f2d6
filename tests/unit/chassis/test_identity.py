"""The credentials file, and what it is to hold one."""

import json

import pytest

from chassis.identity import InvalidCredentials, Principal, digest, load_credentials, new_token, service_token


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
