"""Matching: references, scopes, thresholds and order, over stores in memory and an index that compares one by one."""

from __future__ import annotations

import struct
from uuid import UUID

import pytest
from domain_stores import NOW, MemoryAttributes, MemoryFaces, SlowComparer, SlowIndex, cosine, descriptor
from event_stores import MemoryEvents

from server.domain.access import Principal, Scope
from server.domain.accounts import AccountType
from server.domain.attributes import AttributeContent, TemporaryAttribute
from server.domain.descriptors import Descriptor, spec
from server.domain.faces import Face, FaceFilter, Page
from server.domain.matching import (
    AttributeCandidates,
    Candidates,
    FaceCandidates,
    Matching,
    ReferenceKind,
    StoredReference,
    check_versions,
)
from server.errors import (
    AttributeNotFound,
    DescriptorNotFound,
    ExternalIdNotFound,
    FaceHasNoAttributes,
    FaceNotFound,
    LunaError,
    MatchVersionMismatch,
    MixedDescriptorVersions,
    NoReferenceDescriptor,
)

ONE, OTHER = UUID(int=100), UUID(int=200)
USER = Principal(ONE, AccountType.USER)
ADVANCED = Principal(ONE, AccountType.ADVANCED_USER)
NEAR, FAR = descriptor(1, 0.1), descriptor(1, 1)
REFERENCE = descriptor(1)
OLD = Descriptor.raw(46, bytes(range(256)))


class World:
    """Two accounts with some faces and attributes."""

    def __init__(self) -> None:
        self.faces = MemoryFaces()
        self.attributes = MemoryAttributes()
        self.index = SlowIndex(self.faces)
        self.matching = Matching(
            self.index,
            SlowComparer(),
            self.faces,
            self.attributes,
            MemoryEvents(),
            None,
            descriptor_version=1001,
        )
        self.near = self.faces.put(1, ONE, NEAR, external_id="near")
        self.far = self.faces.put(2, ONE, FAR)
        self.others = self.faces.put(3, OTHER, REFERENCE, external_id="others")

    def attribute(self, number: int, account_id: UUID, *descriptors: Descriptor) -> UUID:
        attribute_id = UUID(int=number)
        self.attributes.rows[attribute_id] = TemporaryAttribute(
            attribute_id, account_id, NOW, AttributeContent(descriptors)
        )
        return attribute_id

    async def search(
        self,
        principal: Principal = USER,
        *,
        limit: int = 10,
        threshold: float = 0.0,
        where: FaceFilter | None = None,
        block_account: UUID | None = None,
        account_id: UUID | None = None,
    ) -> list[UUID]:
        block = FaceCandidates(where or FaceFilter(), block_account, limit, threshold)
        ((found,),) = await self.matching.match(principal, [REFERENCE], [block], account_id)
        return [one.face.face_id for one in found if one.face is not None]


@pytest.fixture
def world() -> World:
    return World()


async def test_the_best_come_first_and_others_faces_are_not_seen(world: World) -> None:
    assert await world.search() == [world.near, world.far]
    assert await world.search(limit=1) == [world.near]


async def test_an_advanced_user_sees_every_account_and_may_narrow_it(world: World) -> None:
    assert await world.search(ADVANCED) == [world.others, world.near, world.far]
    assert await world.search(ADVANCED, block_account=OTHER) == [world.others]
    assert await world.search(ADVANCED, account_id=ONE) == [world.near, world.far]
    assert await world.search(ADVANCED, account_id=ONE, block_account=OTHER) == []


async def test_a_user_who_names_another_account_sees_only_their_own(world: World) -> None:
    assert await world.search(account_id=OTHER) == [world.near, world.far]
    assert await world.search(block_account=OTHER) == [world.near, world.far]


async def test_a_similarity_is_that_of_the_version_and_reaches_the_threshold(world: World) -> None:
    calibrated = spec(1001).similarity(cosine(REFERENCE, NEAR))
    block = FaceCandidates(FaceFilter(), None, 10, calibrated - 1e-9)
    ((found,),) = await world.matching.match(USER, [REFERENCE], [block])
    assert [one.similarity for one in found] == [pytest.approx(calibrated)]
    assert await world.search(threshold=calibrated + 1e-6) == []
    assert await world.search(threshold=1.0) == []


async def test_a_face_that_went_while_the_search_ran_is_not_told_of(world: World) -> None:
    class Late(MemoryFaces):
        async def find(self, scope: Scope, where: FaceFilter, page: Page) -> list[Face]:
            return [face for face in self.rows.values() if face.face_id != UUID(int=1)]

    world.faces.__class__ = Late
    assert await world.search() == [world.far]


async def test_answers_are_ordered_like_references_and_candidates(world: World) -> None:
    attribute = world.attribute(7, ONE, FAR)
    blocks: list[Candidates] = [
        FaceCandidates(FaceFilter(face_ids=(world.far,)), None, 5, 0),
        AttributeCandidates((attribute,), None, 5, 0),
        FaceCandidates(FaceFilter(face_ids=(world.near,)), None, 5, 0),
    ]
    rows = await world.matching.match(USER, [REFERENCE, StoredReference(ReferenceKind.FACE, str(world.far))], blocks)
    for row in rows:
        ids = [[(one.face or one.attribute) for one in block] for block in row]
        assert [len(one) for one in ids] == [1, 1, 1]
        assert row[0][0].face is not None
        assert row[0][0].face.face_id == world.far
        assert row[1][0].attribute is not None
        assert row[1][0].attribute.attribute_id == attribute
    assert rows[1][0][0].similarity == pytest.approx(spec(1001).similarity(1.0))


async def test_attributes_are_ordered_by_similarity_then_id_and_cut(world: World) -> None:
    for number, one in ((9, NEAR), (8, NEAR), (7, FAR), (6, REFERENCE)):
        world.attribute(number, ONE, one)
    world.attribute(5, OTHER, REFERENCE)
    world.attribute(4, ONE, OLD)
    ids = tuple(UUID(int=number) for number in (4, 5, 7, 8, 9, 6, 99))

    async def found(limit: int, threshold: float) -> list[int]:
        block = AttributeCandidates(ids, None, limit, threshold)
        ((answer,),) = await world.matching.match(USER, [REFERENCE], [block])
        return [one.attribute.attribute_id.int for one in answer if one.attribute is not None]

    assert await found(10, 0.0) == [6, 8, 9, 7]
    assert await found(2, 0.0) == [6, 8]
    assert await found(10, spec(1001).similarity(cosine(REFERENCE, NEAR)) - 1e-9) == [6, 8, 9]
    assert world.index.asked == []


@pytest.mark.parametrize(
    ("kind", "named", "error"),
    [
        (ReferenceKind.FACE, str(UUID(int=999)), FaceNotFound),
        (ReferenceKind.FACE, str(UUID(int=3)), FaceNotFound),
        (ReferenceKind.FACE, str(UUID(int=10)), FaceHasNoAttributes),
        (ReferenceKind.FACE, str(UUID(int=11)), NoReferenceDescriptor),
        (ReferenceKind.FACE, str(UUID(int=12)), DescriptorNotFound),
        (ReferenceKind.FACE_EXTERNAL_ID, "nobody", ExternalIdNotFound),
        (ReferenceKind.FACE_EXTERNAL_ID, "others", ExternalIdNotFound),
        (ReferenceKind.ATTRIBUTE, str(UUID(int=999)), AttributeNotFound),
        (ReferenceKind.ATTRIBUTE, str(UUID(int=20)), AttributeNotFound),
        (ReferenceKind.ATTRIBUTE, str(UUID(int=21)), NoReferenceDescriptor),
    ],
)
async def test_a_reference_that_cannot_be_had_is_told_by_its_kind(
    world: World,
    kind: ReferenceKind,
    named: str,
    error: type[LunaError],
) -> None:
    world.faces.put(10, ONE, bare=True)
    world.faces.put(11, ONE)
    world.faces.put(12, ONE, OLD)
    world.attribute(20, OTHER, REFERENCE)
    world.attribute(21, ONE)
    with pytest.raises(error) as caught:
        await world.matching.match(USER, [StoredReference(kind, named)], [FaceCandidates(FaceFilter(), None, 1, 0)])
    assert type(caught.value) is error


async def test_the_oldest_face_of_an_external_id_is_the_reference(world: World) -> None:
    block = FaceCandidates(FaceFilter(), None, 1, 0)
    ((found,),) = await world.matching.match(USER, [StoredReference(ReferenceKind.FACE_EXTERNAL_ID, "near")], [block])
    assert found[0].face is not None
    assert found[0].face.face_id == world.near


async def test_a_descriptor_of_another_version_is_refused_for_search(world: World) -> None:
    with pytest.raises(MatchVersionMismatch):
        await world.matching.match(USER, [OLD], [FaceCandidates(FaceFilter(), None, 1, 0)])


async def test_versions_are_not_mixed_in_a_comparison(world: World) -> None:
    with pytest.raises(MixedDescriptorVersions) as caught:
        await world.matching.compare([OLD], [REFERENCE])
    assert caught.value.detail.endswith("46, 1001")
    assert check_versions([REFERENCE, NEAR]) == 1001


async def test_a_zero_descriptor_is_like_nothing(world: World) -> None:
    zero = descriptor()
    ((one, two),) = await world.matching.compare([zero], [zero, REFERENCE])
    assert one == two == pytest.approx(spec(1001).similarity(0.0))
    assert one < 1e-6


def test_similarity_and_cosine_are_each_others_inverse() -> None:
    for version in (1001, 1002):
        layout = spec(version)
        for percent in range(1, 99):
            similarity = percent / 100
            assert layout.similarity(layout.cosine(similarity)) == pytest.approx(similarity)
        assert layout.cosine(0.0) == -1.0
        assert layout.cosine(1.0) > 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_descriptor_with_a_number_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(LunaError):
        Descriptor.raw(1001, struct.pack("<128e", *[0.0] * 127, bad))
