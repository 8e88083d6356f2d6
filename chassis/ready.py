"""Asks the services of this container whether they take work: `python -m chassis.ready [SERVICE]`, for health checks.

Standard library alone, and settings only as far as the address needs them: it runs every few seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Mapping, Sequence

from chassis.settings import HTTP_OFFSET, PORT_OFFSETS

ANSWER_SECONDS = 3.0
MAX_ANSWER_BYTES = 4096
SERVICES = ("gateway", "guard", "inference", "audit", "monitor")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what one binds to hear all, and what one calls then


def unready(services: Sequence[str], environ: Mapping[str, str]) -> str:
    """Why work is not taken, empty when it is. Of several services those that listen are judged."""
    bind = environ.get("STRONGROOM_BIND", "127.0.0.1")
    host, base = EVERYWHERE.get(bind, bind), int(environ.get("STRONGROOM_PORT_BASE", "7400"))
    answers = [
        (name, answer)
        for name in services
        if (answer := _ask(host, base + PORT_OFFSETS[name] + HTTP_OFFSET)) is not None
    ]
    if not answers:
        return f"{' or '.join(services)} does not listen on {host} yet"
    return "; ".join(f"{name}: {reason}" for name, reason in answers if reason)


def _ask(host: str, port: int) -> str | None:
    """The reason that /readyz gives; None when nobody listens."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        said = response.read(MAX_ANSWER_BYTES)
        if response.status == 200:
            return ""
        return str(json.loads(said)["reason"])
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return f"gave no answer to /readyz on port {port} within {ANSWER_SECONDS:g} s"
    finally:
        connection.close()


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    unknown = [name for name in arguments if name not in SERVICES]
    if unknown:
        print(f"no service {unknown[0]!r}: one of {', '.join(SERVICES)}", file=sys.stderr)
        return 2
    reason = unready(arguments or SERVICES, environ)
    print(reason or "ready")
    return 1 if reason else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], os.environ))
