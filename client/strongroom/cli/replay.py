"""`strongroom audit replay`: a recorded request, run once more: are the tokens the same? None of them is shown."""

from __future__ import annotations

import argparse
import json
from typing import Any

from strongroom.audit.v1 import audit_pb2 as audit
from strongroom.audit.v1 import audit_pb2_grpc as audit_rpc
from strongroom.cli.ending import OK
from strongroom.cli.services import calling
from strongroom.gateway.v1 import gateway_pb2 as gateway
from strongroom.gateway.v1 import gateway_pb2_grpc as gateway_rpc
from strongroom.location import locate
from strongroom.verify import ALTERED

REPLAY_SECONDS = 600.0
NOT_REPLAYABLE = 4  # as the verifier's, where what a judgement needs is absent
_ENDS = {"EXACT": OK, "DIVERGED": ALTERED}
# Reasons that need more than their name.
_MEANINGS = {
    "ERASED": "its subject was erased",
    "RECORD_OPEN": "it has not ended",
    "NO_TOKENS": "the record holds no tokens of an answer",
    "WEIGHTS_UNKNOWN": "the digest of the weights was not recorded",
    "MADE_BY_SEVERAL": "workers that differ made it",
    "MODEL_NOT_SERVED": "no live worker serves its model",
    "ADAPTER_GONE": "its adapter is not loaded, or is another one by now",
    "OTHER_REQUEST": "what was run is not what was recorded",
    "OTHER_PROMPT": "the same messages are other tokens now",
    "NOT_DETERMINISTIC": "other tokens, but in this mode batch mates can change them",
    "REPLAY_FAILED": "the replay did not come to its end",
}


def register(actions: Any, shared: argparse.ArgumentParser) -> None:
    what = "run a recorded request again: are the tokens the same? Shows no text"
    parser = actions.add_parser("replay", parents=[shared], help=what)
    parser.add_argument("id", metavar="ID", help="a request id")
    parser.add_argument("--reason", required=True, metavar="WHY", help="recorded with your name")
    parser.add_argument("--timeout", type=float, default=REPLAY_SECONDS, metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_replay)


def _replay(arguments: argparse.Namespace) -> int:
    found = _found(arguments)
    print(json.dumps(found, ensure_ascii=False, indent=2) if arguments.json else line(found))
    return _ENDS.get(found["verdict"], NOT_REPLAYABLE)


def _found(arguments: argparse.Namespace) -> dict[str, Any]:
    location = locate(arguments.home)
    with calling(location, "audit", audit_rpc.AuditServiceStub) as call:
        prepared = call("PrepareReplay", audit.PrepareReplayRequest(record_id=arguments.id, reason=arguments.reason))
    if prepared.HasField("judgement"):
        return _told(arguments.id, prepared.judgement, prepared.judgement.replay_record_id)
    with calling(location, "gateway", gateway_rpc.GatewayServiceStub, arguments.timeout) as call:
        judged = call("Replay", gateway.ReplayRequest(permit=prepared.permit))
    return _told(arguments.id, judged, judged.request_id)


def _told(record_id: str, judged: Any, replay: str) -> dict[str, Any]:
    parted = judged.HasField("token")
    return {
        "record_id": record_id,
        "verdict": judged.verdict,
        "reasons": list(judged.reasons),
        "tokens": judged.tokens,
        "choice": judged.choice if parted else None,
        "token": judged.token if parted else None,
        "replay_record_id": replay or None,
    }


def line(found: dict[str, Any]) -> str:
    """For people."""
    where = "" if found["token"] is None else f" at token {found['token']}"
    where += f" of answer {found['choice']}" if found["choice"] else ""
    told = {
        "EXACT": f"EXACT: {found['tokens']} tokens are the same",
        "DIVERGED": f"DIVERGED{where}: {found['tokens']} tokens before it are the same",
    }.get(found["verdict"])
    reasons = [f"{reason} ({_MEANINGS[reason]})" if reason in _MEANINGS else reason for reason in found["reasons"]]
    told = told or f"NOT REPLAYABLE: {', '.join(reasons)}" + (f";{where.replace(' at', ' from')} on" if where else "")
    return told + (f"  (record {found['replay_record_id']})" if found["replay_record_id"] else "")
