"""The recognizers in their order, and those of them that the characters of a stretch leave possible."""

from collections.abc import Sequence

from services.guard.redaction.shape import Shape
from services.guard.redaction.stretch import Recognizer, Stretch

_SIGNS = "@:.-=x"


class Table:
    """Most stretches are short and plain, and most recognizers need a sign or a letter: which are left is worked out
    once for each combination."""

    def __init__(self, recognizers: Sequence[Recognizer], widest: int = 0) -> None:
        """`widest`: characters that those of a firm's own may find; 0 where there are none."""
        self.widest = widest
        self._recognizers = tuple(recognizers)
        self._fitting: dict[tuple[bool, ...], tuple[Recognizer, ...]] = {}

    def fitting(self, stretch: Stretch) -> tuple[Recognizer, ...]:
        content = stretch.content
        key = (stretch.has_letters, *[sign in content for sign in _SIGNS])
        found = self._fitting.get(key)
        if found is None:
            found = self._fitting[key] = tuple(one for one in self._recognizers if _possible(one, key))
        return found


def _possible(recognizer: Recognizer, key: tuple[bool, ...]) -> bool:
    if not isinstance(recognizer, Shape):
        return True
    if recognizer.letters and not key[0]:
        return False
    signs = recognizer.needs
    known = dict(zip(_SIGNS, key[1:], strict=True))
    return not signs or any(known.get(sign, True) for sign in signs)
