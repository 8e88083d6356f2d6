"""The guard's filter for the channels of one request's answer."""

from __future__ import annotations

import logging

from services.gateway.requests.channel import Channel
from services.gateway.requests.neighbours import FilterLost, Guard
from services.gateway.requests.outcome import Filtered
from services.gateway.requests.terms import Terms

log = logging.getLogger(__name__)


class Filtering:
    """Knows no choice and no answer: were they to hold each other, only the garbage collector would let go of what a
    request and its answer said."""

    def __init__(self, terms: Terms, policy_digest: bytes, guard: Guard) -> None:
        self._terms, self._policy, self._guard = terms, policy_digest, guard

    async def __call__(self, choice: int, channel: Channel, last: bool) -> Filtered:
        """What the guard makes of the text that waits; with `last` there is no more. A lost filter is fed again."""
        text, n = channel.take(), channel.pieces
        channel.pieces, channel.closed = n + 1, last
        piece = (self._terms.request_id, self._policy, n)
        place = (channel.name, choice)
        try:
            return await self._guard.filter(*piece, text, last, self._terms.deadline, None, *place)
        except FilterLost:
            log.info("the filter of request %s was lost; feeding it again", self._terms.request_id)
            return await self._guard.filter(
                *piece, channel.filtered, last, self._terms.deadline, channel.passed, *place
            )
