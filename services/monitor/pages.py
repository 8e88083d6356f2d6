"""The monitor's page, for people on this machine: recent traces, and each as a waterfall."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from services.monitor.markup import message_page, trace_list_page, trace_page
from services.monitor.traces.store import TraceStore

LISTED = 50
LOOPBACK_CLIENTS = frozenset({"127.0.0.1", "::1"})
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
HEADERS = {
    # Nothing is loaded, nothing runs, and nobody frames it: a page that shows what services reported.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

Page = Callable[[Request], Awaitable[HTMLResponse]]


def page_routes(store: TraceStore) -> Sequence[BaseRoute]:
    """Routes for the pages. They show ids and times to whoever sits at this machine, and to nobody else."""

    async def traces(request: Request) -> HTMLResponse:
        return HTMLResponse(trace_list_page(store.newest(LISTED), len(store), store.evicted))

    async def trace(request: Request) -> HTMLResponse:
        found = store.find(request.path_params["id"])
        if found is None:
            advice = "It may have made room for newer ones, or its spans are on their way: reload in a second."
            return HTMLResponse(message_page("No such trace", advice), status_code=404)
        return HTMLResponse(trace_page(found))

    return [Route("/", _local(traces)), Route("/traces/{id}", _local(trace))]


def _local(page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        # The Host header too: a web site that resolves its own name to 127.0.0.1 comes from a local browser.
        host = (request.url.hostname or "").lower()
        client = request.client.host if request.client else ""
        if client in LOOPBACK_CLIENTS and host in LOOPBACK_NAMES:
            response = await page(request)
        else:
            advice = "Open it on the machine that runs the monitor, as http://127.0.0.1, or through an SSH tunnel."
            response = HTMLResponse(message_page("This page is local", advice), status_code=403)
        response.headers.update(HEADERS)
        return response

    return guarded
