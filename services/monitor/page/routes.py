"""The site over HTTP, for its readers and nobody else."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.monitor.page.assets import assets
from services.monitor.page.live import Streams
from services.monitor.page.readers import LOOPBACK
from services.monitor.page.site import OVERVIEW, TRACES, Site
from services.monitor.page.visit import Visit

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
RETRY_SECONDS = 5
HEADERS = {
    # Only what the monitor itself serves is loaded and run, and nobody frames it. Style attributes place bars.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
FOREVER = "max-age=31536000, immutable"


def page_routes(site: Site, streams: Streams, readers: frozenset[str] = LOOPBACK) -> list[Mount]:
    """Everything under `/` that no route before it takes. `readers`: the addresses that they come from."""
    served = Served(site)
    routes = [
        Route("/", served.overview),
        Route("/traces", served.traces),
        Route("/traces/{id}", served.trace),
        Route("/live", LiveEndpoint(site, streams), methods=["GET"]),
        Route("/assets/{name:path}", asset),
        Route("/{rest:path}", served.nothing),
    ]
    return [Mount("", routes=routes, middleware=[Middleware(ReadersOnly, site=site, readers=readers)])]


class ReadersOnly:
    """Refuses callers from elsewhere, and names that are not a machine's own."""

    def __init__(self, app: ASGIApp, site: Site, readers: frozenset[str]) -> None:
        self._app, self._site, self._readers = app, site, readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        app = self._app
        if not may_read(request, self._readers):
            app = HTMLResponse(self._site.message("local_only", _visit(request)), status_code=403)
        await app(scope, receive, send_with_headers)


def may_read(request: Request, readers: frozenset[str]) -> bool:
    """The Host header too: a web site that resolves its own name to 127.0.0.1 comes from a local browser."""
    host = (request.url.hostname or "").lower()
    return (request.client.host if request.client else "") in readers and host in LOOPBACK_NAMES


class Served:
    """The pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def overview(self, request: Request) -> Response:
        return HTMLResponse(self._site.overview(_visit(request)))

    async def traces(self, request: Request) -> Response:
        return HTMLResponse(self._site.traces(_visit(request)))

    async def trace(self, request: Request) -> Response:
        visit = _visit(request)
        page = self._site.trace(request.path_params["id"], visit)
        return HTMLResponse(page) if page else HTMLResponse(self._site.message("no_such_trace", visit), 404)

    async def nothing(self, request: Request) -> Response:
        return HTMLResponse(self._site.message("no_such_page", _visit(request)), status_code=404)


async def asset(request: Request) -> Response:
    found = assets().get(request.path_params["name"])
    if found is None:
        return PlainTextResponse("no such file", status_code=404)
    current = request.query_params.get("v") == found.version
    headers = {"cache-control": FOREVER} if current else {}
    return Response(found.content, media_type=found.media_type, headers=headers)


class LiveEndpoint:
    """An ASGI application: the stream holds its place from the first byte to the last."""

    def __init__(self, site: Site, streams: Streams) -> None:
        self._site, self._streams = site, streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        refused = self._refused(request)
        if refused or request.method == "HEAD":
            await (refused or Response(media_type="text/event-stream"))(scope, receive, send)
            return
        with self._streams.place():
            visit, at = _visit(request), request.query_params.get("page", OVERVIEW)
            events = self._streams.events(lambda: self._site.view(at, visit))
            await StreamingResponse(events, media_type="text/event-stream")(scope, receive, send)

    def _refused(self, request: Request) -> Response | None:
        # A page of another site may not read a stream, but it could hold all places.
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return PlainTextResponse("this stream is for the monitor's own pages", status_code=403)
        if request.query_params.get("page", OVERVIEW) not in (OVERVIEW, TRACES):
            return PlainTextResponse(f"page: must be {OVERVIEW} or {TRACES}", status_code=400)
        if self._streams.full:
            said = f"as many pages are open as the monitor serves: close one, or try again in {RETRY_SECONDS} s"
            return PlainTextResponse(said, status_code=503, headers={"retry-after": str(RETRY_SECONDS)})
        return None


def _visit(request: Request) -> Visit:
    accepted = request.headers.get("accept-language", "")
    return Visit.of(request.url.path, request.query_params.get("lang", ""), accepted)
