"""A witness policy (c2sp.org/tlog-policy): which witnesses are asked, and which of them have to cosign."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from chassis.settings import LOOPBACK
from services.audit.log.note import NoteInvalid, Verifier, parse_vkey
from services.audit.witnesses.cosignatures import Cosigner, parse_cosigner

NONE = "none"
MAX_POLICY_BYTES = 64 * 1024


class PolicyInvalid(Exception):
    """Names the line and what is wrong with it."""


class Witness(NamedTuple):
    """`name` is the policy's; `url` is where it takes checkpoints, without the slash at its end."""

    name: str
    cosigner: Cosigner
    url: str


class Group(NamedTuple):
    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class WitnessPolicy:
    text: str
    logs: list[Verifier] = field(default_factory=list)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    quorum: str = ""

    def met_by(self, cosigned: Collection[str]) -> bool:
        return self._met(self.quorum, cosigned)

    def _met(self, name: str, cosigned: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group:
            return sum(self._met(member, cosigned) for member in group.members) >= group.needed
        return name == NONE or name in cosigned


def parse_policy(text: str) -> WitnessPolicy:
    if re.search("[\x00-\x08\x0b-\x1f\x7f]", text):
        raise PolicyInvalid("it has control characters other than tab and newline")
    reading = _Reading(WitnessPolicy(text))
    for number, line in enumerate(text.split("\n"), 1):
        words = line.replace("\t", " ").split(" ")
        words = [word for word in words if word]
        if words and not words[0].startswith("#"):
            try:
                reading.take(words)
            except (PolicyInvalid, NoteInvalid) as invalid:
                raise PolicyInvalid(f"line {number}: {invalid}") from None
    if not reading.quorum:
        raise PolicyInvalid("it has no quorum line")
    return WitnessPolicy(text, reading.policy.logs, reading.policy.witnesses, reading.policy.groups, reading.quorum)


def read_policy(path: Path) -> WitnessPolicy:
    with open(path, "rb") as file:
        data = file.read(MAX_POLICY_BYTES + 1)
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyInvalid(f"it has more than {MAX_POLICY_BYTES} bytes")
    return parse_policy(data.decode("utf-8", "surrogateescape"))


def unreachable(policy: WitnessPolicy, in_plaintext: bool) -> list[str]:
    """What keeps witnesses from being asked, one line each."""
    problems = []
    for name, _, url in policy.witnesses.values():
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            problems.append(f"the witness {name} has no http or https address, so that it cannot be asked")
        elif parts.scheme == "http" and parts.hostname not in LOOPBACK and not in_plaintext:
            problems.append(
                f"the witness {name} is asked in plaintext beyond this machine: use https, or set STRONGROOM_INSECURE="
                "true if the network is private"
            )
    return [f"STRONGROOM_AUDIT_WITNESS_POLICY: {problem}" for problem in problems]


class _Reading:
    """Line after line: each may only name what stands above it."""

    def __init__(self, policy: WitnessPolicy) -> None:
        self.policy, self.quorum = policy, ""
        self._members: set[str] = set()  # of any group

    def take(self, words: list[str]) -> None:
        keyword, given = words[0], words[1:]
        if keyword == "log" and len(given) in (1, 2):
            log = parse_vkey(given[0])
            _not_again(log.public, (other.public for other in self.policy.logs))
            self.policy.logs.append(log)
        elif keyword == "witness" and len(given) in (2, 3):
            self._witness(given[0], given[1], given[2] if len(given) == 3 else "")
        elif keyword == "group" and len(given) >= 3:
            self._group(given[0], given[1], tuple(given[2:]))
        elif keyword == "quorum" and len(given) == 1:
            self._require_defined(given, or_none=True)
            if self.quorum:
                raise PolicyInvalid("there is one quorum line")
            self.quorum = given[0]
        else:
            raise PolicyInvalid(f"not a line of a policy: {keyword}")

    def _witness(self, name: str, vkey: str, url: str) -> None:
        self._require_new(name)
        cosigner = parse_cosigner(vkey)
        _not_again(cosigner.verifier.public, (each.cosigner.verifier.public for each in self.policy.witnesses.values()))
        self.policy.witnesses[name] = Witness(name, cosigner, url.rstrip("/"))

    def _group(self, name: str, needed: str, members: tuple[str, ...]) -> None:
        self._require_new(name)
        self._require_defined(members)
        if len(set(members)) < len(members) or self._members.intersection(members):
            raise PolicyInvalid("a name is a member of one group, once")
        if not re.fullmatch("any|all|[1-9][0-9]{0,3}", needed):
            raise PolicyInvalid(f"{needed!r} is neither any, all nor a number from 1")
        count = {"any": 1, "all": len(members)}.get(needed) or int(needed)
        if count > len(members):
            raise PolicyInvalid(f"the group asks for {count} of {len(members)}")
        self._members.update(members)
        self.policy.groups[name] = Group(count, members)

    def _require_new(self, name: str) -> None:
        if name == NONE or name in self.policy.witnesses or name in self.policy.groups:
            raise PolicyInvalid(f"{name} is defined already")

    def _require_defined(self, names: Iterable[str], or_none: bool = False) -> None:
        for name in names:
            if name not in self.policy.witnesses and name not in self.policy.groups and not (or_none and name == NONE):
                raise PolicyInvalid(f"{name} is not defined above")


def _not_again(key: bytes, others: Iterable[bytes]) -> None:
    if key in others:
        raise PolicyInvalid("the key is there twice")
