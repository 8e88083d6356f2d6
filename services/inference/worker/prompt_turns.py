"""Answers to one prompt on one worker: the first computes the prompt, the others then find it in the prefix cache."""

from __future__ import annotations

from services.inference.engine.protocol import Work
from services.inference.worker.run import Run
from streams.jobs import request_of


class PromptTurns:
    """Who computes a request's prompt now, and who waits for that. Prompts that share nothing have no turns."""

    def __init__(self) -> None:
        self._leading: dict[str, str] = {}  # request → the job
        self._behind: dict[str, list[tuple[Run, Work]]] = {}  # by the leading job

    @property
    def waiting_cost(self) -> int:
        """Of those that wait: the engine does not know of them yet."""
        return sum(run.cost for behind in self._behind.values() for run, _ in behind)

    def waits(self, run: Run, work: Work) -> bool:
        """Whether it is kept here until `passed` tells of it. If not, it leads."""
        if not work.prefix_scope:
            return False
        leader = self._leading.setdefault(request_of(run.request_id), run.request_id)
        if leader == run.request_id:
            return False
        self._behind.setdefault(leader, []).append((run, work))
        return True

    def passed(self, run: Run) -> list[tuple[Run, Work]]:
        """It has its first token, or has left: those that waited for that."""
        request = request_of(run.request_id)
        leader = self._leading.get(request, "")
        if leader != run.request_id:
            behind = self._behind.get(leader, [])
            behind[:] = [(other, work) for other, work in behind if other is not run]
            return []
        del self._leading[request]
        return self._behind.pop(leader, [])
