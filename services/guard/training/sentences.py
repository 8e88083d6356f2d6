"""Sentences with their names and addresses marked: the guard data's, and our own templates filled with inventions."""

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.guard.redaction.named.entity import ADDRESS, PERSON, Entity
from services.guard.redaction.window import Window
from services.guard.training import firms, invention

WORDS = Path(__file__).parent / "words"

# Of the plain sources only those that name next to nobody teach that there is no name; the rest teach ordinary words.
WITHOUT_NAMES = frozenset(
    {"banking77", "nlupp_banking", "selfwritten_fin", "cvalues_prompts", "jade_db", "disc_finllm", "advbench"}
    | {"cyberseceval_frr", "cyberseceval_instruct", "strongreject", "glaive_toolcall", "harmbench_adv_training"}
)
COPIES_OF = {("chinese", "firms"): 2, ("english", "firms"): 2}  # more can be a firm than can be a person
_LONGEST = 600  # characters of a plain text that are read


@dataclass(frozen=True)
class Sentence:
    """`template` is what is left out together; `exempt` spans count neither as right nor as wrong."""

    text: str
    entities: tuple[Entity, ...]
    template: str
    source: str
    exempt: tuple[tuple[int, int], ...] = ()
    negatives: tuple[tuple[int, int], ...] = ()
    personal: bool = True  # whether there is personal data of any class


def read_marked(path: Path) -> list[Sentence]:
    """The guard data's sentences with personal data marked."""
    return [as_read(_marked(json.loads(line))) for line in path.read_text(encoding="utf-8").split("\n") if line]


def as_read(sentence: Sentence) -> Sentence:
    """The sentence as recognizers see it: normalised, with all positions moved accordingly."""
    window = Window()
    window.take(sentence.text)
    window.end()
    size = len(window.plain)
    starts = {window.raw_start(place): place for place in reversed(range(size))}
    ends = {window.raw_end(place): place for place in range(1, size + 1)}

    def moved(start: int, end: int) -> tuple[int, int]:
        return starts.get(start, -1), ends.get(end, -1)

    return replace(
        sentence,
        text=window.plain,
        entities=tuple(Entity(e.kind, *moved(e.start, e.end)) for e in sentence.entities),
        exempt=tuple(moved(*span) for span in sentence.exempt),
        negatives=tuple(moved(*span) for span in sentence.negatives),
    )


def _marked(row: Mapping[str, object]) -> Sentence:
    spans = row["entities"]
    assert isinstance(spans, list)
    kept = tuple(Entity(e["type"], e["start"], e["end"]) for e in spans if e["type"] in (PERSON, ADDRESS))
    template = str(row["template"]).removesuffix("+neg")
    return Sentence(
        str(row["text"]),
        kept,
        template,
        str(row["source"]),
        _pairs(row, "other_spans"),
        _pairs(row, "negatives"),
        bool(spans),
    )


def _pairs(row: Mapping[str, object], key: str) -> tuple[tuple[int, int], ...]:
    spans = row.get(key) or []
    assert isinstance(spans, list)
    return tuple((span["start"], span["end"]) for span in spans)


def read_plain(folder: Path) -> list[Sentence]:
    """Texts of the guard data that mark nothing, by source."""
    sentences = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in filter(None, path.read_text(encoding="utf-8").split("\n")):
            row = json.loads(line)
            plain = Sentence(row["text"][:_LONGEST], (), row["source"], row["source"], personal=False)
            sentences.append(as_read(plain))
    return sentences


def digests(data: Path) -> dict[str, str]:
    """SHA-256 of every file that is read."""
    paths = [data / "pii" / "train.jsonl", *sorted((data / "train").glob("*.jsonl"))]
    return {str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def templates(name: str) -> list[str]:
    lines = (WORDS / name).read_text(encoding="utf-8").splitlines()
    return [line.replace("\\n", "\n") for line in lines if line and not line.startswith("#")]


_MARKED = {"P": PERSON, "F": PERSON, "L": PERSON, "C": PERSON} | dict.fromkeys(("A", "NO", "ST", "UN", "ZIP"), ADDRESS)
_SLOT = re.compile(r"\{([A-Za-z0-9]+)\}")
Filler = Callable[[random.Random], str]


def filled(template: str, fillers: Mapping[str, Filler], chance: random.Random, name: str) -> Sentence:
    """The template with every slot filled, and the names and addresses in it marked."""
    pieces: list[str] = []
    entities: list[Entity] = []
    size = end = 0
    for slot in _SLOT.finditer(template):
        before = template[end : slot.start()]
        value = fillers[slot[1]](chance)
        size += len(before)
        kind = _MARKED.get(slot[1])
        if kind:
            entities.append(Entity(kind, size, size + len(value)))
        pieces += (before, value)
        size += len(value)
        end = slot.end()
    return Sentence("".join([*pieces, template[end:]]), tuple(entities), name, "own")


def own(seed: int, copies: int) -> Iterator[Sentence]:
    """Our own templates, each filled `copies` times; sentences without slots once."""
    chance = random.Random(seed)
    chinese = {**firms.chinese(WORDS), **invention.chinese(WORDS)}
    english = {**firms.western(WORDS), **invention.western(WORDS)}
    for language, fillers in (("chinese", chinese), ("english", english)):
        for kind in ("sentences", "plain", "firms"):
            yield from _filled(language, kind, fillers, chance, COPIES_OF.get((language, kind), 1) * copies)


def _filled(
    language: str, kind: str, fillers: Mapping[str, Filler], chance: random.Random, copies: int
) -> Iterator[Sentence]:
    for number, template in enumerate(templates(f"{language}_{kind}.txt")):
        for _ in range(copies):
            yield as_read(filled(template, fillers, chance, f"own-{language}-{kind}-{number}"))


def renamed(sentence: Sentence, chance: random.Random, names: Mapping[str, Filler]) -> Sentence:
    """The same sentence about other people."""
    pieces: list[str] = []
    entities: list[Entity] = []
    end = shift = 0
    for entity in sentence.entities:
        old = sentence.text[entity.start : entity.end]
        value = old
        if entity.kind == PERSON:
            value = _like(old, chance, names)
        pieces += (sentence.text[end : entity.start], value)
        entities.append(Entity(entity.kind, entity.start + shift, entity.start + shift + len(value)))
        shift += len(value) - len(old)
        end = entity.end
    text = "".join([*pieces, sentence.text[end:]])
    return Sentence(text, tuple(entities), sentence.template, sentence.source)


def _like(old: str, chance: random.Random, names: Mapping[str, Filler]) -> str:
    if old[0] >= "\u4e00":
        return names["C"](chance)
    words = len(old.split())
    value = names["G"](chance) if words == 1 else names["P"](chance)
    return value.lower() if old.islower() else value


def shuffled(sentences: Sequence[Sentence], seed: int) -> list[Sentence]:
    copy = list(sentences)
    random.Random(seed).shuffle(copy)
    return copy
