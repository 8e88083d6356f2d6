"""`strongroom audit` and `strongroom receipt`: the records, masked; the log's head, its public key, its backups."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.cli import audit_index, backup, certificate, completeness, custody, export, records, replay, reveal
from strongroom.cli.ending import OK, Complaint
from strongroom.cli.findings import log_key
from strongroom.cli.services import calling, naming
from strongroom.client import Client
from strongroom.failures import CallFailed
from strongroom.known import KnownCheckpoints, LogRewritten
from strongroom.location import Location, locate
from strongroom.verify import ALTERED, Malformed


def register(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("audit", help="look at the audit log", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    records.register(actions, shared)
    reveal.register(actions, shared)
    replay.register(actions, shared)
    export.register(actions, shared)
    key = actions.add_parser("key", parents=[shared], help="the log's public key, for strongroom-verify --key")
    key.set_defaults(run=_key)
    checkpoint = actions.add_parser("checkpoint", parents=[shared], help="the newest signed checkpoint")
    checkpoint.set_defaults(run=_checkpoint)
    backup.register(actions, shared)
    completeness.register(actions, shared)
    audit_index.register(actions, shared)
    custody.register(actions, shared)
    certificate.register(actions, shared)
    receipt = commands.add_parser("receipt", parents=[shared], help="the receipt of a finished request, as JSON")
    receipt.add_argument("id", metavar="ID", help="a request id")
    kept = "keep the newest checkpoint seen there; the log has to prove that it continues it (exit 3 if not)"
    receipt.add_argument("--checkpoints", metavar="DIR", type=Path, help=kept)
    receipt.set_defaults(run=_receipt)


def _key(arguments: argparse.Namespace) -> int:
    print(_head(arguments).verifier_key.strip())
    return OK


def _checkpoint(arguments: argparse.Namespace) -> int:
    print(_head(arguments).checkpoint, end="")
    return OK


def _head(arguments: argparse.Namespace) -> pb.GetCheckpointResponse:
    with calling(locate(arguments.home), "audit", rpc.AuditServiceStub) as call:
        head: pb.GetCheckpointResponse = call("GetCheckpoint", pb.GetCheckpointRequest())
    return head


def _receipt(arguments: argparse.Namespace) -> int:
    location = locate(arguments.home)
    with Client(location, known=_known(location, arguments.checkpoints)) as client:
        try:
            print(json.dumps(client.receipt(arguments.id), ensure_ascii=False, indent=2))
        except CallFailed as failure:
            raise naming("gateway", location.address("gateway"), failure) from None
        except (LogRewritten, Malformed) as altered:
            print(f"strongroom: {altered}", file=sys.stderr)
            return ALTERED
    return OK


def _known(location: Location, folder: Path | None) -> KnownCheckpoints | None:
    if folder is None:
        return None
    if not (key := log_key(location)):
        raise Complaint("--checkpoints needs the log's public key, which audit gives to reviewers only")
    return KnownCheckpoints(key, folder)
