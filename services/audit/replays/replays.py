"""Replays as audit sees them: what may be run again, with what, and what came of it. Decided from records alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.audit.records.entries import PARAMETERS, REQUEST_SENT, Ending
from services.audit.records.views import OpenedRecord
from services.audit.replays.generation import Generation, generation_of
from services.audit.replays.judging import Judgement, Reason, Serving, compared, missing, not_replayable, obstacle

OPEN = "OPEN"  # a summary's state


class Records(Protocol):
    """The log, as far as it is read."""

    def opened(self, record_id: str) -> OpenedRecord | None: ...


@dataclass(frozen=True)
class Material:
    """What a model was given, to be given to it again."""

    tenant: str
    sealed_with: str  # key id
    request_sent: bytes
    parameters: bytes


class Replays:
    """Reads the journal: to be called from a thread that may wait."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def obstacle(self, record_id: str) -> Judgement | None:
        """To replaying it at all. LookupError where there is no such record."""
        found = self._replayable(record_id)
        return found if isinstance(found, Judgement) else None

    def material(self, record_id: str, serving: Sequence[Serving]) -> Material | Judgement:
        """Or what keeps every live worker from it."""
        found = self._replayable(record_id)
        if isinstance(found, Judgement):
            return found
        record, fields, generation = found
        if short_of := missing(generation.makers[0], _adapter(fields[PARAMETERS]), serving):
            return not_replayable(*short_of)
        return Material(record.summary.tenant, record.key_id, fields[REQUEST_SENT], fields[PARAMETERS])

    def judgement(self, record_id: str, replay_id: str) -> Judgement:
        """LookupError where the second is no record, or is open."""
        found = self._replayable(record_id)
        if isinstance(found, Judgement):
            return found
        record, fields, generation = found
        replay = self._records.opened(replay_id)
        if replay is None or replay.summary.state == OPEN:
            raise LookupError(replay_id)
        if replay.fields is None:
            return not_replayable(Reason.ERASED)
        if not _replays(replay, record, fields):
            return not_replayable(Reason.OTHER_REQUEST)
        if replay.summary.state != Ending.COMPLETED:
            return not_replayable(Reason.REPLAY_FAILED)
        whole = record.summary.state == Ending.COMPLETED
        return compared(generation, generation_of(replay.fields), whole=whole)

    def _replayable(self, record_id: str) -> tuple[OpenedRecord, Mapping[str, bytes], Generation] | Judgement:
        record = self._records.opened(record_id)
        if record is None:
            raise LookupError(record_id)
        if record.fields is None or not record.key_in_use:
            return not_replayable(Reason.ERASED)
        if record.summary.state == OPEN:
            return not_replayable(Reason.RECORD_OPEN)
        generation = generation_of(record.fields)
        if reason := obstacle(generation):
            return not_replayable(reason)
        assert generation is not None, "else there is an obstacle"
        return record, record.fields, generation


def _replays(replay: OpenedRecord, record: OpenedRecord, fields: Mapping[str, bytes]) -> bool:
    """The second is the first's request, run again, and no other."""
    assert replay.fields is not None
    told = json.loads(replay.fields.get(PARAMETERS, b"{}"))
    same = replay.fields.get(REQUEST_SENT) == fields[REQUEST_SENT] and replay.key_id == record.key_id
    return same and told.get("replay_of") == record.summary.record_id


def _adapter(parameters: bytes) -> tuple[str, str]:
    told = json.loads(parameters)
    return str(told.get("adapter", "")), str(told.get("adapter_digest", ""))
