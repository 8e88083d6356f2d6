"""Retention: how long what the requests of a tenant left has to be kept, by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml

# Six months: 网络安全法 of network logs; Regulation (EU) 2024/1689, articles 19 and 26(6), of the logs of AI systems.
FLOOR_DAYS, MAX_DAYS = 180, 36_525
MAX_FILE_BYTES = 1024 * 1024
STANDARD = "standard"
_DAY_MS = 24 * 3600 * 1000


class RetentionInvalid(Exception):
    """A retention file that cannot be used. Names the member, its bound and the remedy."""


class Kept(NamedTuple):
    """By which class, and until when: Unix milliseconds."""

    by: str
    days: int
    until_ms: int

    def stated(self) -> dict[str, object]:
        return {"class": self.by, "days": self.days, "until_ms": self.until_ms}


@dataclass(frozen=True)
class Retention:
    """Without a file everybody's is the shortest that there may be."""

    classes: Mapping[str, int] = field(default_factory=lambda: {STANDARD: FLOOR_DAYS})  # days
    tenants: Mapping[str, str] = field(default_factory=dict)
    default: str = STANDARD

    def kept(self, tenant: str, newest_ms: int) -> Kept:
        """Of what was written down until then: the clock of all of it starts with the newest entry, as one key seals
        them."""
        name = self.tenants.get(tenant, self.default)
        return Kept(name, self.classes[name], newest_ms + self.classes[name] * _DAY_MS)


def read_retention(path: Path) -> Retention:
    with open(path, "rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise RetentionInvalid(f"it has more than {MAX_FILE_BYTES} bytes")
    try:
        told = yaml.safe_load(data)
    except yaml.YAMLError:
        raise RetentionInvalid("it is not YAML") from None
    if not isinstance(told, dict) or not told.keys() <= {"classes", "tenants", "default"}:
        raise RetentionInvalid("it must have the members classes and default, and may have tenants")
    classes = {str(name): _days(name, days) for name, days in _mapping(told, "classes").items()}
    tenants = {str(tenant): _class(str(name), classes) for tenant, name in _mapping(told, "tenants").items()}
    return Retention(classes, tenants, _class(str(told.get("default", STANDARD)), classes))


def _mapping(told: Mapping[str, object], member: str) -> Mapping[object, object]:
    found = told.get(member) or {}
    if not isinstance(found, dict):
        raise RetentionInvalid(f"{member} must map names to {'days' if member == 'classes' else 'classes'}")
    return found


def _days(name: object, days: object) -> int:
    if type(days) is not int or not FLOOR_DAYS <= days <= MAX_DAYS:
        raise RetentionInvalid(f"classes: {name} is {days}: a whole number of days from {FLOOR_DAYS} to {MAX_DAYS}")
    return days


def _class(name: str, classes: Mapping[str, int]) -> str:
    if name not in classes:
        raise RetentionInvalid(f"{name} is not one of classes: {', '.join(sorted(classes)) or 'there are none'}")
    return name
