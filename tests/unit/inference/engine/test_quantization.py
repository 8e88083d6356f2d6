"""Products of weights in fewer bits: near the plain ones, and no row knows another."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from services.inference.engine import torch_int4
from services.inference.engine.quantization import QuantizationImpossible
from services.inference.engine.torch_channels import crowded, factors, watched
from services.inference.engine.torch_codes import CodesKept, CodesRead
from services.inference.engine.torch_int8 import Int8Packing, weight_codes
from services.inference.engine.torch_linear import TRIED_ROWS, Norm, rows_are_independent
from services.inference.engine.torch_nf4 import nf4_packing
from services.inference.engine.torch_packed import blocks, kept, memory, packed, plain_codes
from services.inference.engine.torch_packed import rows as rows_of_blocks
from services.inference.engine.torch_rows import MOST, ZERO, CodingNorm, coded

SIZES = ((64, 128), (64, 128), (128, 64))  # in and out of gate, up and down
STEPS = 2 * MOST  # that a row's numbers are told in


def rows(count: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    """Of unlike sizes, one with an outlier and one of zeros."""
    generator = torch.Generator().manual_seed(count)
    made = torch.randn(count, size, generator=generator) * torch.rand(count, 1, generator=generator)
    made[count // 2, 3] = 40.0
    made[-1] = 0.0
    return made.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_s_codes_are_the_nearest_ones_to_its_numbers(dtype: torch.dtype) -> None:
    """Fails if `_LAST_BYTE` is 1 less: then all codes are."""
    x = rows(9, 96, dtype)
    found = coded(x)
    again = (found.codes.double() - ZERO) / MOST * found.largest.double()
    assert torch.all((again - x.double()).abs() <= found.largest.double() / STEPS * 1.001)
    assert torch.equal(found.largest.float(), x.float().abs().amax(1, keepdim=True))


def as_coded(x: torch.Tensor, *, fine: bool) -> torch.Tensor:
    """The numbers that a row's codes say."""
    found = coded(x, fine=fine)
    codes = found.codes.double() - ZERO
    if fine:
        codes = codes[: len(x)] + codes[len(x) :] / STEPS
    return codes / MOST * found.largest.double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_second_byte_of_a_row_s_codes_holds_what_the_first_one_lost(dtype: torch.dtype) -> None:
    """Fails if `_fine_codes` takes the remainder from the codes with ZERO in them."""
    x = rows(9, 96, dtype)
    largest = x.double().abs().amax(1, keepdim=True)
    assert torch.all((as_coded(x, fine=True) - x.double()).abs() <= largest / (STEPS * STEPS) * 1.01)


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_the_exact_one_of_its_codes(dtype: torch.dtype, fine: bool) -> None:
    weight, bias, x = rows(80, 96, dtype), rows(1, 80, dtype)[0], rows(9, 96, dtype)
    before, (codes, scales, *_) = weight.clone(), weight_codes(weight)
    layer, numbers = Int8Packing().linear(weight, bias, uneven=fine), as_coded(x, fine=fine)
    expected = numbers @ (codes.double() * scales.double()[:, None]).t() + bias.double()
    beside = rows(9, 80, dtype)
    close = {"rtol": 2e-2, "atol": 2e-2} if dtype is torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    for found, wanted in (
        (layer.plain(x), expected),
        (layer.plain(coded(x, fine=fine)), expected),
        (layer.plus(x, beside), expected + beside),
    ):
        torch.testing.assert_close(found.double(), wanted, check_dtype=False, **close)
    assert torch.equal(weight, before), "the model's own weight was changed"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), [(576, 960), (1536, 576), (96, 80), (96, 83)])
def test_invariant_11_a_row_has_the_same_bits_whatever_is_multiplied_beside_it(
    inputs: int, outputs: int, dtype: torch.dtype
) -> None:
    """Fails if `coded` takes one largest number for all rows."""
    weight = rows(outputs, inputs, dtype)
    layer, head = Int8Packing().linear(weight), Int8Packing().ends(weight, None)[1]
    finer, norm = Int8Packing().linear(weight, uneven=True), Norm(rows(2, inputs, dtype)[0], 1e-5)
    behind, finer_behind = layer.behind(norm), finer.behind(norm)
    for way in (
        *(layer.plain, head.plain, finer.plain),
        lambda x: layer.plain(behind(x)),
        lambda x: finer.plain(finer_behind(x)),
    ):
        assert rows_are_independent(way, inputs, dtype)
    x = rows(max(TRIED_ROWS), inputs, dtype)
    alone = layer.plain(x[:1])
    x[1:] *= 1000
    assert torch.equal(layer.plain(x)[:1], alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_that_stand_out_in_every_row_are_evened_out_and_the_product_stays(dtype: torch.dtype) -> None:
    """Fails if activations are divided and their weights not multiplied, or by other than powers of two."""
    weight, x = rows(80, 96, torch.float32)[:-1], torch.randn(64, 96, generator=torch.Generator().manual_seed(1))
    x[:, 5] *= 60.0
    x[:, 40] *= 25.0
    expected, linear = x.double() @ weight.double().t(), torch.nn.Linear(96, 79, bias=False).requires_grad_(False)
    linear.weight.copy_(weight)
    with watched(linear):
        linear(x)
    even = factors(linear)
    assert torch.equal(even, even.log2().round().exp2()) and even[5] > even[40] > 2 * even[0]
    lost = [
        float((layer.plain(x.to(dtype)).double() - expected).square().mean())
        for layer in (Int8Packing().linear(weight.to(dtype), factors=given) for given in (None, even))
    ]
    assert lost[1] < lost[0] / 4
    layer = Int8Packing().linear(weight.to(dtype), factors=even)
    assert rows_are_independent(layer.plain, 96, dtype)


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_norm_and_its_codes_are_those_of_the_norm_s_result(dtype: torch.dtype, fine: bool) -> None:
    """Fails if the row's scale leaves out what the norm divides it by."""
    x, norm = rows(9, 96, dtype), Norm(rows(3, 96, dtype)[0], 1e-5)
    evened = torch.tensor([0.5, 1.0, 4.0]).repeat(32)
    found, full = CodingNorm(norm, evened, fine=fine)(x), Norm(norm.weight.float(), norm.epsilon)(x.float())
    wanted = full.double() * evened.double()
    codes = found.codes.double() - ZERO
    numbers = (codes[:9] + codes[9:] / STEPS if fine else codes) / MOST * found.largest.double()
    largest = wanted.abs().amax(1, keepdim=True)
    assert torch.all((numbers - wanted).abs() <= largest / (STEPS * STEPS if fine else STEPS) * 1.02 + 1e-6)
    poisoned = x.clone()
    poisoned[0, 0] = float("nan")
    again = CodingNorm(norm, evened, fine=fine)(poisoned)
    assert again.largest[0].isnan() and torch.equal(again.largest[1:], found.largest[1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_mlp_in_eight_bits_is_near_the_plain_one_whole_and_in_parts(dtype: torch.dtype) -> None:
    """Fails if up's weights are divided by what evens down's inputs, and down's not multiplied."""
    gate, up, down = (torch.nn.Linear(inputs, outputs).requires_grad_(False) for inputs, outputs in SIZES)
    up.weight[7] *= 50.0
    up.weight[90] *= 20.0
    x, beside = torch.randn(40, 64, generator=torch.Generator().manual_seed(1)), rows(40, 64, torch.float32)
    mixed = torch.nn.functional.silu(gate(x)) * up(x)
    expected = down(mixed) + beside
    stack = torch.nn.ModuleDict({"gate_proj": gate, "up_proj": up, "down_proj": down})
    with watched(stack):
        gate(x), up(x), down(mixed)
    assert not crowded(down) and factors(down)[7] > factors(down)[0]
    mlp = Int8Packing().mlp(*(linear.to(dtype) for linear in (gate, up, down)))
    given, norm = x.to(dtype), Norm(torch.ones(64, dtype=dtype), 0.0)
    coded_rows = mlp.behind(norm)(given)
    scale = x.square().mean(1, keepdim=True).sqrt()  # a norm that is taken off again
    coded_rows = coded_rows._replace(largest=coded_rows.largest * scale)
    assert torch.equal(mlp.plus(coded_rows, beside.to(dtype)), mlp.down(mlp.mixed(coded_rows), beside.to(dtype)))
    for found, wanted in (
        (mlp.plus(coded_rows, beside.to(dtype)), expected),
        (mlp.mixed(coded_rows), mixed),
        (mlp.halves(given)[0], gate.float()(x)),
        (mlp.halves(given)[1], up.float()(x)),
    ):
        off = (found.float() - wanted).square().mean() / wanted.square().mean()
        assert off < 2e-3


def test_a_packed_weight_s_rows_are_found_where_they_lie_and_its_bytes_make_another() -> None:
    """Fails if `Packer` leaves out what lies behind the codes: the products are off by 128 times their sums then."""
    codes = torch.randint(-127, 128, (192, 128), dtype=torch.int8, generator=torch.Generator().manual_seed(1))
    weight = packed(codes)
    found = memory(weight)
    if found is None or not torch.equal(plain_codes(found, 192, 128), codes):
        pytest.skip("weights are packed in another way on this CPU")
    numbers = torch.tensor([0, 63, 64, 191, 5])
    assert torch.equal(rows_of_blocks(blocks(found, 192, 128), numbers), codes[numbers])
    others = [torch.randint(-127, 128, (192, 128), dtype=torch.int8) for _ in range(3)]
    source = CodesKept()
    plain = [Int8Packing(source).linear(other.float()) for other in others]
    again, x = Int8Packing(CodesRead(source.tensors)), rows(5, 128, torch.float32)
    assert kept(codes).ndim == 1
    for layer, other in zip(plain, others, strict=True):
        assert torch.equal(again.linear(torch.empty_like(other.float())).plain(x), layer.plain(x))


@pytest.mark.parametrize(("vocabulary", "even"), [(128, False), (128, True), (80, False)])
def test_an_embedding_gives_its_rows_back_and_is_its_own_head(vocabulary: int, even: bool) -> None:
    """Of 80 rows oneDNN fills some up: codes lie beside the packed ones then."""
    weight, x = rows(vocabulary, 128, torch.float32), rows(5, 128, torch.float32)
    given = torch.tensor([0.5, 1.0, 2.0, 1.0]).repeat(32) if even else None
    embedding, head = Int8Packing().ends(weight, None, factors=given)
    assert embedding is head and embedding.vocabulary == vocabulary
    numbers = embedding(torch.arange(vocabulary))
    step = (weight if given is None else weight * given).abs().amax(1, keepdim=True) / 127
    assert torch.all((numbers - weight).abs() <= (step if given is None else step / given) / 2 * 1.001)
    read = x if given is None else x / given
    half_a_step = read.abs().amax(1, keepdim=True).double() / (STEPS * (1 if even else STEPS))
    by = (numbers if given is None else numbers * given).double().abs().sum(1)
    off = (embedding.plain(x).double() - x.double() @ numbers.double().t()).abs()
    assert torch.all(off <= half_a_step * by * 1.001 + 1e-4)


def four_bits(outputs: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """A weight, the same as its codes say it, and a layer of them."""
    weight = rows(outputs, inputs, torch.bfloat16)
    return weight, in_four_bits(weight), torch_int4.int4_packing().linear(weight)


def in_four_bits(weight: torch.Tensor) -> torch.Tensor:
    """The numbers that its codes say."""
    pairs, scales, *_ = torch_int4.weight_codes(weight)
    codes = torch.stack([pairs & 15, pairs >> 4], dim=2).view(len(weight), len(scales), -1).double()
    scale, zero = (part.t()[:, :, None].double() for part in scales.unbind(2))
    return ((codes - 8) * scale + zero).view(weight.shape)


@pytest.mark.parametrize("count", [1, 5, 130])
def test_in_four_bits_few_rows_and_many_get_the_same_product(count: int) -> None:
    """Fails if `Int4` takes a byte's first code for the second one's."""
    _, numbers, layer = four_bits(128, 192)
    x = rows(count, 192, torch.bfloat16)
    expected = x.double() @ numbers.t()
    bound = 2e-2 * float(expected.abs().max())
    torch.testing.assert_close(layer.plain(x).double(), expected, rtol=0, atol=bound)


def test_codes_of_four_bits_are_at_most_half_a_step_off_or_better_by_least_squares() -> None:
    weight, numbers, _ = four_bits(128, 192)
    groups, held = weight.double().view(128, -1, 32), numbers.view(128, -1, 32)
    step = (groups.amax(2) - groups.amin(2)) / 15
    spread = (held - groups).square().mean(2).sqrt()
    assert torch.all(spread <= step / 2 + 1e-2)


@pytest.mark.parametrize(("outputs", "inputs", "group"), [(64, 192, 32), (192, 64, 64)])
def test_scale_and_zero_are_fitted_to_a_group_s_codes(outputs: int, inputs: int, group: int) -> None:
    """Against codes over a group's whole span. Fails if `_fitted` is left out: more than 0.9 is lost then."""
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(3))
    groups = weight.double().view(outputs, -1, group)
    least, most = groups.aminmax(dim=2, keepdim=True)
    step = (most - least) / 15
    spanned = ((groups - least) / step).round() * step + least
    lost = (in_four_bits(weight).view_as(groups) - groups).square().mean()
    assert lost < 0.88 * (spanned - groups).square().mean()


def test_layers_that_the_kernel_of_four_bits_does_not_take_are_held_in_eight() -> None:
    packing = torch_int4.int4_packing()
    kinds = {
        size: type(packing.linear(rows(*size, torch.bfloat16))).__name__ for size in ((112, 192), (120, 192), (128, 96))
    }
    assert kinds == {(112, 192): "FourBits", (120, 192): "Int8", (128, 96): "Int8"}


@pytest.mark.parametrize(
    ("packing", "share"), [(Int8Packing, 0.52), (torch_int4.int4_packing, 0.30), (nf4_packing, 0.30)]
)
def test_the_layers_of_smollm2_take_the_share_of_bf16_that_is_promised(packing: Any, share: float) -> None:
    """Fails if groups of 32 are taken for the layers that widen, too."""
    sizes = ((960, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536))
    try:
        layers = [packing().linear(torch.zeros(size, dtype=torch.bfloat16)) for size in sizes]
    except QuantizationImpossible as impossible:
        pytest.skip(str(impossible))
    held = sum(
        part.numel() * part.element_size()
        for layer in layers
        for part in vars(getattr(layer, "product", layer)).values()
        if isinstance(part, torch.Tensor)
    )
    assert held <= share * 2 * sum(outputs * inputs for outputs, inputs in sizes)
