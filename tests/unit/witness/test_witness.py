"""What a witness cosigns and what it refuses: the published cases of another implementation, then our own logs."""

from __future__ import annotations

import base64
import shutil

import pytest
from strongroom import verify
from strongroom.verify import COSIGNS, cosigned_at, parse_vkey

from chassis.settings import InvalidSettings, load
from chassis.start import CannotStart
from services.audit.log.note import b64
from services.witness.key import KEY, CosigningKey, open_key
from services.witness.memory import COSIGNED, LOGS, REFUSED, Memory, add_logs, origin_hash
from services.witness.settings import WitnessSettings
from services.witness.witness import Refused

# FiloSottile/torchwood, cmd/litewitness/testdata/litewitness.txt: a log of made-up leaves, its key, its checkpoints.
ORIGIN = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
PUBLIC = bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f")
SIGNED = {
    1: (
        "KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=",
    ),
    3: (
        "RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=",
        "UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=",
    ),
    5: (
        "QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=",
        "UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=",
    ),
}
TO_3 = ["KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]
TO_5 = [
    "KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "KgMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "wgiIFdZfYNv6WU1OllBKsWnLYIS/DBMqt8Uh/S4OukE=", "KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
]  # fmt: skip
TO_5_FROM_1 = [TO_3[0], "+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=", TO_5[3]]


def body(old: int, proof: list[str], size: int, origin: str = ORIGIN, damage: str = "") -> bytes:
    root, signature = SIGNED[size]
    signature = signature.replace("6go=", damage) if damage else signature
    lines = [f"old {old}", *proof, "", origin, str(size), root, "", f"— {origin} {signature}"]
    return ("\n".join(lines) + "\n").encode()


def status_of(watcher, sent: bytes) -> int | tuple[int, int]:  # type: ignore[no-untyped-def]
    """200, or why not; with a conflict, the size that the witness named."""
    try:
        cosignature = watcher.witness.add_checkpoint(sent)
    except Refused as refused:
        return (409, refused.size) if refused.status == 409 else refused.status
    note = sent.decode().partition("\n\n")[2] + cosignature
    assert cosigned_at(note, parse_vkey(watcher.key.vkey, COSIGNS)) == int(watcher.time.now)
    return 200


def test_the_published_conversation(new_watcher, vkey_of) -> None:
    """In its order; where the specification of July 2026 asks for another status than the older peer gave, that."""
    watcher = new_watcher("w1", vkey_of(ORIGIN, PUBLIC))
    wrong = [TO_3[0], TO_3[1].replace("AAA=", "ABA=")]
    assert status_of(watcher, body(0, [], 1)) == 200
    assert status_of(watcher, body(1, TO_3, 3, damage="6gx=")) == 400  # base64 whose tail bits are not zero
    assert status_of(watcher, body(1, TO_3, 3, damage="6gk=")) == 403
    assert status_of(watcher, body(1, TO_3, 3, origin=ORIGIN[:-1] + "3")) == 404
    assert status_of(watcher, body(1, [], 3)) == 422
    assert status_of(watcher, body(1, wrong, 3)) == 422
    assert status_of(watcher, body(1, TO_3, 3)) == 200
    assert status_of(watcher, body(1, TO_5_FROM_1, 5)) == (409, 3)
    assert status_of(watcher, body(3, TO_5, 5)) == 200
    assert status_of(watcher, body(0, [], 5)) == (409, 5)
    assert status_of(watcher, body(5, [], 3)) == 400
    assert status_of(watcher, body(5, [], 5)) == 200
    assert status_of(watcher, body(5, TO_3, 5)) == 422


@pytest.mark.parametrize(
    "sent",
    [
        b"", b"old 0\n", b"old 0\n\n", b"old 00\n\nx\n", b"old -1\n\nx\n", b"new 0\n\nx\n", b"old 0\n\n\xff\n\n",
        body(0, ["!"], 1), body(0, TO_3[:1] * 64, 1), body(0, ["KgA="], 1), body(0, [], 1).rstrip(b"\n"),
        body(0, [], 1).replace(b"\n1\n", b"\n01\n"), body(0, [], 1).replace("—".encode(), b"-"),
    ],
)  # fmt: skip
def test_what_is_not_well_formed_is_400(new_watcher, vkey_of, sent) -> None:
    assert status_of(new_watcher("w1", vkey_of(ORIGIN, PUBLIC)), sent) == 400


def submission(home, old: int) -> bytes:  # type: ignore[no-untyped-def]
    proof = home.writer.consistency(old, home.signed.size)
    return "\n".join([f"old {old}", *map(b64, proof), "", home.signed.note]).encode()


def test_it_remembers_before_it_answers(home, new_watcher) -> None:
    """Fails if `replace` is called behind the cosignature's return, or writes only into memory."""
    watcher = new_watcher("w1", home.writer.verifier_key)
    home.grow(3)
    assert status_of(watcher, submission(home, 0)) == 200
    size = home.signed.size
    stored = (watcher.folder / COSIGNED / origin_hash(home.writer.origin)).read_text()
    watcher.knows()  # another process on its folder
    assert watcher.newest == size and watcher.memory.note(origin_hash(home.writer.origin)) == stored
    assert verify.open_checkpoint(stored, parse_vkey(home.writer.verifier_key)).size == size
    assert cosigned_at(stored, watcher.key.public) == int(watcher.time.now)


def test_a_memory_that_was_damaged_is_no_memory_to_start_on(home, new_watcher) -> None:
    watcher = new_watcher("w1", home.writer.verifier_key)
    home.grow(3)
    assert status_of(watcher, submission(home, 0)) == 200
    path = watcher.folder / COSIGNED / origin_hash(home.writer.origin)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\n1", 1))
    watcher.close()
    with pytest.raises(CannotStart, match="Begin a new witness, with a new key"):
        Memory(watcher.folder)


def test_one_process_has_a_folder(new_watcher) -> None:
    watcher = new_watcher()
    with pytest.raises(CannotStart, match=r"runs on .* already"):
        Memory(watcher.folder)


def test_what_convicts_a_log_is_kept(home, new_watcher, tmp_path) -> None:
    """Two checkpoints of one size, both signed by the log. Fails if what is refused with 422 is dropped."""
    watcher = new_watcher("w1", home.writer.verifier_key)
    home.grow(2)
    fork = fork_of(home, tmp_path / "fork")
    home.open()
    home.grow(1)
    fork.grow(1)
    assert status_of(watcher, submission(home, 0)) == 200
    assert status_of(watcher, submission(fork, fork.signed.size)) == 422
    [kept] = (watcher.folder / REFUSED).iterdir()
    key = parse_vkey(home.writer.verifier_key)
    one, other = verify.open_checkpoint(kept.read_text(), key), verify.open_checkpoint(home.signed.note, key)
    assert one.size == other.size and one.root != other.root
    fork.close()


def fork_of(home, folder):  # type: ignore[no-untyped-def]
    """A copy of the log with its keys, that goes its own way."""
    shutil.copytree(home.folder, folder, ignore=shutil.ignore_patterns("lock"))
    fork = type(home)(folder, home.time, boot="other", receipts=list(home.receipts))
    fork.open()
    return fork


def test_a_key_is_made_once_and_is_private(tmp_path) -> None:
    folder = tmp_path / "witness"
    with pytest.raises(CannotStart, match="holds no witness yet"):
        open_key(folder, "")
    with pytest.raises(CannotStart, match="without a space or a plus sign"):
        open_key(folder, "a b")
    key = open_key(folder, "witness.example/w1")
    assert open_key(folder, "").vkey == key.vkey
    assert (folder / KEY).stat().st_mode & 0o777 == 0o600
    with pytest.raises(CannotStart, match="is the folder of the witness"):
        open_key(folder, "witness.example/w2")
    (folder / KEY).chmod(0o640)
    with pytest.raises(CannotStart, match="chmod 600"):
        open_key(folder, "")


def test_only_keys_of_logs_are_taken_and_one_for_each(tmp_path, vkey_of, new_watcher) -> None:
    watcher = new_watcher("w1", vkey_of(ORIGIN, PUBLIC))
    before = (watcher.folder / LOGS).read_text()
    for wrong in ("x", watcher.key.vkey, vkey_of(ORIGIN, bytes(32))):
        with pytest.raises(CannotStart):
            add_logs(watcher.folder, [wrong])
    add_logs(watcher.folder, [vkey_of(ORIGIN, PUBLIC)])
    assert (watcher.folder / LOGS).read_text() == before


@pytest.mark.parametrize("inside", [".", "witness", "keys/witness"])
def test_its_folder_is_not_where_a_log_and_its_keys_lie(tmp_path, inside) -> None:
    environ = {"STRONGROOM_HOME": str(tmp_path), "STRONGROOM_WITNESS_FOLDER": str(tmp_path / inside)}
    with pytest.raises(InvalidSettings, match="Name a folder elsewhere"):
        load(WitnessSettings, "witness", environ)


def test_a_cosignature_is_what_the_specification_says() -> None:
    """Made by the formula of c2sp.org/tlog-cosignature: it has no example with its key. Frozen here."""
    key = CosigningKey("witness.example/w1", bytes(range(32)))
    assert key.vkey == "witness.example/w1+e75f6532+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
    line = key.cosignature("example.com/log\n1\nKgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 1_700_000_000)
    blob = base64.b64decode(line.split(" ")[2])
    assert (len(blob), blob[:4].hex(), int.from_bytes(blob[4:12], "big")) == (76, "e75f6532", 1_700_000_000)
