"""What is decided before openvino-genai is asked to open a model; it is not needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.inference.engine.opening import EngineSettings
from services.inference.engine.openvino_opening import open_openvino_engine, step_tokens
from services.inference.engine.openvino_pipeline import PipelineProcess
from services.inference.engine.protocol import EngineDied
from services.inference.models.wheel import ModelUnavailable


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"device": "cuda"}, "device"),
        ({"device": "npu"}, "device"),
        ({"device_map": "auto"}, "device_map"),
        ({"dtype": "int8"}, "dtype"),
        ({"quantization": "nf4"}, "quantization"),
    ],
)
def test_a_setting_that_it_cannot_follow_is_refused_by_name(
    settings: dict[str, str], field: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be"):
        open_openvino_engine(EngineSettings(engine="openvino", **settings), tmp_path, print)  # type: ignore[arg-type]


def test_a_model_that_is_not_converted_is_named_with_the_target_that_does_it(tmp_path: Path) -> None:
    settings = EngineSettings(engine="openvino", model="firm", quantization="int8")
    with pytest.raises(ModelUnavailable, match=r"firm\.openvino-int8.*make openvino NAME=firm QUANTIZATION=int8"):
        open_openvino_engine(settings, tmp_path, print)


@pytest.mark.parametrize(
    ("seconds", "settings", "tokens"),
    [
        (0.2, {}, 256),  # on time
        (0.24, {}, 256),  # within what a machine's speed jumps
        (0.8, {}, 64),
        (60.0, {}, 48),  # never less than rows that decode, and a little of a prompt
        (60.0, {"prefill_tokens": 100}, 116),
        (0.1, {"slots": 400}, 432),
    ],
)
def test_a_step_carries_what_its_target_allows(seconds: float, settings: dict[str, int], tokens: int) -> None:
    asked = EngineSettings(engine="openvino", **settings)  # type: ignore[arg-type]
    assert step_tokens(asked, seconds, tokens=256) == tokens


def test_a_process_that_ends_is_an_engine_that_died() -> None:
    process = PipelineProcess("/bin/false")
    with pytest.raises(EngineDied):
        process.turn([], [])
    process.close()
