"""A small adapter on disk, what audit is told of it, and an operator's calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from strongroom.inference.v1 import inference_pb2 as pb

from chassis.failures import Unavailable

OPERATOR = (("authorization", "Bearer operator-token"),)


def saved(home: Path, name: str, *, seed: int) -> None:
    import torch
    from safetensors.torch import save_file

    folder = home / "adapters" / name
    folder.mkdir(parents=True)
    path = "base_model.model.model.layers.1.self_attn.v_proj.lora_"
    numbers = torch.Generator().manual_seed(seed)
    made = {side: torch.randn(shape, generator=numbers) for side, shape in (("A", (4, 96)), ("B", (32, 4)))}
    save_file({f"{path}{side}.weight": each for side, each in made.items()}, folder / "adapter_model.safetensors")
    said = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "firm/base"}
    (folder / "adapter_config.json").write_text(json.dumps(said))


class Acts:
    """Keeps what is recorded, or is away; takes its time where `answering` is cleared."""

    def __init__(self) -> None:
        self.recorded: list[tuple[str, str, dict[str, str]]] = []
        self.away = False
        self.asked, self.answering = asyncio.Event(), asyncio.Event()
        self.answering.set()

    async def record(self, action: str, target: str, detail: dict[str, str]) -> None:
        self.asked.set()
        await self.answering.wait()
        if self.away:
            raise Unavailable("audit is away", reason="AUDIT_UNAVAILABLE", retry_after_seconds=1)
        self.recorded.append((action, target, detail))

    @asynccontextmanager
    async def undecided(self, change: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
        """Inside, the change waits for audit's answer."""
        self.asked.clear()
        self.answering.clear()
        task = asyncio.create_task(change)
        await asyncio.wait_for(self.asked.wait(), 30)
        yield task
        self.answering.set()
        await asyncio.wait([task])


async def load(service: Any, name: str, **fields: Any) -> pb.Adapter:
    answer = await service.LoadAdapter(pb.LoadAdapterRequest(name=name, **fields), metadata=OPERATOR)
    found: pb.Adapter = answer.adapter
    return found


async def listed(service: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """Names of what is loaded, and what is left out with the reason."""
    found = await service.ListAdapters(pb.ListAdaptersRequest(), metadata=OPERATOR)
    return [one.name for one in found.adapters], [(one.name, one.reason) for one in found.left_out]


async def unload(service: Any, name: str) -> None:
    await service.UnloadAdapter(pb.UnloadAdapterRequest(name=name), metadata=OPERATOR)
