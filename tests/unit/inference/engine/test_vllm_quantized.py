"""What files that come quantized are computed in with vLLM, and what is said of those that it refuses."""

from __future__ import annotations

import pytest

from services.inference.engine.vllm_quantized import dtype_of, why_not


@pytest.mark.parametrize(
    ("method", "asked", "plain", "computed"),
    [
        ("", "auto", "float32", "float32"),
        ("gptq", "auto", "float32", "bfloat16"),
        ("gptq", "float16", "float16", "float16"),
        ("awq", "auto", "bfloat16", "bfloat16"),  # as on a GPU
        ("compressed-tensors", "auto", "float32", "float32"),
    ],
)
def test_files_are_computed_in_what_vllms_kernels_take(method: str, asked: str, plain: str, computed: str) -> None:
    assert dtype_of(method, asked, plain) == computed


def test_what_the_kernels_do_not_take_is_refused_by_name_and_never_replaced() -> None:
    with pytest.raises(ValueError, match=r"^dtype must be auto or bfloat16 or float16 .* by awq, not 'float32'$"):
        dtype_of("awq", "float32", "float32")


def test_of_plain_files_nothing_is_added_to_what_vllm_said() -> None:
    assert why_not("", "cpu") == ""
    assert "quantized by hqq" in why_not("hqq", "cpu") and "plain files" in why_not("hqq", "cuda")
