"""Steps an engine until nothing is left, and reads what it told."""

from __future__ import annotations

import time

from services.inference.engine.protocol import Engine, StepOutput, Work

PATIENCE_SECONDS = 120.0


def finish(engine: Engine, *works: Work, patience: float = PATIENCE_SECONDS) -> dict[str, list[StepOutput]]:
    """Admits the works beside what it holds already."""
    for one in works:
        engine.prepare(one)
        engine.admit(one)
    outputs: dict[str, list[StepOutput]] = {}
    over = time.monotonic() + patience
    while engine.live():
        assert time.monotonic() < over, "it does not end"
        for output in engine.step():
            outputs.setdefault(output.request_id, []).append(output)
    return outputs


def tokens(outputs: list[StepOutput]) -> list[int]:
    return [token for output in outputs for token in output.token_ids]


def text(outputs: list[StepOutput]) -> str:
    return "".join(output.text for output in outputs)
