"""Runs audit: `python -m services.audit`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing

from chassis.disk import NoRoom, explained, require_room
from chassis.identity import load_credentials, service_token
from chassis.server import Health, serving, until_signalled
from chassis.span_export import export_spans
from chassis.start import CannotStart, run
from chassis.web import serving_http
from services.audit.custody.custodian import Custodian
from services.audit.index.files import IndexFolder
from services.audit.index.metrics import watch_index
from services.audit.index.process import IndexProcess
from services.audit.journal.journal import MIB, JournalLocked
from services.audit.journal.reserve import is_full
from services.audit.journal.segment import JournalCorrupt
from services.audit.keys import VKEY
from services.audit.known_checkpoints import LogDiverged
from services.audit.log_over_http import log_routes
from services.audit.metrics import AuditMetrics
from services.audit.opening import ClockBehind, FormatUnknown
from services.audit.records.planning import Clock
from services.audit.restored import RestoreUnfinished
from services.audit.sealing.provider import KeyUnusable
from services.audit.sequencer import Sequencer
from services.audit.servicer import ALLOWED, SERVICE, AuditServicer
from services.audit.settings import AuditSettings
from services.audit.timekeeping import kernel_clock
from services.audit.witnesses.cosigning import cosigning, seen_by_witnesses
from services.audit.writer import Observer, Writer

# What is wrong with a log or its keys; each says what, and the remedy.
_UNUSABLE = (KeyUnusable, JournalCorrupt, JournalLocked, LogDiverged, RestoreUnfinished, FormatUnknown, ClockBehind)

log = logging.getLogger(__name__)


class JournalFailed(Exception):
    """The journal could not be written: only a restart reads back what is really there."""


async def main(settings: AuditSettings) -> None:
    token, known = service_token(settings.keys_folder, "audit"), load_credentials(settings.keys_folder)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
    health, metrics, policy = Health(), AuditMetrics(), settings.policy
    async with AsyncExitStack() as opened:
        opened.callback(export_spans("audit", settings.traces, token))
        await opened.enter_async_context(
            serving_http(
                settings.http_address("audit"),
                lambda: health.reason,
                [metrics.route(), *log_routes(settings.folders.tlog)],
            )
        )
        observer = Observer(metrics.group_committed, metrics.answered)
        witnessed = await seen_by_witnesses(policy, settings.folders.tlog / VKEY) if policy else {}
        writer = opened.enter_context(closing(await asyncio.to_thread(_open, settings, observer, witnessed)))
        # Entered before the sequencer, so that the last checkpoint, which that publishes on its way out, is cosigned.
        tlog, seconds = settings.folders.tlog, settings.witness_seconds
        await opened.enter_async_context(cosigning(writer, tlog, policy, seconds, metrics))
        index = opened.enter_context(closing(await asyncio.to_thread(_index, settings, writer)))
        sequencer = await opened.enter_async_context(Sequencer.running(writer, settings.sequencer_limits))
        custodian = Custodian(
            sequencer,
            writer.custody,
            writer.open_under,
            writer.time_of,
            lambda erased: index.forget(erased.key_ids),
            retention=settings.retention,
        )
        await opened.enter_async_context(custodian.running())
        metrics.watch(writer, sequencer, settings.folders)
        watch_index(metrics, index, lambda: writer.tree.size)
        address = settings.address("audit")
        await opened.enter_async_context(
            serving(
                address,
                AuditServicer(sequencer, writer, index, custodian).register,
                known=known,
                allowed=ALLOWED,
                health=health,
                reflected=[SERVICE] if settings.reflection else [],
            )
        )
        await health.ready()
        log.info("audit listens on %s; log %s, %d entries", address, writer.origin, writer.tree.size)
        await _until_stopped(sequencer)


def _open(settings: AuditSettings, observer: Observer, witnessed: Mapping[str, str]) -> Writer:
    require_room(settings.folders.audit, settings.room_bytes)
    try:
        return Writer(
            settings.folders,
            Clock(time.time, time.monotonic, kernel_clock),
            settings.writer_limits,
            key_source=settings.key_source,
            observer=observer,
            newest_checkpoint=settings.newest_checkpoint,
            witnessed=witnessed,
        )
    except _UNUSABLE as problem:
        raise CannotStart(str(problem)) from None
    except OSError as error:
        kind = NoRoom if is_full(error) else CannotStart
        raise kind(explained(error, settings.folders.audit)) from None


def _index(settings: AuditSettings, writer: Writer) -> IndexProcess:
    """It follows what is published; what is missing of it is caught up with while audit already serves."""
    folders = settings.folders
    try:
        folder = IndexFolder(folders.index, writer.provider)
    except OSError as error:
        raise CannotStart(explained(error, folders.index)) from None
    index = IndexProcess(
        {
            "journal": str(folders.journal),
            "tlog": str(folders.tlog),
            "index": str(folders.index),
            "vkey": writer.verifier_key,
            "kept_free_bytes": settings.min_free_mib * MIB,
        },
        folder,
        writer.custody.keys,
        lambda: writer.publisher.published,
        gives_way_seconds=settings.index_gives_way_seconds,
    )
    writer.records.known_span = index.span
    index.start()
    return index


async def _until_stopped(sequencer: Sequencer) -> None:
    signalled = asyncio.create_task(until_signalled())
    failed = asyncio.create_task(sequencer.failed.wait())
    await asyncio.wait((signalled, failed), return_when=asyncio.FIRST_COMPLETED)
    for task in (signalled, failed):
        task.cancel()
    if sequencer.failed.is_set():
        raise JournalFailed


if __name__ == "__main__":
    run("audit", AuditSettings, main)
