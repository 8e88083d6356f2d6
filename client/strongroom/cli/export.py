"""`strongroom audit export`: records as one file that a stranger can check, with nothing but Python."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.cli.ending import OK, Complaint
from strongroom.cli.plain import plain
from strongroom.cli.progress import Progress
from strongroom.cli.records import add_filter_options, filter_of
from strongroom.cli.services import streaming
from strongroom.export.package import package, told_left_out
from strongroom.export.take import BrokenOff, Refused, take
from strongroom.failures import CallFailed, InternalFailure
from strongroom.location import Location, locate
from strongroom.verify import Malformed

EXPORT_SECONDS = 24 * 3600.0
_NOT_ASKED = ("home", "json", "run", "file")  # of the command line, but not of what is exported


def register(actions: Any, shared: argparse.ArgumentParser) -> None:
    parser = actions.add_parser("export", parents=[shared], help="records with their proofs, as one ZIP")
    parser.add_argument("file", metavar="FILE", type=Path, help="a new .zip; it appears once it is whole and verified")
    parser.add_argument("text", nargs="?", default="", metavar="TEXT", help="as for a search; all records without")
    add_filter_options(parser)
    parser.add_argument("--reason", required=True, metavar="WHY", help="recorded with your name, and in the export")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    target: Path = arguments.file.absolute()
    folder, progress, began = target.with_name(f"{target.name}.parts"), Progress(), time.monotonic()
    if target.exists():
        raise Complaint(f"{target} is there already: name another file")
    if target.suffix != ".zip":
        raise Complaint(f"{target} is no name of a ZIP: let it end in .zip")
    try:
        taken = take(
            folder,
            json.dumps({name: value for name, value in vars(arguments).items() if name not in _NOT_ASKED}),
            filter_of(arguments),
            arguments.reason,
            lambda request: _asked(locate(arguments.home), request),
            lambda done, total: progress.show("exporting", done, total or done),
        )
        wanted = {name: value for name, value in plain(taken.wanted).items() if value}
        manifest = package(folder, taken, target, {"reason": arguments.reason, "filter": wanted})
    except Refused as refused:
        raise Complaint(str(refused)) from None
    except Malformed as damaged:
        raise InternalFailure(f"no export was made: {damaged}", code="DATA_LOSS", reason="EXPORT_DAMAGED") from None
    except (BrokenOff, CallFailed) as broken:
        raise _broken(broken, folder) from None
    finally:
        progress.end()
    _print(arguments, target, manifest, round(time.monotonic() - began, 1))
    return OK


def _asked(location: Location, request: pb.ExportRecordsRequest) -> Iterator[pb.ExportRecordsResponse]:
    with streaming(location, "audit", rpc.AuditServiceStub, "ExportRecords", request, EXPORT_SECONDS) as responses:
        yield from responses


def _broken(broken: BrokenOff | CallFailed, folder: Path) -> CallFailed:
    if not (folder / "state.json").exists() and isinstance(broken, CallFailed):
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
        return broken
    said = str(broken) or "audit ended before the end"
    return InternalFailure(
        f"the export broke off: {said}. What came is kept in {folder}; the same command goes on with it",
        code="UNAVAILABLE",
        reason="EXPORT_BROKE_OFF",
    )


def _print(arguments: argparse.Namespace, target: Path, manifest: dict[str, Any], seconds: float) -> None:
    facts = {
        "file": str(target),
        "bytes": target.stat().st_size,
        "records": manifest["records"],
        "acts": manifest["acts"],
        "left_out": manifest["left_out"],
        "seconds": seconds,
        "verifies": True,
    }
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    print(f"{manifest['records']:,} records with {manifest['acts']:,} acts in {target}, in {seconds} s; verified")
    if any(manifest["left_out"].values()):
        print(told_left_out(manifest["left_out"]))
    print(f"anybody checks it with: strongroom-verify {target} --key '{manifest['verifier_key']}'")
