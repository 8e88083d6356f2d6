"""`strongroom audit backup` and `strongroom audit restore`."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.backup.failures import Damaged, Refused
from strongroom.backup.manifest import KEEP_ALSO, Manifest
from strongroom.backup.restore import Restored, restore
from strongroom.backup.take import check_target, take_backup
from strongroom.cli.ending import OK, Complaint
from strongroom.cli.progress import Progress
from strongroom.cli.services import streaming
from strongroom.failures import InternalFailure
from strongroom.location import locate
from strongroom.verify import Malformed, note_in

BACKUP_SECONDS = 24 * 3600.0


def register(actions: Any, shared: argparse.ArgumentParser) -> None:
    taking = actions.add_parser("backup", parents=[shared], help="copy the log of a running stack, and verify the copy")
    taking.add_argument("folder", metavar="FOLDER", type=Path, help="a new folder; it appears once it is whole")
    taking.set_defaults(run=_backup)
    putting = actions.add_parser(
        "restore", parents=[shared], help="put a backup where no log is; audit must be stopped"
    )
    putting.add_argument("backup", metavar="BACKUP", type=Path, help="a folder that `audit backup` made")
    putting.add_argument("--key", metavar="VKEY", help="the log's public key, as you were given it")
    putting.add_argument(
        "--newest-checkpoint",
        metavar="FILE|NOTE",
        help="the newest checkpoint, receipt or manifest that you kept: a backup that is behind it is refused",
    )
    putting.set_defaults(run=_restore)
    for action in (taking, putting):
        action.add_argument("--json", action="store_true", help="print one JSON object")


def _backup(arguments: argparse.Namespace) -> int:
    target, progress, began = arguments.folder.absolute(), Progress(_megabytes), time.monotonic()
    try:
        check_target(target)
        with streaming(
            locate(arguments.home), "audit", rpc.AuditServiceStub, "BackUp", pb.BackUpRequest(), BACKUP_SECONDS
        ) as responses:
            manifest = take_backup(responses, target, lambda done, total: progress.show("copying", done, total))
    except Refused as refused:
        raise Complaint(str(refused)) from None
    except Damaged as damaged:
        raise InternalFailure(
            f"no backup was made: {damaged}; try again", code="DATA_LOSS", reason="BACKUP_DAMAGED"
        ) from None
    finally:
        progress.end()
    seconds = round(time.monotonic() - began, 1)
    facts = {"folder": str(target), **_facts(manifest), "seconds": seconds, "keep_also": list(KEEP_ALSO)}
    _print(arguments, facts, _taken_lines(target, manifest, seconds))
    return OK


def _restore(arguments: argparse.Namespace) -> int:
    location, progress = locate(arguments.home), Progress(_megabytes)
    keys = os.environ.get("STRONGROOM_KEYS")
    try:
        restored = restore(
            arguments.backup.absolute(),
            location.home.absolute(),
            newest=_newest(arguments.newest_checkpoint),
            key=arguments.key,
            keys=Path(keys).expanduser() if keys else None,
            progress=progress.show,
        )
    except Refused as refused:
        raise Complaint(str(refused)) from None
    finally:
        progress.end()
    facts = {
        "folder": str(restored.audit),
        **_facts(restored.manifest),
        "newest_checkpoint_size": restored.newest,
        "missing_keys": list(restored.missing_keys),
    }
    _print(arguments, facts, _restored_lines(restored))
    return OK


def _newest(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        return note_in(given if "\n" in given else Path(given).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise Complaint(f"--newest-checkpoint {given}: {error.strerror}") from None
    except (UnicodeDecodeError, Malformed) as problem:
        what = problem if isinstance(problem, Malformed) else "not UTF-8"
        raise Complaint(f"--newest-checkpoint {given}: {what}") from None


def _facts(manifest: Manifest) -> dict[str, object]:
    return {
        "origin": manifest.origin,
        "development": manifest.origin.startswith("dev."),
        "made": manifest.made,
        "size": manifest.size,
        "root": manifest.root,
        "files": manifest.files,
        "bytes": manifest.total_bytes,
        "verifies": True,
    }


def _shared_rows(manifest: Manifest) -> list[tuple[str, str]]:
    return [
        ("log", manifest.origin + ("   DEVELOPMENT" if manifest.origin.startswith("dev.") else "")),
        ("checkpoint", f"{manifest.size} entries, root {manifest.root}"),
        ("files", f"{manifest.files} files, {_megabytes(manifest.total_bytes)}"),
    ]


def _taken_lines(target: Path, manifest: Manifest, seconds: float) -> list[tuple[str, str]]:
    return [
        ("backup", f"{target}   in {seconds} s"),
        *_shared_rows(manifest),
        ("verified", "every byte of the copy, and its root is the one that was signed"),
        ("keep also", f"{' and '.join(KEEP_ALSO)}, somewhere else: no backup holds a key that opens it"),
    ]


def _restored_lines(restored: Restored) -> list[tuple[str, str]]:
    rows = [("restored", str(restored.audit)), *_shared_rows(restored.manifest)]
    if restored.newest is None:
        rows.append(("newest", "no checkpoint was given: whether entries are missing at the end is not known"))
    else:
        rows.append(("newest", f"the log holds what the checkpoint of {restored.newest} entries covers"))
    for name in restored.missing_keys:
        rows.append(("MISSING", f"{name}: put it there from where you keep it, audit does not start without it"))
    return rows


def _print(arguments: argparse.Namespace, facts: dict[str, object], rows: list[tuple[str, str]]) -> None:
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for name, value in rows:
        print(f"{name:<12} {value}")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
