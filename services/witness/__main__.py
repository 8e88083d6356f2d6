"""Runs a witness: `python -m services.witness`, or `strongroom witness`."""

from __future__ import annotations

import asyncio
import logging
import time

from chassis.disk import explained
from chassis.server import until_signalled
from chassis.start import CannotStart, run
from chassis.web import serving_http
from services.witness.key import CosigningKey, open_key
from services.witness.memory import Memory
from services.witness.metrics import WitnessMetrics
from services.witness.routes import routes
from services.witness.settings import WitnessSettings
from services.witness.witness import Witness

log = logging.getLogger(__name__)


async def main(settings: WitnessSettings) -> None:
    key, memory = await asyncio.to_thread(_open, settings)
    try:
        metrics = WitnessMetrics()
        metrics.watch(memory)
        served = [metrics.route(), *routes(Witness(key, memory, time.time), memory, metrics)]
        async with serving_http(settings.own_address, lambda: "", served):
            log.info("witness %s listens on %s and knows %d logs", key.name, settings.own_address, len(memory.logs))
            await until_signalled()
    finally:
        memory.close()


def _open(settings: WitnessSettings) -> tuple[CosigningKey, Memory]:
    folder = settings.folder.expanduser()
    try:
        return open_key(folder, settings.name), Memory(folder)
    except OSError as error:
        raise CannotStart(explained(error, folder)) from None


if __name__ == "__main__":
    run("witness", WitnessSettings, main)
