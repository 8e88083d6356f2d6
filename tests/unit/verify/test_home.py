"""The verifier on whole home folders: what verifies, and that nothing else does."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from strongroom import verify as verify_module
from strongroom.verify import ALTERED, NOT_A_LOG, VERIFIES, main, verify_home


def covered_files(home: Path) -> list[Path]:
    """Everything under a hash or a signature: journal and tlog. Wrapped keys lie outside every hash."""
    files = [path for folder in ("journal", "tlog") for path in sorted((home / "audit" / folder).rglob("*"))]
    return [path for path in files if path.is_file() and path.name != "lock"]


def exit_code(home: Path) -> int:
    return verify_home(home).exit_code


def test_a_stopped_home_verifies_with_nothing_pending(made) -> None:
    report = verify_home(made.home, made.vkey)
    assert report.problems == []
    assert report.pending == []
    assert report.key_pinned
    assert report.entries["ACCEPTED"] == 7
    assert report.segments > 1
    assert any("1 open records" in line for line in report.not_covered)


def test_every_altered_byte_of_every_file_is_found(made, tmp_path) -> None:
    """Every 41st byte of the small files, every 331st of the journal; each byte is put back before the next."""
    home = made.copy(tmp_path)
    missed = []
    for path in covered_files(home):
        original = path.read_bytes()
        step = 331 if path.suffix == ".journal" else 41
        for at in [*range(0, len(original), step), len(original) - 1]:
            for flip in (0x01, 0xFF) if at % 2 else (0x80,):
                altered = bytearray(original)
                altered[at] ^= flip
                path.write_bytes(altered)
                if exit_code(home) != ALTERED:
                    missed.append((path.name, at, flip))
        path.write_bytes(original)
    assert missed == []
    assert exit_code(home) == VERIFIES


def test_every_byte_of_one_frame_and_of_the_unused_space_counts(made, tmp_path) -> None:
    home = made.copy(tmp_path)
    path = sorted((home / "audit" / "journal").glob("*.journal"))[-1]
    original = path.read_bytes()
    used = len(original.rstrip(b"\0"))
    assert used < len(original)
    for at in [*range(used - 200, used, 3), *range(used, len(original), 90)]:
        altered = bytearray(original)
        altered[at] ^= 0x04
        path.write_bytes(altered)
        assert exit_code(home) == ALTERED, at


def test_a_cut_file_is_found_wherever_it_is_cut(made, tmp_path) -> None:
    home = made.copy(tmp_path)
    for path in covered_files(home):
        original = path.read_bytes()
        used = len(original.rstrip(b"\0")) if path.suffix == ".journal" else len(original)
        for length in {0, 1, used // 3, used // 2, used - 1}:
            path.write_bytes(original[:length])
            assert exit_code(home) == ALTERED, (path.name, length)
        path.write_bytes(original)


def test_a_missing_file_is_found(made, tmp_path) -> None:
    home = made.copy(tmp_path)
    latest = {path for path in covered_files(home) if ".p" not in path.parent.suffix}
    for path in latest - {home / "audit" / "tlog" / "checkpoint"}:
        moved = path.rename(tmp_path / "aside")
        assert exit_code(home) == ALTERED, path
        moved.rename(path)
    assert exit_code(home) == VERIFIES


def test_the_partial_tile_that_the_checkpoint_needs_may_not_be_missing(made, tmp_path) -> None:
    home = made.copy(tmp_path)
    size = verify_home(home).size
    for name in (f"tile/0/000.p/{size}", f"tile/entries/000.p/{size}"):
        path = home / "audit" / "tlog" / name
        data = path.read_bytes()
        path.unlink()
        assert [problem.file for problem in verify_home(home).problems] == [f"audit/tlog/{name}"]
        path.write_bytes(data)


def test_swapped_frames_are_found(made, tmp_path) -> None:
    home = made.copy(tmp_path)
    path = sorted((home / "audit" / "journal").glob("*.journal"))[0]
    data = path.read_bytes()
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"SRF\x01"]
    a, b, c = starts[2:5]
    path.write_bytes(data[:a] + data[b:c] + data[a:b] + data[c:])
    report = verify_home(home)
    assert report.exit_code == ALTERED
    assert report.problems[0].offset == a
    assert report.problems[0].file.endswith(path.name)


def test_a_problem_names_file_offset_entry_and_record(made, tmp_path) -> None:
    home = made.copy(tmp_path)
    path = sorted((home / "audit" / "journal").glob("*.journal"))[0]
    data = bytearray(path.read_bytes())
    at = data.find(b"SRF\x01", data.find(b"SRF\x01") + 1)  # the second frame: ACCEPTED of record-0, entry 1
    data[data.find(b"SRF\x01", at + 1) - 1] ^= 1  # the last byte of its ciphertext
    path.write_bytes(data)
    problem = verify_home(home).problems[0]
    assert (problem.file, problem.offset, problem.entry, problem.record) == (
        f"audit/journal/{path.name}",
        at,
        1,
        "record-0",
    )


def test_a_base64_tail_that_is_not_zero_is_found(made, tmp_path) -> None:
    home = made.copy(tmp_path)
    path = home / "audit" / "tlog" / "checkpoint"
    text = path.read_text()
    root = text.split("\n")[2]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = root[:-2] + alphabet[alphabet.index(root[-2]) ^ 1] + "="
    assert base64.b64decode(other) == base64.b64decode(root)
    signature = text.rstrip("\n").split(" ")[-1]
    path.write_text(text.replace(root, other))
    assert exit_code(home) == ALTERED
    spelled = signature[:-2] + alphabet[alphabet.index(signature[-2]) ^ 1] + "="
    assert base64.b64decode(spelled) == base64.b64decode(signature)
    path.write_text(text.replace(signature, spelled))
    assert exit_code(home) == ALTERED


def test_a_release_that_was_replaced_under_a_fresh_frame_hash_is_found(made, tmp_path) -> None:
    """END commits to the RELEASE chain, so mending the frame's own hash does not help."""
    import hashlib

    home = made.copy(tmp_path)
    path = sorted((home / "audit" / "journal").glob("*.journal"))[0]
    data = bytearray(path.read_bytes())
    at = next(i for i in range(len(data)) if data[i : i + 4] == b"SRF\x01" and data[i + 8] == 4)
    length = int.from_bytes(data[at + 4 : at + 8], "big")
    data[at + 41 + length - 1] ^= 1
    data[at + 9 : at + 41] = hashlib.sha256(bytes(data[at : at + 9]) + bytes(data[at + 41 : at + 41 + length])).digest()
    path.write_bytes(data)
    assert [problem.what for problem in verify_home(home).problems] == [
        "the RELEASE entries are not those that END commits to"
    ]


def test_a_tile_that_the_journal_does_not_hold_is_found(made, tmp_path) -> None:
    home = made.copy(tmp_path)
    extra = home / "audit" / "tlog" / "tile" / "0" / "000.p" / "200"
    extra.write_bytes(bytes(32 * 200))
    assert [problem.what for problem in verify_home(home).problems] == ["holds more than the journal"]


def test_a_group_that_is_being_written_is_pending_not_altered(made, tmp_path) -> None:
    home = made.copy(tmp_path)
    path = sorted((home / "audit" / "journal").glob("*.journal"))[-1]
    data = path.read_bytes()
    used = len(data.rstrip(b"\0"))
    frame = b"SRF\x01" + (500).to_bytes(4, "big") + b"\x04" + os.urandom(80)
    for cut in [1, 2, 3, 4, 5, 8, 9, 40, 41, 60, 88]:
        path.write_bytes(data[:used] + frame[:cut] + bytes(max(len(data) - used - cut, 0)))
        report = verify_home(home)
        assert report.exit_code == VERIFIES, cut
        assert "not finished" in report.pending[0]


def test_another_key_does_not_verify_the_log(made) -> None:
    other = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    report = verify_home(made.home, other)
    assert {problem.file for problem in report.problems} == {"audit/tlog/log.vkey", "audit/tlog/checkpoint"}


@pytest.mark.parametrize("missing", ["audit", "audit/journal", "audit/tlog", "audit/tlog/checkpoint"])
def test_what_is_not_a_log_exits_2(made, tmp_path, missing, capsys) -> None:
    home = made.copy(tmp_path)
    gone = home / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert main([str(home)]) == NOT_A_LOG
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("arguments", [["ftp://logs.example"], ["--policy", "p", "."], [__file__], [".", "--key", "x"]])
def test_what_is_not_supported_is_refused_clearly(arguments, capsys) -> None:
    assert main(arguments) == NOT_A_LOG
    assert capsys.readouterr().out.strip()


def test_the_command_prints_a_summary_and_its_verdict(made, capsys) -> None:
    assert main([str(made.home)]) == VERIFIES
    printed = capsys.readouterr().out
    assert "VERIFIES" in printed
    assert "key not pinned: self-consistency only" in printed
    assert "DEVELOPMENT" in printed


def test_json_output_says_what_was_checked(made, capsys) -> None:
    assert main([str(made.home), "--json", "--key", made.vkey]) == VERIFIES
    printed = json.loads(capsys.readouterr().out)
    assert printed["verifies"] is True
    assert printed["checkpoint"]["size"] == sum(
        count for kind, count in printed["entries"].items() if kind != "RELEASE"
    )
    assert printed["pending"] == []


def test_the_verifier_needs_nothing_but_the_standard_library(made) -> None:
    """Isolated, without site-packages and without this repository on the path."""
    script = verify_module.__file__
    assert script
    done = subprocess.run(
        [sys.executable, "-I", "-S", script, str(made.home), "--json"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (VERIFIES, "")
    assert json.loads(done.stdout)["verifies"] is True
