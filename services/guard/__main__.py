"""The guard's composition root: `python -m services.guard`."""

from __future__ import annotations

import logging
import time
from contextlib import AsyncExitStack

from strongroom.guard.v1 import guard_pb2_grpc as rpc

from chassis.disk import MIB, require_room
from chassis.identity import load_credentials, service_token
from chassis.server import Health, serving, until_signalled
from chassis.span_export import export_spans
from chassis.start import CannotStart, run
from chassis.web import serving_http
from services.guard.metrics import GuardMetrics
from services.guard.policy.loading import InvalidPolicy, load_bundle
from services.guard.policy.open_filters import OpenFilters
from services.guard.policy.shelf import PolicyShelf
from services.guard.redaction.named import model as names
from services.guard.reloading import PolicyFile, reloading
from services.guard.servicer import ALLOWED, NAME, GuardServicer
from services.guard.settings import GuardSettings
from streams.seal import KeyUnusable, load_key

log = logging.getLogger(__name__)

KEPT_POLICY_BYTES = MIB  # a policy is far smaller


async def main(settings: GuardSettings) -> None:
    known = load_credentials(settings.keys_folder)
    require_room(settings.kept_policies, KEPT_POLICY_BYTES)
    try:
        token_key = load_key(settings.keys_folder / "token")  # whether or not this policy has tokens: the next may
        bundle = load_bundle(settings.policy_file)
    except (InvalidPolicy, KeyUnusable) as invalid:
        raise CannotStart(str(invalid)) from None
    names.load()  # else the first request waits for it, and a damaged one is found only then
    shelf = PolicyShelf(bundle, settings.kept_policies, time.time)
    filters = OpenFilters(shelf, settings.max_filters, settings.filter_idle_seconds, time.monotonic)
    metrics = GuardMetrics()
    servicer = GuardServicer(shelf, filters, token_key, settings.max_long_texts, metrics.replied)
    health = Health()
    file = PolicyFile(settings.policy_file, shelf, health)
    metrics.watch(shelf, filters, file)
    async with AsyncExitStack() as opened:
        opened.callback(export_spans("guard", settings.traces, service_token(settings.keys_folder, "guard")))
        address, http = settings.address("guard"), settings.http_address("guard")
        await opened.enter_async_context(serving_http(http, lambda: health.reason, [file.route(), metrics.route()]))
        await opened.enter_async_context(
            serving(
                address,
                lambda server: rpc.add_GuardServiceServicer_to_server(servicer, server),
                known=known,
                allowed=ALLOWED,
                health=health,
                reflected=[NAME] if settings.reflection else [],
            )
        )
        await opened.enter_async_context(reloading(file))
        await file.tell()
        await health.ready()
        log.info("guard listens on %s with policy %s (%s)", address, bundle.name, bundle.digest.hex())
        await until_signalled()


if __name__ == "__main__":
    run("guard", GuardSettings, main)
