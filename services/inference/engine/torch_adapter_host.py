"""Adapters put in place between steps, each tried on a probe prompt before a request may name it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from services.inference.engine.adapters import AdapterInfo, AdapterInUse, AdapterRefused
from services.inference.engine.batch import Segment
from services.inference.engine.residency import Residency
from services.inference.engine.torch_adapters import Adapter, AdapterSet
from services.inference.engine.torch_runner import Runner

log = logging.getLogger(__name__)

PROBE = (1, 2, 3, 4, 5, 6, 7, 8)  # token ids that every vocabulary has; what they say does not matter


class TorchAdapterHost:
    """Owned by the engine's thread, as the engine is; only `read` may run on another."""

    def __init__(
        self,
        adapters: AdapterSet,
        runner: Runner,
        residency: Residency,
        *,
        free_slot: Callable[[], int],
        users: Callable[[str], int],
    ) -> None:
        """`free_slot` that no request holds, or EngineFull. `users`: how many live requests named an adapter."""
        self._adapters, self._runner, self._residency = adapters, runner, residency
        self._free_slot, self._users = free_slot, users

    def __contains__(self, name: str) -> bool:
        return name in self._adapters

    @property
    def loaded(self) -> tuple[AdapterInfo, ...]:
        return self._adapters.infos

    def read(self, name: str, folder: Path) -> Adapter:
        return self._adapters.read(name, folder)

    def load(self, read: Adapter) -> AdapterInfo:
        info = read.info
        if info.name in self._adapters:
            raise AdapterRefused(f"adapter {info.name} is loaded: unload it first")
        slot = self._free_slot()
        self._adapters.put(read)
        try:
            sound = self._sound(info.name, slot)
        except Exception as error:  # whatever it is, the adapter is not taken and the engine goes on
            log.error("adapter %s failed on the probe prompt: %s", info.name, type(error).__name__)
            sound = False
        if not sound:
            self._residency.clear(slot)
            self.unload(info.name)
            raise AdapterRefused(f"with adapter {info.name} a probe prompt has no finite answer: train it again")
        log.info("adapter %s: rank %d, %d layers, %s", info.name, info.rank, info.layers, info.digest)
        return info

    def _sound(self, name: str, slot: int) -> bool:
        """With the adapter a prompt's logits are numbers, and without it they are, bit for bit, what they were."""
        self._residency.wrote(slot, len(PROBE))
        before = self._runner.run([Segment(slot, 0, PROBE)])
        self._runner.follow(self._adapters)
        tried = self._runner.run([Segment(slot, 0, PROBE, adapter=name)])
        after = self._runner.run([Segment(slot, 0, PROBE)])
        return bool(torch.isfinite(tried).all()) and torch.equal(before, after)

    def unload(self, name: str) -> None:
        if users := self._users(name):
            raise AdapterInUse(name, users)
        self._adapters.drop(name)
        self._runner.follow(self._adapters)
