"""How many prompt tokens a step may carry beside those who decode, so that it stays short for them."""

from __future__ import annotations

from copy import copy

_GRAIN = 8  # tokens; small changes of the measured speed do not change the chunk
_KEPT = 0.85  # of the weight of a step, with every step after it
_JUMP = 1.25  # a step so many times the expected one means a slower machine now, and counts at once; so does a faster
_FIXED_TOKENS = 16.0  # how many tokens a pass' fixed cost is worth, until steps of several sizes have shown it
_LEAST_SLOPE = 0.25  # of the mean cost of a token: long contexts make small steps slow, and tell nothing about it
_SPREAD = 0.2  # of the mean size: less, and the sizes of the steps are too alike to tell fixed cost from tokens
_LATE = 1.25  # a step so many times what it was to take was late
_LEAST_SHARE = 0.25  # of the target, after late steps
_CALM_PASSES = 16  # until a pass may carry twice as much again
_LEAST_PROMPTS = 0.5  # of the target: what prompts have of a step beside decode
_UNLIMITED = 1 << 30  # tokens
_RECOVERY = 0.05  # of what is missing of the share, a step on time
_RARE = 8  # steps since the last jump, or late one: the next stands alone


class PrefillBudget:
    """Learns what a step costs here by the tokens it carries, and fills what decode leaves of the target.

    On a machine whose speed jumps, a full target is often overrun: late steps halve what is aimed for, and steps on
    time give it back slowly. A step that was interrupted, and alone was slow, makes the next one short and no other:
    what is released to callers interrupts one in every ten or twenty. The size of a chunk changes no token
    (invariant 11).

    Where decode alone takes most of the target, steps grow beyond it, up to where they are late. Where it takes more
    than that leaves room for, no step can be on time, and prompts get as long as decode: a pass has a fixed cost, and
    crumbs of eight tokens would pay it for every crumb, while those who wait become more.
    """

    def __init__(self, target_ns: int, *, first: int = 32, most: int = 512, fixed: int = 0) -> None:
        self._target_ns = target_ns
        self._first = first
        self._most = most
        self._fixed = fixed  # at most so many prompt tokens a step; 0 = learn
        self._cost = _Cost()
        self._before: _Cost | None = None  # as it was before the last step, if that was a jump
        self._aimed_ns = float(target_ns)  # of the last step that was planned
        self._share = self._share_before = 1.0
        self._even = self._on_time = _RARE  # steps since the last jump, and since the last late one

    def prompt_tokens(self, decoding: int) -> int:
        """For all prompts together, beside so many rows that decode. Never 0, so that prompts are never starved."""
        if self._fixed or not self._cost.known:
            return self._fixed or self._first
        self._aimed_ns = self._aimed(self._target_ns, decoding)
        fitting = int(self._cost.tokens(self._aimed(self._target_ns * self._share, decoding))) - decoding
        return min(max(fitting // _GRAIN * _GRAIN, _GRAIN), self._most)

    def _aimed(self, target_ns: float, decoding: int) -> float:
        decode_ns = self._cost.ns(decoding)
        beside = decode_ns + _LEAST_PROMPTS * target_ns
        return max(target_ns, beside) if beside <= _LATE * target_ns else 2 * decode_ns

    def stepped(self, tokens: int, took_ns: int, *, prompt: bool) -> None:
        """A step of one pass over so many tokens; `prompt`: some were of prompts, so the step could be made shorter."""
        if self._before and not self._before.jumps(tokens, took_ns):
            self._cost = self._before
        jumps = self._cost.jumps(tokens, took_ns)
        self._before = copy(self._cost) if jumps and self._even >= _RARE else None
        self._even = 0 if jumps else self._even + 1
        self._cost.learn(tokens, took_ns)
        if prompt:
            self._late(took_ns)

    def _late(self, took_ns: int) -> None:
        if took_ns > _LATE * self._aimed_ns:
            halved = max(self._share / 2, _LEAST_SHARE)
            self._share_before = self._share if self._on_time >= _RARE else halved
            self._share, self._on_time = halved, 0
            return
        if not self._on_time:
            self._share = self._share_before
        self._on_time += 1
        self._share += (1 - self._share) * _RECOVERY


class PassLimit:
    """How many tokens one pass may carry, once memory did not suffice for more. It grows again pass by pass."""

    def __init__(self) -> None:
        self._most = self._failed = self._calm = 0
        self.times = 0  # that memory did not suffice

    @property
    def most(self) -> int:
        return self._most or _UNLIMITED

    def short(self, tokens: int) -> None:
        """Memory did not suffice for a pass of so many."""
        self.times += 1
        self._most, self._failed, self._calm = tokens // 2, max(self._failed, tokens), 0

    def went_well(self) -> None:
        self._calm += 1
        if self._most and self._calm >= _CALM_PASSES:
            self._most, self._calm = self._most * 2, 0
            if self._most >= self._failed:
                self._most = self._failed = 0


class _Cost:
    """Of a step: ns = fixed + each × tokens, by least squares over the last steps, the newest weighing most."""

    def __init__(self) -> None:
        self._weight = self._tokens = self._squares = self._ns = self._products = 0.0  # weighted sums
        self._fixed = self._each = 0.0

    @property
    def known(self) -> bool:
        return self._each > 0

    def tokens(self, ns: float) -> float:
        """How many fit."""
        return (ns - self._fixed) / self._each

    def jumps(self, tokens: int, ns: float) -> bool:
        """Whether such a step is of a slower machine than the one that this was learned of."""
        return self.known and ns > _JUMP * self.ns(tokens)

    def ns(self, tokens: int) -> float:
        """What a step over so many probably takes."""
        return self._fixed + self._each * tokens

    def learn(self, tokens: int, ns: float) -> None:
        slower = ns / self.ns(tokens) if self.known else 1.0
        if 1 / _JUMP <= slower <= _JUMP:
            slower = 1.0
        self._ns, self._products = self._ns * slower, self._products * slower
        for name, new in (
            ("_weight", 1.0),
            ("_tokens", tokens),
            ("_squares", tokens * tokens),
            ("_ns", ns),
            ("_products", ns * tokens),
        ):
            setattr(self, name, getattr(self, name) * _KEPT + new)
        self._fit()

    def _fit(self) -> None:
        tokens, ns = self._tokens / self._weight, self._ns / self._weight
        spread = self._squares / self._weight - tokens * tokens
        if spread > (_SPREAD * tokens) ** 2:
            slope = (self._products / self._weight - tokens * ns) / spread
            self._each = min(max(slope, _LEAST_SLOPE * ns / tokens), ns / tokens)
        else:  # the line keeps its form and goes through the mean
            worth = self._fixed / self._each if self._each else _FIXED_TOKENS
            self._each = ns / (tokens + worth)
        self._each = max(self._each, 1.0)  # a clock that stood still
        self._fixed = max(ns - self._each * tokens, 0.0)
