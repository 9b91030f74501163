"""All indexed faces of a process: for each descriptor version a block, and the register of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np

from engines.index.block import Block
from engines.index.filters import Register, Selection
from engines.index.scan import Wanted, nearest
from server.domain.access import Scope
from server.domain.descriptors import SPECS, spec
from server.domain.faces import FaceFilter
from server.domain.search import FaceQuery, Hit, IndexedFace


class Shelf:
    """The faces that have a descriptor of one version."""

    def __init__(self, version: int) -> None:
        self.block = Block(spec(version))
        self.register = Register()

    def put(self, faces: Sequence[tuple[IndexedFace, bytes]]) -> None:
        """Write distinct faces with their raw descriptors, new or known."""
        rows = np.fromiter((self.register.put(face) for face, _ in faces), np.intp, len(faces))
        self.register.settle()
        self.block.reserve(self.register.height)
        self.block.put(rows, [data for _, data in faces])

    def remove(self, face_ids: Iterable[UUID]) -> None:
        """Overwrite the rows of faces; those that are not here are passed over."""
        rows = [row for face_id in face_ids if (row := self.register.remove(face_id)) is not None]
        if rows:
            self.register.settle()
            self.block.wipe(np.array(rows, np.intp))

    def search(self, queries: Sequence[FaceQuery]) -> list[list[Hit]]:
        """The exact answers to queries of this version."""
        selections: dict[tuple[Scope, FaceFilter], Selection] = {}
        wanted: list[Wanted] = []
        for query in queries:
            key = (query.scope, query.where)
            if key not in selections:
                selections[key] = self.register.select(query.scope, query.where)
            probe = self.block.probe(query.descriptor.data)
            wanted.append(Wanted(probe, selections[key], query.limit, query.min_cosine))
        return [
            [
                Hit(face_id, cosine)
                for face_id, cosine in zip(self.register.face_ids(found.rows), found.cosines.tolist(), strict=True)
            ]
            for found in nearest(self.block, self.register, wanted)
        ]


class IndexedFaces:
    """The index itself, without any waiting: many may search at once, but only one may change it, and nobody then."""

    def __init__(self) -> None:
        self._shelves: dict[int, Shelf] = {}

    @property
    def byte_size(self) -> int:
        """Bytes of memory held by blocks and by the arrays beside them."""
        return sum(shelf.block.byte_size + shelf.register.byte_size for shelf in self._shelves.values())

    def count(self, version: int) -> int:
        """How many faces have a descriptor of a version."""
        shelf = self._shelves.get(version)
        return 0 if shelf is None else len(shelf.register)

    def apply(self, changed: Sequence[IndexedFace], gone: Iterable[UUID]) -> None:
        """Take over the present state of faces. Applying the same twice does no harm.

        A face leaves the blocks of versions that it has no descriptor of any more. What is removed is overwritten.
        Descriptors of versions that this release does not know are passed over: nobody can ask for them.
        """
        present = {face.face_id: face for face in changed}
        written: dict[int, list[tuple[IndexedFace, bytes]]] = {}
        for face in present.values():
            for version, data in {descriptor.version: descriptor.data for descriptor in face.descriptors}.items():
                if version in SPECS:
                    written.setdefault(version, []).append((face, data))
        leaving = [face_id for face_id in gone if face_id not in present]
        for version, shelf in self._shelves.items():
            staying = {face.face_id for face, _ in written.get(version, ())}
            shelf.remove([*leaving, *(face_id for face_id in present if face_id not in staying)])
        for version, faces in written.items():
            if version not in self._shelves:
                self._shelves[version] = Shelf(version)
            self._shelves[version].put(faces)

    def clear(self) -> None:
        """Forget everything, and overwrite it."""
        for shelf in self._shelves.values():
            shelf.block.wipe_all()
        self._shelves.clear()

    def search(self, queries: Sequence[FaceQuery]) -> list[list[Hit]]:
        """The exact answers, in the order of the queries. `user_data` of a filter is not looked at."""
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


def among(query: FaceQuery, face_ids: Iterable[UUID]) -> FaceQuery:
    """The query restricted to faces that the database has selected, its `user_data` thereby done."""
    allowed = frozenset(face_ids)
    if query.where.face_ids is not None:
        allowed &= frozenset(query.where.face_ids)
    return replace(query, where=replace(query.where, face_ids=tuple(allowed), user_data=None))
