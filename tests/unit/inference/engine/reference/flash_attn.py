"""Found in flash-attn's place by the tests that put this folder on the path."""

from benchmarks.attention.reference import flash_attn_varlen_func, flash_attn_with_kvcache

__all__ = ["flash_attn_varlen_func", "flash_attn_with_kvcache"]
