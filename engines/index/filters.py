"""Which object is in which row, and which rows a filter selects."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Generic, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from engines.index.block import Rows, grown
from server.domain.access import Scope
from server.domain.search import IndexedObject, Span, Where

_FIRST_ROWS = 1024
_GROWTH = 1.5
_FREE = -1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LOW = (1 << 64) - 1
_NOWHERE: Rows = np.empty(0, np.intp)

DENSE = 8
"""A selection of more than one row in so many is a mask: the scan of all codes is then faster than gathering them."""

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Few:
    """Selected rows, ascending and distinct."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class Many:
    """Selected rows as a mask, shape (height,), bool."""

    mask: NDArray[np.bool_]


Selection = Few | Many


class Members:
    """The rows of one group: an ascending array, brought up to date by `settle` after a batch of changes.

    Four bytes for a member and no more: there are many groups, and most are small.
    """

    __slots__ = ("_added", "_removed", "_rows", "group_id")

    def __init__(self, group_id: UUID) -> None:
        self.group_id = group_id
        self._rows: NDArray[np.int32] = np.empty(0, np.int32)
        self._added: set[int] = set()
        self._removed: set[int] = set()

    def add(self, row: int) -> None:
        """Put a row in that is not in it."""
        if row in self._removed:
            self._removed.discard(row)
        else:
            self._added.add(row)

    def discard(self, row: int) -> None:
        """Take a row out that is in it."""
        if row in self._added:
            self._added.discard(row)
        else:
            self._removed.add(row)

    def settle(self) -> int:
        """Work the changes in. Returns how many rows there are."""
        if self._removed:
            removed = np.fromiter(self._removed, np.int32, len(self._removed))
            self._rows = np.delete(self._rows, np.searchsorted(self._rows, removed))
            self._removed.clear()
        if self._added:
            added = np.sort(np.fromiter(self._added, np.int32, len(self._added)))
            self._rows = np.insert(self._rows, np.searchsorted(self._rows, added), added)
            self._added.clear()
        return len(self._rows)

    @property
    def rows(self) -> Rows:
        """The rows, ascending; every change is settled."""
        return self._rows.astype(np.intp)


class Postings(Generic[_Key]):
    """Rows by a key that is shared by few: a bare number where there is one row, a set where there are more."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[_Key, int | set[int]] = {}

    def add(self, key: _Key, row: int) -> None:
        """Put a row under a key."""
        held = self._rows.get(key)
        if held is None:
            self._rows[key] = row
        elif isinstance(held, set):
            held.add(row)
        else:
            self._rows[key] = {held, row}

    def discard(self, key: _Key, row: int) -> None:
        """Take a row that is under a key away from it."""
        held = self._rows[key]
        if isinstance(held, set):
            held.discard(row)
            if len(held) > 1:
                return
            if held:
                self._rows[key] = held.pop()
                return
        del self._rows[key]

    def rows(self, key: _Key) -> Rows:
        """The rows under a key, ascending."""
        held = self._rows.get(key)
        if held is None:
            return _NOWHERE
        if isinstance(held, set):
            return np.sort(np.fromiter(held, np.intp, len(held)))
        return np.array([held], np.intp)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Under what a row is filed."""

    groups: tuple[Members, ...]
    external_id: str
    origin_id: UUID | None


_UNFILED = _Entry((), "", None)


class Register:
    """The objects of one block by row, and what their filters need.

    Attributes:
        height: rows that have ever been used; every array is valid below it.
        id_high: upper 64 bits of the ids, shape (capacity,), uint64: pairs are ordered as the UUIDs are.
        id_low: lower 64 bits, likewise.
    """

    def __init__(self) -> None:
        self.height = 0
        self.id_high: NDArray[np.uint64] = np.zeros(_FIRST_ROWS, np.uint64)
        self.id_low: NDArray[np.uint64] = np.zeros(_FIRST_ROWS, np.uint64)
        self._account: NDArray[np.int32] = np.full(_FIRST_ROWS, _FREE, np.int32)
        self._created: NDArray[np.int64] = np.zeros(_FIRST_ROWS, np.int64)
        self._nameless: NDArray[np.bool_] = np.zeros(_FIRST_ROWS, np.bool_)
        self._entries: list[_Entry] = []
        self._free: list[int] = []
        self._rows: dict[int, int] = {}
        self._accounts: dict[UUID, int] = {}
        self._groups: dict[UUID, Members] = {}
        self._unsettled: set[Members] = set()
        self._external: Postings[str] = Postings()
        self._origins: Postings[UUID] = Postings()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def byte_size(self) -> int:
        """Bytes of memory held by the arrays beside the block."""
        columns = (self.id_high, self.id_low, self._account, self._created, self._nameless)
        return sum(column.nbytes for column in columns)

    def row(self, object_id: UUID) -> int | None:
        """The row of an object."""
        return self._rows.get(object_id.int)

    def put(self, one: IndexedObject) -> int:
        """File an object, new or known, and return its row."""
        number = one.object_id.int
        row = self._rows.get(number)
        if row is None:
            row = self._take()
            self._rows[number] = row
            self.id_high[row] = number >> 64
            self.id_low[row] = number & _LOW
        else:
            self._unfile(row)
        self._account[row] = self._accounts.setdefault(one.account_id, len(self._accounts))
        self._created[row] = microseconds(one.create_time)
        self._nameless[row] = not one.external_id
        self._file(row, one)
        return row

    def remove(self, object_id: UUID) -> int | None:
        """Forget an object. Returns the row that it had, which is free now, or None where it is not known."""
        row = self._rows.pop(object_id.int, None)
        if row is None:
            return None
        self._unfile(row)
        self.id_high[row] = 0
        self.id_low[row] = 0
        self._account[row] = _FREE
        self._created[row] = 0
        self._nameless[row] = False
        self._free.append(row)
        return row

    def settle(self) -> None:
        """Finish a batch of changes; to be called before anything is selected."""
        for members in self._unsettled:
            if not members.settle():
                del self._groups[members.group_id]
        self._unsettled.clear()

    def ids(self, rows: Rows) -> list[UUID]:
        """The objects in rows that are in use."""
        pairs = zip(self.id_high[rows].tolist(), self.id_low[rows].tolist(), strict=True)
        return [UUID(int=high << 64 | low) for high, low in pairs]

    def within(self, span: Span) -> list[UUID]:
        """The objects that were created within a span of time."""
        where = Where(create_time_gte=span.start, create_time_lt=span.end)
        return self.ids(np.flatnonzero(self._holds(slice(0, self.height), _FREE, where)))

    def select(self, scope: Scope, where: Where) -> Selection:
        """The rows of the objects that conditions select.

        What a dictionary answers comes first, smallest first; the arrays are then read at those rows only.
        """
        account = self._numbered(scope.account_id, where.account_id)
        named = sorted(self._named(where), key=len)
        if account is None or (named and not len(named[0])):
            return Few(_NOWHERE)
        if not named:
            mask = self._holds(slice(0, self.height), account, where)
            if np.count_nonzero(mask) * DENSE > self.height:
                return Many(mask)
            return Few(np.flatnonzero(mask))
        rows = named[0]
        for others in named[1:]:
            rows = np.intersect1d(rows, others, assume_unique=True)
        rows = rows[self._holds(rows, account, where)]
        if len(rows) * DENSE <= self.height:
            return Few(rows)
        mask = np.zeros(self.height, np.bool_)
        mask[rows] = True
        return Many(mask)

    def _numbered(self, *accounts: UUID | None) -> int | None:
        """The number of the one account that is meant, `_FREE` for any; None where nothing is of it."""
        meant = {account for account in accounts if account is not None}
        if len(meant) > 1:
            return None
        return self._accounts.get(meant.pop()) if meant else _FREE

    def _named(self, where: Where) -> list[Rows]:
        """The rows that each condition on a group, an origin or on ids allows, ascending and distinct."""
        found: list[Rows] = []
        if where.ids is not None:
            rows = {self._rows.get(object_id.int, _FREE) for object_id in where.ids}
            found.append(_ascending(rows - {_FREE}))
        if where.selected is not None:
            found.append(self._by_numbers(where.selected))
        if where.external_ids is not None:
            found.append(_union([self._by_external_id(external_id) for external_id in where.external_ids]))
        if where.origin_id is not None:
            found.append(self._origins.rows(where.origin_id))
        if where.group_id is not None:
            members = self._groups.get(where.group_id)
            found.append(_NOWHERE if members is None else members.rows)
        return found

    def _by_numbers(self, packed: bytes) -> Rows:
        """The rows of ids of 16 bytes each."""
        pairs = np.frombuffer(packed, ">u8").reshape(-1, 2)
        numbers = (high << 64 | low for high, low in zip(pairs[:, 0].tolist(), pairs[:, 1].tolist(), strict=True))
        rows = np.fromiter(map(self._rows.get, numbers, repeat(_FREE)), np.intp, len(pairs))
        return np.unique(rows[rows != _FREE])

    def _by_external_id(self, external_id: str) -> Rows:
        if external_id:
            return self._external.rows(external_id)
        return np.flatnonzero(self._nameless[: self.height])

    def _holds(self, at: Rows | slice, account: int, where: Where) -> NDArray[np.bool_]:
        """Whether rows are of the account (of any one for `_FREE`), and within the bounds of time and id."""
        accounts = self._account[at]
        holds: NDArray[np.bool_] = accounts != _FREE if account == _FREE else accounts == account
        if where.create_time_gte is not None:
            holds &= self._created[at] >= microseconds(where.create_time_gte)
        if where.create_time_lt is not None:
            holds &= self._created[at] < microseconds(where.create_time_lt)
        if where.id_gte is not None:
            holds &= ~self._below(at, where.id_gte)
        if where.id_lt is not None:
            holds &= self._below(at, where.id_lt)
        return holds

    def _below(self, at: Rows | slice, bound: UUID) -> NDArray[np.bool_]:
        """Whether the ids of rows are smaller than a bound."""
        high, low = np.uint64(bound.int >> 64), np.uint64(bound.int & _LOW)
        below: NDArray[np.bool_] = self.id_low[at] < low
        below &= self.id_high[at] == high
        below |= self.id_high[at] < high
        return below

    def _take(self) -> int:
        """A free row."""
        if self._free:
            return self._free.pop()
        row = self.height
        if row == len(self._account):
            capacity = int(row * _GROWTH)
            self.id_high = grown(self.id_high, capacity)
            self.id_low = grown(self.id_low, capacity)
            self._account = grown(self._account, capacity)
            self._account[row:] = _FREE
            self._created = grown(self._created, capacity)
            self._nameless = grown(self._nameless, capacity)
        self._entries.append(_UNFILED)
        self.height += 1
        return row

    def _file(self, row: int, one: IndexedObject) -> None:
        if not (one.group_ids or one.external_id or one.origin_id):
            return
        groups = tuple(self._group(group_id) for group_id in dict.fromkeys(one.group_ids))
        for members in groups:
            members.add(row)
        self._unsettled.update(groups)
        if one.external_id:
            self._external.add(one.external_id, row)
        if one.origin_id is not None:
            self._origins.add(one.origin_id, row)
        self._entries[row] = _Entry(groups, one.external_id, one.origin_id)

    def _unfile(self, row: int) -> None:
        entry = self._entries[row]
        for members in entry.groups:
            members.discard(row)
        self._unsettled.update(entry.groups)
        if entry.external_id:
            self._external.discard(entry.external_id, row)
        if entry.origin_id is not None:
            self._origins.discard(entry.origin_id, row)
        self._entries[row] = _UNFILED

    def _group(self, group_id: UUID) -> Members:
        members = self._groups.get(group_id)
        if members is None:
            members = self._groups[group_id] = Members(group_id)
        return members


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, for a time with a zone."""
    return (moment - _EPOCH) // _MICROSECOND


def _ascending(rows: set[int]) -> Rows:
    return np.sort(np.fromiter(rows, np.intp, len(rows)))


def _union(parts: Sequence[Rows]) -> Rows:
    return np.unique(np.concatenate(parts)) if parts else _NOWHERE
