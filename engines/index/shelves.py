"""All indexed objects of one kind: for each descriptor version a block, and the register of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar
from uuid import UUID

import numpy as np

from engines.index.block import Block
from engines.index.filters import Register, Selection
from engines.index.scan import Wanted, nearest
from server.domain.access import Scope
from server.domain.descriptors import LAYOUTS
from server.domain.search import Hit, IndexedObject, Query, Span, Where

_Filter = TypeVar("_Filter")


class Shelf:
    """The objects that have a descriptor of one version."""

    def __init__(self, version: int) -> None:
        self.block = Block(LAYOUTS[version])
        self.register = Register()

    def put(self, objects: Sequence[tuple[IndexedObject, bytes]]) -> None:
        """Write distinct objects with their raw descriptors, new or known."""
        rows = np.fromiter((self.register.put(one) for one, _ in objects), np.intp, len(objects))
        self.register.settle()
        self.block.reserve(self.register.height)
        self.block.put(rows, [data for _, data in objects])

    def remove(self, ids: Iterable[UUID]) -> None:
        """Overwrite the rows of objects; those that are not here are passed over."""
        rows = [row for object_id in ids if (row := self.register.remove(object_id)) is not None]
        if rows:
            self.register.settle()
            self.block.wipe(np.array(rows, np.intp))

    def search(self, queries: Sequence[Query[_Filter]]) -> list[list[Hit]]:
        """The exact answers to queries of this version."""
        selections: dict[tuple[Scope, Where], Selection] = {}
        wanted: list[Wanted] = []
        for query in queries:
            key = (query.scope, query.where)
            if key not in selections:
                selections[key] = self.register.select(query.scope, query.where)
            probe = self.block.probe(query.descriptor.data)
            wanted.append(Wanted(probe, selections[key], query.limit, query.min_cosine))
        return [
            [
                Hit(object_id, cosine)
                for object_id, cosine in zip(self.register.ids(found.rows), found.cosines.tolist(), strict=True)
            ]
            for found in nearest(self.block, self.register, wanted)
        ]


class Shelves:
    """The index itself, without any waiting: many may search at once, but only one may change it, and nobody then."""

    def __init__(self) -> None:
        self._shelves: dict[int, Shelf] = {}

    @property
    def byte_size(self) -> int:
        """Bytes of memory held by blocks and by the arrays beside them."""
        return sum(shelf.block.byte_size + shelf.register.byte_size for shelf in self._shelves.values())

    def count(self, version: int) -> int:
        """How many objects have a descriptor of a version."""
        shelf = self._shelves.get(version)
        return 0 if shelf is None else len(shelf.register)

    def apply(
        self, changed: Sequence[IndexedObject] = (), gone: Iterable[UUID] = (), dropped: Iterable[Span] = ()
    ) -> None:
        """Take over the present state of objects. Applying the same twice does no harm.

        An object leaves the blocks of versions that it has no descriptor of any more; whatever was created within a
        span that was dropped leaves all of them. What is removed is overwritten. Descriptors of versions that this
        release does not know are passed over: nobody can ask for them.
        """
        for span in dropped:
            for shelf in self._shelves.values():
                shelf.remove(shelf.register.within(span))
        present = {one.object_id: one for one in changed}
        written: dict[int, list[tuple[IndexedObject, bytes]]] = {}
        for one in present.values():
            for version, data in {descriptor.version: descriptor.data for descriptor in one.descriptors}.items():
                if version in LAYOUTS:
                    written.setdefault(version, []).append((one, data))
        leaving = [object_id for object_id in gone if object_id not in present]
        for version, shelf in self._shelves.items():
            staying = {one.object_id for one, _ in written.get(version, ())}
            shelf.remove([*leaving, *(object_id for object_id in present if object_id not in staying)])
        for version, objects in written.items():
            if version not in self._shelves:
                self._shelves[version] = Shelf(version)
            self._shelves[version].put(objects)

    def clear(self) -> None:
        """Forget everything, and overwrite it."""
        for shelf in self._shelves.values():
            shelf.block.wipe_all()
        self._shelves.clear()

    def search(self, queries: Sequence[Query[_Filter]]) -> list[list[Hit]]:
        """The exact answers, in the order of the queries. `filters` of a query are not looked at."""
        answers: list[list[Hit]] = [[] for _ in queries]
        places: dict[int, list[int]] = {}
        for place, query in enumerate(queries):
            places.setdefault(query.descriptor.version, []).append(place)
        for version, those in places.items():
            shelf = self._shelves.get(version)
            if shelf is None:
                continue
            for place, hits in zip(those, shelf.search([queries[place] for place in those]), strict=True):
                answers[place] = hits
        return answers
