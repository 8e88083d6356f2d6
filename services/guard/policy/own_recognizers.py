"""Reads a firm's own recognizers out of a policy, and tries each on the texts that it must and must not find."""

from services.guard.policy.document import Section
from services.guard.redaction.custom import WIDEST, Custom, UnfitPattern, custom
from services.guard.redaction.masking import MODES, Masking
from services.guard.redaction.presidio import Presidio, presidio
from services.guard.redaction.recognizers import RECOGNIZERS
from services.guard.redaction.redactor import redact
from services.guard.redaction.table import Table

Own = Custom | Presidio

MOST = 50
LONGEST_EXAMPLE = 500


def own_recognizers(sections: list[Section], maskings: dict[str, Masking], levels: tuple[str, ...]) -> Table:
    """The whole table, a firm's own behind ours; `maskings` gains their classes."""
    own: list[Own] = []
    for section in sections[:MOST]:
        found = _one(section, maskings, levels)
        if found is not None:
            own.append(found)
    if len(sections) > MOST:
        sections[0].problem("name", f"is one of {len(sections)} recognizers", f"keep at most {MOST}")
    return Table((*RECOGNIZERS, *own), WIDEST if own else 0)


def _one(section: Section, maskings: dict[str, Masking], levels: tuple[str, ...]) -> Own | None:
    name = section.text("name")
    if not name.isascii() or not name.replace("_", "A").isalpha() or name != name.upper():
        section.problem("name", f"is {name!r}", "write a class in capitals and _, such as EMPLOYEE_NUMBER")
    if name in maskings:
        section.problem("name", f"{name} is a class already", "give it a name of its own")
    mode, level = section.choice("mode", MODES, MODES[0]), section.choice("level", levels)
    label = section.text("label")
    if any(character.isdigit() or character == "@" for character in label):
        section.problem("label", f"is {label!r}", "write it without digits or @")
    made = _made(section, name)
    finds, passes = section.texts("finds"), section.texts("passes")
    section.done()
    if made is None:
        return None
    masking = maskings[name] = Masking(name, mode, label, level)
    _try(section, made, masking, finds, passes)
    return made


def _made(section: Section, name: str) -> Own | None:
    context = section.texts("context", required=False)
    kind = "presidio" if section.has("presidio") else "pattern"
    told = section.text(kind)
    try:
        return (
            presidio(name, told, section.number("score", 0, 1), context)
            if kind == "presidio"
            else custom(name, told, context)
        )
    except UnfitPattern as unfit:
        section.problem(kind, unfit.wrong, unfit.remedy)
        return None


def _try(section: Section, made: Own, masking: Masking, finds: tuple[str, ...], passes: tuple[str, ...]) -> None:
    """Alone, as it will look at a text: a pattern without a digit or @ in it is never asked."""
    table, maskings = Table((made,)), {made.entity: masking}
    for key, texts, wanted in (("finds", finds, True), ("passes", passes, False)):
        for number, text in enumerate(texts):
            if len(text) > LONGEST_EXAMPLE:
                section.problem(f"{key}[{number}]", f"has {len(text)} characters", f"keep it within {LONGEST_EXAMPLE}")
            elif bool(redact(maskings, text, table).findings) is not wanted:
                wrong = "is not found" if wanted else "is found"
                section.problem(f"{key}[{number}]", wrong, "correct the pattern, its context or the example")
