"""The plan: what this version can start on a machine, what it would bring, and the nearest thing where nothing fits."""

from __future__ import annotations

from dataclasses import dataclass

from services.inference.models.prequantized import READ
from services.inference.planning.architecture import Architecture
from services.inference.planning.devices import Gpu
from services.inference.planning.fitting import VIEW_TOKENS, Asked, Fit, Machine, fit
from services.inference.planning.modes import MODES, Mode, modes_on
from services.inference.planning.roofline import decode_step, prefill_operations

_GPUS_OF_A_MACHINE = 8  # of those that are looked for in the table
_ORDER = {"cpu": ("fp32", "bf16"), "cuda": ("bf16", "fp32")}  # what DTYPE=auto takes comes first
_GREATEST_SHARE = 0.95  # that kv_memory_share may be
_PREFILL_TOKENS = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """By the roofline: not more than this. 0 where the machine's figures are not known."""

    alone: float  # tokens a second of one request
    together: float  # of all slots
    slots: int
    prefill: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    fit: Fit
    speed: Speed | None  # None: it does not fit
    engines: tuple[str, ...]  # that run it here

    @property
    def served(self) -> bool:
        return bool(self.engines)

    @property
    def fits(self) -> bool:
        return self.fit.sizes is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    name: str
    model: Architecture
    machine: Machine
    asked: Asked
    choices: tuple[Choice, ...]
    best: Choice | None  # what is recommended; None: this version can start nothing here
    nearest: tuple[str, ...]  # what would do instead
    notes: tuple[str, ...]

    @property
    def settings(self) -> tuple[str, ...]:
        """Environment of the recommended worker."""
        if self.best is None or self.best.fit.sizes is None:
            return ()
        found, sizes = self.best.fit, self.best.fit.sizes
        chosen = (
            "DEVICE_MAP=balanced" if len(found.parts) > 1 else f"DEVICE={self.machine.kind}",
            *found.mode.settings,
            f"CONTEXT_TOKENS={found.context}",
            f"SLOTS={sizes.slots}",
            f"KV_MEMORY_SHARE={self.asked.share:g}",
        )
        own = ",".join(map(str, range(len(found.parts))))  # a map that is balanced takes all GPUs that it sees
        seen = (f"CUDA_VISIBLE_DEVICES={own}",) if self.machine.count > len(found.parts) else ()
        return (*seen, *(f"STRONGROOM_INFERENCE_{setting}" for setting in chosen))


def make_plan(name: str, model: Architecture, machine: Machine, asked: Asked, devices: tuple[Gpu, ...]) -> Plan:
    choices = tuple(
        _choice(model, machine, asked, fit(model, machine, mode, asked, most_places=_reach(machine, mode)))
        for mode in modes_on(machine.kind, machine.rates)
    )
    best = _best(choices, machine, asked)
    whole = best is not None and best.fit.sizes is not None and best.fit.sizes.slots >= asked.slots
    return Plan(
        name=name,
        model=model,
        machine=machine,
        asked=asked,
        choices=choices,
        best=best,
        nearest=() if whole else tuple(_nearest(model, machine, asked, choices, devices)),
        notes=tuple(_notes(model, machine, asked, best)),
    )


def _reach(machine: Machine, mode: Mode) -> int:
    """The torch engine is one process, so one machine; a mode that is still to come is shown on all of them."""
    return min(machine.count, machine.together) if mode.serves(machine.kind) else machine.count


def _best(choices: tuple[Choice, ...], machine: Machine, asked: Asked) -> Choice | None:
    """Only what can be started. First what holds all that is asked, then what holds any."""
    order = _ORDER[machine.kind]
    can = [choice for choice in choices if choice.served and choice.fit.sizes is not None]
    can.sort(key=lambda choice: order.index(choice.fit.mode.name) if choice.fit.mode.name in order else len(order))
    whole = [choice for choice in can if choice.fit.sizes and choice.fit.sizes.slots >= asked.slots]
    return next(iter([*whole, *can]), None)


def _choice(model: Architecture, machine: Machine, asked: Asked, found: Fit) -> Choice:
    engines = found.mode.serves(machine.kind)
    if found.sizes is None:
        return Choice(fit=found, speed=None, engines=engines)
    slots, rate = found.sizes.slots, machine.rates.get(found.mode.computes, 0.0)
    seen = found.context // 2

    def together(batch: int) -> float:
        step = decode_step(model, found.mode, batch=batch, seen=seen)
        return batch / step.seconds(machine.bandwidth, rate) if machine.bandwidth else 0.0

    prompt = min(_PREFILL_TOKENS, found.context)
    prefill = rate / prefill_operations(model, prompt)
    speed = Speed(alone=together(1), together=together(slots), slots=slots, prefill=prefill)
    return Choice(fit=found, speed=speed, engines=engines)


def _nearest(model: Architecture, machine: Machine, asked: Asked, choices: tuple[Choice, ...], devices: tuple[Gpu, ...]
) -> list[str]:  # fmt: skip
    """Less of the same machine first, then another mode, then other machines."""
    served = [choice.fit for choice in choices if choice.served]
    return [
        *_smaller(model, machine, asked, served),
        *_other_modes(machine, asked, choices),
        *_other_devices(model, asked, devices),
    ]


def _smaller(model: Architecture, machine: Machine, asked: Asked, served: list[Fit]) -> list[str]:
    told = []
    for found in served:
        name, slots = found.mode.name, found.sizes.slots if found.sizes else 0
        if 0 < slots < asked.slots:
            told.append(f"{name} as asked, but {slots} slots instead of {asked.slots}")
        for share in (asked.share, _GREATEST_SHARE):
            context = _context(found, asked.slots, share, VIEW_TOKENS[machine.kind])
            if context and slots < asked.slots and (context < found.context or share > asked.share):
                told.append(
                    f"{name} with CONTEXT_TOKENS={min(context, found.context)}, SLOTS={asked.slots}, "
                    f"KV_MEMORY_SHARE={share:g}"
                )
    return told


def _context(found: Fit, slots: int, share: float, view: int) -> int:
    """The longest that so many slots have, in whole views; a quarter of the cache is for kept prefixes."""
    holds = min((part.place.holds(share) for part in found.parts if part.place.token_bytes), default=0)
    return int(holds * 0.75) // slots // view * view


def _other_modes(machine: Machine, asked: Asked, choices: tuple[Choice, ...]) -> list[str]:
    told = []
    for choice in choices:
        if choice.fit.sizes and not choice.served:
            sizes, places = choice.fit.sizes, len(choice.fit.parts)
            where = f" on {places} GPUs" if places > 1 else ""
            apart = " of several machines" if places > machine.together and machine.kind == "cuda" else ""
            told.append(f"{choice.fit.mode.name} would fit{where}{apart} with {sizes.slots} slots: not in this version")
    return told


def _other_devices(model: Architecture, asked: Asked, devices: tuple[Gpu, ...]) -> list[str]:
    """The smallest machine of the table, by the memory of its GPUs, that a served mode fits as it is asked."""
    found = []
    for gpu in devices:
        machine = Machine(
            name=gpu.name, kind="cuda", memory=gpu.memory, count=_GPUS_OF_A_MACHINE, together=_GPUS_OF_A_MACHINE,
            bandwidth=gpu.bandwidth, rates=gpu.rates, source=gpu.source,
        )  # fmt: skip
        for mode in modes_on("cuda", gpu.rates):
            if not mode.serves("cuda"):
                continue
            fitted = fit(model, machine, mode, asked, most_places=_GPUS_OF_A_MACHINE)
            if fitted.sizes and fitted.sizes.slots >= asked.slots:
                found.append((len(fitted.parts) * gpu.memory, f"{mode.name} on {len(fitted.parts)} × {gpu.name}"))
    if not found:
        return [f"no machine with up to {_GPUS_OF_A_MACHINE} GPUs of the table holds it in a mode of this version"]
    return [min(found)[1]]


def _notes(model: Architecture, machine: Machine, asked: Asked, best: Choice | None) -> list[str]:
    told = []
    if best and len(best.fit.parts) > 1:
        told.append(
            "layers on several GPUs add their memory, not their speed: a token passes them one after the other. "
            "What makes one request faster is tensor parallel, which this version does not have"
        )
    if best and machine.count >= 2 * len(best.fit.parts):
        told.append(f"{machine.count // len(best.fit.parts)} workers have room, each on GPUs of its own")
    if machine.count > machine.together:
        told.append(
            f"the torch engine is one process and reaches the {machine.together} GPUs of one machine; over several "
            f"machines an engine is needed that this version does not have ({_on_all(model, machine, asked)})"
        )
    if machine.kind == "cpu" and machine.rates and "bf16" not in machine.rates:
        told.append("this CPU has no bfloat16 (AVX512-BF16 or AMX): what computes in it is left out")
    if model.quantized:
        told.append(
            f"the files are {model.quantized}, "
            + ("which is read as plain numbers" if model.quantized in READ else "which the torch engine does not read")
            + ": the rows say what the model takes in plain ones and in modes that are made of them"
        )
    return told


def _on_all(model: Architecture, machine: Machine, asked: Asked) -> str:
    told = []
    for mode in MODES:
        if mode.serves(machine.kind):
            found = fit(model, machine, mode, asked, most_places=machine.count)
            on = (
                f"{len(found.parts)} of them"
                if found.sizes
                else f"all {machine.count}, short of {found.short / 2**30:,.1f} GiB"
            )
            told.append(f"{mode.name} {'would fit' if found.sizes else 'would not fit'} on {on}")
    return "; ".join(told)


def device_map(found: Fit, *, tied: bool) -> dict[str, int]:
    """The same cut as JSON that DEVICE_MAP takes."""
    places = {f"model.layers.{layer}": number for number, part in enumerate(found.parts) for layer in part.layers}
    last = len(found.parts) - 1
    return {"model.embed_tokens": 0, **places, "model.norm": last, "lm_head": 0 if tied else last}
