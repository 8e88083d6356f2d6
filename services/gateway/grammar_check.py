"""Has grammars read in a process of their own: what keeps the library busy for too long is ended with it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from chassis.failures import InvalidArgument, ResourceExhausted, Unavailable

log = logging.getLogger(__name__)

READ_SECONDS = 2.0  # for one grammar; those in use take milliseconds
START_SECONDS = 20.0  # for the process itself, on a busy machine
MAX_WAITING = 32
SOUND_KEPT = 1024  # digests of grammars that were read and found sound
_CHILD = ("-m", "services.gateway.grammar_child")


class GrammarCheck:
    """One process, started at the first grammar, that reads one at a time. Owned by one event loop."""

    def __init__(self, *, read_seconds: float = READ_SECONDS, max_waiting: int = MAX_WAITING) -> None:
        self._read_seconds, self._max_waiting = read_seconds, max_waiting
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._sound: OrderedDict[bytes, None] = OrderedDict()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[GrammarCheck]:
        try:
            yield self
        finally:
            await self._end()

    async def check(self, kind: str, text: str, field: str) -> None:
        """Raises InvalidArgument naming `field` where it cannot be read, or not in time."""
        digest = hashlib.sha256(f"{kind}\0{text}".encode()).digest()
        if digest in self._sound:
            self._sound.move_to_end(digest)
            return
        if self._waiting >= self._max_waiting:
            raise ResourceExhausted(
                "too many grammars wait to be read", reason="TOO_MANY_GRAMMARS", retry_after_seconds=self._read_seconds
            )
        self._waiting += 1
        try:
            async with self._turn:
                fault = await self._fault(kind, text)
        finally:
            self._waiting -= 1
        if fault is None:
            raise InvalidArgument(
                f"{field} took more than {self._read_seconds:g} s to read: send a simpler one",
                field=field,
                reason="GRAMMAR_TOO_COMPLEX",
            )
        if fault:
            raise InvalidArgument(f"{field} cannot be used: {fault}", field=field, reason="GRAMMAR_REFUSED")
        self._sound[digest] = None
        if len(self._sound) > SOUND_KEPT:
            self._sound.popitem(last=False)

    async def _fault(self, kind: str, text: str) -> str | None:
        """None: it was not read in time. A caller who leaves meanwhile ends the process too: its answer would be the
        next one's."""
        process = self._process or await self._start()
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.dumps([kind, text]).encode() + b"\n")
            async with asyncio.timeout(self._read_seconds):
                answer = await process.stdout.readline()
        except TimeoutError:
            await self._end()
            return None
        except BaseException:
            await self._end()
            raise
        if not answer:  # it ran out of memory, or of stack
            await self._end()
            return None
        return str(json.loads(answer))

    async def _start(self) -> Process:
        # What the library says as it dies may quote a grammar: no log has it.
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *_CHILD, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
        )
        assert self._process.stdout
        try:
            async with asyncio.timeout(START_SECONDS):
                ready = await self._process.stdout.readline()
        except BaseException:
            await self._end()
            raise
        if not ready:
            await self._end()
            raise Unavailable(
                "grammars cannot be read just now", reason="GRAMMARS_UNAVAILABLE", retry_after_seconds=1.0
            )
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(process.wait())
