"""Whose prompts may share what was computed of a common beginning."""

from __future__ import annotations

from strongroom.inference.v1 import inference_pb2 as pb

TENANT, CALLER, OFF = "tenant", "caller", "off"
PREFIX_SCOPES = (TENANT, CALLER, OFF)


def prefix_scope(setting: str, body: pb.JobBody) -> str:
    """The scope of one job: equal for those that may share, and for no others. Empty: it shares nothing."""
    if setting == TENANT:
        return f"tenant:{body.tenant}"
    if setting == CALLER and body.caller:  # a gateway of an earlier version names none
        return f"caller:{len(body.tenant)}:{body.tenant}:{body.caller}"
    return ""
