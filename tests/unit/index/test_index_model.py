"""Random lives of an index, step by step next to the slow model."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from index_model import START, Model, agree, indexed, query

from engines.index import scan
from engines.index.shelves import Shelves
from server.domain.descriptors import LAYOUTS, Descriptor, Element
from server.domain.search import IndexedObject, Query, Span, Where

VERSIONS = (1001, 1002, 46, 59, 1911)
"""Of faces, and one of bodies."""
ACCOUNTS = tuple(UUID(int=n + 1) for n in range(3))
LISTS = tuple(UUID(int=n + 100) for n in range(6))
EVENTS = tuple(UUID(int=n + 200) for n in range(20))
NAMES = ("", "", "anna", "berta", "carla", *(f"name {n}" for n in range(40)))


def pool(version: int, size: int = 120) -> list[Descriptor]:
    """Descriptors in clusters, with equal, scaled, opposite, constant and zero ones."""
    layout = LAYOUTS[version]
    rng = np.random.default_rng(version)
    centres = rng.standard_normal((8, layout.dimensions)) + 2 * rng.standard_normal(layout.dimensions)
    vectors = centres[rng.integers(0, 8, size)] + 0.3 * rng.standard_normal((size, layout.dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[0] = 0
    vectors[1] = 1 / np.sqrt(layout.dimensions)
    vectors[2] = -vectors[3]
    vectors[4] = 2 * vectors[5]
    if layout.element is Element.FLOAT16:
        raw = vectors.astype("<f2")
    else:
        raw = np.clip(np.rint(vectors * 4 * np.sqrt(layout.dimensions) * 10), -128, 127).astype("<i1")
    return [Descriptor(version, row.tobytes()) for row in raw]


class Life:
    """Random operations on an index and on its model."""

    def __init__(self, seed: int, population: int) -> None:
        self.random = random.Random(seed)
        self.population = population
        self.index = Shelves()
        self.model = Model()
        self.pools = {version: pool(version) for version in VERSIONS}
        self.ids: list[UUID] = []

    def step(self) -> None:
        dice = self.random.random()
        if dice < 0.35:
            self.search()
        elif dice < 0.42:
            self.batch()
        elif len(self.ids) < self.population or dice < 0.6:
            self.write(self.born())
        elif dice < 0.75:
            self.write(replace(self.anyone(), descriptors=self.descriptors()))
        elif dice < 0.85:
            self.write(replace(self.anyone(), group_ids=self.lists()))
        elif dice < 0.998:
            self.delete()
        else:
            self.drop()

    def born(self) -> IndexedObject:
        pick = self.random
        # Ids that often share their upper half, and that cross the sign of a 64-bit number.
        face_id = UUID(int=pick.choice((3, 1 << 63, (1 << 64) - 1)) << 64 | pick.getrandbits(64))
        return indexed(
            face_id,
            *self.descriptors(),
            account_id=pick.choice(ACCOUNTS),
            seconds=pick.randrange(1000),
            external_id=pick.choice(NAMES),
            origin_id=pick.choice((None, *EVENTS)),
            groups=self.lists(),
        )

    def descriptors(self) -> tuple[Descriptor, ...]:
        versions = self.random.sample(VERSIONS, self.random.choice((0, 1, 1, 1, 2)))
        return tuple(self.random.choice(self.pools[version]) for version in versions)

    def lists(self) -> tuple[UUID, ...]:
        return tuple(self.random.sample(LISTS, self.random.choice((0, 0, 1, 2, 5))))

    def anyone(self) -> IndexedObject:
        return self.model.objects[self.random.choice(self.ids)]

    def write(self, written: IndexedObject) -> None:
        if written.object_id not in self.model.objects:
            self.ids.append(written.object_id)
        self.model.objects[written.object_id] = written
        for _ in range(self.random.choice((1, 1, 2))):
            self.index.apply((written,), ())

    def delete(self) -> None:
        place = self.random.randrange(len(self.ids))
        self.ids[place], self.ids[-1] = self.ids[-1], self.ids[place]
        gone = self.ids.pop()
        del self.model.objects[gone]
        self.index.apply((), (gone, UUID(int=9)))

    def drop(self) -> None:
        """Lose a month, as it were, while some of it comes back."""
        low = self.random.randrange(1000)
        span = Span(START + timedelta(seconds=low), START + timedelta(seconds=low + self.random.randrange(100)))
        lost = [one for one in self.model.objects.values() if span.start <= one.create_time < span.end]
        back = lost[: self.random.randrange(3)]
        for one in lost:
            if one not in back:
                del self.model.objects[one.object_id]
        self.ids = list(self.model.objects)
        for _ in range(self.random.choice((1, 2))):
            self.index.apply(back, (), (span,))

    def where(self) -> Where:
        pick = self.random
        known = [self.anyone().object_id for _ in range(5)] if self.ids else []
        kinds = pick.sample(range(10), pick.choice((0, 1, 1, 2, 3)))
        low = pick.randrange(1000)
        return Where(
            account_id=pick.choice((*ACCOUNTS, UUID(int=9))) if 8 in kinds else None,
            ids=frozenset(pick.sample([*known, *known, UUID(int=9)], 4)) if 0 in kinds and known else None,
            selected=b"".join(one.bytes for one in pick.choices([*self.ids, UUID(int=9)], k=pick.choice((0, 3, 300))))
            if 9 in kinds
            else None,
            external_ids=frozenset(pick.choices([*NAMES, "nobody"], k=pick.randrange(4))) if 1 in kinds else None,
            origin_id=pick.choice((*EVENTS, UUID(int=9))) if 2 in kinds else None,
            group_id=pick.choice((*LISTS, UUID(int=9))) if 3 in kinds or 4 in kinds else None,
            create_time_gte=START + timedelta(seconds=low) if 5 in kinds else None,
            create_time_lt=START + timedelta(seconds=low + pick.randrange(600)) if 5 in kinds else None,
            id_gte=pick.choice(known) if 6 in kinds and known else None,
            id_lt=pick.choice(known) if 7 in kinds and known else None,
        )

    def question(self, version: int) -> Query[str]:
        pick = self.random
        return query(
            pick.choice(self.pools[version]),
            self.where(),
            limit=pick.choice((0, 1, 3, 10, 1000)),
            account_id=pick.choice((None, None, *ACCOUNTS, UUID(int=9))),
            min_cosine=pick.choice((-1.0, -1.0, 0.31234567, 0.8123456, 1.5)),
        )

    def search(self) -> None:
        one = self.question(self.random.choice(VERSIONS))
        agree(self.index.search([one])[0], self.model.search(one), one.limit)

    def batch(self) -> None:
        questions = [self.question(self.random.choice(VERSIONS)) for _ in range(4)]
        for one, hits in zip(questions, self.index.search(questions), strict=True):
            agree(hits, self.model.search(one), one.limit)


@pytest.mark.parametrize(("seed", "population", "steps"), [(1, 60, 12_000), (2, 400, 8_000)])
def test_a_random_life_agrees_with_the_slow_model_at_every_search(
    seed: int, population: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So small a population would be scored directly, in one step; these sizes send it through every path.
    monkeypatch.setattr(scan, "_DIRECT", 8)
    monkeypatch.setattr(scan, "_FIRST_STEP", 16)
    monkeypatch.setattr(scan, "_LAST_STEP", 64)
    life = Life(seed, population)
    for _ in range(steps):
        life.step()
    for version in VERSIONS:
        holders = [one for one in life.model.objects.values() if version in {d.version for d in one.descriptors}]
        assert life.index.count(version) == len(holders)
