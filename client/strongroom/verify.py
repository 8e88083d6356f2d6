"""Checks a Strongroom audit log, an export or a receipt with the standard library alone (docs/audit-format.md).

It shares no code with the service that writes the log: whoever reads these lines has read all that has to be trusted.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import http.client
import json
import os
import re
import struct
import sys
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

VERIFIES, NOT_A_LOG, ALTERED, ABSENT = 0, 2, 3, 4  # exit codes


class Malformed(Exception):
    """Something is not what the format says. The text says what."""


# --- Ed25519 (RFC 8032, 5.1.7) ----------------------------------------------------------------------------------------

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
_Point = tuple[int, int, int, int]  # X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z


def _add(a: _Point, b: _Point) -> _Point:
    u = (a[1] - a[0]) * (b[1] - b[0]) % _P
    v = (a[1] + a[0]) * (b[1] + b[0]) % _P
    c, d = 2 * a[3] * b[3] * _D % _P, 2 * a[2] * b[2] % _P
    e, f, g, h = v - u, d - c, d + c, v + u
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: _Point) -> _Point:
    result: _Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point, scalar = _add(point, point), scalar >> 1
    return result


def _decode_point(data: bytes) -> _Point:
    """Canonical encodings only: y below p, and no negative zero for x."""
    y, sign = int.from_bytes(data, "little") & (2**255 - 1), data[31] >> 7
    if len(data) != 32 or y >= _P:
        raise Malformed("not a canonical point")
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if (x * x - square) % _P or (x == 0 and sign):
        raise Malformed("not a point of the curve")
    x = _P - x if x & 1 != sign else x
    return x, y, 1, x * y % _P


def _encode_point(point: _Point) -> bytes:
    inverse = pow(point[2], _P - 2, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


_BASE = _decode_point((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little"))


def ed25519_verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    if len(public) != 32 or len(signature) != 64:
        return False
    scalar = int.from_bytes(signature[32:], "little")
    if scalar >= _L:
        return False
    try:
        x, y, z, t = _decode_point(public)
    except Malformed:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    minus_public = (-x % _P, y, z, -t % _P)
    return _encode_point(_add(_times(scalar, _BASE), _times(challenge, minus_public))) == signature[:32]


# --- RFC 6962 trees ---------------------------------------------------------------------------------------------------


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """Pairs upward, an odd one out carried: the same tree as RFC 6962's split at the largest power of two."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    row = list(hashes)
    while len(row) > 1:
        odd = row[-1:] if len(row) % 2 else []
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)] + odd
    return row[0]


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        raise Malformed("the index is outside the tree")
    at, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise Malformed("the proof is too long")
        if at & 1 or at == last:
            root = node_hash(sibling, root)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise Malformed("the proof is too short")
    return root


# --- base64, signed notes, checkpoints --------------------------------------------------------------------------------


def unb64(text: str, length: int | None = None) -> bytes:
    """Standard base64 with padding and zero tail bits: one value, one spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("not base64") from None
    if base64.b64encode(data).decode() != text:
        raise Malformed("base64 is not canonical")
    if length is not None and len(data) != length:
        raise Malformed(f"{len(data)} bytes instead of {length}")
    return data


@dataclass(frozen=True)
class LogKey:
    """A vkey: NAME+HASH+KEY, Ed25519; a log's, or that of a witness."""

    name: str
    key_id: bytes
    public: bytes


SIGNS, COSIGNS = 1, 4  # types of keys: what they do with Ed25519


def parse_vkey(vkey: str, kind: int = SIGNS) -> LogKey:
    parts = vkey.split("+", 2)
    if len(parts) != 3 or not parts[0] or any(c.isspace() for c in parts[0]):
        raise Malformed("a verifier key is NAME+HASH+KEY")
    typed = unb64(parts[2], 33)
    if typed[0] != kind:
        raise Malformed(f"the verifier key is not {'an Ed25519 key' if kind == SIGNS else 'that of a witness'}")
    key_id = hashlib.sha256(parts[0].encode() + b"\n" + typed).digest()[:4]
    if key_id.hex() != parts[1]:
        raise Malformed("the verifier key's hash does not belong to its name and key")
    return LogKey(parts[0], key_id, typed[1:])


Signatures = Sequence[tuple[str, bytes, bytes]]  # of a note: each one's name, key id and the rest


def parts_of(note: str) -> tuple[str, Signatures]:
    """The text of a C2SP signed note, and its signatures, none of which is checked here."""
    text, separator, block = note.rpartition("\n\n")
    if not separator or not block.endswith("\n") or re.search("[\x00-\x09\x0b-\x1f]", note):
        raise Malformed("not a signed note")
    signatures = []
    for line in block[:-1].split("\n"):
        words = line.split(" ")
        if len(words) != 3 or words[0] != "—" or not words[1]:
            raise Malformed("a signature line is malformed")
        blob = unb64(words[2])
        signatures.append((words[1], blob[:4], blob[4:]))
    return text + "\n", signatures


def open_note(note: str, key: LogKey) -> str:
    """The text of a note that `key` has signed."""
    text, signatures = parts_of(note)
    own = [signature for name, key_id, signature in signatures if (name, key_id) == (key.name, key.key_id)]
    if not all(ed25519_verifies(key.public, text.encode(), signature) for signature in own):
        raise Malformed("the signature fails")
    if not own:
        raise Malformed("no signature by the log's key")
    return text


def cosigned_at(note: str, witness: LogKey) -> int | None:
    """When the witness cosigned the note (c2sp.org/tlog-cosignature), in Unix seconds; None if it did not."""
    text, signatures = parts_of(note)
    times = []
    for name, key_id, stamped in signatures:
        if (name, key_id) == (witness.name, witness.key_id):
            times.append(int.from_bytes(stamped[:8], "big"))
            message = f"cosignature/v1\ntime {times[-1]}\n{text}".encode()
            if not ed25519_verifies(witness.public, message, stamped[8:]):
                raise Malformed(f"the cosignature of {witness.name} fails")
    return max(times, default=None)


@dataclass(frozen=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes


def open_checkpoint(note: str, key: LogKey) -> Checkpoint:
    lines = open_note(note, key).split("\n")
    if len(lines) != 4 or lines[3]:
        raise Malformed("a checkpoint has three lines")
    if lines[0] != key.name:
        raise Malformed("the checkpoint is of another log")
    return Checkpoint(lines[0], _decimal(lines[1]), unb64(lines[2], 32))


def _decimal(text: str) -> int:
    if not re.fullmatch("0|[1-9][0-9]{0,18}", text):
        raise Malformed("not a canonical number")
    return int(text)


# --- witness policies (c2sp.org/tlog-policy) --------------------------------------------------------------------------


@dataclass
class Policy:
    """By whom a checkpoint has to be signed and cosigned. Names are the file's own."""

    logs: list[LogKey] = field(default_factory=list)
    witnesses: dict[str, LogKey] = field(default_factory=dict)
    groups: dict[str, tuple[int, list[str]]] = field(default_factory=dict)  # how many of whom
    quorum: str = ""

    def met_by(self, cosigned: Iterable[str], name: str | None = None) -> bool:
        """Whether these witnesses are enough: for the quorum, or for a group."""
        name, cosigned = self.quorum if name is None else name, set(cosigned)
        if name in self.groups:
            needed, members = self.groups[name]
            return sum(self.met_by(cosigned, member) for member in members) >= needed
        return name == "none" or name in cosigned

    def times(self, note: str) -> dict[str, int]:
        """Which of its witnesses cosigned the note, and when. Raises Malformed where a cosignature fails."""
        found = {name: cosigned_at(note, key) for name, key in self.witnesses.items()}
        return {name: time for name, time in found.items() if time is not None}


def parse_policy(text: str) -> Policy:
    policy, members = Policy(), set[str]()
    if re.search("[\x00-\x08\x0b-\x1f\x7f]", text):
        raise Malformed("a policy has no control characters")
    for number, line in enumerate(text.split("\n"), 1):
        words = re.split("[ \t]+", line.strip(" \t"))
        if words == [""] or words[0].startswith("#"):
            continue
        try:
            _policy_line(policy, members, words)
        except Malformed as malformed:
            raise Malformed(f"line {number}: {malformed}") from None
    if not policy.quorum:
        raise Malformed("a policy has a quorum line")
    return policy


def _policy_line(policy: Policy, members: set[str], words: Sequence[str]) -> None:
    defined = {"none", *policy.witnesses, *policy.groups}
    match words:
        case ["log", vkey] | ["log", vkey, _]:
            policy.logs.append(_unlike(parse_vkey(vkey), policy.logs))
        case ["witness", name, vkey] | ["witness", name, vkey, _] if name not in defined:
            policy.witnesses[name] = _unlike(parse_vkey(vkey, COSIGNS), policy.witnesses.values())
        case ["group", name, needed, first, *rest] if name not in defined:
            named = [first, *rest]
            count = {"any": 1, "all": len(named)}.get(needed) or _decimal(needed)
            if not 1 <= count <= len(named):
                raise Malformed("a group asks for at least one member, and for no more than it has")
            if members.intersection(named) or len(set(named)) < len(named) or not set(named) <= defined - {"none"}:
                raise Malformed("a member is defined above, and is in one group, once")
            members.update(named)
            policy.groups[name] = count, named
        case ["quorum", name] if not policy.quorum and name in defined:
            policy.quorum = name
        case _:
            raise Malformed("not a line of a policy, or a name that is not defined above, or is defined twice")


def _unlike(key: LogKey, others: Iterable[LogKey]) -> LogKey:
    if any(key.public == other.public for other in others):
        raise Malformed("the key is there twice")
    return key


# --- canonical bytes (RFC 8785) of requests and answers ---------------------------------------------------------------


def canonical_json(value: Any) -> bytes:
    return _json(value).encode()


def _json(value: Any) -> str:
    if isinstance(value, Mapping):
        names = sorted(value, key=lambda name: str(name).encode("utf-16-be"))
        return "{" + ",".join(f"{_json(str(name))}:{_json(value[name])}" for name in names) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_json, value)) + "]"
    if isinstance(value, float):
        raise Malformed("a float has no place here: parameters carry them as strings")
    return json.dumps(value, ensure_ascii=False)


def number_text(value: float) -> str:
    """A float as ECMAScript's Number::toString writes it: shortest, 1 for 1.0, 1e-7 for 0.0000001."""
    number = Decimal(repr(float(value)))
    if not number.is_finite():
        raise Malformed("not a finite number")
    if not number:
        return "0"
    number, power = number.normalize(), number.adjusted()
    if -7 < power < 21:
        return f"{number:f}"
    return f"{number.scaleb(-power):f}e{power:+d}"


_FLOATS = {"frequency_penalty", "min_p", "presence_penalty", "repetition_penalty", "temperature", "top_p"}
_WORDS = "json_schema logit_bias logprobs max_tokens min_tokens n regex seed stop stop_ids top_k"
_PARAMETERS = _FLOATS.union(_WORDS.split())


def request_bytes(request: Any) -> bytes:
    """The canonical bytes of a request {"messages", "model", "parameters"}; a text or a list of messages will do."""
    if isinstance(request, str):
        request = [{"role": "user", "content": request}]
    if isinstance(request, list | tuple):
        request = {"messages": request}
    messages = [{"content": each["content"], "role": each["role"]} for each in request["messages"]]
    canonical: dict[str, Any] = {"messages": messages, "parameters": _parameters(request.get("parameters") or {})}
    canonical |= {name: request[name] for name in ("model", "adapter") if request.get(name)}
    return canonical_json(canonical)


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _PARAMETERS:
            raise Malformed(f"unknown parameter {name}")
        if name in _FLOATS and value is not None:
            value = _number(value)
        elif name == "logit_bias" and value is not None:
            value = {str(token): _number(bias) for token, bias in value.items()}
        parameters[name] = value
    return {name: value for name, value in parameters.items() if value is not None}


def _number(value: Any) -> str:
    return value if isinstance(value, str) else number_text(float(value))


def answer_bytes(answer: Any) -> bytes:
    """The canonical bytes of an answer: its choices; one choice, or its text if it ended with STOP, will do."""
    if isinstance(answer, str):
        answer = {"content": answer, "finish_reason": "STOP"}
    choices = [answer] if isinstance(answer, Mapping) else answer
    empty: dict[str, Any] = {"content": "", "finish_reason": "", "reasoning": "", "tool_calls": []}
    for choice in choices:
        if unknown := set(choice) - set(empty):
            raise Malformed(f"unknown member of an answer: {', '.join(sorted(unknown))}")
    return canonical_json([{**empty, **choice} for choice in choices])


# --- receipts ---------------------------------------------------------------------------------------------------------

_KINDS = {1: "ACCEPTED", 2: "REFUSED", 3: "REJECTED", 4: "RELEASE", 5: "END", 6: "ACT", 7: "CONTROL"}
LEAF_BYTES = 98


@dataclass(frozen=True)
class Verification:
    """What a receipt proves. `proven` names the fields whose bytes the log holds; `problem` is empty if `ok`."""

    ok: bool
    problem: str = ""
    origin: str = ""
    index: int = -1
    size: int = 0
    kind: str = ""
    proven: tuple[str, ...] = ()
    development: bool = False

    def __bool__(self) -> bool:
        return self.ok


def verify_receipt(request: Any, answer: Any, receipt: Any, log_key: str, policy: str | None = None) -> Verification:
    """Checks offline that the log of `log_key` holds exactly this request and this answer.

    `receipt` is the object or its JSON text. With `answer` None only the request is checked (a call that was
    cancelled or failed before anything was released has no answer). `policy` is the text of a witness policy, which
    the receipt's checkpoint must meet.
    """
    try:
        return _verify_receipt(request, answer, receipt, log_key, policy)
    except Malformed as problem:
        return Verification(False, str(problem))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        return Verification(False, f"malformed input: {type(error).__name__}")


def _verify_receipt(request: Any, answer: Any, receipt: Any, log_key: str, policy: str | None) -> Verification:
    if isinstance(receipt, str | bytes):
        receipt = json.loads(receipt)
    if receipt["version"] != 1:
        raise Malformed("unknown version of a receipt")
    leaf = unb64(receipt["leaf"], LEAF_BYTES)
    if leaf[0] != 1 or _KINDS.get(leaf[1]) not in ("END", "REFUSED"):
        raise Malformed("the leaf is not that of a finished request")
    index, checkpoint = _check_proof(receipt["tlog_proof"], leaf, parse_vkey(log_key))
    if policy is not None and not (asked := parse_policy(policy)).met_by(asked.times(note_in(json.dumps(receipt)))):
        raise Malformed("the checkpoint is not cosigned as the policy asks")
    development = checkpoint.origin.startswith("dev.")
    if receipt["environment"] != ("DEVELOPMENT" if development else "PRODUCTION"):
        raise Malformed("the receipt's environment is not that of its log")
    fields = {"request_received": request_bytes(request)}
    if answer is not None:
        fields["answer_released"] = answer_bytes(answer)
    for name, data in fields.items():
        if name not in receipt["openings"]:
            raise Malformed(f"{name}: the receipt does not open it")
        _check_opening(name, data, receipt["openings"][name], leaf[66:98])
    kind, proven = _KINDS[leaf[1]], tuple(sorted(fields))
    return Verification(True, "", checkpoint.origin, index, checkpoint.size, kind, proven, development)


def _check_proof(proof: str, leaf: bytes, key: LogKey) -> tuple[int, Checkpoint]:
    head, separator, note = proof.partition("\n\n")
    lines = head.split("\n")
    if not separator or len(lines) < 2 or lines[0] != "c2sp.org/tlog-proof@v1" or not lines[1].startswith("index "):
        raise Malformed("not a tlog-proof")
    checkpoint = open_checkpoint(note, key)
    index = _decimal(lines[1].removeprefix("index "))
    path = [unb64(line, 32) for line in lines[2:]]
    if root_from_path(leaf_hash(leaf), index, checkpoint.size, path) != checkpoint.root:
        raise Malformed("the leaf is not in the log that was signed")
    return index, checkpoint


def _check_opening(name: str, data: bytes, opening: Mapping[str, Any], content: bytes) -> None:
    salt = unb64(opening["salt"], 32)
    leaf = hashlib.sha256(b"\x00" + name.encode() + b"\x00" + salt + data).digest()
    path = [unb64(sibling, 32) for sibling in opening["siblings"]]
    if root_from_path(leaf, int(opening["index"]), int(opening["count"]), path) != content:
        raise Malformed(f"{name}: these are not the bytes that the log holds")


# --- the journal ------------------------------------------------------------------------------------------------------

_MAGIC = b"SRF\x01"
_PREFIX = struct.Struct(">4sIB")
_HEADER_BYTES = _PREFIX.size + 32
_MAX_FRAME = 16 * 1024 * 1024
_RELEASE, _END, _ACCEPTED = 4, 5, 1
_ZERO = bytes(32)


@dataclass(frozen=True)
class Clear:
    """The clear part of an entry."""

    kind: int
    record: str
    n: int
    boot: str
    sequence: int
    key_id: str
    accepted: bytes
    head: bytes = b""
    count: int = 0


@dataclass(frozen=True)
class Frame:
    number: int
    group: int
    kind: int
    leaf: bytes
    clear: bytes
    ciphertext: bytes
    size: int


class _Reader:
    """Takes a byte string apart, never past its end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise Malformed("it ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def name(self) -> str:
        data = self.take(self.number(1))
        if len(data) > 64 or any(not 0x21 <= byte <= 0x7E for byte in data):
            raise Malformed("a name in the clear part is not printable ASCII of at most 64 characters")
        return data.decode("ascii")


def parse_frame(data: bytes, at: int, check_hash: bool = True) -> Frame:
    if len(data) - at < _HEADER_BYTES:
        raise Malformed("the frame header is cut off")
    magic, length, kind = _PREFIX.unpack_from(data, at)
    if magic != _MAGIC:
        raise Malformed("no frame begins here")
    if kind not in _KINDS or length > _MAX_FRAME:
        raise Malformed("the frame header is not valid")
    start = at + _HEADER_BYTES
    body = data[start : start + length]
    if len(body) < length:
        raise Malformed("the frame is cut off")
    digest = hashlib.sha256(data[at : at + _PREFIX.size] + body).digest()
    if check_hash and digest != data[at + _PREFIX.size : start]:
        raise Malformed("the frame's hash does not match its bytes")
    reader = _Reader(body)
    number, group = reader.number(8), reader.number(8)
    leaf = b"" if kind == _RELEASE else reader.take(LEAF_BYTES)
    clear = reader.take(reader.number(2))
    return Frame(number, group, kind, leaf, clear, body[reader.at :], _HEADER_BYTES + length)


def parse_clear(data: bytes) -> Clear:
    reader = _Reader(data)
    if reader.number(1) != 1:
        raise Malformed("unknown version of the clear part")
    kind, record, n = reader.number(1), reader.name(), reader.number(8)
    boot, sequence, key_id, accepted = reader.name(), reader.number(8), reader.name(), reader.take(32)
    head, count = (reader.take(32), reader.number(8)) if kind == _END else (b"", 0)
    if reader.at != len(data):
        raise Malformed("the clear part is too long")
    return Clear(kind, record, n, boot, sequence, key_id, accepted, head, count)


@dataclass(frozen=True)
class Problem:
    """Something altered, missing or not canonical, and where."""

    what: str
    file: str = ""
    offset: int | None = None
    entry: int | None = None
    record: str = ""

    def __str__(self) -> str:
        place = [self.file] if self.file else []
        place += [f"offset {self.offset}"] if self.offset is not None else []
        place += [f"entry {self.entry}"] if self.entry is not None else []
        place += [f"record {self.record}"] if self.record else []
        return f"{', '.join(place)}: {self.what}" if place else self.what


@dataclass
class _Record:
    boot: str
    accepted: bytes
    releases: int
    head: bytes


@dataclass
class Report:
    """What was found in a log, or in an export of one."""

    path: str
    what: str = "log"
    origin: str = ""
    key_pinned: bool = False
    size: int = 0
    root: str = ""
    frames: int = 0
    segments: int = 0
    tiles: int = 0
    bundles: int = 0
    files: int = 0  # of an export
    opened: int = 0  # texts that it proves
    entries: Counter[str] = field(default_factory=Counter)
    pending: list[str] = field(default_factory=list)
    cosigned: int = 0  # entries that the newest cosigned checkpoint covers
    witnesses: dict[str, int] = field(default_factory=dict)  # who cosigned it, and when, in Unix seconds
    not_covered: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return ALTERED if self.problems else ABSENT if self.absent else VERIFIES

    def problem(
        self, what: str, file: str, offset: int | None = None, entry: int | None = None, record: str = ""
    ) -> None:
        self.problems.append(Problem(what, file, offset, entry, record))

    @contextmanager
    def telling(self, file: str, before: str = "") -> Iterator[None]:
        """That it is missing or malformed is a problem of the file."""
        try:
            yield
        except FileNotFoundError:
            self.problem("missing, though the checkpoint covers it" if "tile/" in file else "missing", file)
        except Malformed as malformed:
            self.problem(f"{before}{malformed}", file)

    def under(self, checkpoint: Checkpoint) -> Checkpoint:
        self.origin, self.size, self.root = checkpoint.origin, checkpoint.size, checkpoint.root.hex()
        return checkpoint


class _Journal:
    """Reads the segments in order and judges every frame; collects the truth that tiles are compared with."""

    def __init__(self, folder: Path, origin: str, size: int, report: Report) -> None:
        self.folder, self.origin, self.size, self.report = folder, origin, size, report
        self.count = 0  # of leaves
        self.bundles, self.hashes = bytearray(), bytearray()  # theirs, one behind the other
        self.whole = True  # no frame is missing, so positions and chains can be judged
        self._number = 0
        self._group = -1
        self._records: dict[str, _Record] = {}
        self._closed: set[str] = set()
        self._boots: dict[str, int] = {}
        self._pending: Counter[str] = Counter()
        self._file = ""
        self._offset = 0

    def problem(self, what: str, record: str = "", entry: int | None = None) -> None:
        self.report.problem(what, self._file, self._offset, entry, record)

    def read(self) -> None:
        names = sorted(name for name in os.listdir(self.folder) if name.endswith(".journal"))
        for name in names:
            self._file, self._offset = f"audit/journal/{name}", 0
            if not re.fullmatch(r"[0-9]{20}\.journal", name):
                self.problem("not the name of a segment")
                continue
            if int(name[:20]) != self._number:
                self.problem(f"frames {self._number} to {int(name[:20]) - 1} are missing")
                self._number, self.whole = int(name[:20]), False
            self._segment((self.folder / name).read_bytes(), name == names[-1])
        self.report.segments, self.report.frames = len(names), self._number
        self._file, self._offset = "audit/journal", 0
        if self.count < self.size:
            missing = f"entries {self.count} to {self.size - 1}, which the checkpoint covers, are missing"
            self.report.problem(missing, self._file)
        releases = sum(record.releases for record in self._records.values())
        if self._records:
            self.report.not_covered.append(
                f"{len(self._records)} open records: no END commits to their {releases} RELEASE entries yet"
            )
        for kind, count in sorted(self._pending.items()):
            self.report.pending.append(f"{count} {kind} behind the checkpoint, checked by their own hashes")

    def _segment(self, data: bytes, last: bool) -> None:
        name = self.origin.encode()
        head = b"SRJOURNL\x01" + bytes((len(name),)) + name + self._number.to_bytes(8, "big")
        header = head + hashlib.sha256(head).digest()
        if data[: len(header)] != header:
            self.problem("not the header of this log's segment")
        self._offset = len(header)
        while self._offset < len(data):
            try:
                frame = parse_frame(data, self._offset)
                if frame.number != self._number:
                    raise Malformed(f"frame {frame.number} stands where frame {self._number} belongs")
            except Malformed as malformed:
                if self._end_of_frames(data, last, str(malformed)):
                    return
                continue
            self._judge(frame)
            self._offset += frame.size

    def _end_of_frames(self, data: bytes, last: bool, reason: str) -> bool:
        """No whole frame begins here: is that the end, a group that is just being written, or damage?"""
        rest = data[self._offset :]
        if not rest.strip(b"\0"):
            return True
        later = next(_frames_in(data, self._offset), None)
        covered = self.count < self.size
        begun = _MAGIC.startswith(rest[:4].rstrip(b"\0")) and rest[:1] == _MAGIC[:1]
        # Of one group any page may reach the disk first; a later group is only written once this one is durable.
        unfinished = begun if later is None else later[1].group <= self._number
        if last and not covered and unfinished and not reason.startswith("frame "):
            self.report.pending.append(f"{self._file}, offset {self._offset}: a group that is not finished")
            return True
        if rest[:4] == _MAGIC or later is not None or covered:
            self._damaged_frame(data, reason)
        else:
            self._offset += len(rest) - len(rest.lstrip(b"\0"))
            self.problem("unused space is not zero")
        if later is None:
            return True
        self._offset, self._number, self.whole = later[0], later[1].number, False
        return False

    def _damaged_frame(self, data: bytes, reason: str) -> None:
        record = ""
        with suppress(Malformed):  # it may be too damaged to say whose it was
            record = parse_clear(parse_frame(data, self._offset, check_hash=False).clear).record
        self.problem(reason, record, entry=self.count if self.whole else None)

    def _judge(self, frame: Frame) -> None:
        entry = self.count if frame.leaf and self.whole else None
        try:
            clear = parse_clear(frame.clear)
        except Malformed as malformed:
            self.problem(f"clear part: {malformed}", entry=entry)
            clear = None
        if clear:
            for what in [*self._sound(frame, clear), *(self._in_order(frame, clear) if self.whole else [])]:
                self.problem(what, clear.record, entry=entry)
        if self.count >= self.size:
            self._pending[_KINDS[frame.kind]] += 1
        self.report.entries[_KINDS[frame.kind]] += 1
        self._number, self._group = frame.number + 1, frame.group
        if frame.leaf:
            self.count += 1
            self.bundles += LEAF_BYTES.to_bytes(2, "big") + frame.leaf
            self.hashes += leaf_hash(frame.leaf)

    def _sound(self, frame: Frame, clear: Clear) -> Iterator[str]:
        """What can be said of one entry alone."""
        sealed = hashlib.sha256(frame.clear + frame.ciphertext).digest()
        if clear.kind != frame.kind:
            yield "the clear part is of another kind than its frame"
        if len(frame.ciphertext) < 28:
            yield "the ciphertext is too short"
        if frame.leaf:
            if frame.leaf[0] != 1 or frame.leaf[1] != frame.kind:
                yield "the leaf is of another version or kind than its frame"
            if frame.leaf[34:66] != sealed:
                yield "the sealed bytes are not those that the leaf commits to"
            if _KINDS[frame.kind] in ("REJECTED", "ACT", "CONTROL") and frame.leaf[66:98] != _ZERO:
                yield "the leaf commits to fields that its kind does not have"
        if frame.kind not in (_RELEASE, _END) and clear.accepted != _ZERO:
            yield "the clear part names an ACCEPTED leaf that its kind does not have"

    def _in_order(self, frame: Frame, clear: Clear) -> Iterator[str]:
        """What follows from the entries before."""
        if frame.group not in (frame.number, self._group) or frame.group > frame.number:
            yield "the frame's group does not follow the frame before"
        if clear.sequence and not clear.boot:
            yield "a sequence number without a boot"
        if clear.boot:
            expected = self._boots.get(clear.boot, -1) + 1
            if clear.sequence != expected:
                yield f"sequence number {clear.sequence} of boot {clear.boot}, expected {expected}"
            self._boots[clear.boot] = clear.sequence
        kind = _KINDS[frame.kind]
        if kind in ("ACT", "CONTROL"):
            if clear.n != self.count:
                yield "n is not the entry's place in the log"
        elif kind in ("RELEASE", "END"):
            yield from self._continues(frame, clear)
        else:
            yield from self._opens(frame, clear)

    def _opens(self, frame: Frame, clear: Clear) -> Iterator[str]:
        if not clear.record or clear.n:
            yield "an entry that opens a record has a record id and n 0"
        if clear.record in self._records or clear.record in self._closed:
            yield "the record exists already"
        if frame.kind == _ACCEPTED:
            accepted = leaf_hash(frame.leaf)
            self._records[clear.record] = _Record(clear.boot, accepted, 0, accepted)
        else:
            self._closed.add(clear.record)

    def _continues(self, frame: Frame, clear: Clear) -> Iterator[str]:
        record = self._records.get(clear.record)
        if record is None:
            yield "no open record"
            return
        if clear.accepted != record.accepted:
            yield "the clear part names another ACCEPTED leaf"
        if clear.n != record.releases:
            yield f"n is {clear.n}, expected {record.releases}"
        if clear.boot != record.boot and not (frame.kind == _END and not clear.boot):
            yield "the entry is of another boot than its record"
        if frame.kind == _RELEASE:
            sealed = hashlib.sha256(frame.clear + frame.ciphertext).digest()
            record.releases, record.head = clear.n + 1, hashlib.sha256(b"\x02" + record.head + sealed).digest()
            return
        if (clear.head, clear.count) != (record.head, record.releases):
            yield "the RELEASE entries are not those that END commits to"
        del self._records[clear.record]
        self._closed.add(clear.record)


def _frames_in(data: bytes, at: int) -> Iterator[tuple[int, Frame]]:
    """Whole frames behind offset `at`, found by their magic."""
    while (at := data.find(_MAGIC, at + 1)) >= 0:
        try:
            yield at, parse_frame(data, at)
        except Malformed:
            continue


# --- tiles ------------------------------------------------------------------------------------------------------------

_TILE = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_WIDTH, _HASH, _ENTRY = 256, 32, 2 + LEAF_BYTES  # of a tile; bytes of one in it, and in an entry bundle
_MOST_NOTE = 64 * 1024  # bytes

_Tile = tuple[str, int, int]  # level or "entries", index, width
_Bytes = bytes | bytearray
_Rows = Mapping[str, _Bytes]  # by level, what its tiles hold, one behind the other


@dataclass(frozen=True)
class _Tlog:
    """The files of a log. `read` takes a name and how many bytes are the most; it raises FileNotFoundError."""

    read: Callable[[str, int], bytes]
    place: str = ""  # stands before a name in problems

    def note(self, name: str) -> str:
        return _text(self.read(name, _MOST_NOTE))

    def tile(self, tile: _Tile) -> bytes:
        level, index, width = tile
        length = width * _unit(level)
        try:
            return self.read(_tile_name(*tile), length)
        except FileNotFoundError:  # a running log drops a partial tile once the full one is there
            if width == _WIDTH:
                raise
            return self.read(_tile_name(level, index, _WIDTH), _WIDTH * _unit(level))[:length]


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None


def _unit(level: str) -> int:
    return _ENTRY if level == "entries" else _HASH


def _tile_name(level: str, index: int, width: int) -> str:
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03d}")
    return f"tile/{level}/{'/'.join(reversed(groups))}" + ("" if width == _WIDTH else f".p/{width}")


def _required(size: int) -> Iterator[_Tile]:
    """The bundles and tiles of a tree of `size` entries."""
    for level in ("entries", *range(8)):
        count = size if level == "entries" else size >> 8 * int(level)
        for index in range(-(-count // _WIDTH)):
            yield str(level), index, min(_WIDTH, count - index * _WIDTH)


def _in_folder(folder: Path, report: Report) -> list[_Tile]:
    tiles = []
    for name in sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()):
        match = _TILE.fullmatch(name)
        if match:
            tile = match[1], int(match[2].replace("x", "").replace("/", "")), int(match[3] or _WIDTH)
            if _tile_name(*tile) == name and tile[2] <= _WIDTH:
                tiles.append(tile)
            else:
                report.problem("not the canonical path of a tile", f"audit/tlog/{name}")
        elif name not in ("checkpoint", "log.vkey", COSIGNED, POLICY):
            report.not_covered.append(f"audit/tlog/{name}: not a file of a log")
    return tiles


def _split(hashes: _Bytes) -> list[bytes]:
    return [bytes(hashes[at : at + _HASH]) for at in range(0, len(hashes), _HASH)]


def _rows(bundles: _Bytes, hashes: _Bytes) -> _Rows:
    rows, level, tile = {"entries": bundles, "0": hashes}, 0, _WIDTH * _HASH
    while whole := len(row := rows[str(level)]) // tile * tile:
        level += 1
        rows[str(level)] = b"".join(tree_root(_split(row[at : at + tile])) for at in range(0, whole, tile))
    return rows


def _read(tlog: _Tlog, tile: _Tile, report: Report) -> bytes | None:
    with report.telling(tlog.place + _tile_name(*tile)):
        found = tlog.tile(tile)
        report.bundles, report.tiles = report.bundles + (tile[0] == "entries"), report.tiles + (tile[0] != "entries")
        return found
    return None


def _compare(tlog: _Tlog, tiles: Iterable[_Tile], rows: _Rows, source: str, report: Report) -> None:
    """What tiles hold with what they have to hold, as far as the rows go."""
    for tile in tiles:
        (level, index, width), unit, place = tile, _unit(tile[0]), tlog.place + _tile_name(*tile)
        if (found := _read(tlog, tile, report)) is None:
            continue
        expected = bytes(rows.get(level, b"")[index * _WIDTH * unit : (index * _WIDTH + width) * unit])
        if len(expected) < width * unit:
            report.problem(f"holds more than {source}", place)
        elif found != expected:
            at = next((at for at in range(width) if found[at * unit :][:unit] != expected[at * unit :][:unit]), width)
            entry = index * _WIDTH + at if level in ("entries", "0") else None
            report.problem(f"differs from {source}", place, at * unit, entry)


# --- what is signed ---------------------------------------------------------------------------------------------------

_Asked = tuple[str | None, str | None, Policy | None, float]  # key, kept checkpoint, policy, and since when it is met
KEPT = "the checkpoint that you kept"
COSIGNED, POLICY = "checkpoint.cosigned", "witness-policy"


class NotALog(Exception):
    """There is nothing here to verify, or it cannot be had. The text says what."""


def _log_key(tlog: _Tlog, pinned: str | None, report: Report) -> LogKey:
    stored, place = LogKey("", b"", b""), f"{tlog.place}log.vkey"  # no signature can be by this key
    with report.telling(place):
        vkey, newline, more = tlog.note("log.vkey").partition("\n")
        if not newline or more:
            raise Malformed("not one line")
        stored = parse_vkey(vkey)
    if pinned is None:
        return stored
    try:
        key = parse_vkey(pinned)
    except Malformed as malformed:
        raise NotALog(f"--key: {malformed}") from None
    if stored.name and stored != key:
        report.problem("not the key that was given with --key", place)
    return key


def _judge_log(
    tlog: _Tlog, asked: _Asked, leaf_hashes: Callable[[Checkpoint, _Tlog, Report], _Bytes | None], report: Report
) -> Report:
    """What is signed; and what is under it, which `leaf_hashes` judges, None if there is not all of it. What is written
    first is read last, as the log may be running."""
    pinned, kept, policy, since = asked
    log_key = _log_key(tlog, pinned, report)
    cosigned = _cosigned_note(tlog, log_key, report)
    hashes = None
    with report.telling(f"{tlog.place}checkpoint"):
        note = tlog.note("checkpoint")
        hashes = leaf_hashes(report.under(open_checkpoint(note, log_key)), tlog, report)
    if hashes is None:
        return report
    if kept is not None:
        _check_kept(kept, log_key, hashes, KEPT, report)
    if cosigned:
        report.cosigned = _check_kept(cosigned, log_key, hashes, f"{tlog.place}{COSIGNED}", report)
        if report.cosigned < report.size:
            report.not_covered.append(f"entries {report.cosigned} to {report.size - 1}: not cosigned by witnesses yet")
    if policy is not None:
        _check_policy(policy, log_key, note if cosigned is None else cosigned, since, tlog.place, report)
    return report


def _check_root(checkpoint: Checkpoint, hashes: _Bytes, source: str, tlog: _Tlog, report: Report) -> bool:
    """Whether they have it. Where there are fewer, that has been told."""
    if len(hashes) < checkpoint.size * _HASH or tree_root(_split(hashes[: checkpoint.size * _HASH])) == checkpoint.root:
        return True
    what = f"the first {checkpoint.size} entries of {source} do not have the root that was signed"
    report.problem(what, f"{tlog.place}checkpoint")
    return False


def _check_kept(note: str, key: LogKey, hashes: _Bytes, place: str, report: Report) -> int:
    """A log cut back to an older state verifies by itself; a newer checkpoint tells. Returns how much that covers."""
    with report.telling(place, "it is none of this log: "):
        kept, count = open_checkpoint(note, key), len(hashes) // _HASH
        with report.telling(place):
            if kept.size > count:
                raise Malformed(f"it covers {kept.size} entries, and this log holds {count}")
            if tree_root(_split(hashes[: kept.size * _HASH])) != kept.root:
                first = f"the log's first {kept.size} entries"
                raise Malformed(f"{first} are not those that it covers: another copy of the log went on")
            return kept.size
    return 0


def _cosigned_note(tlog: _Tlog, key: LogKey, report: Report) -> str | None:
    """The newest checkpoint that was cosigned; empty if it is malformed, None if there is none."""
    with report.telling(f"{tlog.place}{COSIGNED}"):
        try:
            note = tlog.note(COSIGNED)
        except FileNotFoundError:
            return None
        if tlog.place:
            report.witnesses = _by_kept_policy(note, tlog, key)
        return note
    return ""


def _by_kept_policy(note: str, tlog: _Tlog, key: LogKey) -> dict[str, int]:
    """Which witnesses cosigned it, and when, by the policy that a folder keeps beside it."""
    try:
        head, _, text = tlog.read(POLICY, _MOST_NOTE).partition(b"\n")
    except FileNotFoundError:
        raise Malformed(f"{POLICY} is missing") from None
    if head != f"# sha256 {hashlib.sha256(text).hexdigest()}".encode():
        raise Malformed(f"{POLICY}: its first line is not the hash of the rest")
    policy = parse_policy(text.decode("utf-8", "surrogateescape"))
    known = {(each.name, each.key_id) for each in (key, *policy.witnesses.values())}
    if any((name, key_id) not in known for name, key_id, _ in parts_of(note)[1]):
        raise Malformed(f"a signature is by nobody whom {POLICY} names")
    if not policy.met_by(times := policy.times(note)):
        raise Malformed(f"it is not cosigned as {POLICY} asks")
    return times


def _check_policy(policy: Policy, key: LogKey, note: str, since: float, place: str, report: Report) -> None:
    """What whoever verifies asks for himself, whatever the log's keeper says of its witnesses."""
    if policy.logs and key not in policy.logs:
        report.problem("not the key of a log that the policy names", f"{place}log.vkey")
    report.key_pinned |= bool(policy.logs)
    times: dict[str, int] = {}
    with report.telling(f"{place}{COSIGNED}"):
        times = policy.times(note) if note else {}
    report.witnesses = report.witnesses or times
    if not policy.met_by(name for name, time in times.items() if time >= since):
        found = ", ".join(f"{name} at {_utc(time)}" for name, time in sorted(times.items())) or "none"
        asked = f"the quorum {policy.quorum}" + (f" at {_utc(since)} or later" if since else "")
        report.absent.append(f"cosignatures: the policy asks for {asked}; there are: {found}")


def _utc(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"


def note_in(text: str) -> str:
    """The checkpoint in a text: a note as it is, or that of a receipt or of a backup's manifest."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        found = json.loads(text)
        return str(found["checkpoint"] if "checkpoint" in found else found["tlog_proof"].partition("\n\n")[2])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Malformed("neither a checkpoint, nor a receipt or a manifest, which have one") from None


# --- a home folder ----------------------------------------------------------------------------------------------------


def verify_home(
    path: str | Path, key: str | None = None, kept: str | None = None, policy: Policy | None = None, since: float = 0
) -> Report:
    """Checks the log in a home folder, stopped or running, that it holds what the checkpoint `kept` covers, and that
    the witnesses that `policy` asks for have cosigned it, at `since` (Unix seconds) or later."""
    folder = Path(path) / "audit" / "tlog"
    if not folder.with_name("journal").is_dir() or not folder.is_dir():
        raise NotALog(f"{path} is not a Strongroom home folder: it has no audit/journal and audit/tlog")
    if not (folder / "checkpoint").exists():
        raise NotALog(f"{path} has no checkpoint yet: start the audit service once")
    report = Report(str(path), key_pinned=key is not None)
    tlog = _Tlog(lambda name, most: (folder / name).read_bytes(), "audit/tlog/")
    return _judge_log(tlog, (key, kept, policy, since), partial(_in_journal, folder), report)


def _in_journal(folder: Path, checkpoint: Checkpoint, tlog: _Tlog, report: Report) -> _Bytes | None:
    tiles = dict.fromkeys([*_in_folder(folder, report), *_required(checkpoint.size)])
    journal = _Journal(folder.with_name("journal"), checkpoint.origin, checkpoint.size, report)
    journal.read()
    if not journal.whole:
        report.not_covered.append("tiles: they cannot be compared, as frames are missing")
        return None
    _check_root(checkpoint, journal.hashes, "the journal", tlog, report)
    _compare(tlog, tiles, _rows(journal.bundles, journal.hashes), "the journal", report)
    return journal.hashes


# --- a log behind a URL -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """What a server is waited for, and what is taken of it."""

    answer_seconds: float = 20.0
    pauses: tuple[float, ...] = (0.0, 0.5, 1.0)  # seconds, before each time that a file is asked for
    log_seconds: float = 4 * 3600.0
    entries: int = 16 * 1024 * 1024  # a GiB or two of memory


class _Server:
    """Files below a URL, over one connection. The server may be anybody's: each answer is bounded in bytes and seconds,
    and a redirect is not followed."""

    def __init__(self, url: str, limits: Limits) -> None:
        try:
            parts = urlsplit(url)
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            self._new = partial(kind, parts.hostname or "", parts.port, timeout=limits.answer_seconds)
            self._connection = self._new()
            if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
                raise ValueError
        except (ValueError, http.client.HTTPException):
            raise NotALog(f"{url}: the URL of a log is http(s)://HOST[:PORT]/PATH and nothing more") from None
        self._url, self._path = url.rstrip("/"), parts.path.rstrip("/")
        self._limits, self._until = limits, time.monotonic() + limits.log_seconds

    def read(self, name: str, most: int) -> bytes:
        reason, seconds = "the log as a whole takes too long", self._limits.answer_seconds
        for pause in self._limits.pauses if time.monotonic() < self._until else ():
            time.sleep(pause)
            answers: SimpleQueue[tuple[int, bytes] | Exception] = SimpleQueue()
            asking = threading.Thread(target=self._ask, args=(f"{self._path}/{name}", most, answers), daemon=True)
            asking.start()
            asking.join(seconds)  # a socket's own time-out begins anew with each byte
            late = TimeoutError(f"no whole answer within {seconds:g} seconds")
            answer = late if answers.empty() else answers.get()
            if isinstance(answer, Exception):
                self._connection, reason = self._new(), str(answer) or type(answer).__name__
                continue
            status, body = answer
            if status == 200 and len(body) > most:
                raise Malformed(f"more than the {most} bytes that it may have")
            if status == 200:
                return body
            if status in (404, 410):
                raise FileNotFoundError(name)
            reason = f"status {status}" + (", a redirect, which is not followed" if 300 <= status < 400 else "")
            if status < 500 and status != 429:
                break
        raise NotALog(f"{self._url}/{name} cannot be read: {reason}")

    def _ask(self, path: str, most: int, answers: SimpleQueue[tuple[int, bytes] | Exception]) -> None:
        connection = self._connection
        try:
            connection.request("GET", path)
            with connection.getresponse() as response:
                body = response.read(most + 1)
                if not response.isclosed():
                    connection.close()
                if response.length and len(body) <= most:
                    raise http.client.HTTPException("the answer was cut short")
            answers.put((response.status, body))
        except Exception as error:  # whatever an answer may bring http.client to
            connection.close()
            answers.put(error)


def verify_url(
    url: str,
    key: str | None = None,
    kept: str | None = None,
    policy: Policy | None = None,
    since: float = 0,
    limits: Limits = Limits(),
) -> Report:
    """Checks a log that is served as c2sp.org/tlog-tiles has it: every entry and every tile up to its checkpoint."""
    tlog, report = _Tlog(_Server(url, limits).read), Report(url, what="url", key_pinned=key is not None)
    try:
        with suppress(Malformed):  # which is told of below
            tlog.read("checkpoint", _MOST_NOTE)
        return _judge_log(tlog, (key, kept, policy, since), partial(_served, limits.entries), report)
    except FileNotFoundError:
        raise NotALog(f"{url} has no checkpoint: audit serves its log below /tlog, on its HTTP port") from None
    except NotALog as unread:
        if not report.problems:
            raise
        report.not_covered.append(str(unread))
        return report


def _served(most: int, checkpoint: Checkpoint, tlog: _Tlog, report: Report) -> _Bytes | None:
    """The leaf hashes of all entries, each of which is judged, and each tile by them; None where one is missing."""
    size, hashes, tiles = checkpoint.size, bytearray(), list[_Tile]()
    if size > most:
        raise NotALog(f"{report.path}: {size} entries, more than {most}: verify a copy of its folder")
    journal = "sealed bytes, RELEASE entries, the order within records, the numbers of gateways' entries"
    report.not_covered.append(f"{journal}: a URL does not serve the journal")
    for tile in _required(size):
        if tile[0] != "entries":
            tiles.append(tile)
        elif bundle := _read(tlog, tile, report):
            hashes += _hashes_in(bundle, tile, report)
    if len(hashes) < size * _HASH:
        report.not_covered.append("tiles: they cannot be compared, as entries are missing")
        return None
    whole = _check_root(checkpoint, hashes, "the bundles", tlog, report)
    source = "the entries" if whole else "the entries, which are not those that were signed"
    _compare(tlog, tiles, _rows(b"", hashes), source, report)
    return hashes


def _hashes_in(bundle: bytes, tile: _Tile, report: Report) -> bytes:
    """Of its entries; none if one is malformed."""
    for at in range(0, max(len(bundle), tile[2] * _ENTRY), _ENTRY):
        entry = bundle[at : at + _ENTRY]
        kind = _KINDS.get(entry[3]) if len(entry) == _ENTRY and entry[:3] == b"\0%c\1" % LEAF_BYTES else None
        if kind in (None, "RELEASE"):
            report.problem("not a leaf entry", _tile_name(*tile), at, tile[1] * _WIDTH + at // _ENTRY)
            return b""
        report.entries[str(kind)] += 1
    return b"".join(leaf_hash(bundle[at + 2 : at + _ENTRY]) for at in range(0, len(bundle), _ENTRY))


# --- an export --------------------------------------------------------------------------------------------------------

_TRAIL, _RECORDS = "trail.jsonl", "records.jsonl"


def verify_export(path: str | Path, key: str | None = None) -> Report:
    """Checks an export, a ZIP or its unpacked folder: every file by its hash, every entry against the checkpoint, and
    every text that it proves against its entry."""
    with _export_files(Path(path)) as read:
        try:
            manifest = json.loads(read("manifest.json"))
            report = Report(str(path), key_pinned=key is not None, what="export")
            return _judge_export(read, manifest, key, report)
        except (Malformed, KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotALog(f"{path} is not an export: {type(error).__name__} in what it says of itself") from None


@contextmanager
def _export_files(path: Path) -> Iterator[Callable[[str], bytes]]:
    """Yields what reads a file of it by its name."""
    try:
        with nullcontext() if path.is_dir() else zipfile.ZipFile(path) as archive:

            def read(name: str) -> bytes:
                try:
                    return archive.read(name) if archive else (path / name).read_bytes()
                except (KeyError, OSError, zipfile.BadZipFile, zlib.error):
                    raise Malformed("missing or damaged") from None

            yield read
    except zipfile.BadZipFile:
        raise NotALog(f"{path} is neither a home folder nor an export") from None


def _judge_export(read: Callable[[str], bytes], manifest: Mapping[str, Any], key: str | None, report: Report) -> Report:
    for name, told in sorted(manifest["files"].items()):
        with report.telling(name):
            if hashlib.sha256(read(name)).hexdigest() != told:
                raise Malformed("not the bytes that the manifest names")
        report.files += 1
    with report.telling("checkpoint"):
        log_key = parse_vkey(_text(read("log.vkey")).removesuffix("\n"))
        if key is not None and parse_vkey(key) != log_key:
            raise Malformed("not the key that was given with --key")
        checkpoint = report.under(open_checkpoint(_text(read("checkpoint")), log_key))
        for name, file in (("records", _RECORDS), ("acts", _TRAIL)):
            if (found := _judge_lines(read, file, checkpoint, report)) != manifest[name]:
                report.problem(f"{found} {name}, and the manifest says {manifest[name]}", "manifest.json")
    if any(left_out := list((manifest.get("left_out") or {}).values())):
        told = ", ".join(f"{count} {why}" for why, count in manifest["left_out"].items())
        report.not_covered.append(f"{sum(left_out)} records that match and are left out: {told}")
    words = ("record ids and verdicts", "reasons of acts", "texts without an opening", "that no record was left out")
    report.not_covered += [f"{each}: the log keeper's word" for each in words]
    return report


def _judge_lines(read: Callable[[str], bytes], name: str, checkpoint: Checkpoint, report: Report) -> int:
    """How many there are. Offsets are those of the lines."""
    at = count = 0
    try:
        data = read(name)
    except Malformed:
        return 0  # told of already
    for line in data.splitlines(keepends=True):
        record = ""
        try:
            value = json.loads(line)
            record = str(value["record_id"])
            entries = value["entries"] if name == _RECORDS else [value]
            for entry in entries:
                leaf = _judge_entry(entry, checkpoint)
                report.entries[str(entry["kind"])] += 1
            if name == _TRAIL and json.loads(entries[0]["header"])["target"] != record:
                raise Malformed("the act was done to another record")
            for field_name, opening in (entries[-1].get("openings") or {}).items():
                _check_opening(field_name, value["fields"][field_name].encode(), opening, leaf[66:98])
                report.opened += 1
        except Malformed as malformed:
            report.problem(str(malformed), name, at, record=record)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, UnboundLocalError) as error:
            report.problem(f"not what a line is: {type(error).__name__}", name, at, record=record)
        at, count = at + len(line), count + 1
    return count


def _judge_entry(entry: Mapping[str, Any], checkpoint: Checkpoint) -> bytes:
    """Its leaf: of its kind, in the log that was signed, and with this header."""
    leaf, kind = unb64(entry["leaf"], LEAF_BYTES), str(entry["kind"])
    if leaf[0] != 1 or _KINDS.get(leaf[1]) != kind:
        raise Malformed("the leaf is of another kind")
    path = [unb64(each, 32) for each in entry["proof"]]
    if root_from_path(leaf_hash(leaf), int(entry["leaf_index"]), checkpoint.size, path) != checkpoint.root:
        raise Malformed(f"entry {entry['leaf_index']} is not in the log that was signed")
    salt, header = unb64(entry["header_salt"], 32), str(entry["header"]).encode()
    if hashlib.sha256(b"\x00" + f"header:{kind}".encode() + b"\x00" + salt + header).digest() != leaf[2:34]:
        raise Malformed(f"entry {entry['leaf_index']}: the header is not the one that the log holds")
    return leaf


# --- the command ------------------------------------------------------------------------------------------------------


def _key_line(report: Report) -> str:
    return "pinned with --key" if report.key_pinned else "key not pinned: self-consistency only"


def _as_json(report: Report) -> str:
    told = vars(report) | {
        "verifies": report.exit_code == VERIFIES,
        "exit_code": report.exit_code,
        "development": report.origin.startswith("dev."),
        "key": _key_line(report),
        "checkpoint": {"size": report.size, "root": report.root},
        "entries": dict(sorted(report.entries.items())),
        "cosigned": {"size": report.cosigned, "witnesses": {k: _utc(v) for k, v in report.witnesses.items()}},
        "problems": [vars(problem) for problem in report.problems],
    }
    for each in ("key_pinned", "size", "root", "witnesses"):
        del told[each]
    return json.dumps(told, indent=2, ensure_ascii=False)


_READ = {each: each for each in ("segments", "frames", "tiles", "bundles", "files")} | {"opened": "texts with a proof"}


def _as_text(report: Report) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.entries.items()))
    witnesses = ", ".join(f"{name} at {_utc(time)}" for name, time in sorted(report.witnesses.items()))
    rows = [
        ("log", report.origin + ("   DEVELOPMENT" if report.origin.startswith("dev.") else "")),
        ("key", _key_line(report)),
        ("checkpoint", f"{report.size} entries, root {report.root[:16]}…" if report.root else "not valid"),
        ("entries", kinds),
        ("read", ", ".join(f"{vars(report)[each]} {told}" for each, told in _READ.items() if vars(report)[each])),
        *([("cosigned", f"{report.cosigned or report.size} entries, by {witnesses}")] if report.witnesses else []),
        *(("pending", line) for line in report.pending or ("nothing",)),
        *(("not covered", line) for line in report.not_covered),
        *(("ABSENT", line) for line in report.absent),
        *(("PROBLEM", str(problem)) for problem in report.problems[:50]),
    ]
    if len(report.problems) > 50:
        rows.append(("PROBLEM", f"and {len(report.problems) - 50} more (--json lists them all)"))
    verdict = "INCOMPLETE: the policy asks for what is absent" if report.absent else "VERIFIES"
    if report.problems:
        verdict = f"FAILS: {len(report.problems)} problems"
    return "\n".join([*(f"{name:<12} {value}" for name, value in rows), "", verdict])


def _given(option: str, path: str | None, parse: Callable[[str], Any]) -> Any:
    """What the option's file holds."""
    try:
        return None if path is None else parse(Path(path).read_bytes().decode("utf-8", "surrogateescape"))
    except (OSError, Malformed) as problem:
        raise NotALog(f"{option} {path}: {problem}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("strongroom-verify", description="Checks a Strongroom audit log.")
    parser.add_argument("path", metavar="PATH", help="a home folder, also of a running log; an export; or a log's URL")
    parser.add_argument("--key", metavar="VKEY", help="the log's public key, as you were given it")
    parser.add_argument("--checkpoint", metavar="FILE", help="one that you kept, or a receipt: the log must hold it")
    parser.add_argument("--policy", metavar="FILE", help="a witness policy that the log must meet (exit 4 if not)")
    parser.add_argument("--max-age", metavar="SECONDS", type=float, help="the policy's cosignatures are no older")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        if options.max_age is not None and not options.policy:
            raise NotALog("--max-age is of the cosignatures that a policy asks for: give --policy too")
        since = 0 if options.max_age is None else time.time() - options.max_age
        kept = _given("--checkpoint", options.checkpoint, note_in)
        policy = _given("--policy", options.policy, parse_policy)
        if re.match("https?://", options.path):
            report = verify_url(options.path, options.key, kept, policy, since)
        elif not Path(options.path).is_file() and not (Path(options.path) / _RECORDS).is_file():
            report = verify_home(options.path, options.key, kept, policy, since)
        elif kept or policy:
            raise NotALog("--checkpoint and --policy are for a whole log: an export has one checkpoint")
        else:
            report = verify_export(options.path, options.key)
    except NotALog as reason:
        told = {"verifies": False, "exit_code": NOT_A_LOG, "reason": str(reason)}
        print(json.dumps(told) if options.json else reason)
        return NOT_A_LOG
    print(_as_json(report) if options.json else _as_text(report))
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
