"""Makes an act durable, for whoever serves a call; what stands in the way becomes the caller's status."""

from __future__ import annotations

import json
from collections.abc import Mapping

from chassis.failures import ResourceExhausted, Unavailable
from chassis.identity import Principal
from services.audit.records import entries as core
from services.audit.sequencer import Sequencer

RETRY_SECONDS = 1.0


class ActRecorder:
    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer

    async def record(
        self, service: str, actor: str, action: str, target: str, detail: bytes, *, once: bool = False
    ) -> None:
        act = core.Act(service=service, actor=actor, action=action, target=target, detail=detail, once=once)
        try:
            await self._sequencer.append(act)
        except core.Busy:
            raise ResourceExhausted(
                "too many entries wait", reason="JOURNAL_BUSY", retry_after_seconds=RETRY_SECONDS
            ) from None
        except core.AppendRefused as refused:
            raise ResourceExhausted(
                str(refused), reason=refused.refusal.name, retry_after_seconds=refused.retry_after_seconds
            ) from None
        except core.Unavailable as problem:
            raise Unavailable(str(problem), reason="JOURNAL_FAILED", retry_after_seconds=RETRY_SECONDS) from None

    async def of_person(self, person: Principal, action: str, target: str = "", **particulars: object) -> None:
        """What a person asked audit for, durable before it is answered."""
        detail: Mapping[str, object] = {"tenant": person.tenant, **particulars}
        await self.record("audit", person.name, action, target, json.dumps(detail, ensure_ascii=False).encode())
