"""The verifier on a log behind a URL: what verifies, and that no server keeps it, fools it or sends it elsewhere."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from strongroom.verify import ALTERED, NOT_A_LOG, VERIFIES, Limits, NotALog, main, verify_home, verify_url

from tests.unit.verify.conftest import make_home

QUICK = Limits(answer_seconds=0.4, pauses=(0.0, 0.01, 0.01))


Answer = tuple[int, dict[str, str], bytes]


class Served:
    """A server of these files, and how often each was asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.asked = files, list[str]()
        self.url = ""
        self.instead: Callable[[str], Answer | None] = lambda name: None  # what to say without looking

    def answer(self, name: str) -> Answer:
        if (said := self.instead(name)) is not None:
            return said
        found = self.files.get(name)
        return (404, {}, b"{}") if found is None else (200, {}, found)


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.removeprefix("/logs/tlog/")
            served.asked.append(name)
            status, headers, body = served.answer(name)
            self.send_response(status)
            for each, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(each, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that hangs up is what is tested here."""

    with Server(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        served.url = f"http://127.0.0.1:{server.server_address[1]}/logs/tlog"
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


def files_of(home: Path) -> dict[str, bytes]:
    tlog = home / "audit" / "tlog"
    return {path.relative_to(tlog).as_posix(): path.read_bytes() for path in tlog.rglob("*") if path.is_file()}


@pytest.fixture
def served(made) -> Iterator[Served]:
    with serving(Served(files_of(made.home))) as server:
        yield server


def test_a_served_log_verifies_and_what_a_url_cannot_prove_is_said(made, served, capsys) -> None:
    assert main([served.url + "/", "--key", made.vkey, "--json"]) == VERIFIES
    told, home = json.loads(capsys.readouterr().out), verify_home(made.home)
    assert told["checkpoint"] == {"size": home.size, "root": home.root}
    assert told["entries"] == {kind: n for kind, n in sorted(home.entries.items()) if kind != "RELEASE"}
    assert told["what"] == "url" and "pinned" in told["key"] and told["bundles"] == 1 and told["tiles"] == 1
    assert any("does not serve the journal" in line and "RELEASE" in line for line in told["not_covered"])
    assert main([served.url]) == VERIFIES
    assert "key not pinned" in capsys.readouterr().out


def test_a_log_of_many_tiles_verifies_and_an_altered_one_is_named(tmp_path) -> None:
    """Over 256 entries there are full tiles, and one of a level above."""
    home = make_home(tmp_path, records=130, segment_bytes=1024 * 1024)
    with serving(Served(files_of(home.home))) as served:
        report = verify_url(served.url, home.vkey)
        assert (report.problems, report.tiles, report.bundles) == ([], 3, 2)
        for name, at, entry in [("tile/0/000", 40, 1), ("tile/1/000.p/1", 3, None), ("tile/entries/000", 150, 1)]:
            whole = served.files[name]
            served.files[name] = whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :]
            report = verify_url(served.url, home.vkey)
            assert report.exit_code == ALTERED
            assert entry in {problem.entry for problem in report.problems}
            served.files[name] = whole


def test_a_flipped_bit_in_any_served_byte_is_found(made, served) -> None:
    """Fails if the length before an entry is passed over: no hash covers that."""
    for name, whole in dict(served.files).items():
        if ".p/" in name and not name.endswith(f"/{verify_home(made.home).size}"):
            continue  # older partial tiles, for which nobody asks
        for at in [*range(0, len(whole), 101), 1, len(whole) - 1]:
            served.files[name] = whole[:at] + bytes((whole[at] ^ (1 << at % 8),)) + whole[at + 1 :]
            report = verify_url(served.url)
            assert report.exit_code == ALTERED, (name, at)
        served.files[name] = whole
    assert verify_url(served.url).exit_code == VERIFIES


def test_what_is_missing_is_named_once_and_not_asked_for_again(made, served) -> None:
    name = next(name for name in served.files if name.startswith(f"tile/0/000.p/{verify_home(made.home).size}"))
    del served.files[name]
    [problem] = verify_url(served.url).problems
    assert problem.file == name and "missing" in problem.what and served.asked.count(name) == 1


def test_a_log_that_grows_meanwhile_verifies(made, served) -> None:
    """A partial tile is dropped once the full one is there: its beginning is what is asked for."""
    size = verify_home(made.home).size
    for kind, unit in (("0", 32), ("entries", 100)):
        begun = served.files.pop(f"tile/{kind}/000.p/{size}")
        served.files[f"tile/{kind}/000"] = begun + bytes((256 - size) * unit)
    assert verify_url(served.url, made.vkey).exit_code == VERIFIES


def test_another_logs_key_or_checkpoint_is_refused(made, served, tmp_path) -> None:
    other = make_home(tmp_path, records=1)
    assert {each.file for each in verify_url(served.url, other.vkey).problems} == {"log.vkey", "checkpoint"}
    served.files["checkpoint"] = files_of(other.home)["checkpoint"]
    assert [problem.file for problem in verify_url(served.url, made.vkey).problems] == ["checkpoint"]


def test_a_checkpoint_that_was_kept_tells_a_log_that_was_cut_back(made, served, tmp_path) -> None:
    newer = (made.home / "audit" / "tlog" / "checkpoint").read_text()
    older = make_home(tmp_path, records=1)
    report = verify_url(served.url, made.vkey, kept=newer)
    assert report.exit_code == VERIFIES
    report = verify_url(served.url, made.vkey, kept=(older.home / "audit" / "tlog" / "checkpoint").read_text())
    assert "none of this log" in report.problems[0].what


@pytest.mark.parametrize(
    ("answer", "tries", "told"),
    [
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), 1, "a redirect, which is not followed"),
        ((403, {}, b""), 1, "status 403"),
        ((503, {}, b"x" * 100_000), 3, "status 503"),
        ((200, {"Content-Length": "1000"}, b"short"), 3, "cannot be read"),
    ],
)
def test_an_answer_that_is_none_ends_clearly(served, answer, tries, told) -> None:
    served.instead = lambda name: answer
    with pytest.raises(NotALog, match=told):
        verify_url(served.url, limits=QUICK)
    assert served.asked == ["checkpoint"] * tries


def test_a_server_that_fails_once_is_asked_again(made, served) -> None:
    served.instead = lambda name: (500, {}, b"") if len(served.asked) % 2 else None
    limits = replace(QUICK, answer_seconds=20)
    assert verify_url(served.url, made.vkey, limits=limits).exit_code == VERIFIES


def test_a_tile_of_too_many_bytes_is_not_read_to_its_end(made, served) -> None:
    name = f"tile/0/000.p/{verify_home(made.home).size}"
    served.files[name] += b"0"
    [problem] = verify_url(served.url).problems
    assert problem.file == name and "more than the" in problem.what


def test_nothing_is_asked_of_a_log_that_claims_to_be_too_large(served) -> None:
    with pytest.raises(NotALog, match="more than 3"):
        verify_url(served.url, limits=Limits(entries=3))
    assert not any(name.startswith("tile") for name in served.asked)


Talk = Callable[[socket.socket, threading.Event], None]  # with one who came, until the event


@contextmanager
def talking(talk: Talk) -> Iterator[str]:
    """A server that goes on talking until the end of the block, unless it is hung up on."""
    stopped = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(5)  # what is sent may be read by nobody
            connection.recv(4096)
            talk(connection, stopped)

    def welcome() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        welcoming = threading.Thread(target=welcome)
        welcoming.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/tlog"
        finally:
            stopped.set()
            listening.shutdown(socket.SHUT_RDWR)
            welcoming.join()


def _endless(connection: socket.socket, stopped: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not stopped.is_set():
        connection.sendall(bytes(65536))


def _dripping(before: bytes) -> Talk:
    def talk(connection: socket.socket, stopped: threading.Event) -> None:
        connection.sendall(before)
        while not stopped.wait(0.02):
            connection.sendall(b"a")

    return talk


TALKS: dict[str, Talk] = {
    "a body without end": _endless,
    "garbage": lambda connection, stopped: connection.sendall(b"\x00\xff\r\n\r\n" * 100),
    "a header, byte by byte": _dripping(b"HTTP/1.1 200 OK\r\nX: "),
    "a body, byte by byte": _dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
    "no answer at all": lambda connection, stopped: stopped.wait(60) and None,
    "the end": lambda connection, stopped: None,
    "headers without end": _dripping(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200),
}


@pytest.mark.parametrize("talk", TALKS)
def test_a_hostile_server_is_given_up_in_bounded_time_and_memory(talk) -> None:
    """Fails if only the socket's time-out counts, which begins anew with each byte."""
    with talking(TALKS[talk]) as url:
        try:
            assert verify_url(url, limits=QUICK).exit_code == ALTERED
        except NotALog as given_up:
            assert "cannot be read" in str(given_up)


@pytest.mark.parametrize(
    "url", ["http://", "http://user@127.0.0.1/", "http://127.0.0.1:x/", "https://127.0.0.1:1/?q", "http://[::1/"]
)
def test_what_is_no_url_of_a_log_is_refused(url, capsys) -> None:
    assert main([url]) == NOT_A_LOG
    assert "the URL of a log is" in capsys.readouterr().out


def test_nobody_there_ends_clearly(capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert main([f"http://127.0.0.1:{port}"]) == NOT_A_LOG
    assert "cannot be read" in capsys.readouterr().out
