"""A value computed when first asked for. Python 3.11's own takes a lock each time, which costs more here."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class lazily(Generic[T]):
    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__

    @overload
    def __get__(self, owner: None, kind: type) -> "lazily[T]": ...

    @overload
    def __get__(self, owner: object, kind: type) -> T: ...

    def __get__(self, owner: object | None, kind: type) -> "lazily[T] | T":
        if owner is None:
            return self
        value = owner.__dict__[self._name] = self._compute(owner)
        return value
