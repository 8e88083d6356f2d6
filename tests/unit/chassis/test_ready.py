"""The health check of a container: whether the service in it takes work, and why not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chassis.ready import main, unready
from chassis.settings import HTTP_OFFSET, PORT_OFFSETS

HOST = "127.0.0.77"  # an address of its own, where nobody else has these ports
ENVIRON = {"STRONGROOM_BIND": HOST}
Listen = Callable[..., None]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """`listen("audit", 503, "reading the journal")`: a service whose /readyz says that."""
    servers: list[ThreadingHTTPServer] = []

    def start(service: str, status: int = 200, reason: str = "", body: bytes | None = None) -> None:
        said = body if body is not None else json.dumps({"ready": status == 200, "reason": reason}).encode()

        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/readyz" else 404)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        servers.append(ThreadingHTTPServer((HOST, 7400 + PORT_OFFSETS[service] + HTTP_OFFSET), Answering))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_service_that_takes_work_is_healthy(listen: Listen, capsys: pytest.CaptureFixture[str]) -> None:
    listen("audit")
    assert main(["audit"], ENVIRON) == 0
    assert capsys.readouterr().out == "ready\n"


def test_one_that_does_not_says_why(listen: Listen, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails if any answer counts as healthy."""
    listen("audit", 503, "reading the journal")
    assert main(["audit"], ENVIRON) == 1
    assert capsys.readouterr().out == "audit: reading the journal\n"


def test_one_that_does_not_listen_is_not_healthy() -> None:
    assert unready(["gateway"], ENVIRON) == f"gateway does not listen on {HOST} yet"
    assert main([], ENVIRON) == 1


def test_unnamed_it_is_the_service_that_listens_here(listen: Listen) -> None:
    listen("guard")
    assert main([], ENVIRON) == 0
    listen("monitor", 503, "starting")
    assert main([], ENVIRON) == 1, "of several each has to take work"


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"{}", b'{"reason": "' + b"x" * 10_000])
def test_an_answer_that_is_none_is_not_healthy(listen: Listen, body: bytes) -> None:
    listen("inference", 503, body=body)
    assert "gave no answer to /readyz" in unready(["inference"], ENVIRON)


@pytest.mark.parametrize("bind", ["0.0.0.0", "127.0.0.1"])
def test_what_is_bound_everywhere_is_asked_on_loopback(bind: str) -> None:
    assert "127.0.0.1" in unready(["gateway"], {"STRONGROOM_BIND": bind, "STRONGROOM_PORT_BASE": "1"})


def test_another_port_base_is_respected(listen: Listen) -> None:
    listen("gateway")
    assert unready(["gateway"], {**ENVIRON, "STRONGROOM_PORT_BASE": "7500"}) != ""


def test_no_such_service_is_a_wrong_call() -> None:
    assert main(["tuner"], ENVIRON) == 2
