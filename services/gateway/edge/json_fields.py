"""JSON from strangers: parsed strictly, read field by field, every complaint naming the field and never its value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from chassis.failures import InvalidArgument

INT64 = 2**63
# A field's name may be said back to its sender when it looks like one; anything else may be content.
_NAME = re.compile(r"[A-Za-z_]{1,64}")


def parse(body: bytes) -> JsonObject:
    """The object that a body holds."""
    try:
        value = _decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise InvalidArgument(
            "the body is not valid JSON: send one object, in UTF-8, without NaN or Infinity", reason="MALFORMED_JSON"
        ) from None
    if not isinstance(value, dict):
        raise InvalidArgument("the body must be a JSON object", reason="MALFORMED_JSON")
    return JsonObject(value)


class JsonObject:
    """An object whose fields are asked for by name and type; null reads as absent. `close` refuses what is left."""

    def __init__(self, value: dict[str, Any], path: str = "") -> None:
        self._left = dict(value)
        self._path = path

    def where(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def text(self, name: str) -> str | None:
        value = self._left.pop(name, None)
        return None if value is None else text(value, self.where(name))

    def flag(self, name: str) -> bool | None:
        value = self._left.pop(name, None)
        if value is not None and type(value) is not bool:
            raise wrong_type(self.where(name), "true or false")
        return value

    def integer(self, name: str) -> int | None:
        value = self._left.pop(name, None)
        if value is not None and (type(value) is not int or not -INT64 <= value < INT64):
            raise wrong_type(self.where(name), "a whole number of at most 64 bits")
        return value

    def number(self, name: str) -> float | None:
        value = self._left.pop(name, None)
        if value is None:
            return None
        try:
            number = float(value) if type(value) in (int, float) else math.nan
        except OverflowError:
            number = math.nan
        if not math.isfinite(number):
            raise wrong_type(self.where(name), "a finite number")
        return number

    def item(self, name: str) -> Any:
        """As it stands, for whoever accepts more than one type."""
        return self._left.pop(name, None)

    def has(self, name: str) -> bool:
        """It is there, still unread, and not null."""
        return self._left.get(name) is not None

    def items(self, name: str) -> list[Any] | None:
        value = self._left.pop(name, None)
        if value is not None and not isinstance(value, list):
            raise wrong_type(self.where(name), "a list")
        return value

    def object(self, name: str) -> JsonObject:
        """An empty one where it is absent."""
        value = self._left.pop(name, None)
        return member({} if value is None else value, self.where(name))

    def neutral(self, unsupported: Mapping[str, Sequence[Any]]) -> None:
        """Takes the fields that are not supported, if their values ask for nothing."""
        for name in [name for name in self._left if name in unsupported]:
            self.only(name, unsupported[name])

    def only(self, name: str, neutral: Sequence[Any]) -> None:
        """Takes a field that is not supported, if its value asks for nothing."""
        value = self._left.pop(name, None)
        if value is not None and not any(type(value) is type(one) and value == one for one in neutral):
            raise not_supported(self.where(name))

    def close(self) -> None:
        """Refuses the fields that nobody asked for."""
        for name in self._left:
            known = bool(_NAME.fullmatch(name))
            place = self.where(name) if known else self._path
            said = place if known else f"a field of {self._path or 'the body'} whose name is not one of ours"
            # The name is the sender's own: it goes back to them, and not into the log's REJECTED entry.
            raise InvalidArgument(f"{said} is not known here: leave it out", reason="UNKNOWN_FIELD", param=place)


def member(value: Any, path: str) -> JsonObject:
    """The object at `path`."""
    if not isinstance(value, dict):
        raise wrong_type(path, "an object")
    return JsonObject(value, path)


def text(value: Any, path: str) -> str:
    """The string at `path`; half of a surrogate pair is no text, and nothing after us could encode it."""
    if not isinstance(value, str):
        raise wrong_type(path, "a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise wrong_type(path, "valid Unicode") from None
    return value


def at_most(bound: int, values: Sequence[Any] | Mapping[str, Any], where: str) -> None:
    """The core's own bounds, before the work of reading what is over them."""
    if len(values) > bound:
        raise InvalidArgument(f"{where} has {len(values)} items, the bound is {bound}: send fewer", field=where)


def wrong_type(path: str, wanted: str) -> InvalidArgument:
    return InvalidArgument(f"{path} must be {wanted}", field=path, reason="WRONG_TYPE")


def not_supported(path: str) -> InvalidArgument:
    return InvalidArgument(f"{path} is not supported here: leave it out", field=path, reason="UNSUPPORTED_FIELD")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of a duplicate key may each take another of the two."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidArgument("the body names a field twice: send it once", reason="DUPLICATE_FIELD")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_decode = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_no_constant).decode
