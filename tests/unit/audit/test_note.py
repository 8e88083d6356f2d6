"""Signed notes against the published vectors, and every mangling of a key refused."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from strongroom import verify

from services.audit.log.note import (
    NoteInvalid,
    Signer,
    open_checkpoint,
    open_note,
    parse_vkey,
    sign_checkpoint,
)

# golang.org/x/mod/sumdb/note, note_test.go
SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
ENOCH_VKEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
ENOCH = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
# c2sp.org/signed-note, "Format": the text holds an empty line; the specification gives no key for it.
POEM = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n"
SALVATORE = (
    "— quasimodo.example/salvatore "
    "NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
BAD_NOTES = [
    TEXT,
    TEXT + "\n",
    TEXT + "\n" + PETER[:-1],
    TEXT + "\n" + PETER + "Unexpected line.\n",
    TEXT + "\n" + PETER[:60] + "ABCD" + PETER[60:],
    TEXT + "\n" + PETER.replace("PeterNeumann", "CarmenSandiego"),
    TEXT + "\n" + PETER.replace("x08g", "xxxx"),
    TEXT.replace("problem", "question") + "\n" + PETER,
    TEXT + "\n" + ENOCH,
]


def peter() -> Signer:
    return Signer("PeterNeumann", Ed25519PrivateKey.from_private_bytes(SEED))


def test_signing_reproduces_the_published_note_byte_for_byte() -> None:
    assert peter().verifier.vkey == VKEY
    assert peter().sign(TEXT) == TEXT + "\n" + PETER


SIGNED = [(PETER, VKEY), (PETER + ENOCH, VKEY), (ENOCH + PETER, VKEY), (ENOCH, ENOCH_VKEY), (PETER + ENOCH, ENOCH_VKEY)]


@pytest.mark.parametrize(("signatures", "vkey"), SIGNED)
def test_published_notes_open_whatever_other_signatures_stand_beside(signatures: str, vkey: str) -> None:
    assert open_note(TEXT + "\n" + signatures, parse_vkey(vkey)) == TEXT
    assert verify.open_note(TEXT + "\n" + signatures, verify.parse_vkey(vkey)) == TEXT


@pytest.mark.parametrize("note", BAD_NOTES)
def test_bad_notes_do_not_open(note: str) -> None:
    with pytest.raises(NoteInvalid):
        open_note(note, parse_vkey(VKEY))
    with pytest.raises(verify.Malformed):
        verify.open_note(note, verify.parse_vkey(VKEY))


def test_the_text_ends_at_the_last_empty_line() -> None:
    assert open_note(peter().sign(POEM) + SALVATORE, parse_vkey(VKEY)) == POEM
    assert verify.open_note(peter().sign(POEM) + SALVATORE, verify.parse_vkey(VKEY)) == POEM
    with pytest.raises(NoteInvalid, match="no signature by the log's key"):
        open_note(f"{POEM}\n{SALVATORE}", parse_vkey(VKEY))


def test_no_mangled_key_parses() -> None:
    mangled = [
        VKEY[i:j] for i in range(0, len(VKEY), 7) for j in range(i + 1, len(VKEY) + 1) if (i, j) != (0, len(VKEY))
    ]
    mangled += [VKEY[:i] + chr(ord(VKEY[i]) + 1) + VKEY[i + 1 :] for i in range(len(VKEY))]
    mangled += [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ]
    for vkey in mangled:
        with pytest.raises(NoteInvalid):
            parse_vkey(vkey)
        with pytest.raises(verify.Malformed):
            verify.parse_vkey(vkey)


def test_checkpoints_open_to_what_was_signed() -> None:
    signed = sign_checkpoint(peter(), 17, bytes(range(32)))
    assert open_checkpoint(signed.note, parse_vkey(VKEY)) == signed.checkpoint
    read = verify.open_checkpoint(signed.note, verify.parse_vkey(VKEY))
    assert (read.origin, read.size, read.root) == ("PeterNeumann", 17, bytes(range(32)))


@pytest.mark.parametrize(
    "text",
    [
        "PeterNeumann\n017\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "PeterNeumann\n-1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "PeterNeumann\n17\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\n",
        "PeterNeumann\n17\nAAEC\n",
        "EnochRoot\n17\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "PeterNeumann\n17\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nextension\n",
    ],
)
def test_a_signature_does_not_excuse_a_checkpoint_that_is_not_canonical(text: str) -> None:
    with pytest.raises(NoteInvalid):
        open_checkpoint(peter().sign(text), parse_vkey(VKEY))
    with pytest.raises(verify.Malformed):
        verify.open_checkpoint(peter().sign(text), verify.parse_vkey(VKEY))
