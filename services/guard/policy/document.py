"""Reads a YAML document field by field, and remembers everything that is wrong with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml


class UniqueKeyLoader(yaml.CSafeLoader):
    """YAML lets a later key replace an earlier one in silence; a policy must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.constructor.ConstructorError(None, None, f"line {line}: {key!r} stands here twice", None)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class Problems:
    """All that is wrong, in the order found: key path, what, remedy."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, path: str, wrong: str, remedy: str) -> None:
        self.lines.append(f"{path}: {wrong}; {remedy}")


class Section:
    """One mapping of the document. Every getter notes a problem and returns a harmless value rather than raise."""

    def __init__(self, value: Any, path: str, problems: Problems) -> None:
        self.path = path
        self._problems = problems
        self._taken: set[str] = set()
        if not isinstance(value, Mapping):
            problems.add(path or "the document", f"is {_kind(value)}", "write a mapping of keys to values")
            value = {}
        self._values: Mapping[Any, Any] = value

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def names(self) -> list[str]:
        return [str(key) for key in self._values]

    def has(self, key: str) -> bool:
        return key in self._values

    def problem(self, key: str, wrong: str, remedy: str) -> None:
        self._problems.add(self.at(key), wrong, remedy)

    def section(self, key: str) -> "Section":
        return Section(self._take(key, {}, "write a mapping"), self.at(key), self._problems)

    def sections(self, key: str) -> list["Section"]:
        """A list of mappings; absent means none."""
        self._taken.add(key)
        items = self._values.get(key, [])
        if not isinstance(items, list) or (key in self._values and not items):
            self.problem(key, f"is {_kind(items)}", "write at least one entry, or leave the key out")
            return []
        return [Section(item, f"{self.at(key)}[{number}]", self._problems) for number, item in enumerate(items)]

    def text(self, key: str) -> str:
        value = self._take(key, "x", "write a text")
        if not isinstance(value, str) or not value.strip():
            self.problem(
                key, f"is {_kind(value)}", "write a text that is not empty, in quotes if it looks like a number"
            )
            return "x"
        return value.strip()

    def choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        if default is not None and key not in self._values:
            return default
        value = self._take(key, allowed[0], f"write one of {', '.join(allowed)}")
        if value not in allowed:
            self.problem(key, f"is {value!r}", f"write one of {', '.join(allowed)}")
            return allowed[0]
        return str(value)

    def number(self, key: str, low: float, high: float) -> float:
        value = self._take(key, low, f"write a number from {low:g} to {high:g}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.problem(key, f"is {value!r}", f"write a number from {low:g} to {high:g}")
            return low
        return value

    def switch(self, key: str) -> bool:
        """True or false; absent means false."""
        self._taken.add(key)
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            self.problem(key, f"is {value!r}", "write true or false")
        return value is True

    def texts(self, key: str, *, required: bool = True) -> tuple[str, ...]:
        if not required and key not in self._values:
            return ()
        value = self._take(key, ["x"], "write a list of texts")
        if not isinstance(value, list) or not value:
            self.problem(key, f"is {_kind(value)}", "write at least one text: an empty list would switch a check off")
            return ()
        for number, item in enumerate(value):
            if not isinstance(item, str) or not item.strip():
                self.problem(f"{key}[{number}]", f"is {_kind(item)}", "write a text, in quotes if it looks otherwise")
        return tuple(item for item in value if isinstance(item, str) and item.strip())

    def done(self) -> None:
        """Every key that no getter asked for is unknown."""
        for key in self._values:
            if key not in self._taken:
                known = ", ".join(sorted(self._taken))
                self.problem(str(key), "no such key", f"remove it or correct its name; known here: {known}")

    def _take(self, key: str, default: Any, remedy: str) -> Any:
        self._taken.add(key)
        if key not in self._values:
            self.problem(key, "is missing", remedy)
            return default
        return self._values[key]


def _kind(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "empty"
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a mapping",
    }
    return names.get(type(value), f"a {type(value).__name__}")
