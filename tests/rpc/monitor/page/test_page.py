"""The page over HTTP: for this machine only, in the reader's language, live without end and within bounds."""

import asyncio
import json
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from chassis.web import serving_http
from services.monitor.page.assets import asset_address, assets
from services.monitor.page.routes import page_routes
from services.monitor.status.snapshot import ServiceState, Status, Traffic

TRACE_ID = "7" * 32
ROUTES = ["/", "/traces", "/traces/r-1", "/live", "/assets/page.css", "/nothing"]
PATIENCE = 60


@asynccontextmanager
async def stream(http, path="/live", **headers):
    """Yields a function that waits for the next event and gives what it says."""
    async with http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()

        async def next_view():
            async for line in lines:
                if line.startswith("data: "):
                    return json.loads(line.removeprefix("data: "))
            return None

        yield next_view


async def answered(http, path, **headers):
    """Status, headers and text; of a stream, which has no end, the first piece."""
    async with http.stream("GET", path, headers=headers) as answer:
        text = ""
        async for piece in answer.aiter_text():
            text += piece
            if answer.headers["content-type"].startswith("text/event-stream"):
                break
        return answer.status_code, answer.headers, text


async def first_that(next_view, wanted):
    async with asyncio.timeout(PATIENCE):
        while not wanted(view := await next_view()):
            pass
    return view


async def test_pages_show_traces_to_this_machine(http, traced):
    listed, one = await http.get("/traces"), await http.get(f"/traces/{TRACE_ID}")
    by_request, missing = await http.get("/traces/r-1"), await http.get("/traces/none")
    assert (listed.status_code, one.status_code, missing.status_code) == (200, 200, 404)
    assert f'href="/traces/{TRACE_ID}"' in listed.text and f'href="/traces/{TRACE_ID}"' in (await http.get("/")).text
    assert "guard 4242" in one.text and "screen" in by_request.text
    assert "No such trace" in missing.text


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("host", ["evil.example", "monitor.internal:7414", "127.0.0.1.evil.example"])
async def test_nothing_is_shown_under_another_name(path, host, http, traced):
    """A site whose name resolves to 127.0.0.1 would otherwise read it through a local browser."""
    status, _, text = await answered(http, path, host=host)
    assert status in (400, 403)
    assert TRACE_ID not in text and "screen" not in text and "retry:" not in text
    assert (await http.get("/healthz", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("path", ROUTES)
async def test_every_answer_forbids_what_the_monitor_does_not_serve(path, http, traced):
    async with http.stream("GET", path) as answer:
        policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "'unsafe-eval'" not in policy and "script-src 'self' 'unsafe-inline'" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_the_browsers_language_is_spoken_and_a_chosen_one_stays(http, traced):
    by_preference = await http.get("/traces", headers={"accept-language": "zh-CN,zh;q=0.9"})
    chosen = await http.get("/traces?lang=zh", headers={"accept-language": "en"})
    assert 'lang="zh-Hans"' in by_preference.text and "最近的请求" in chosen.text
    assert f"/traces/{TRACE_ID}?lang=zh" in chosen.text and "set-cookie" not in chosen.headers
    assert 'data-live="/live?page=traces&amp;lang=zh"' in chosen.text


async def test_what_a_page_loads_is_kept_by_browsers_until_it_changes(http):
    for name in assets():
        answer = await http.get(asset_address(name))
        assert (answer.status_code, answer.content) == (200, assets()[name].content)
        assert "immutable" in answer.headers["cache-control"]
    assert "immutable" not in (await http.get("/assets/page.css")).headers["cache-control"]
    for elsewhere in ("/assets/../site.py", "/assets/%2e%2e/site.py", "/assets/uplot/LICENSE", "/assets/"):
        assert (await http.get(elsewhere)).status_code == 404


async def test_a_stream_says_all_at_first_and_then_what_changes(http, shown):
    async with stream(http) as next_view:
        first = await next_view()
        assert first["whole"] and "banner" in first["blocks"] and "Nothing is known yet" in first["blocks"]["banner"]
        audit = ServiceState(service="audit", instance="127.0.0.1:7413", up=True, ready=True, age_seconds=0.1)
        busy = Status(time=time.time(), interval_seconds=60.0, services=[audit], traffic=Traffic(in_flight_requests=17))
        shown.status = lambda: busy
        later = await first_that(next_view, lambda view: "banner" in view["blocks"])
    assert "All well" in later["blocks"]["banner"] and later["title"] == "All well"
    assert '<b class="num">17</b>' in later["blocks"]["panel-requests_per_second"]
    assert "machine" not in later["blocks"] and not later["whole"]


async def test_a_stream_of_the_requests_shows_the_one_that_comes(http, shown, span):
    async with stream(http, "/live?page=traces&lang=zh") as next_view:
        assert "还没有链路到达" in (await next_view())["blocks"]["trace_list"]
        shown.store.add(span)
        view = await first_that(next_view, lambda view: view["blocks"])
    assert f"/traces/{TRACE_ID}?lang=zh" in view["blocks"]["trace_list"]


async def test_streams_are_bounded_and_a_place_is_free_once_its_reader_leaves(http):
    """Invariant 6."""
    async with AsyncExitStack() as readers:
        for _ in range(3):
            await (await readers.enter_async_context(stream(http)))()
        status, headers, text = await answered(http, "/live")
        assert (status, headers.get("retry-after")) == (503, "5")
        assert "close one" in text
        assert (await http.head("/live")).status_code == 503
        assert (await http.get("/")).status_code == 200
    async with asyncio.timeout(PATIENCE):
        while (await http.head("/live")).status_code != 200:
            await asyncio.sleep(0.05)
    async with stream(http) as next_view:
        assert (await next_view())["whole"]


async def test_a_page_of_another_site_can_hold_no_stream(http):
    for site in ("cross-site", "same-site"):
        assert (await answered(http, "/live", **{"sec-fetch-site": site}))[0] == 403
    async with stream(http, **{"sec-fetch-site": "same-origin"}) as next_view:
        assert await next_view()


@pytest.mark.parametrize("path", ["/live?page=", "/live?page=nothing"])
async def test_a_stream_of_no_page_is_refused_with_what_there_is(path, http):
    status, _, text = await answered(http, path)
    assert (status, text) == (400, "page: must be overview or traces")


async def test_a_reader_who_reads_nothing_costs_no_memory_and_harms_nobody(http, shown):
    """Invariant 6. Fails if events are made at the clock's pace in place of the reader's."""
    rounds = 0

    def much():
        nonlocal rounds
        rounds += 1
        many = [ServiceState(service="audit", instance=f"{rounds}-{n}" * 9, up=True, ready=True) for n in range(3_000)]
        return Status(time=time.time(), interval_seconds=2.0, services=many)

    shown.status = much
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.connect(("127.0.0.1", shown.port))
        silent.sendall(b"GET /live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        async with asyncio.timeout(PATIENCE), stream(http, "/live?page=traces") as next_view:
            made = -1
            while made != shown.site.asked["overview"] or made < 1:  # until none is made during twenty of another
                made = shown.site.asked["overview"]
                for _ in range(20):
                    assert await next_view()
    assert made < 100


async def test_streams_end_when_the_monitor_stops(http, shown):
    async with stream(http) as next_view:
        assert await next_view()
        shown.streams.stop()
        async with asyncio.timeout(PATIENCE):
            while await next_view() is not None:
                pass
    assert (await answered(http, "/live"))[0] == 503


async def test_who_is_no_reader_is_shown_nothing(shown):
    """Fails if `may_read` looks at the name alone: another container could read the page through its address."""
    routes = page_routes(shown.site, shown.streams, frozenset({"172.27.0.1"}))
    async with serving_http("127.0.0.1:0", lambda: "", routes) as port, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/")
    assert answer.status_code == 403 and "This page is local" in answer.text
