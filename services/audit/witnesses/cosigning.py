"""Brings the log, its folder and its witnesses together, for as long as audit runs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from chassis.metrics import Metrics
from chassis.start import CannotStart
from services.audit.log.note import NoteInvalid, SignedCheckpoint, Verifier, open_checkpoint, parse_vkey
from services.audit.publishing import CHECKPOINT
from services.audit.witnesses.kept import Kept
from services.audit.witnesses.metrics import watch_witnesses
from services.audit.witnesses.policy import WitnessPolicy
from services.audit.witnesses.rounds import Log, Rounds
from services.audit.witnesses.wire import WitnessHttp
from services.audit.writer import Writer


async def seen_by_witnesses(policy: WitnessPolicy, vkey: Path) -> Mapping[str, str]:
    """The newest checkpoint of this log that each witness has seen. Asked before anything is signed."""
    origin = _origin(vkey)
    if not origin:
        return {}
    async with WitnessHttp.open() as http:
        return await http.newest(policy, origin)


def _origin(vkey: Path) -> str:
    """Empty for a new log, and for one that will not open."""
    try:
        return parse_vkey(vkey.read_text(encoding="utf-8").removesuffix("\n")).name
    except (OSError, UnicodeDecodeError, NoteInvalid):
        return ""


@asynccontextmanager
async def cosigning(
    writer: Writer, tlog: Path, policy: WitnessPolicy | None, refresh_seconds: float, metrics: Metrics
) -> AsyncIterator[None]:
    """While open, what is published is cosigned by the policy's witnesses, and kept once they are enough."""
    if policy is None:
        watch_witnesses(metrics, [], lambda: None)
        yield
        return
    if policy.logs and writer.verifier not in policy.logs:
        raise CannotStart(
            f"the witness policy is of {', '.join(log.name for log in policy.logs)}, and this log is {writer.origin}: "
            f"write `log {writer.verifier_key}` into it, or name the policy of this log"
        )
    kept = Kept(tlog, policy, writer.verifier)
    writer.cosigned = kept.load()

    def keep(signed: SignedCheckpoint) -> None:
        kept.keep(signed)
        writer.cosigned = signed

    log = Log(partial(published, tlog / CHECKPOINT, writer.verifier), writer.consistency, keep)
    async with WitnessHttp.open() as http:
        rounds = Rounds(policy, log, http.post, time.time, refresh_seconds)
        rounds.answered = watch_witnesses(metrics, rounds.standings, lambda: writer.cosigned)
        async with rounds.running():
            yield


def published(path: Path, verifier: Verifier) -> SignedCheckpoint | None:
    """What the checkpoint file says: all that it covers is in tiles, so that whatever is cosigned can be read there."""
    try:
        note = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return SignedCheckpoint(open_checkpoint(note, verifier), note)
