"""The way to flash-attn, against a reference that has its signature and demands what its kernels demand."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.attention import reference
from benchmarks.attention.__main__ import CLOSE, apart, decoding, prompts
from services.inference.engine.torch_attention import causal_bias

HEADS, KEY_HEADS, SIZE = 4, 2, 16


@pytest.fixture
def flash_attention(monkeypatch):
    """Ours, over the reference in the package's place."""
    names = ("flash_attn", "services.inference.engine.torch_flash")
    assert not set(names) & set(sys.modules), "the real flash-attn is loaded"
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "reference"))
    yield importlib.import_module(names[1]).flash_attention
    for name in names:
        del sys.modules[name]


def tensors(*shapes):
    chance = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=chance).to(torch.bfloat16) for shape in shapes]


@pytest.mark.parametrize("queries", [1, 3])
def test_each_row_sees_its_own_tokens_and_no_others(flash_attention, queries):
    """Fails if lengths are taken from the first query, as int64, or heads and tokens are not turned round."""
    rows, view, lengths = 3, 24, [5, 24, 11]
    cached = (rows, KEY_HEADS, view, SIZE)
    query, key, value = tensors((rows, HEADS, queries, SIZE), cached, cached)
    positions = torch.tensor([list(range(length - queries, length)) for length in lengths])
    mask = causal_bias(positions, view, torch.bfloat16)
    out, _ = flash_attention(torch.nn.Identity(), query, key, value, mask, scaling=0.3)
    wanted = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(out, wanted.transpose(1, 2), atol=2e-2, rtol=2e-2)


def test_without_the_caches_mask_it_refuses(flash_attention):
    query = torch.zeros(1, HEADS, 1, SIZE, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="mask"):
        flash_attention(torch.nn.Identity(), query, query, query, None)


@pytest.mark.parametrize("make", [prompts, decoding])
def test_what_the_benchmark_compares_is_the_same_attention(make):
    """Fails if cu_seqlens are cut elsewhere than the batch, or a row's mask is one token longer than its length."""
    assert apart(make(reference, 48, "cpu", torch.bfloat16)) < CLOSE


def varlen(**changed):
    q, k, v = tensors((7, HEADS, SIZE), (7, KEY_HEADS, SIZE), (7, KEY_HEADS, SIZE))
    cuts = torch.tensor([0, 3, 7], dtype=torch.int32)
    arguments = {
        "q": q,
        "k": k,
        "v": v,
        "cu_seqlens_q": cuts,
        "cu_seqlens_k": cuts,
        "max_seqlen_q": 4,
        "max_seqlen_k": 4,
    }
    return reference.flash_attn_varlen_func(**{**arguments, **changed}, causal=True)


def test_packed_sequences_do_not_see_each_other():
    q, k, v = tensors((7, HEADS, SIZE), (7, KEY_HEADS, SIZE), (7, KEY_HEADS, SIZE))
    alone = (tensor[:3].transpose(0, 1)[None] for tensor in (q, k, v))
    wanted = scaled_dot_product_attention(*alone, is_causal=True, enable_gqa=True)[0].transpose(0, 1)
    torch.testing.assert_close(varlen()[:3], wanted, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(
    "changed",
    [
        {"cu_seqlens_q": torch.tensor([0, 3, 7])},
        {"cu_seqlens_k": torch.tensor([0, 3, 6], dtype=torch.int32)},
        {"max_seqlen_q": 3},
        {"q": torch.zeros(7, HEADS, SIZE)},
        {"q": torch.zeros(7, 3, SIZE, dtype=torch.bfloat16)},
    ],
    ids=["int64", "short of the tokens", "longer than the longest", "fp32", "heads that do not divide"],
)
def test_the_reference_demands_what_the_kernels_demand(changed):
    with pytest.raises(AssertionError):
        varlen(**changed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_the_benchmark_says_why_it_cannot_run_here():
    done = subprocess.run([sys.executable, "-m", "benchmarks.attention"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs a GPU" in done.stderr and "Traceback" not in done.stderr
