"""Our folder as somebody else's implementation of C2SP's formats reads it: tlog-scales, which is none of ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from strongroom.verify import verify_receipt

from services.witness.key import CosigningKey
from tests.unit.verify.conftest import ANSWER, REQUEST, Made, make_home

pytest.importorskip("tlog_scales", reason="tlog-scales, which `make setup` installs, is not here")
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey
from tlog_scales.tiles import leaf_hash
from tlog_scales.tlog import Checkpoint

RECORDS = 140  # over 256 entries: full tiles, and one of the level above


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_home(tmp_path_factory.mktemp("large"), RECORDS, segment_bytes=1024 * 1024)


def tlog(home: Path) -> Path:
    return home / "audit" / "tlog"


def command(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Its own command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tlog_scales.cli", *map(str, arguments)], capture_output=True, check=False, timeout=60
    )


def test_it_finds_the_signed_root_in_our_tiles_and_every_entry_below_it(large) -> None:
    """Fails if our tiles, paths, notes or hashes are not those of the specifications."""
    reader = TilesReader(LocalBackend(tlog(large.home)))
    checkpoint = reader.get_checkpoint()
    checkpoint.verify(Vkey.from_string(large.vkey))
    assert checkpoint.size > 256 and reader.calculate_root_hash() == checkpoint.root_hash
    for index in range(0, checkpoint.size, 7):
        entry = reader.get_entry(index)
        reader.get_inclusion_proof(index, checkpoint.size).check(leaf_hash(entry), checkpoint.root_hash)


def test_it_proves_from_our_tiles_that_the_log_only_grew(large) -> None:
    reader = TilesReader(LocalBackend(tlog(large.home)))
    checkpoint = reader.get_checkpoint()
    for size in (1, 7, 255, 256, 257, checkpoint.size):
        proof = reader.get_consistency_proof(size, checkpoint.size)
        proof.check(reader.mth(0, size), checkpoint.root_hash)


def test_a_proof_that_its_command_makes_of_our_folder_is_one_that_our_verifier_takes(large) -> None:
    receipt = dict(large.receipt)
    index = int(str(receipt["tlog_proof"]).split("\n")[1].removeprefix("index "))
    made = command("gen-proof", tlog(large.home), index)
    assert (made.returncode, made.stderr) == (0, b"")
    receipt["tlog_proof"] = made.stdout.decode()
    assert receipt["tlog_proof"] != large.receipt["tlog_proof"]  # under the newest checkpoint, and not the first
    verified = verify_receipt(REQUEST, ANSWER, receipt, large.vkey)
    assert verified.ok and verified.size > 256
    assert not verify_receipt(REQUEST, "5", receipt, large.vkey)


def test_its_command_refuses_an_entry_that_was_altered(large, tmp_path) -> None:
    folder = tmp_path / "tlog"
    shutil.copytree(tlog(large.home), folder)
    assert command("get-leaf", "--check", folder, 3).returncode == 0
    bundle = folder / "tile" / "entries" / "000"
    data = bytearray(bundle.read_bytes())
    data[3 * 100 + 50] ^= 1
    bundle.write_bytes(data)
    assert command("get-leaf", folder, 3).returncode == 0
    assert command("get-leaf", "--check", folder, 3).returncode != 0


def test_it_takes_the_cosignature_of_our_witness(made) -> None:
    note = (tlog(made.home) / "checkpoint").read_text()
    key = CosigningKey("witness.example/w1", bytes(range(32)))
    cosigned = Checkpoint.from_text(note + key.cosignature(note.partition("\n\n")[0] + "\n", 1_700_000_000))
    cosigned.verify(Vkey.from_string(key.vkey))
    cosigned.verify(Vkey.from_string(made.vkey))
