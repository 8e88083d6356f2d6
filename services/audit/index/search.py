"""Searches: newest first, page by page from where the last one ended, all that match counted up to a bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import apsw

from services.audit.index.identifiers import normalized
from services.audit.index.rows import CALLER, CLASS, MODEL, RULE, STATE, SUBJECT, TENANT, TRACE, VERDICT, facet
from services.audit.index.store import SUMMARY_COLUMNS, IndexStore, standing_of
from services.audit.index.words import expression
from services.audit.records.views import Summary

MOST_COUNTED = 1_000
_APART_MS = 1_000  # ACCEPTED and END may tell the time of the same acceptance a moment apart
_EVERY_LEAF = (1 << 62) - 1


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What records are asked for; what is empty does not matter. Several states or classes: any of them."""

    start_ms: int = 0
    end_ms: int = 0  # before it; 0: until now
    tenant: str = ""
    caller: str = ""
    subject: str = ""  # a pseudonym
    model: str = ""
    states: tuple[str, ...] = ()
    verdict: str = ""
    rule: str = ""
    classes: tuple[str, ...] = ()
    trace_id: str = ""
    text: str = ""
    identifier: str = ""  # an account, an identity number, as it stood in the request or the answer


class Page(NamedTuple):
    """`total` is exact up to MOST_COUNTED, and one more where there are more; None on all pages but the first."""

    found: list[tuple[int, Summary]]  # by first leaf
    following: int | None  # the first leaf below which the next page begins
    total: int | None


class _Statement(NamedTuple):
    """FROM and WHERE, and what is bound in them."""

    text: str
    values: tuple[object, ...]


def search(store: IndexStore, wanted: Filter, before: int | None, count: int) -> Page:
    """Raises QueryInvalid for a text without a word."""
    with store.readers.one() as reader:
        statement = _statement(store, reader, wanted, before)
        rows = _rows(reader, statement, count)
        total = _counted(reader, statement) if before is None else None
    return Page(rows, rows[-1][0] if len(rows) == count else None, total)


def counted(store: IndexStore, wanted: Filter) -> int:
    """All of them, however many."""
    with store.readers.one() as reader:
        statement = _statement(store, reader, wanted, None)
        return int(reader.execute(f"SELECT count(*) {statement.text}", statement.values).get)


def all_of(store: IndexStore, wanted: Filter, before: int | None, size: int) -> Iterator[list[tuple[int, Summary]]]:
    """Every record, a page at a time."""
    while True:
        with store.readers.one() as reader:
            rows = _rows(reader, _statement(store, reader, wanted, before), size)
        if rows:
            yield rows
        if len(rows) < size:
            return
        before = rows[-1][0]


def _rows(reader: apsw.Connection, statement: _Statement, count: int) -> list[tuple[int, Summary]]:
    found = reader.execute(
        f"SELECT leaf, {SUMMARY_COLUMNS} {statement.text} ORDER BY {_order(statement)} DESC LIMIT ?",
        (*statement.values, count),
    )
    return [(leaf, Summary(*summary)) for leaf, *summary in found]


def _counted(reader: apsw.Connection, statement: _Statement) -> int:
    counting = f"SELECT count(*) FROM (SELECT 1 {statement.text} LIMIT ?)"
    return int(reader.execute(counting, (*statement.values, MOST_COUNTED + 1)).get)


def _order(statement: _Statement) -> str:
    return "texts.rowid" if " texts " in statement.text else "leaf"


def _statement(store: IndexStore, reader: apsw.Connection, wanted: Filter, before: int | None) -> _Statement:
    """Facets are words of the full text too, so that what matches is found by walking its lists, newest first."""
    match = " AND ".join([*_facets(store, reader, wanted), *_text(wanted)])
    low, high = _leaves(reader, wanted)
    high = high if before is None else min(high, before - 1)
    if match:
        # CROSS: in this order, the full text first.
        source, key = "FROM texts CROSS JOIN records ON leaf = texts.rowid WHERE texts MATCH ? AND", "texts.rowid"
        values: tuple[object, ...] = (match, low, high)
    else:
        source, key, values = "FROM records WHERE", "leaf", (low, high)
    timed = [("time_ms >= ?", wanted.start_ms)] if wanted.start_ms else []
    timed += [("time_ms < ?", wanted.end_ms)] if wanted.end_ms else []
    conditions = "".join(f" AND {condition}" for condition, _ in timed)
    return _Statement(f"{source} {key} BETWEEN ? AND ?{conditions}", (*values, *(value for _, value in timed)))


def _text(wanted: Filter) -> list[str]:
    return [f"words : ({expression(wanted.text)})"] if wanted.text else []


def _facets(store: IndexStore, reader: apsw.Connection, wanted: Filter) -> list[str]:
    single = (
        (TENANT, wanted.tenant),
        (CALLER, wanted.caller),
        (SUBJECT, wanted.subject),
        (MODEL, wanted.model),
        (VERDICT, wanted.verdict),
        (RULE, wanted.rule),
        (TRACE, wanted.trace_id),
    )
    any_of = [[facet(name, value)] for name, value in single if value]
    any_of += [[facet(name, value) for value in values] for name, values in _several(wanted) if values]
    if wanted.identifier:
        number = normalized(wanted.identifier)
        any_of.append([store.keys.token(tenant, number) for tenant in _tenants(reader, wanted)] or ["none"])
    return [f"facets : ({' OR '.join(one)})" for one in any_of]


def _several(wanted: Filter) -> Sequence[tuple[str, tuple[str, ...]]]:
    return (STATE, wanted.states), (CLASS, wanted.classes)


def _tenants(reader: apsw.Connection, wanted: Filter) -> list[str]:
    """Each has a key of its own."""
    return [wanted.tenant] if wanted.tenant else [name for (name,) in reader.execute("SELECT name FROM tenants")]


def _leaves(reader: apsw.Connection, wanted: Filter) -> tuple[int, int]:
    """Between which leaves all records of that time begin. A clock may have been set back: records in between may be
    of another time, none outside is of this one."""
    low = _first_leaf(reader, wanted.start_ms - _APART_MS) if wanted.start_ms else 0
    high = _EVERY_LEAF
    if wanted.end_ms:
        high = _first_leaf(reader, wanted.end_ms + standing_of(reader).set_back_ms)
    return low, high


def _first_leaf(reader: apsw.Connection, order_ms: int) -> int:
    """The first leaf of the first record whose order is at least that: found by halves, as it never falls."""
    low, high = 0, int(reader.execute("SELECT ifnull(max(leaf), -1) + 1 FROM records").get)
    while low < high:
        middle = (low + high) // 2
        [(leaf, order)] = reader.execute(
            "SELECT leaf, order_ms FROM records WHERE leaf >= ? ORDER BY leaf LIMIT 1", (middle,)
        )
        if order < order_ms:
            low = leaf + 1
        else:
            high = middle
    return low
