"""The verifier's own Ed25519 against RFC 8032's vectors, a second implementation, and known forgeries."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from strongroom.verify import ed25519_verifies

# RFC 8032, 7.1: public key, message, signature.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]
L = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_the_vectors_of_rfc_8032_verify_and_their_alterations_do_not(public: str, message: str, signature: str) -> None:
    key, text, signed = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert ed25519_verifies(key, text, signed)
    assert not ed25519_verifies(key, text + b"\0", signed)
    for at in (0, 31, 32, 63):
        altered = bytearray(signed)
        altered[at] ^= 1
        assert not ed25519_verifies(key, text, bytes(altered))


def test_a_scalar_that_is_not_reduced_is_refused() -> None:
    """S + L signs the same message in the algebra; accepting it would give one signature two spellings."""
    public, message, signature = (bytes.fromhex(text) for text in VECTORS[1])
    scalar = int.from_bytes(signature[32:], "little")
    assert not ed25519_verifies(public, message, signature[:32] + (scalar + L).to_bytes(32, "little"))


@pytest.mark.parametrize(
    "encoding", [P.to_bytes(32, "little"), (P + 1).to_bytes(32, "little"), b"\x01" + bytes(30) + b"\x80"]
)
def test_points_that_are_not_canonical_are_refused(encoding: bytes) -> None:
    """y ≥ p, and a negative zero for x: as a public key, and as R."""
    _, message, signature = (bytes.fromhex(text) for text in VECTORS[1])
    assert not ed25519_verifies(encoding, message, signature)
    assert not ed25519_verifies(encoding, message, encoding + bytes(32))


@pytest.mark.parametrize(("public", "signature"), [(b"", b""), (bytes(31), bytes(64)), (bytes(32), bytes(63))])
def test_wrong_lengths_are_refused(public: bytes, signature: bytes) -> None:
    assert not ed25519_verifies(public, b"", signature)


@settings(max_examples=15, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_signatures_of_another_implementation_verify(seed: bytes, message: bytes) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = private.public_key().public_bytes_raw(), private.sign(message)
    assert ed25519_verifies(public, message, signature)
    assert not ed25519_verifies(public, message + b".", signature)
