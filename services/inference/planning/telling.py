"""A plan as lines of text with all its arithmetic, and as one JSON object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from services.inference.planning.architecture import Kind, Term
from services.inference.planning.fitting import Fit, opened
from services.inference.planning.modes import embedding_bytes, head_bytes, token_bytes
from services.inference.planning.plan import Choice, Plan, device_map
from services.inference.planning.roofline import decode_step, prefill_operations

Line = tuple[str, str]  # the text, and its style: "", bold, dim, green, yellow or red

_SPEED_PROMPT = 1024


def lines(plan: Plan) -> Iterator[Line]:
    yield f"{plan.name}: {plan.model.parameters:,} parameters ({plan.model.family})", "bold"
    yield from ((_term(term), "") for term in plan.model.terms)
    yield from ((line, "") for line in _cache(plan))
    yield "", ""
    yield _machine(plan), "bold"
    yield from _table(plan)
    shown = plan.best or plan.choices[:2][-1]  # of what cannot be started: bf16, and by how much it does not fit
    yield "", ""
    yield f"Memory in {shown.fit.mode.name}", "bold"
    yield from ((line, "") for line in _memory(plan, shown.fit))
    if shown.speed:
        yield "", ""
        yield f"Tokens a second in {shown.fit.mode.name}, at most (roofline)", "bold"
        yield from ((line, "") for line in _speed(plan, shown))
    yield "", ""
    yield from _verdict(plan)


def _term(term: Term) -> str:
    product = " × ".join(f"{factor:,}" for factor in term.factors)
    where = f" × {len(term.layers)} layers" if term.layers else ""
    return f"  {term.name:<38} {product + where:<42} {term.parameters:>18,}"


def _cache(plan: Plan) -> Iterator[str]:
    model, (keys, values) = plan.model, plan.model.cached
    what = ("latents", "rotated keys") if model.latent else ("keys", "values")
    yield (
        f"  KV cache of a token: ({what[0]} {keys:,} + {what[1]} {values:,}) × {model.layers} layers = "
        f"{(keys + values) * model.layers:,} numbers"
    )
    if model.experts:
        yield f"  a token is multiplied with {model.active:,} of them: {model.chosen} of {model.experts} routed experts"


def _machine(plan: Plan) -> str:
    machine = plan.machine
    many = f"{machine.count} × " if machine.count > 1 else ""
    rates = ", ".join(f"{name} {_rate(rate)}" for name, rate in machine.rates.items())
    read = (
        f"; reads {_figure(machine.bandwidth / 1e9)} GB/s, {rates}" if machine.bandwidth else "; its speed is not known"
    )
    return f"{many}{machine.name}: {_size(machine.memory)}{' each' if many else ''}{read} ({machine.source})"


def _table(plan: Plan) -> Iterator[Line]:
    head = f"  {'mode':<6}{'weights':>11}{'KV a token':>12}{'places':>8}{'slots':>7}{'KV tokens':>11}"
    yield head + f"{'tokens/s: one':>15}{'all':>9}  fits, served", "dim"
    for choice in plan.choices:
        found, mode = choice.fit, choice.fit.mode
        held = f"{found.sizes.slots:>7}{found.sizes.arena:>11,}" if found.sizes else f"{'-':>7}{'-':>11}"
        speed = choice.speed
        rates = (
            f"{_figure(speed.alone):>15}{_figure(speed.together):>9}" if speed and speed.alone else f"{'-':>15}{'-':>9}"
        )
        fits = "fits" if found.sizes else f"short of {_size(found.short)}"
        served = f"served by {', '.join(choice.engines)}" if choice.served else "not in this version"
        mark = "green" if choice is plan.best else "" if choice.served else "dim"
        size = f"{_size(found.weights):>11}{_size(token_bytes(plan.model, mode)):>12}{len(found.parts):>8}"
        yield f"  {mode.name:<6}{size}{held}{rates}  {fits}, {served}", mark


def _memory(plan: Plan, found: Fit) -> Iterator[str]:
    model, mode = plan.model, found.mode
    head = head_bytes(model, mode, copied=plan.machine.kind == "cpu")
    rest = found.weights - embedding_bytes(model, mode) - head
    packed = (
        ", the embedding over again as it is packed" if model.tied and head > model.hidden * mode.plain_bytes else ""
    )
    yield (
        f"  weights: embedding {_size(embedding_bytes(model, mode))} + layers {_size(rest)} + last norm and head "
        f"{_size(head)}{packed} = {_size(found.weights)}"
    )
    for part in found.parts:
        place = part.place
        where = f"{place.name}, layers {part.layers[0]} to {part.layers[-1]}" if len(found.parts) > 1 else place.name
        yield (
            f"  {where}: {_size(plan.machine.memory)} - {_size(plan.machine.reserve)} "
            f"({'the process' if plan.machine.kind == 'cpu' else 'set aside'}) - weights {_size(part.weights)} = "
            f"{_signed(place.free)} free"
        )
        yield (
            f"    × KV_MEMORY_SHARE {plan.asked.share:g} / {_size(place.token_bytes)} a token = "
            f"{place.holds(plan.asked.share):,} tokens; a request of {found.context:,} takes {found.slot:,}"
        )
    if sizes := found.sizes:
        yield (
            f"  KV cache: {sizes.arena:,} tokens for {sizes.slots} slots + {sizes.kept:,} of kept prefixes = "
            f"{_size(found.cache)} once both are full"
        )
        if plan.machine.kind == "cpu":
            mapped = f" + {_size(found.mapped)} of files that stay mapped" if found.mapped else ""
            whole = opened(plan.machine, found)
            yield (
                f"  resident: {_size(plan.machine.reserve)} + {_size(found.weights)}{mapped} = {_size(whole)} when "
                f"open, {_size(whole + found.cache)} with a full cache"
            )


def _speed(plan: Plan, choice: Choice) -> Iterator[str]:
    model, machine, mode, speed = plan.model, plan.machine, choice.fit.mode, choice.speed
    assert speed is not None
    if not machine.bandwidth:
        yield "  not known: give --gpu-bandwidth and --gpu-tflops"
        return
    rate = machine.rates.get(mode.computes, 0.0)
    for batch, found in sorted({1: speed.alone, speed.slots: speed.together}.items()):
        step = decode_step(model, mode, batch=batch, seen=choice.fit.context // 2)
        experts = f" ({step.experts:.1f} of {model.experts} experts a layer)" if step.experts else ""
        read = f"read weights {_size(step.weights)}{experts} + KV {_size(step.cache)}"
        yield f"  {batch} at once, {step.seen:,} tokens each: {read}"
        computed = f", compute {_figure(step.operations / 1e9)} GFLOP: {_time(step.operations / rate)}" if rate else ""
        reading = _time((step.weights + step.cache) / machine.bandwidth)
        yield f"    in {reading}{computed}; {batch} / the longer one = {_figure(found)} tokens/s"
    if rate:
        tokens = min(_SPEED_PROMPT, choice.fit.context)
        work = prefill_operations(model, tokens)
        yield (
            f"  a prompt of {tokens:,}: {_rate(rate)} / {_figure(work / 1e9)} GFLOP a token = "
            f"{_figure(speed.prefill)} tokens/s"
        )


def _verdict(plan: Plan) -> Iterator[Line]:
    if plan.best and plan.best.fit.sizes:
        found, slots = plan.best.fit, plan.best.fit.sizes.slots
        less = f", not the {plan.asked.slots} asked for" if slots < plan.asked.slots else ""
        where = f" on {len(found.parts)} GPUs" if len(found.parts) > 1 else ""
        yield (
            f"Start the torch engine in {found.mode.name}{where}, {slots} slots of {found.context:,} tokens{less}:",
            "green",
        )
        yield from ((f"  {setting}", "") for setting in plan.settings)
    else:
        short = min(choice.fit.short for choice in plan.choices if choice.served)
        yield f"This version cannot start it here: {_size(short)} are missing.", "red"
    if plan.nearest:
        yield "Instead:", "yellow"
        yield from ((f"  - {each}", "") for each in plan.nearest)
    yield from ((f"note: {each}", "dim") for each in plan.notes)


def as_json(plan: Plan) -> dict[str, Any]:
    model, machine = plan.model, plan.machine
    counts = {kind.value: model.count(kind) for kind in Kind}
    best = plan.best
    return {
        "model": {
            "name": plan.name, "family": model.family, "parameters": model.parameters, "active": model.active,
            "by_kind": counts, "kv_numbers_a_token": sum(model.cached) * model.layers,
            "terms": [{"name": t.name, "factors": t.factors, "layers": len(t.layers), "parameters": t.parameters}
                      for t in model.terms],
        },
        "machine": {
            "name": machine.name, "kind": machine.kind, "count": machine.count, "memory": machine.memory,
            "set_aside": machine.reserve, "bandwidth": machine.bandwidth, "rates": dict(machine.rates),
            "source": machine.source,
        },
        "modes": [_choice_json(choice) for choice in plan.choices],
        "best": best and best.fit.mode.name,
        "device_map": device_map(best.fit, tied=model.tied) if best and len(best.fit.parts) > 1 else None,
        "settings": list(plan.settings),
        "nearest": list(plan.nearest),
        "notes": list(plan.notes),
    }  # fmt: skip


def _choice_json(choice: Choice) -> dict[str, Any]:
    found, speed = choice.fit, choice.speed
    return {
        "mode": found.mode.name,
        "served_by": list(choice.engines),
        "fits": choice.fits,
        "short": found.short,
        "weights": found.weights,
        "kv_a_token": found.token_bytes,
        "context": found.context,
        "slots": found.sizes and found.sizes.slots,
        "kv_tokens": found.sizes and found.sizes.arena,
        "kept_tokens": found.sizes and found.sizes.kept,
        "places": [
            {"layers": [part.layers[0], part.layers[-1]], "weights": part.weights, "free": part.place.free}
            for part in found.parts
        ],
        "tokens_s": speed and {"alone": speed.alone, "together": speed.together, "prefill": speed.prefill},
    }


def _size(count: int) -> str:
    """Binary units, as the settings and the kernel count."""
    for unit, bytes_ in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if abs(count) >= bytes_:
            return f"{count / bytes_:,.2f} {unit}" if unit == "GiB" else f"{count / bytes_:,.1f} {unit}"
    return f"{count} B"


def _signed(count: int) -> str:
    return f"-{_size(-count)}" if count < 0 else _size(count)


def _time(seconds: float) -> str:
    return f"{_figure(seconds * 1e3)} ms"


def _rate(operations: float) -> str:
    return f"{_figure(operations / 1e12)} TFLOP/s" if operations >= 1e12 else f"{_figure(operations / 1e9)} GFLOP/s"


def _figure(number: float) -> str:
    """Three digits that count, without an exponent."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"
