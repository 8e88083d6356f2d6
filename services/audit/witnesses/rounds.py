"""Asks the witnesses, round after round, behind the log's back: nothing that is appended waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.audit.log.note import SignedCheckpoint
from services.audit.witnesses.asking import Answer, Asking, NotCosigned, Post, Prove
from services.audit.witnesses.cosignatures import Cosignature
from services.audit.witnesses.kept import cosigned
from services.audit.witnesses.policy import WitnessPolicy

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # at most one round in this time
RETRY_SECONDS = 10.0  # a witness that did not cosign is asked again after so long, and holds up no other till then
LAST_SECONDS = 2.0  # what the round after the last checkpoint may take


@dataclass
class Standing:
    """How it is with one witness. `cosigned_seconds`: when it last cosigned, or when asking it began, by our clock."""

    asking: Asking
    cosigned_seconds: float
    asked_at: float = float("-inf")
    answer: Answer | None = None

    @property
    def name(self) -> str:
        return self.asking.witness.name

    @property
    def failed(self) -> bool:
        return self.answer not in (None, Answer.COSIGNED)


@dataclass(frozen=True)
class Log:
    """What is asked of the log itself."""

    published: Callable[[], SignedCheckpoint | None]
    prove: Prove
    keep: Callable[[SignedCheckpoint], None]  # may wait for the disk


class Rounds:
    """Owned by the event loop. `answered` is told of every answer."""

    def __init__(
        self,
        policy: WitnessPolicy,
        log: Log,
        post: Post,
        clock: Callable[[], float],
        refresh_seconds: float,
    ) -> None:
        self._policy, self._log, self._post, self._clock = policy, log, post, clock
        self._refresh_seconds = refresh_seconds
        self.answered: Callable[[str, Answer], None] = lambda name, answer: None
        self.standings = [Standing(Asking(each), clock()) for each in policy.witnesses.values()]
        self._asked_size, self._asked_at = -1, float("-inf")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """On the way out the last checkpoint is cosigned too, if that is quick."""
        task = asyncio.create_task(self._look(), name="asking the witnesses")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            try:
                async with asyncio.timeout(LAST_SECONDS):
                    await self.look()
            except TimeoutError:
                log.warning("the last checkpoint was not cosigned before the end")

    async def _look(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:  # a bug, or a disk that takes nothing: the log goes on, and the alert tells
                log.exception("the witnesses could not be asked, or what they said not be kept; trying again")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """A round if there is a newer checkpoint, if the last was long ago, or if somebody is to be asked again."""
        signed = await asyncio.to_thread(self._log.published)
        if signed is None:
            return
        now = self._clock()
        again = [each for each in self.standings if each.failed and now >= each.asked_at + RETRY_SECONDS]
        if not again and signed.size <= self._asked_size and now < self._asked_at + self._refresh_seconds:
            return
        due = [*again, *(each for each in self.standings if not each.failed)]
        self._asked_size, self._asked_at = signed.size, now
        answers = await asyncio.gather(*(self._ask(each, signed) for each in due))
        given = {each.name: answer for each, answer in zip(due, answers) if answer}
        if given and self._policy.met_by(given):
            await asyncio.to_thread(self._log.keep, cosigned(signed, given.values()))

    async def _ask(self, standing: Standing, signed: SignedCheckpoint) -> Cosignature | None:
        standing.asked_at = self._clock()
        cosignature = None
        try:
            cosignature = await standing.asking.ask(signed, self._log.prove, self._post)
            answer, standing.cosigned_seconds = Answer.COSIGNED, self._clock()
        except NotCosigned as refused:
            answer = refused.answer
        if answer is not standing.answer:
            _say(standing.name, standing.answer, answer)
        standing.answer = answer
        self.answered(standing.name, answer)
        return cosignature


def _say(name: str, before: Answer | None, now: Answer) -> None:
    if now is Answer.COSIGNED:
        log.info("witness %s cosigns%s", name, " again" if before else "")
    elif now is Answer.SILENT:
        log.warning("witness %s did not cosign: %s", name, now.value)
    else:
        log.error("witness %s refuses this log: %s", name, now.value)
