"""Names and addresses as the redactor reads them: a text in pieces, with the same result for every way of cutting."""

from services.guard.redaction.finding import Detector, Span
from services.guard.redaction.named.address_reader import AddressReader
from services.guard.redaction.named.chinese_names import NameReader
from services.guard.redaction.named.entity import ADDRESS, LOOK_AHEAD, NONE_GROWS, PERSON, Entity, Reader
from services.guard.redaction.named.model import Model, find
from services.guard.redaction.named.western import Tagger
from services.guard.redaction.window import Window

CLASSES = {PERSON: "PERSON_NAME", ADDRESS: "POSTAL_ADDRESS"}


class NamedDetector(Detector):
    """A detector around one reader."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader
        self._position = 0

    def advance(self, window: Window) -> list[Span]:
        entities, self._position = self._reader.read(window.plain, self._position, window.ended)
        growing, settled = self._reader.growing, max(self._position, self._reader.free_to)
        self.settled = settled if growing == NONE_GROWS else min(settled, growing)
        return [_span(window, entity) for entity in entities]

    def shift(self, count: int) -> None:
        super().shift(count)
        self._position -= count
        self._reader.shift(count)


class WholeText(Detector):
    """For a text that is there whole: nothing is decided before its end, and everything may decide."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model

    def advance(self, window: Window) -> list[Span]:
        if not window.ended:
            return []
        self.settled = len(window.plain)
        return [_span(window, entity) for entity in find(self._model, window.plain)]


def _span(window: Window, entity: Entity) -> Span:
    value = window.plain[entity.start : entity.end]
    kind = CLASSES[entity.kind]
    return Span(kind, entity.start, entity.end, value, kind.lower(), window.raw_start(entity.start))


def detectors(model: Model) -> list[Detector]:
    """For text in pieces; each decides with LOOK_AHEAD characters at most."""
    readers: list[Reader] = [
        NameReader(model.names, model.name_weights, model.name_margin),
        AddressReader(model.grammar),
        Tagger(model.western, model.western_scores, LOOK_AHEAD),
    ]
    return [NamedDetector(reader) for reader in readers]
