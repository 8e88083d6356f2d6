"""What is recommended can be started, fits, and is as fast as the memory lets it be."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from strongroom.cli.ending import Complaint
from strongroom.cli.main import command_parser

from services.inference.engine import quantization
from services.inference.engine.opening import EngineSettings
from services.inference.engine.sizing import NoRoom, Place, kv_sizes
from services.inference.engine.torch_attention import choose_attention
from services.inference.models.device import Device, choose_dtype
from services.inference.models.placement import check_names
from services.inference.plan_command import find_config, shipped_configs
from services.inference.planning.architecture import Architecture, Kind, read
from services.inference.planning.devices import UnknownDevice, find, known
from services.inference.planning.fitting import VIEW_TOKENS, Asked, Machine, fit, layers_and_ends, spread
from services.inference.planning.modes import MODES
from services.inference.planning.plan import Plan, device_map, make_plan
from services.inference.planning.roofline import decode_step, expected_experts
from services.inference.planning.telling import as_json, lines

BY_NAME = {mode.name: mode for mode in MODES}


def shipped(name: str) -> Architecture:
    return read(json.loads(shipped_configs()[name].read_text(encoding="utf-8")))


def gpus(name: str, count: int) -> Machine:
    gpu = find(name)
    return Machine(
        name=gpu.name, kind="cuda", memory=gpu.memory, count=count, together=min(count, 8), bandwidth=gpu.bandwidth,
        rates=gpu.rates, source=gpu.source,
    )  # fmt: skip


def planned(name: str, machine: Machine, asked: Asked | None = None) -> Plan:
    return make_plan(name, shipped(name), machine, asked or Asked(), known())


def text(plan: Plan) -> str:
    return "\n".join(line for line, _ in lines(plan))


def test_an_r1_distill_of_7b_fits_one_rtx_4090():
    plan = planned("deepseek-r1-distill-qwen-7b", gpus("rtx-4090", 1))
    assert plan.best and plan.best.fit.mode.name == "bf16" and plan.best.fit.sizes
    assert plan.best.fit.sizes.slots == 16
    assert plan.best.speed and plan.best.speed.alone < 1008e9 / (2 * 7.07e9)  # all but the embedding is read


def test_deepseek_67b_takes_three_of_eight_a100_and_names_their_layers():
    plan = planned("deepseek-llm-67b", gpus("a100-80gb", 8))
    assert plan.best and len(plan.best.fit.parts) == 3
    assert [layer for part in plan.best.fit.parts for layer in part.layers] == list(range(95))
    assert {"CUDA_VISIBLE_DEVICES=0,1,2", "STRONGROOM_INFERENCE_DEVICE_MAP=balanced"} <= set(plan.settings)
    assert "not their speed" in text(plan)


def test_deepseek_v3_on_sixteen_h100_is_refused_with_what_is_missing_and_what_would_do():
    plan = planned("deepseek-v3", gpus("h100", 16))
    assert plan.best is None and plan.settings == ()
    assert "cannot start it here" in text(plan)
    bf16 = next(choice.fit for choice in plan.choices if choice.fit.mode.name == "bf16")
    room, one_request = 8 * (80 - 2) << 30, 2 * 2048 * bf16.token_bytes  # at half of what is free
    assert bf16.short == pytest.approx(2 * plan.model.parameters + one_request - room, abs=64)
    assert any(each.startswith("fp8 would fit on 9 GPUs of several machines") for each in plan.nearest)


def machines() -> some.SearchStrategy[Machine]:
    return some.builds(
        lambda memory, count, kind, has: Machine(
            name="any", kind=kind, memory=memory, count=count if kind == "cuda" else 1,
            together=min(count, 8) if kind == "cuda" else 1, bandwidth=1e12, rates=dict.fromkeys(has, 1e14),
            source="test",
        ),
        some.integers(0, 200 << 30), some.integers(1, 20), some.sampled_from(["cpu", "cuda"]),
        some.sampled_from([("fp32", "bf16", "int8"), ("fp32", "int8"), ("fp32",)]),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    name=some.sampled_from(sorted(shipped_configs())),
    machine=machines(),
    asked=some.builds(
        Asked, context=some.integers(0, 200_000), slots=some.integers(1, 64), share=some.floats(0.05, 0.9)
    ),
)
def test_what_is_recommended_can_be_started_and_has_room(name, machine, asked):
    """Fails if `_best` forgets to look at `served`, or a plan spreads the torch engine over several machines."""
    plan = make_plan(name, shipped(name), machine, asked, ())
    assert name in text(plan)
    if plan.best is None:
        assert plan.nearest and all(choice.fit.short > 0 for choice in plan.choices if choice.served)
        return
    found = plan.best.fit
    assert found.mode.served and found.sizes and found.sizes.slots >= 1
    assert len(found.parts) <= machine.together
    taken = found.sizes.arena + found.sizes.kept
    for part in found.parts:
        room = machine.memory - machine.reserve - part.weights
        assert taken * part.place.token_bytes <= room * asked.share
    chosen = dict(setting.removeprefix("STRONGROOM_INFERENCE_").split("=", 1) for setting in plan.settings)
    EngineSettings(
        device_map=chosen.get("DEVICE_MAP", ""), dtype=chosen["DTYPE"],
        quantization=chosen.get("QUANTIZATION", "none"), context_tokens=int(chosen["CONTEXT_TOKENS"]),
        slots=int(chosen["SLOTS"]), kv_memory_share=float(chosen["KV_MEMORY_SHARE"]),
    )  # fmt: skip


@pytest.mark.parametrize(("has", "modes"), [(("fp32", "int8"), ["fp32", "int8"]), (("fp32",), ["fp32"])])
def test_a_cpu_without_bfloat16_is_told_of_what_computes_in_float32(has, modes):
    """Fails if int8's cache is counted in two bytes there, or nf4 is offered, which such a CPU's start refuses."""
    machine = Machine(name="old", kind="cpu", memory=16 << 30, rates=dict.fromkeys(has, 1e11), source="test")
    plan = planned("smollm2-135m-instruct", machine)
    assert [choice.fit.mode.name for choice in plan.choices] == modes
    assert {choice.fit.token_bytes for choice in plan.choices} == {4 * sum(plan.model.cached) * plan.model.layers}
    assert all(choice.fit.mode.settings[0] == "DTYPE=float32" for choice in plan.choices)
    assert "no bfloat16" in text(plan)


@settings(max_examples=60, deadline=None)
@given(memory=some.integers(16 << 30, 30 << 30), context=some.integers(2048, 131_072), slots=some.integers(2, 64))
def test_a_smaller_context_that_is_named_instead_fits(memory, context, slots):
    """Fails if `_context` gives the prefixes' quarter of the cache to the slots, too."""
    machine = Machine(name="any", kind="cuda", memory=memory, rates={}, source="test")
    name = "deepseek-r1-distill-qwen-7b"
    for told in planned(name, machine, Asked(context=context, slots=slots)).nearest:
        if named := re.fullmatch(r"(\w+) with CONTEXT_TOKENS=(\d+), SLOTS=(\d+), KV_MEMORY_SHARE=(\S+)", told):
            mode, smaller, count, share = named.groups()
            less = Asked(context=int(smaller), slots=int(count), share=float(share))
            found = fit(shipped(name), machine, BY_NAME[mode], less, most_places=1)
            assert found.sizes and found.sizes.slots == slots


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_each_mode_says_whether_this_version_serves_it(mode):
    engines = mode.serves("cuda")
    served = f"served by {', '.join(engines)}" if engines else "not in this version"
    [line] = [line for line in text(planned("deepseek-v3", gpus("h100", 8))).splitlines() if f"  {mode.name} " in line]
    assert line.endswith(served)


def test_a_mode_that_a_device_cannot_run_is_not_recommended_there():
    """Fails if `_choice` takes a mode's engines whatever the machine is: int8 runs on a CPU alone."""
    memory = 48 << 30  # for 67 G parameters in none of the modes on a GPU, and in no more than eight bits on a CPU
    for kind, best in (("cuda", None), ("cpu", "int8")):
        machine = Machine(name="any", kind=kind, memory=2 * memory, rates={}, source="test")
        plan = planned("deepseek-llm-67b", machine)
        assert (plan.best and plan.best.fit.mode.name) == best


def test_quantized_layers_keep_the_bounds_that_are_promised_for_them():
    plain = BY_NAME["bf16"].product_bytes(4096 * 4096, 4096)
    assert BY_NAME["int8"].product_bytes(4096 * 4096, 4096) <= 0.52 * plain
    for name in ("int4", "nf4"):
        assert BY_NAME[name].product_bytes(4096 * 4096, 4096) <= 0.30 * plain


@given(sizes=some.lists(some.integers(1, 50), min_size=1, max_size=7), count=some.integers(1, 4))
def test_layers_are_spread_so_that_no_other_cut_has_an_emptier_fullest_place(sizes, count):
    cuts = [
        [0, *inner, len(sizes)]
        for parts in range(min(count, len(sizes)))
        for inner in itertools.combinations(range(1, len(sizes)), parts)
    ]
    best = min(max(sum(sizes[a:b]) for a, b in itertools.pairwise(cut)) for cut in cuts)
    found = spread(sizes, count)
    assert max(held for _, held in found) == best and len(found) <= count
    assert [number for layers, _ in found for number in layers] == list(range(len(sizes)))


@settings(max_examples=100)
@given(
    free=some.lists(some.integers(0, 10**6), min_size=1, max_size=4),
    slots=some.integers(1, 40), slot=some.integers(1, 500), share=some.floats(0.05, 0.95), whole=some.booleans(),
)  # fmt: skip
def test_slots_and_prefixes_together_stay_within_the_share(free, slots, slot, share, whole):
    """Fails if kept prefixes are not taken off what the slots may have."""
    places = [Place(name="p", free=each, token_bytes=7, whole_slots=whole) for each in free]
    try:
        found = kv_sizes(places, slots=slots, slot=slot, share=share)
    except NoRoom as short:
        assert short.place.free * share < (slot + 1) * 7
        return
    assert (found.arena + found.kept) * 7 <= min(free) * share
    assert 1 <= found.slots <= slots and found.arena <= found.slots * slot
    assert found.arena >= slot


def test_experts_that_a_batch_meets_are_those_of_every_way_to_choose():
    ways = list(itertools.combinations(range(5), 2))
    for batch in (1, 2, 3):
        met = [len(set().union(*choice)) for choice in itertools.product(ways, repeat=batch)]
        assert expected_experts(5, 2, batch) == pytest.approx(sum(met) / len(met))


def test_a_batch_reads_its_weights_once_and_each_request_its_own_past():
    model, mode = shipped("smollm2-135m-instruct"), BY_NAME["bf16"]
    alone, together = (decode_step(model, mode, batch=batch, seen=100) for batch in (1, 16))
    assert alone.weights == together.weights == 2 * model.parameters  # the tied head: once, as the head
    assert together.cache == 16 * alone.cache == 16 * 100 * 2 * 11_520
    assert alone.seconds(1e9, 1e18) == pytest.approx((alone.weights + alone.cache) / 1e9)
    assert alone.seconds(1e18, 1e9) == pytest.approx(alone.operations / 1e9)


def test_the_device_map_names_every_layer_that_the_model_has(empty_model):
    config = json.loads(shipped_configs()["deepseek-r1-distill-qwen-7b"].read_text(encoding="utf-8"))
    found = fit(read(config), gpus("rtx-4090", 4), BY_NAME["fp32"], Asked(), most_places=4)
    where, model = device_map(found, tied=False), empty_model(config)
    check_names(where, dict(model.named_modules()))
    assert len(found.parts) > 1
    assert all(any(f"{name}.".startswith(f"{place}.") for place in where) for name, _ in model.named_parameters())


@pytest.mark.parametrize("package", [True, False])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_slot_takes_whole_views_as_the_engines_does(device, package):
    choice = choose_attention(device_type=device, dtype=torch.bfloat16, same_head_sizes=True, flash_attn=package)
    assert VIEW_TOKENS[device] == choice.view_tokens


def test_what_is_asked_for_unless_told_is_what_a_worker_takes_unless_told():
    own, plan = EngineSettings(), Asked()
    assert (plan.context, plan.slots, plan.share) == (own.context_tokens, own.slots, own.kv_memory_share)


def test_a_mode_that_is_served_is_asked_for_by_a_type_that_the_engine_takes():
    for mode in MODES:
        asked = dict(setting.split("=") for setting in mode.settings)
        if mode.served:
            dtype = choose_dtype(asked["DTYPE"], Device(name="cpu", reason="test"))
            assert dtype.itemsize == mode.plain_bytes
            assert mode.bits == dtype.itemsize * 8 or asked["QUANTIZATION"] == mode.name
            for kind in mode.kinds:
                quantization.choose(asked.get("QUANTIZATION", "none"), device_type=kind, dtype=asked["DTYPE"])
        assert bool(mode.settings) == bool(mode.served)


def test_modes_of_the_plan_and_of_the_engine_are_the_same_ones():
    """On a CPU: what was never run is not planned for. Fails if a mode is added to the engine and not to the plan."""
    planned_ones = {mode.name for mode in MODES if mode.served} - {"fp32", "bf16"}
    assert planned_ones == set(quantization.ON_CPU) - {quantization.NONE}


def test_the_parts_add_up_to_the_weights():
    model = shipped("deepseek-v3")
    assert sum(layers_and_ends(model, BY_NAME["bf16"], "cuda")) == 2 * model.parameters
    tied = shipped("smollm2-135m-instruct")
    again = 2 * (tied.parameters + tied.count(Kind.EMBEDDING))  # on a CPU the head is packed: a second copy
    assert sum(layers_and_ends(tied, BY_NAME["bf16"], "cpu")) == again
    int8 = sum(layers_and_ends(tied, BY_NAME["int8"], "cpu"))
    assert int8 == pytest.approx(tied.parameters, rel=0.01)  # a byte each, the embedding once


@pytest.mark.parametrize(("name", "said"), [("a100", "fits several"), ("tpu", "is not in the table"), ("", "not in")])
def test_a_gpu_that_is_not_one_of_the_table_is_refused_with_those_that_are(name, said):
    with pytest.raises(UnknownDevice, match=said):
        find(name)


def run(*words: Any) -> int:
    arguments = command_parser().parse_args(["models", "plan", *map(str, words)])
    return int(arguments.run(arguments))


def test_the_command_prints_one_object_and_ends_with_1_where_nothing_can_be_started(capsys, tmp_path):
    assert run("deepseek-v3", "--gpu", "h100", "--gpus", 16, "--home", tmp_path, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["best"] is None and said["model"]["parameters"] == 671_026_404_352
    assert run("deepseek-llm-67b", "--gpu-memory", 80, "--gpus", 4, "--home", tmp_path) == 0
    assert "give --gpu-bandwidth" in capsys.readouterr().out


def test_the_command_measures_this_machine(capsys, tmp_path):
    assert run("smollm2-135m-instruct", "--home", tmp_path, "--context", 64, "--slots", 1) == 0
    assert "measured now" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing-of-the-kind",), "its config.json"),
        (("deepseek-v3", "--gpu", "h100", "--slots", 0), "--slots must be 1 to 1024"),
        (("deepseek-v3", "--gpu", "h100", "--share", 1), "--share must be"),
        (("deepseek-v3", "--gpu", "h100", "--gpu-memory", 80), "leave one out"),
        (("deepseek-v3", "--gpu", "abacus"), "not in the table"),
    ],
)
def test_the_command_says_what_it_cannot_plan(words, said, tmp_path):
    with pytest.raises(Complaint, match=said):
        run(*words, "--home", tmp_path)


def test_a_model_of_the_home_comes_before_a_shipped_one(tmp_path):
    folder = tmp_path / "models" / "deepseek-v3"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    assert find_config("deepseek-v3", tmp_path) == ("deepseek-v3", {"model_type": "llama"})
    (folder / "config.json").write_text("[]")
    with pytest.raises(Complaint, match="one JSON object"):
        find_config("deepseek-v3", tmp_path)


def test_a_plan_as_json_says_what_the_lines_say():
    plan = planned("deepseek-llm-67b", gpus("a100-80gb", 8))
    said = json.loads(json.dumps(as_json(plan)))
    assert f"{said['model']['parameters']:,}" in text(plan)
    assert sum(term["parameters"] for term in said["model"]["terms"]) == said["model"]["parameters"]
    assert [mode["mode"] for mode in said["modes"]] == ["fp32", "bf16", "int8", "int4", "nf4"]  # an A100 has no fp8
    assert said["device_map"]["lm_head"] == 2
