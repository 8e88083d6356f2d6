"""One round of scrapes at a time, every target at once. A target that hangs, lies or floods costs its own place only.

Ownership: everything here runs on the event loop; a round is over before the next begins.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from services.monitor.scraping.exposition import Problem, Reader, Unreadable
from services.monitor.windows.windows import Target, Windows

READY_EVERY_ROUNDS = 5
MAX_READY_BYTES = 4 * 1024
MAX_REASON_CHARACTERS = 200
# Compressed answers are not asked for: a small body could unfold into a large one.
HEADERS = {"accept": "text/plain;version=0.0.4", "accept-encoding": "identity", "user-agent": "strongroom-monitor"}


@dataclass(frozen=True, kw_only=True)
class ScrapeLimits:
    timeout_seconds: float = 1.5  # connecting, waiting and reading together; under the interval
    max_bytes: int = 4 * 1024 * 1024
    max_series: int = 2_000
    starting_seconds: float = 60.0  # who has never answered may be loading a model: it is not down yet


@dataclass(kw_only=True)
class Standing:
    """What is known of a target besides its samples."""

    reader: Reader
    since: float  # from when on it is asked
    problem: str = ""  # of the last scrape
    ready: bool | None = None
    reason: str = ""


class Scraper:
    """Puts what targets show into the windows."""

    def __init__(
        self,
        targets: Sequence[Target],
        windows: Windows,
        limits: ScrapeLimits,
        client: httpx.AsyncClient,
        started: float,
    ) -> None:
        self._windows, self._limits, self._client = windows, limits, client
        self.targets: dict[Target, Standing] = {}
        self.ask_instead(targets, started)
        self._rounds = 0
        self.scrapes = 0  # that succeeded
        self.failures: Counter[str] = Counter()
        self.bytes = 0

    def ask_instead(self, targets: Sequence[Target], at: float) -> None:
        """From now on these. Whoever is among them already keeps its standing; of the others nothing is kept."""
        for gone in self.targets.keys() - set(targets):
            self._windows.drop(gone)
        self.targets = {target: self.targets.get(target) or self._unknown(at) for target in targets}

    def _unknown(self, at: float) -> Standing:
        return Standing(reader=Reader(self._windows.names, self._limits.max_series), since=at)

    async def round(self, at: float) -> None:
        """Asks everybody once. All samples of a round have its time."""
        ask_ready = self._rounds % READY_EVERY_ROUNDS == 0
        self._rounds += 1
        await asyncio.gather(*(self._visit(target, at, ask_ready) for target in self.targets))

    async def _visit(self, target: Target, at: float, ask_ready: bool) -> None:
        standing = self.targets[target]
        was_down = bool(standing.problem)
        try:
            samples = standing.reader.read(await self._get(target, "/metrics", self._limits.max_bytes))
            if not self._windows.answered(target, at, samples):
                raise Unreadable(Problem.TOO_MANY_SERIES)
        except Unreadable as unreadable:
            self._count_failure(target, at, unreadable.problem)
            return
        standing.problem = ""
        self.scrapes += 1
        if ask_ready or was_down or not standing.ready:
            await self._ask_ready(target, standing)

    def _count_failure(self, target: Target, at: float, problem: Problem) -> None:
        self.failures[problem] += 1
        standing = self.targets[target]
        standing.problem, standing.ready, standing.reason = problem, None, ""
        if self._windows.last_ok(target) is not None or at - standing.since >= self._limits.starting_seconds:
            self._windows.failed(target, at)

    async def _get(self, target: Target, path: str, max_bytes: int, *, any_status: bool = False) -> bytes:
        try:
            async with asyncio.timeout(self._limits.timeout_seconds):
                async with self._client.stream("GET", f"http://{target.instance}{path}", headers=HEADERS) as reply:
                    if reply.status_code != 200 and not any_status:
                        raise Unreadable(Problem.STATUS)
                    return await self._read(reply, max_bytes)
        except TimeoutError:
            raise Unreadable(Problem.TIMEOUT) from None
        except httpx.TransportError as error:
            timed_out = isinstance(error, httpx.TimeoutException)
            raise Unreadable(Problem.TIMEOUT if timed_out else Problem.REFUSED) from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise Unreadable(Problem.GARBAGE) from None

    async def _read(self, reply: httpx.Response, max_bytes: int) -> bytes:
        """Raw: what an answer claims to be encoded with is not unfolded. One that is too long is cut off, unread."""
        body = bytearray()
        async for piece in reply.aiter_raw():
            self.bytes += len(piece)
            body += piece
            if len(body) > max_bytes:
                raise Unreadable(Problem.TOO_LARGE)
        return bytes(body)

    async def _ask_ready(self, target: Target, standing: Standing) -> None:
        """What a service says of itself, for people; no rule goes by it."""
        try:
            said = json.loads(await self._get(target, "/readyz", MAX_READY_BYTES, any_status=True))
            ready, reason = said["ready"], said["reason"]
        except (Unreadable, ValueError, KeyError, TypeError, RecursionError):
            standing.ready, standing.reason = None, ""
            return
        standing.ready = ready if isinstance(ready, bool) else None
        standing.reason = reason[:MAX_REASON_CHARACTERS] if isinstance(reason, str) else ""


def http_client() -> httpx.AsyncClient:
    """Keeps one connection a target; follows nobody elsewhere, and takes no proxy from the environment."""
    limits = httpx.Limits(max_connections=128, max_keepalive_connections=128, keepalive_expiry=20)
    return httpx.AsyncClient(limits=limits, trust_env=False, follow_redirects=False, timeout=None)
