"""Matching with events: as references, as candidates, by their faces and by their bodies."""

from __future__ import annotations

import random
from datetime import timedelta
from uuid import UUID

import pytest
from domain_stores import NOW, MemoryAttributes, MemoryFaces, SlowComparer, SlowIndex, cosine, descriptor
from event_stores import MemoryEvents, SlowEventIndex

from server.domain.access import Principal, Scope
from server.domain.accounts import AccountType
from server.domain.attributes import AttributeContent, TemporaryAttribute
from server.domain.descriptors import LAYOUTS, Descriptor
from server.domain.event_conditions import Column, Condition, Operator
from server.domain.event_values import judge_of_all, values_of
from server.domain.events import EventQuery, EventRecord
from server.domain.faces import FaceFilter, Page
from server.domain.matching import (
    AttributeCandidates,
    Candidates,
    EventCandidates,
    FaceCandidates,
    Found,
    Matching,
    ReferenceKind,
    StoredReference,
)
from server.domain.narrowing import event_terms
from server.domain.search import Query
from server.errors import (
    BodyDescriptorNotFound,
    DescriptorNotFound,
    EventExternalIdNotFound,
    EventNotFound,
    EventsOff,
    EventTrackIdNotFound,
    LunaError,
    MatchVersionMismatch,
    NoReferenceDescriptor,
)

ONE, OTHER = UUID(int=100), UUID(int=200)
USER = Principal(ONE, AccountType.USER)
ADVANCED = Principal(ONE, AccountType.ADVANCED_USER)
FACE, NEAR, FAR = descriptor(1), descriptor(1, 0.1), descriptor(1, 1)
BODY, LIKE, UNLIKE = (descriptor(*head, version=1911) for head in ((1,), (1, 0.5), (0, 1)))
OLD = Descriptor.raw(46, bytes(range(256)))


class World:
    """Two accounts with events and a face."""

    def __init__(self, *, searched: bool = True) -> None:
        self.faces = MemoryFaces()
        self.attributes = MemoryAttributes()
        self.events = MemoryEvents()
        self.index = SlowEventIndex(self.events)
        self.matching = Matching(
            SlowIndex(self.faces),
            SlowComparer(),
            self.faces,
            self.attributes,
            self.events,
            self.index if searched else None,
            descriptor_version=1001,
        )
        self.face = self.faces.put(1, ONE, NEAR)
        self.near = self.events.put(11, ONE, NEAR, LIKE, external_id="near", track_id="track", source="door")
        self.far = self.events.put(12, ONE, FAR, UNLIKE, external_id="far")
        self.others = self.events.put(13, OTHER, FACE, BODY, external_id="others", track_id="theirs")

    async def match(
        self, *blocks: Candidates, principal: Principal = USER, account_id: UUID | None = None
    ) -> list[list[UUID]]:
        (row,) = await self.matching.match(principal, [FACE], blocks, account_id)
        return [ids(found) for found in row]


def ids(found: list[Found]) -> list[UUID]:
    """The events that were found."""
    return [one.event.event_id for one in found if one.event is not None]


def events(
    *conditions: Condition, limit: int = 10, threshold: float = 0.0, account_id: UUID | None = None
) -> EventCandidates:
    """Events to search in."""
    return EventCandidates(conditions, account_id, limit, threshold)


@pytest.fixture
def world() -> World:
    return World()


async def test_the_best_events_come_first_and_those_of_others_are_not_seen(world: World) -> None:
    assert await world.match(events(), events(limit=1)) == [[world.near, world.far], [world.near]]
    assert await world.match(events(), principal=ADVANCED) == [[world.others, world.near, world.far]]


async def test_events_are_narrowed_to_an_account_as_faces_are(world: World) -> None:
    theirs, ours = events(account_id=OTHER), events(account_id=ONE)
    assert await world.match(theirs, ours, principal=ADVANCED) == [[world.others], [world.near, world.far]]
    assert await world.match(theirs, events(), principal=ADVANCED, account_id=ONE) == [[], [world.near, world.far]]
    assert await world.match(theirs) == [[world.near, world.far]], "who sees one account names no other"
    own = Condition(Column.ACCOUNT_ID, Operator.EQ, ONE)
    assert await world.match(events(own), principal=ADVANCED) == [[world.near, world.far]]
    assert await world.match(events(own, Condition(Column.ACCOUNT_ID, Operator.EQ, OTHER)), principal=ADVANCED) == [[]]


async def test_a_similarity_is_that_of_the_version_and_reaches_the_threshold(world: World) -> None:
    calibrated = LAYOUTS[1001].similarity(cosine(FACE, NEAR))
    ((found,),) = await world.matching.match(USER, [FACE], [events(threshold=calibrated - 1e-9)])
    assert [(one.event, one.similarity) for one in found] == [
        (world.events.rows[world.near], pytest.approx(calibrated))
    ]
    assert await world.match(events(threshold=1.0)) == [[]]


async def test_faces_events_and_attributes_are_answered_in_their_order(world: World) -> None:
    attribute = TemporaryAttribute(UUID(int=7), ONE, NOW, AttributeContent((FAR,)))
    world.attributes.rows[attribute.attribute_id] = attribute
    blocks: list[Candidates] = [
        events(Condition(Column.EXTERNAL_ID, Operator.IN, ("far",))),
        AttributeCandidates((attribute.attribute_id,), None, 5, 0),
        FaceCandidates(FaceFilter(), None, 5, 0),
        events(Condition(Column.SOURCE, Operator.IN, ("door",))),
    ]
    for row in await world.matching.match(USER, [FACE, NEAR], blocks):
        (far,), (like,), (face,), (near,) = row
        assert far.event is not None
        assert near.event is not None
        assert face.face is not None
        assert (far.event.event_id, near.event.event_id) == (world.far, world.near)
        assert (like.attribute, face.face.face_id) == (attribute, world.face)


async def test_an_event_that_went_while_the_search_ran_is_not_told_of(world: World) -> None:
    class Late(MemoryEvents):
        async def find(self, scope: Scope, query: EventQuery, page: Page) -> list[EventRecord]:
            return [one for one in self.rows.values() if one.event_id != UUID(int=11)]

    world.events.__class__ = Late
    assert await world.match(events()) == [[world.far]]


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (ReferenceKind.EVENT, str(UUID(int=11))),
        (ReferenceKind.EVENT_EXTERNAL_ID, "near"),
        (ReferenceKind.EVENT_TRACK_ID, "track"),
    ],
)
async def test_an_event_is_a_reference_by_its_face_and_by_its_body(
    world: World, kind: ReferenceKind, named: str
) -> None:
    reference = StoredReference(kind, named)
    world.events.put(9, ONE, FAR, UNLIKE, external_id="old", track_id="old")
    ((by_face,),) = await world.matching.match(USER, [reference], [events(limit=1)])
    ((by_body,),) = await world.matching.match_bodies(USER, [reference], [events(limit=1)])
    assert ids(by_face) == ids(by_body) == [world.near]
    assert by_face[0].similarity == pytest.approx(LAYOUTS[1001].similarity(1.0))
    assert by_body[0].similarity == pytest.approx(LAYOUTS[1911].similarity(1.0))


async def test_the_newest_event_of_an_external_id_or_a_track_is_the_reference(world: World) -> None:
    newest = world.events.put(5, ONE, FAR, external_id="near", track_id="track")
    for kind, named in ((ReferenceKind.EVENT_EXTERNAL_ID, "near"), (ReferenceKind.EVENT_TRACK_ID, "track")):
        ((found,),) = await world.matching.match(USER, [StoredReference(kind, named)], [events(limit=1)])
        assert ids(found) == [newest]


REFERENCES = [
    (ReferenceKind.EVENT, str(UUID(int=999)), EventNotFound, EventNotFound),
    (ReferenceKind.EVENT, str(UUID(int=13)), EventNotFound, EventNotFound),
    (ReferenceKind.EVENT, str(UUID(int=20)), NoReferenceDescriptor, BodyDescriptorNotFound),
    (ReferenceKind.EVENT, str(UUID(int=21)), NoReferenceDescriptor, None),
    (ReferenceKind.EVENT, str(UUID(int=22)), None, BodyDescriptorNotFound),
    (ReferenceKind.EVENT, str(UUID(int=23)), DescriptorNotFound, BodyDescriptorNotFound),
    (ReferenceKind.EVENT_EXTERNAL_ID, "nobody", EventExternalIdNotFound, EventExternalIdNotFound),
    (ReferenceKind.EVENT_EXTERNAL_ID, "others", EventExternalIdNotFound, EventExternalIdNotFound),
    (ReferenceKind.EVENT_TRACK_ID, "nobody", EventTrackIdNotFound, EventTrackIdNotFound),
    (ReferenceKind.EVENT_TRACK_ID, "theirs", EventTrackIdNotFound, EventTrackIdNotFound),
]


@pytest.mark.parametrize(("kind", "named", "of_face", "of_body"), REFERENCES)
@pytest.mark.parametrize("searched", [True, False])
async def test_a_reference_that_cannot_be_had_is_told_by_its_kind(
    kind: ReferenceKind,
    named: str,
    of_face: type[LunaError] | None,
    of_body: type[LunaError] | None,
    searched: bool,
) -> None:
    world = World(searched=searched)
    world.events.put(20, ONE)
    world.events.put(21, ONE, BODY)
    world.events.put(22, ONE, FACE)
    world.events.put(23, ONE, OLD)
    for match, error in ((world.matching.match, of_face), (world.matching.match_bodies, of_body)):
        if error is None:
            assert await match(USER, [StoredReference(kind, named)], []) == [[]]
            continue
        with pytest.raises(error) as caught:
            await match(USER, [StoredReference(kind, named)], [])
        assert type(caught.value) is error


async def test_candidates_of_events_are_refused_where_events_are_not_searched() -> None:
    world = World(searched=False)
    for match, reference in ((world.matching.match, FACE), (world.matching.match_bodies, BODY)):
        with pytest.raises(EventsOff):
            await match(USER, [reference], [events()])
    assert await world.match(FaceCandidates(FaceFilter(), None, 5, 0)) == [[]]


async def test_faces_are_not_matched_with_bodies(world: World) -> None:
    with pytest.raises(MatchVersionMismatch):
        await world.matching.match(USER, [BODY], [events()])
    with pytest.raises(MatchVersionMismatch):
        await world.matching.match_bodies(USER, [FACE], [events()])
    world.attributes.rows[UUID(int=7)] = TemporaryAttribute(UUID(int=7), ONE, NOW, AttributeContent((FACE,)))
    blocks = [events(), FaceCandidates(FaceFilter(), None, 5, 0), AttributeCandidates((UUID(int=7),), None, 5, 0)]
    of_face, of_body = await world.matching.search(USER, [FACE, BODY], blocks)
    assert [len(found) for found in of_face] == [2, 1, 1]
    assert [ids(found) for found in of_body] == [[world.near, world.far], [], []]
    assert [one.similarity for one in of_body[0]] == pytest.approx([1 / 1.25**0.5, 0])


async def test_what_an_index_takes_over_of_conditions_is_what_they_say() -> None:
    """Random conditions: what the index judges by itself and what goes to the database, next to a plain judge."""
    dice = random.Random(1)
    store = MemoryEvents()
    for number in range(200):
        when = NOW + timedelta(seconds=dice.randrange(50))
        fields = {"create_time": when, "external_id": dice.choice(("", "a", "b")), "source": dice.choice((None, "s"))}
        store.put(number, dice.choice((ONE, OTHER)), FACE, **fields)
    index = SlowEventIndex(store)

    def condition() -> Condition:
        some = tuple(UUID(int=dice.randrange(220)) for _ in range(dice.choice((0, 5, 150))))
        when = NOW + timedelta(seconds=dice.randrange(50))
        return dice.choice(
            (
                Condition(Column.ACCOUNT_ID, Operator.EQ, dice.choice((ONE, OTHER))),
                Condition(Column.EVENT_ID, Operator.IN, some),
                Condition(Column.EVENT_ID, Operator.EQ, UUID(int=3)),
                Condition(Column.EVENT_ID, dice.choice((Operator.GTE, Operator.LT)), UUID(int=dice.randrange(220))),
                Condition(Column.EVENT_ID, Operator.NIN, some),
                Condition(
                    Column.CREATE_TIME, dice.choice((Operator.GTE, Operator.LT, Operator.GT, Operator.LTE)), when
                ),
                Condition(Column.EXTERNAL_ID, Operator.IN, dice.choice((("a",), ("", "b"), ()))),
                Condition(Column.EXTERNAL_ID, dice.choice((Operator.EQ, Operator.NEQ, Operator.LIKE)), "a"),
                Condition(Column.SOURCE, Operator.IN, dice.choice((("s",), (None,), ("t", None)))),
            )
        )

    kept = 0
    for _ in range(500):
        conditions = tuple(condition() for _ in range(dice.randrange(5)))
        where, filters = event_terms(conditions)
        judge = judge_of_all(conditions)
        expected = [one.event_id for one in store.rows.values() if judge(values_of(one))]
        (hits,) = await index.search([Query(FACE, Scope(None), where, 1000, -1.0, filters)])
        assert [hit.object_id for hit in hits] == sorted(expected)
        kept += filters is None and bool(conditions)
    assert 50 < kept < 400
