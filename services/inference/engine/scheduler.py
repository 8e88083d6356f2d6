"""What runs this step: who gets a slot, whose prompt goes on by how much, who gives way. No clock, no model.

A request waits, runs, and leaves; `plan` alone moves it on. It runs with all the KV that it can come to need reserved,
so what runs never runs out of it. What is waited for:

    most urgent class first; a class' patience over, a request counts as one class more urgent, and so on up
    who does not fit now is passed by (skipped), until its patience is over: then what gets free is kept for it
    who needs over half the arena goes after the others until its patience is over, counted from the last such one,
        so that many of them and the others take turns
    who has waited its patience in vain makes requests of lesser classes give way, each of them once at most
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

# By class, the most urgent first; what people notice, as in worker/turns.py.
PATIENCE_NS = (1_000_000_000, 5_000_000_000, 30_000_000_000)
MOST_PASSED_BY = 4  # waiting requests that do not fit; with more of them the engine takes no others


class Request(Protocol):
    """What the scheduler reads. It changes none of it but through the engine."""

    @property
    def rank(self) -> int:
        """Of its class, 0 the most urgent."""

    @property
    def arrival(self) -> int:
        """A number that grows from request to request."""

    @property
    def arrived_ns(self) -> int: ...

    @property
    def deadline_ns(self) -> int:
        """By the same clock. 0: none."""

    @property
    def need(self) -> int:
        """Tokens of KV: its prompt and the longest answer that it may give."""

    @property
    def pending(self) -> int:
        """Tokens to run until its next one can be chosen. 1: it decodes; more: a prompt."""


R = TypeVar("R", bound=Request)


@dataclass(slots=True)
class Plan(Generic[R]):
    """To be carried out in this order: `expired` and `preempted` leave their slots, `admitted` get one, `parts` run."""

    expired: list[R] = field(default_factory=list)  # gone
    preempted: list[R] = field(default_factory=list)  # wait again, and have to be prefilled again
    admitted: list[R] = field(default_factory=list)
    parts: list[tuple[R, int]] = field(default_factory=list)  # each with how many of its pending tokens


class Scheduler(Generic[R]):
    """Time is a parameter. Requests are told apart by identity."""

    def __init__(self, *, slots: int, tokens: int, grain: int = 1, patience_ns: tuple[int, ...] = PATIENCE_NS) -> None:
        """`grain`: tokens are reserved by so many, as memory comes."""
        self.slots, self.tokens, self._grain = slots, tokens // grain * grain, grain
        self._patience_ns = patience_ns
        self._running: list[R] = []  # by when they were admitted
        self._waiting: list[R] = []
        self._fresh = 0  # of the waiting, the last so many no plan has looked at
        self._reserved = 0
        self._since_ns: dict[int, int] = {}  # arrival → when it began to wait; again when it gave way
        self._gave_way: set[int] = set()  # arrivals
        self._requeued: set[int] = set()  # arrivals
        self._heavy_left_ns = 0
        self._slots_now = slots  # fewer, after memory did not suffice for those that ran, until one of them has left
        self._keeping = False  # what gets free is kept for somebody
        self._plans = 0
        self.preemptions = 0

    def __len__(self) -> int:
        return len(self._running) + len(self._waiting)

    @property
    def running(self) -> list[R]:
        return list(self._running)

    @property
    def waiting(self) -> list[R]:
        return list(self._waiting)

    @property
    def free_tokens(self) -> int:
        """What is reserved for nobody, those included who are about to get a slot."""
        fresh = self._waiting[len(self._waiting) - self._fresh :]
        return max(self.tokens - self._reserved - sum(map(self.reserves, fresh)), 0)

    @property
    def free_slots(self) -> int:
        """How many more to take on. None while room is kept for one who waits, or too many do."""
        if self._keeping or len(self._waiting) - self._fresh >= MOST_PASSED_BY:
            return 0
        return max(self._slots_now - len(self._running) - self._fresh, 0)

    @property
    def yields_to(self) -> int:
        """Requests of a rank below this one are taken on though no slot is free: somebody would give way to them."""
        if len(self._waiting) >= MOST_PASSED_BY:
            return 0
        return max((one.rank for one in self._running if one.arrival not in self._gave_way), default=0)

    def takes(self, rank: int) -> bool:
        return self.free_slots > 0 or rank < self.yields_to

    def reserves(self, request: R) -> int:
        """For a request, while it runs."""
        return -(-request.need // self._grain) * self._grain

    def add(self, request: R) -> None:
        assert request.need <= self.tokens, "more than the whole arena: refuse it"
        self._waiting.append(request)
        self._since_ns[request.arrival] = request.arrived_ns
        self._fresh += 1

    def remove(self, request: R, now_ns: int) -> None:
        """It has ended, at whatever stage."""
        self._gave_way.discard(request.arrival)
        self._requeued.discard(request.arrival)
        del self._since_ns[request.arrival]
        if request in self._running:
            self._leave(request, now_ns)
            self._slots_now = self.slots
            return
        place = self._waiting.index(request)
        self._fresh -= place >= len(self._waiting) - self._fresh
        del self._waiting[place]

    def requeue(self, request: R, now_ns: int) -> bool:
        """For one that runs and that memory did not suffice for: it runs again when another one has left, before any
        other does, and so in the end alone. False: it was alone."""
        if len(self._running) < 2:
            return False
        self._leave(request, now_ns)
        self._requeued.add(request.arrival)
        self._since_ns[request.arrival] = now_ns
        self._waiting.append(request)
        self._slots_now = len(self._running)
        return True

    def plan(self, now_ns: int, prompt_tokens: Callable[[int], int]) -> Plan[R]:
        """`prompt_tokens(d)`: how many tokens of prompts a step may carry beside `d` rows that decode."""
        plan: Plan[R] = Plan()
        self._expire(plan, now_ns)
        self._admit(plan, now_ns)
        self._choose_parts(plan, prompt_tokens)
        self._fresh = 0
        self._plans += 1
        self.check()
        return plan

    def check(self) -> None:
        """Slots held = requests that run; tokens reserved = the sum of their needs."""
        assert len(self._running) <= self.slots, "more requests run than there are slots"
        assert self._reserved == sum(map(self.reserves, self._running)) <= self.tokens, "tokens leaked"
        assert len({id(request) for request in self._running + self._waiting}) == len(self), "a request is held twice"
        assert len(self._since_ns) == len(self), "a request that left is remembered"
        assert self._gave_way | self._requeued <= self._since_ns.keys(), "a request that left is remembered"

    # Who leaves

    def _expire(self, plan: Plan[R], now_ns: int) -> None:
        plan.expired = [one for one in self._running + self._waiting if 0 < one.deadline_ns <= now_ns]
        for request in plan.expired:
            self.remove(request, now_ns)

    def _leave(self, request: R, now_ns: int) -> None:
        self._running.remove(request)
        self._reserved -= self.reserves(request)
        if self._heavy(request):
            self._heavy_left_ns = now_ns

    # Who gets a slot

    def _admit(self, plan: Plan[R], now_ns: int) -> None:
        self._keeping = False
        given_way: list[R] = []
        for request in sorted(self._waiting, key=lambda one: self._turn(one, now_ns)):
            due = self._due(request, now_ns)
            if not self._fits(request) and due:
                given_way += self._make_room(request, plan.admitted, now_ns)
            if self._fits(request):
                self._waiting.remove(request)
                self._running.append(request)
                self._reserved += self.reserves(request)
                plan.admitted.append(request)
            elif due:
                self._keeping = True
                break
        plan.preempted = given_way
        self._waiting += given_way

    def _fits(self, request: R) -> bool:
        return len(self._running) < self._slots_now and self.reserves(request) <= self.tokens - self._reserved

    def _turn(self, request: R, now_ns: int) -> tuple[bool, bool, int, int]:
        waited = now_ns - self._since_ns[request.arrival]
        urgency = max(request.rank - waited // self._patience(request), 0)
        after_others = self._heavy(request) and not self._due(request, now_ns)
        return request.arrival not in self._requeued, after_others, urgency, request.arrival

    def _due(self, request: R, now_ns: int) -> bool:
        if request.arrival in self._requeued:
            return True
        since_ns = max(self._since_ns[request.arrival], self._heavy_left_ns if self._heavy(request) else 0)
        return now_ns - since_ns >= self._patience(request)

    def _patience(self, request: R) -> int:
        return self._patience_ns[min(request.rank, len(self._patience_ns) - 1)]

    def _heavy(self, request: R) -> bool:
        return 2 * request.need > self.tokens

    def _make_room(self, request: R, spared: list[R], now_ns: int) -> list[R]:
        """The youngest of the lowest class give way, as few as suffice; none if all of them would not."""
        lesser = [
            one
            for one in self._running
            if one.rank > request.rank and one.arrival not in self._gave_way and one not in spared
        ]
        lesser.sort(key=lambda one: (one.rank, one.arrival))
        victims: list[R] = []
        free_slots, free = self._slots_now - len(self._running), self.tokens - self._reserved
        need = self.reserves(request)
        while lesser and (free_slots < 1 or free < need):
            victims.append(lesser.pop())
            free_slots, free = free_slots + 1, free + self.reserves(victims[-1])
        if free_slots < 1 or free < need:
            return []
        for victim in victims:
            self._leave(victim, now_ns)
            self._gave_way.add(victim.arrival)
            self._since_ns[victim.arrival] = now_ns
        self.preemptions += len(victims)
        return victims

    # Who runs this step

    def _choose_parts(self, plan: Plan[R], prompt_tokens: Callable[[int], int]) -> None:
        """One token of every row that decodes, then chunks of prompts as far as the budget goes."""
        plan.parts = [(request, 1) for request in self._running if request.pending == 1]
        prompts = [request for request in self._running if request.pending > 1]
        left = prompt_tokens(len(plan.parts)) if prompts else 0
        for request in self._prompt_order(prompts):
            count = min(request.pending, left)
            if not count:
                break
            plan.parts.append((request, count))
            left -= count

    def _prompt_order(self, prompts: Iterable[R]) -> list[R]:
        """Every other step the oldest is first, so that no one starves; else and after it, the most urgent class and in
        it who is nearest to its first token, so that short prompts stay quick."""
        order = sorted(prompts, key=lambda one: (one.rank, one.pending, one.arrival))
        if order and not self._plans % 2:
            oldest = min(order, key=lambda one: one.arrival)
            order.remove(oldest)
            order.insert(0, oldest)
        return order
