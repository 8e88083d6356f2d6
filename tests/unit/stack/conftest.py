"""Trivial processes to supervise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stack.process import Plan


@pytest.fixture
def plan_for(tmp_path: Path) -> Callable[..., Plan]:
    """A plan that runs Python code; ready as soon as the file HOME/<name>.ready is there."""

    def make(name: str, code: str, **more: object) -> Plan:
        sign = tmp_path / f"{name}.ready"

        async def probe() -> str:
            return "" if sign.exists() else "no sign of it yet"

        return Plan(
            name=name,
            command=(sys.executable, "-c", f"from pathlib import Path; ready = Path({str(sign)!r})\n{code}"),
            environment={},
            log=tmp_path / f"{name}.log",
            probe=probe,
            **more,  # type: ignore[arg-type]
        )

    return make
