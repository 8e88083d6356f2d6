"""The settings of every service, checked together before any process starts: one look mends them all."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from chassis.settings import InvalidSettings, StackSettings, load, variables
from services.audit.settings import AuditSettings
from services.gateway.settings import GatewaySettings
from services.guard.settings import GuardSettings
from services.inference.settings import InferenceSettings
from services.monitor.settings import MonitorSettings
from services.witness.settings import WitnessSettings

KINDS: dict[str, type[StackSettings]] = {
    "gateway": GatewaySettings,
    "guard": GuardSettings,
    "inference": InferenceSettings,
    "audit": AuditSettings,
    "monitor": MonitorSettings,
    "witness": WitnessSettings,  # of no stack, but its variables may stand in the same environment
}
# Read by the command line and by the tests.
OTHERS = frozenset({"STRONGROOM_ADDRESS", "STRONGROOM_API_KEY", "STRONGROOM_TEST_MODELS"})


def check_services(environment: Mapping[str, str], own: frozenset[str]) -> None:
    """Raises InvalidSettings with every wrong value and every name that nothing reads: a misspelt one would
    silently mean the default. `own`: what the stack itself reads."""
    problems: dict[str, None] = {}  # in order, each once: shared settings are read by all
    for service, kind in KINDS.items():
        try:
            load(kind, service, environment)
        except InvalidSettings as wrong:
            problems.update(dict.fromkeys(str(wrong).splitlines()))
    known = own | OTHERS | {name for service, kind in KINDS.items() for name in variables(kind, service)}
    for name in sorted(environment):
        prefix = "_".join(name.split("_")[:2]) + "_"
        named = any(prefix == f"STRONGROOM_{service.upper()}_" for service in (*KINDS, "stack"))
        if name.startswith("STRONGROOM_") and name not in known and not named:
            close = get_close_matches(name, known, 1)
            problems[f"{name}: no such setting" + (f"; did you mean {close[0]}?" if close else "")] = None
    if problems:
        raise InvalidSettings("\n".join(problems))
