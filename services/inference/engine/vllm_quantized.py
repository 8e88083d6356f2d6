"""Files that come quantized, with vLLM: what they are computed in, and what is said where it does not read them."""

from __future__ import annotations

# By vLLM 0.32: of these methods its kernels compute in one of the halves, and a CPU's `auto` is float32.
IN_HALVES = ("gptq", "awq", "fp8")
HALVES = ("bfloat16", "float16")
UNKNOWN_LOSS = "not known: the files came quantized"


def dtype_of(method: str, asked: str, plain: str) -> str:
    """`plain`: what plain files would be computed in; `method` is empty for those. Raises ValueError."""
    if method not in IN_HALVES or plain in HALVES:
        return plain
    if asked == "auto":
        return HALVES[0]
    raise ValueError(
        f"dtype must be auto or {' or '.join(HALVES)} for files that are quantized by {method}, not {asked!r}"
    )


def why_not(method: str, device_type: str) -> str:
    """Behind what is said of a model that vLLM has refused; empty for plain files."""
    if not method:
        return ""
    reads = "of four bits by gptq (symmetric) and awq, in groups of 32, 64 or 128 and layers whose sizes are in 32s"
    known = f"on a CPU it reads files {reads}" if device_type == "cpu" else "what it reads depends on the GPU"
    return f". The files are quantized by {method}: {known}; else take the model's plain files"
