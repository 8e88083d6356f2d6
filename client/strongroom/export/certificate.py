"""Makes one file of a destruction certificate: the act that ends an erasure, to be read, and with its proof."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from strongroom.export.package import COMMON, manifest_of, sealed
from strongroom.export.take import RECORDS, TRAIL, Taken

TEXT = "certificate.txt"

_README = """A destruction certificate
=========================

certificate.txt   what was destroyed, by whom, when and why, to be read
trail.jsonl       the same as the log holds it, with its place and its proof; records.jsonl is empty
{common}
What it proves: the log's keeper recorded at that place of a log that was signed, after the keys were destroyed, exactly
this. It cannot prove that nobody kept a copy of a key: backups from before open with the provider key that is named in
it, until that is destroyed too.
"""


def certificate(act: bytes, checkpoint: str, verifier_key: str, target: Path) -> dict[str, Any]:
    """The ZIP appears under its name whole and verified, or not at all. Returns what the act states."""
    stated: dict[str, Any] = json.loads(json.loads(act)["header"])
    taken = Taken("", "", checkpoint, verifier_key, lines={RECORDS: 0, TRAIL: 1})
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        folder = Path(scratch) / "parts"
        folder.mkdir()
        (folder / RECORDS).touch()
        (folder / TRAIL).write_bytes(act)
        (folder / TEXT).write_text(_told(stated, taken.log_key.name), encoding="utf-8")
        about = {"erasure": stated["target"], "reason": stated["reason"]}
        readme = _README.format(common=COMMON.format(name=target.name, vkey=verifier_key))
        sealed(folder, taken, target, manifest_of(taken, about, "strongroom destruction certificate"), readme, (TEXT,))
    return stated


def _told(stated: dict[str, Any], log: str) -> str:
    versions, kept = stated["tenant_key"], stated["retention"]
    whose = f"subject {stated['subject']} (pseudonym)" if stated["subject"] else "everybody of the tenant"
    rows = {
        "log": log,
        "erasure": stated["target"],
        "destroyed": f"{stated['keys']} keys, and the tenant's key that wrapped them (version {versions['destroyed']})",
        "whose": f"{whose}, tenant {stated['tenant']}",
        "asked by": f"{stated['actor']} of {stated['actor_tenant']}, {_time(stated['asked_ms'])}",
        "carried out": _time(stated["time_ms"]),
        "reason": stated["reason"],
        "kept until": f"{_time(kept['until_ms'])} (class {kept['class']}, {kept['days']} days)",
        "basis": stated["basis"] or "the retention period had passed",
        "provider key": f"{stated['provider_key']}: backups from before open with it until it is destroyed",
        "key ids": ", ".join(stated.get("key_ids", ())) or f"SHA-256 of the list {stated.get('key_ids_sha256', '')}",
    }
    return "".join(f"{name:<14}{value}\n" for name, value in rows.items())


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(sep=" ", timespec="seconds")
