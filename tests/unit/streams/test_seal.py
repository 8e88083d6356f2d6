"""Sealing: what one purpose, request, epoch and n sealed opens there and nowhere else."""

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from streams.seal import JOB, STEP, BrokenSeal, KeyUnusable, QueueKeys, UnknownKey, key_id, load_key

SECRET = bytes(range(32))


def prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@given(st.text(max_size=40), st.integers(0, 2**53), st.integers(0, 2**32 - 1), st.binary(max_size=200))
def test_what_is_sealed_opens_in_its_place(request_id: str, epoch: int, n: int, plaintext: bytes) -> None:
    sealed = QueueKeys(SECRET).cipher(request_id, epoch, STEP).seal(n, plaintext)
    assert QueueKeys(SECRET).cipher(request_id, epoch, STEP).open(n, sealed) == plaintext


@pytest.mark.parametrize(
    ("request_id", "epoch", "purpose", "n"),
    [("other", 5, STEP, 3), ("r", 6, STEP, 3), ("r", 5, JOB, 3), ("r", 5, STEP, 4)],
)
def test_an_item_moved_to_another_place_does_not_open(request_id: str, epoch: int, purpose: str, n: int) -> None:
    keys = QueueKeys(SECRET)
    sealed = keys.cipher("r", 5, STEP).seal(3, b"text")
    with pytest.raises(BrokenSeal):
        keys.cipher(request_id, epoch, purpose).open(n, sealed)


def test_request_id_and_purpose_cannot_be_shifted_into_each_other() -> None:
    keys = QueueKeys(SECRET)
    assert keys.cipher("ab", 1, "c").seal(0, b"x") != keys.cipher("b", 1, "ca").seal(0, b"x")


def test_the_key_is_hkdf_sha256_of_the_documented_info() -> None:
    """A second implementation: whoever reads the contract must be able to write the other side."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    epoch = (7).to_bytes(8, "big")
    key = HKDF(SHA256(), 32, None, prefixed(b"step", b"r", epoch)).derive(SECRET)
    bound = prefixed(b"r", epoch, b"step", (2).to_bytes(8, "big"))
    expected = AESGCM(key).encrypt((2).to_bytes(12, "big"), b"text", bound)
    assert QueueKeys(SECRET).cipher("r", 7, STEP).seal(2, b"text") == expected


def test_a_former_key_still_opens_and_an_unknown_one_is_named() -> None:
    old, new = bytes(32), SECRET
    sealed = QueueKeys(old).cipher("r", 1, STEP).seal(0, b"text")
    assert QueueKeys(new, [old]).cipher("r", 1, STEP, under=key_id(old)).open(0, sealed) == b"text"
    with pytest.raises(UnknownKey):
        QueueKeys(new).cipher("r", 1, STEP, under=key_id(old))


def test_a_key_file_must_be_private_and_whole(tmp_path) -> None:
    path = tmp_path / "queue"
    with pytest.raises(KeyUnusable, match="missing"):
        load_key(path)
    path.write_bytes(SECRET)
    path.chmod(0o644)
    with pytest.raises(KeyUnusable, match="chmod 600"):
        load_key(path)
    path.chmod(0o600)
    assert load_key(path) == SECRET
    path.write_bytes(b"short")
    with pytest.raises(KeyUnusable, match="5 bytes"):
        load_key(path)
