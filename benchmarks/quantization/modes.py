"""The modes that are measured, as settings of the engine, and what is measured of each."""

from __future__ import annotations

MODES = {
    "fp32": ("dtype=float32",),
    "bf16": ("dtype=bfloat16",),
    "int8": ("dtype=bfloat16", "quantization=int8"),
    "int8, fp32 between": ("dtype=float32", "quantization=int8"),
    "int4": ("dtype=bfloat16", "quantization=int4"),
    "nf4": ("dtype=bfloat16", "quantization=nf4"),
}
PARTS = ("memory", "speed", "quality", "saved", "sums")
PLAIN, BASE = "fp32", "bf16"  # what quality is held against, and what memory and speed are


def settings(mode: str) -> dict[str, str]:
    return dict(setting.split("=") for setting in MODES[mode])
