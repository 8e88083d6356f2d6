"""Makes one file of an export: the records three ways, their proofs, and what checks them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import strongroom.verify as verifier
from strongroom.export.tables import write_csv, write_html
from strongroom.export.take import RECORDS, TRAIL, Taken

FORMAT = 1
_BLOCK = 1024 * 1024

_README = """Records of an audit log
=======================

{about}

{left_out}

records.html    the records, to be read; texts are masked as the log's keeper masks them
records.csv     the same for a spreadsheet; a cell that could be taken for a formula begins with '
records.jsonl   the same for programs, a line a record, with the leaf, the proof and the salts of every entry
trail.jsonl     who looked at or exported these records before, a line an act, with its proof
{common}
What it proves: each record's metadata, and each text that has an opening, are exactly what was recorded, at that
place of a log that was signed. What it cannot prove: record ids, verdicts and the reasons of acts; and that no record
was left out. For that, check the whole log (or a backup of it), in which every request has a number without a gap.
Records that had been erased before are not even counted here: nothing tells any more whose they were.
"""

COMMON = """checkpoint      the log's state, signed by its keeper, under which everything is proved
log.vkey        the keeper's public key; ask for it on another way too, and compare
manifest.json   what was asked for, by SHA-256 every file here
strongroom_verify.py   checks all of this; standard library only, one file, no network

To check it, anywhere, with nothing but Python 3.11 or newer:

    python3 strongroom_verify.py {name} --key '{vkey}'

It ends with VERIFIES (exit 0), or names the file, the place and the record that is not what the log holds (exit 3).
"""

_PROOFS = ("README.txt", "checkpoint", "log.vkey", RECORDS, TRAIL, "strongroom_verify.py")


def package(folder: Path, taken: Taken, target: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The ZIP appears under its name whole and verified, or not at all; then the folder is removed."""
    manifest = manifest_of(taken, about, "strongroom export")
    title = f"{taken.lines[RECORDS]:,} records of the log {taken.log_key.name}"
    left_out = told_left_out(taken.left_out)
    said = f"{title}, exported {manifest['made']}: {about['reason']}"
    write_csv(folder, folder / "records.csv")
    write_html(folder, folder / "records.html", title, f"{said}. {left_out}")
    common = COMMON.format(name=target.name, vkey=taken.verifier_key)
    readme = _README.format(about=said, left_out=left_out, common=common)
    return sealed(folder, taken, target, manifest, readme, ("records.csv", "records.html"))


def told_left_out(left_out: dict[str, int]) -> str:
    erased, unreadable = left_out["erased"], left_out["unreadable"]
    if not erased and not unreadable:
        return "No record that matched was left out as unreadable."
    return (
        f"{erased + unreadable:,} records that matched are not here, as they could not be read: {erased:,} erased on "
        f"order, {unreadable:,} for want of a key or of whole bytes."
    )


def sealed(
    folder: Path, taken: Taken, target: Path, manifest: dict[str, Any], readme: str, more: tuple[str, ...]
) -> dict[str, Any]:
    """What all packages have beside their lines; the ZIP of it, verified; and its manifest."""
    (folder / "checkpoint").write_text(taken.checkpoint, encoding="utf-8")
    (folder / "log.vkey").write_text(f"{taken.verifier_key}\n", encoding="ascii")
    (folder / "README.txt").write_text(readme, encoding="utf-8")
    shutil.copyfile(verifier.__file__, folder / "strongroom_verify.py")
    names = (*_PROOFS, *more)
    manifest["files"] = {name: _sha256(folder / name) for name in names}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial = target.with_name(f"{target.name}.partial")
    _zip(folder, (*names, "manifest.json"), partial)
    report = verifier.verify_export(partial, taken.verifier_key)
    if report.exit_code:
        raise verifier.Malformed(f"{partial} does not verify: {report.problems[0]}")
    os.rename(partial, target)
    shutil.rmtree(folder)
    return manifest


def manifest_of(taken: Taken, about: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": kind,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        **about,
        "records": taken.lines[RECORDS],
        "acts": taken.lines[TRAIL],
        "left_out": taken.left_out,
        "checkpoint": taken.checkpoint,
        "verifier_key": taken.verifier_key,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _zip(folder: Path, names: tuple[str, ...], target: Path) -> None:
    with open(target, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                with (folder / name).open("rb") as source, archive.open(name, "w", force_zip64=True) as entry:
                    shutil.copyfileobj(source, entry, _BLOCK)
        file.flush()
        os.fsync(file.fileno())
