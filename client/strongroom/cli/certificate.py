"""`strongroom audit certificate`: that something was erased, as one file that a stranger can check."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.cli.ending import OK, Complaint
from strongroom.cli.services import calling
from strongroom.export.certificate import certificate
from strongroom.failures import InternalFailure
from strongroom.location import locate
from strongroom.verify import Malformed


def register(actions: Any, shared: argparse.ArgumentParser) -> None:
    parser = actions.add_parser("certificate", parents=[shared], help="the destruction certificate of an erasure")
    parser.add_argument("id", metavar="ID", help="as `erase` prints it")
    parser.add_argument("file", metavar="FILE", type=Path, help="a new .zip, for whoever has nothing but Python")
    parser.add_argument("--json", action="store_true", help="print what it states as one JSON object")
    parser.set_defaults(run=_certificate)


def _certificate(arguments: argparse.Namespace) -> int:
    target: Path = arguments.file.absolute()
    if target.exists():
        raise Complaint(f"{target} is there already: name another file")
    if target.suffix != ".zip":
        raise Complaint(f"{target} is no name of a ZIP: let it end in .zip")
    with calling(locate(arguments.home), "audit", rpc.AuditServiceStub) as call:
        given = call("ExportCertificate", pb.ExportCertificateRequest(erasure_id=arguments.id))
    try:
        stated = certificate(given.act, given.checkpoint, given.verifier_key, target)
    except Malformed as damaged:
        raise InternalFailure(f"no certificate: {damaged}", code="DATA_LOSS", reason="EXPORT_DAMAGED") from None
    if arguments.json:
        print(json.dumps(stated, ensure_ascii=False))
        return OK
    print(f"{stated['keys']} keys destroyed, asked by {stated['actor']}: {stated['reason']}")
    print(f"anybody checks it with: strongroom-verify {target} --key '{given.verifier_key}'")
    return OK
