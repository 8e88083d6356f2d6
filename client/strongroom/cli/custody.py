"""`strongroom audit erase`, `hold` and `keys`: what may no longer be read, what must stay, and the provider's keys."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import Message
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.cli.ending import OK
from strongroom.cli.plain import plain
from strongroom.cli.services import calling
from strongroom.location import locate


def register(actions: Any, shared: argparse.ArgumentParser) -> None:
    erase = actions.add_parser(
        "erase", parents=[shared], help="destroy the keys of a subject or a tenant; what they sealed is unreadable then"
    )
    _of(erase)
    erase.add_argument("--basis", default="", metavar="TEXT", help="why before its retention period has passed")
    _command(erase, _erase, _erased)
    hold = actions.add_parser("hold", help="holds: while one is in force, nothing in its scope is erased")
    holds = hold.add_subparsers(metavar="ACTION", required=True)
    place = holds.add_parser("place", parents=[shared], help="from now on, until it is lifted")
    _of(place)
    _command(place, _place, lambda placed: [placed.hold_id])
    lift = holds.add_parser("lift", parents=[shared], help="end one")
    lift.add_argument("id", metavar="ID", help="as `hold place` and `hold list` print it")
    _command(_with_reason(lift), _lift, lambda lifted: [])
    _command(holds.add_parser("list", parents=[shared], help="those in force"), _custody, _holds)
    keys = actions.add_parser("keys", help="the provider's keys, which wrap all others")
    provided = keys.add_subparsers(metavar="ACTION", required=True)
    rotate = provided.add_parser("rotate", parents=[shared], help="wrap everything under a new key; retire the old one")
    _command(_with_reason(rotate), _rotate, _rotated)
    destroy = provided.add_parser(
        "destroy-retired", parents=[shared], help="for good: no backup from before the last rotation opens then"
    )
    _command(_with_reason(destroy), _destroy, lambda gone: [f"destroyed {key_id}" for key_id in gone.key_ids])
    _command(provided.add_parser("list", parents=[shared], help="in use, and retired"), _custody, _keys)


def _of(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", required=True, metavar="NAME")
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--subject", default="", metavar="NAME", help="as requests name it; else their caller's name")
    whose.add_argument("--whole-tenant", action="store_true", help="everything of the tenant")
    _with_reason(parser)


def _with_reason(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--reason", required=True, metavar="TEXT", help="kept in the log for good: name nobody in it")
    return parser


def _command(
    parser: argparse.ArgumentParser,
    ask: Callable[[argparse.Namespace], tuple[str, Message]],
    lines: Callable[[Any], Any],
) -> None:
    """Asks audit, and prints one object or the lines."""

    def run(arguments: argparse.Namespace) -> int:
        with calling(locate(arguments.home), "audit", rpc.AuditServiceStub) as call:
            answer = call(*ask(arguments))
        for line in [json.dumps(plain(answer), ensure_ascii=False)] if arguments.json else lines(answer):
            print(line)
        return OK

    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def _erase(arguments: argparse.Namespace) -> tuple[str, Message]:
    return "Erase", pb.EraseRequest(
        tenant=arguments.tenant,
        subject=arguments.subject,
        whole_tenant=arguments.whole_tenant,
        reason=arguments.reason,
        basis=arguments.basis,
    )


def _erased(erased: pb.EraseResponse) -> Iterator[str]:
    if not erased.done:
        waits = f"{erased.open_records} open requests end" if erased.open_records else "a backup ends"
        yield f"ordered: {erased.keys} keys are destroyed once {waits}; audit does it by itself, also after a restart"
        return
    yield f"erased: {erased.keys} keys destroyed; `strongroom audit certificate {erased.erasure_id} FILE.zip` proves it"
    yield (
        f"backups from before open with the provider key {erased.provider_key_id} until that is destroyed: "
        "`strongroom audit keys rotate`, take a backup, `strongroom audit keys destroy-retired`"
    )


def _place(arguments: argparse.Namespace) -> tuple[str, Message]:
    return "PlaceHold", pb.PlaceHoldRequest(
        tenant=arguments.tenant,
        subject=arguments.subject,
        whole_tenant=arguments.whole_tenant,
        reason=arguments.reason,
    )


def _lift(arguments: argparse.Namespace) -> tuple[str, Message]:
    return "LiftHold", pb.LiftHoldRequest(hold_id=arguments.id, reason=arguments.reason)


def _rotate(arguments: argparse.Namespace) -> tuple[str, Message]:
    return "RotateProviderKey", pb.RotateProviderKeyRequest(reason=arguments.reason)


def _rotated(rotated: pb.RotateProviderKeyResponse) -> Iterator[str]:
    yield f"in use {rotated.key_id}, retired {rotated.retired_key_id}"
    if not rotated.done:
        yield "not everything is under the new key yet: audit goes on by itself, also after a restart"
    yield "take a backup now; `strongroom audit keys destroy-retired` makes those from before unreadable"


def _destroy(arguments: argparse.Namespace) -> tuple[str, Message]:
    return "DestroyProviderKeys", pb.DestroyProviderKeysRequest(reason=arguments.reason)


def _custody(arguments: argparse.Namespace) -> tuple[str, Message]:
    return "GetCustody", pb.GetCustodyRequest()


def _holds(custody: pb.GetCustodyResponse) -> Iterator[str]:
    if not custody.holds:
        yield "no hold is in force"
    for hold in custody.holds:
        whose = f"subject {hold.subject_pseudonym}" if hold.subject_pseudonym else "the whole tenant"
        since = hold.create_time.ToDatetime().isoformat(sep=" ", timespec="seconds")
        yield f"{hold.hold_id}  {since}Z  {hold.tenant}  {whose}  {hold.person}: {hold.reason}"
    for order in custody.orders:
        yield f"{order.order_id}  ordered and not carried out: {order.action} by {order.person}: {order.reason}"


def _keys(custody: pb.GetCustodyResponse) -> Iterator[str]:
    yield f"{custody.provider_key_id}  in use ({custody.provider})"
    for key_id in custody.retired_key_ids:
        yield f"{key_id}  retired"
