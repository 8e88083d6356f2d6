"""JSON lines on standard error. They carry ids, never content: of an exception, its type and where it arose."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

from chassis.tracing import here

log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """One JSON object a line. An exception's own text is left out: it may quote a prompt."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "pid": os.getpid(),
            "event": record.getMessage(),
        }
        if place := here():
            line["trace_id"] = place.trace.id
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__qualname__
            line["frames"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])[-8:]
            ]
        return json.dumps(line, ensure_ascii=False)


def log_as_json(service: str, level: int = logging.INFO) -> None:
    """Makes the root logger write JSON lines; called once, by `__main__`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("opentelemetry", "uvicorn", "asyncio", "grpc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log_loop_errors(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An event loop's exception handler. The standard one writes the exception itself into the message."""
    log.error("%s", context.get("message", "an event loop failed"), exc_info=context.get("exception"))
