"""Verification: every face against everybody who is claimed, what is stored of it, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from domain_stores import (
    NOW,
    MemoryAttributes,
    MemoryFaces,
    MemorySamples,
    SlowComparer,
    SlowIndex,
    cosine,
    descriptor,
)
from event_stores import MemoryEvents

from server.domain import verification
from server.domain.access import Principal, TokenGrant
from server.domain.accounts import AccountType
from server.domain.attributes import AttributeContent, BasicAttributes, Ethnicity, Gender, TemporaryAttribute
from server.domain.checks import CheckName, Range
from server.domain.claims import Claim, Claims
from server.domain.descriptors import BODY_SPECS, Descriptor, spec
from server.domain.events import Batch
from server.domain.filters import FaceLimits
from server.domain.generation.request import EventSource
from server.domain.images import Images, ImageSource, ImageType
from server.domain.matching import Matching
from server.domain.permissions import Permissions
from server.domain.policies import (
    AttributePolicy,
    DetectPolicy,
    ExtractPolicy,
    FaceQualityPolicy,
    LivenessPolicy,
    PolicyCheck,
    SamplePolicy,
)
from server.domain.samples import Sample, SampleType
from server.domain.verification import Verification, VerificationWish, VerifiedFace, VerifiedSource
from server.domain.verifiers import VerifierPolicies
from server.domain.vision import DetectedFace, Estimation, ExtractedDescriptor, HeadPose, LivenessState
from server.errors import (
    AttributeNotFound,
    BadBody,
    BadQuery,
    DescriptorNotFound,
    EventNotFound,
    ExternalIdNotFound,
    FaceHasNoAttributes,
    FaceNotFound,
    FeatureOff,
    LunaError,
    MatchVersionMismatch,
    MissingPermission,
    NoneOfQuery,
    NoReferenceDescriptor,
    NotAnImage,
    SampleNotFound,
    Unavailable,
    UnusableRequest,
)
from tests.scripted_engine import Nowhere, ScriptedEngine, face

ONE, OTHER = UUID(int=100), UUID(int=200)
ADMIN = Principal(ONE, AccountType.ADMIN)
ALICE, LIKE_ALICE, BOB = descriptor(1), descriptor(1, 0.05), descriptor(0, 1)
OLD = Descriptor.raw(46, bytes(range(256)))
STORING = VerifierPolicies(sample=SamplePolicy(store=True), attribute=AttributePolicy(store=True))


def body_descriptor() -> Descriptor:
    """What an event has besides, and nobody is verified by."""
    return Descriptor(1101, bytes(BODY_SPECS[1101].byte_length))


def like(of: Descriptor, number: int = 1, **changes: Any) -> DetectedFace:
    """A face that is seen, with a descriptor."""
    return replace(face(number, **changes), descriptor=ExtractedDescriptor(of.version, of.data, 0.75))


SEEN: dict[bytes, Sequence[DetectedFace] | LunaError] = {
    b"alice": [like(LIKE_ALICE)],
    b"bob": [like(BOB, 2)],
    b"both": [like(LIKE_ALICE), like(BOB, 2, pose=HeadPose(yaw=40, pitch=0, roll=0))],
    b"nobody": [],
    b"broken": NotAnImage(message="no"),
}


class Events(MemoryEvents):
    """Remembers batches, or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self.failure: LunaError | None = None

    async def keep(self, batch: Batch) -> None:
        if self.failure is not None:
            raise self.failure
        self.batches.append(batch)


class World:
    """Two accounts with some faces and attributes, and an engine that sees what `SEEN` says."""

    def __init__(self) -> None:
        self.engine = ScriptedEngine(SEEN)
        self.faces, self.attributes, self.samples = MemoryFaces(), MemoryAttributes(), MemorySamples()
        self.events = Events()
        matching = Matching(
            SlowIndex(self.faces),
            SlowComparer(),
            self.faces,
            self.attributes,
            self.events,
            None,
            descriptor_version=1001,
        )
        claims = Claims(matching, self.faces, self.attributes, self.events)
        images = Images(self.engine, self.samples, Nowhere())
        self.verification = Verification(images, matching, claims, self.events)
        self.alice = self.faces.put(1, ONE, ALICE, external_id="alice")
        self.twin = self.faces.put(2, ONE, LIKE_ALICE, OLD, external_id="alice")
        self.theirs = self.faces.put(3, OTHER, ALICE, external_id="theirs")
        self.event = self.events.put(4, ONE, ALICE, body_descriptor(), external_id="seen")
        self.attribute = UUID(int=7)
        content = AttributeContent((BOB,))
        self.attributes.rows[self.attribute] = TemporaryAttribute(self.attribute, ONE, NOW, content)

    async def perform(
        self,
        *sources: bytes | EventSource,
        policies: VerifierPolicies | None = None,
        claim: Claim | None = None,
        principal: Principal = ADMIN,
    ) -> list[VerifiedSource]:
        given = tuple(
            EventSource(one.decode(), ImageSource(one.decode(), data=one)) if isinstance(one, bytes) else one
            for one in sources
        )
        wish = VerificationWish(given, Claim(face_ids=(self.alice,)) if claim is None else claim)
        return await self.verification.perform(principal, policies or VerifierPolicies(), wish)

    async def one(self, source: bytes | EventSource, policies: VerifierPolicies | None = None) -> VerifiedFace:
        """The only face of an only source."""
        (image,) = await self.perform(source, policies=policies)
        (found,) = image.faces
        return found


@pytest.fixture
def world() -> World:
    return World()


def told(found: VerifiedFace) -> list[tuple[bool, UUID | None]]:
    return [(one.status, one.candidate.object_id) for one in found.verifications]


async def test_every_face_is_compared_with_everybody_in_the_order_of_the_claim(world: World) -> None:
    claim = Claim((world.alice,), (world.event,), (world.attribute,), ("alice",))
    (image,) = await world.perform(b"both", claim=claim)
    alice, bob = image.faces
    order = (world.alice, world.event, world.attribute, world.twin)
    assert told(alice) == list(zip((True, True, False, True), order, strict=True))
    assert told(bob) == list(zip((False, False, True, False), order, strict=True))
    for found, seen in ((alice, LIKE_ALICE), (bob, BOB)):
        for one, candidate in zip(found.verifications, (ALICE, ALICE, BOB, LIKE_ALICE), strict=True):
            # the comparison of a slow loop over the numbers, calibrated by the closed form
            assert one.candidate.similarity == pytest.approx(spec(1001).similarity(cosine(seen, candidate)))
    face_told = alice.verifications[0].candidate.face
    assert face_told is not None
    assert (face_told.face_id, face_told.external_id) == (world.alice, "alice")
    event_told = alice.verifications[1].candidate.event
    assert event_told is not None
    assert (event_told.event_id, event_told.external_id) == (world.event, "seen")
    attribute_told = alice.verifications[2].candidate.attribute
    assert attribute_told is not None
    assert (attribute_told.account_id, attribute_told.create_time) == (ONE, NOW)


async def test_a_status_is_true_only_above_the_threshold(world: World) -> None:
    exact = spec(1001).similarity(cosine(LIKE_ALICE, ALICE))
    assert told(await world.one(b"alice", VerifierPolicies(threshold=exact))) == [(False, world.alice)]
    assert told(await world.one(b"alice", VerifierPolicies(threshold=exact - 1e-12))) == [(True, world.alice)]


async def test_nothing_is_kept_unless_the_policies_say_so(world: World) -> None:
    found = await world.one(b"alice")
    assert (found.sample_id, found.extract.attribute_id) == (None, None)
    assert world.events.batches == []
    assert world.engine.looks[-1].warps is False


async def test_samples_and_attributes_of_all_sources_are_one_batch(world: World) -> None:
    policies = replace(
        STORING, extract=ExtractPolicy(basic_attributes=True), attribute=AttributePolicy(store=True, ttl_seconds=60)
    )
    images = await world.perform(b"both", b"broken", b"alice", policies=policies)
    assert [len(one.faces) for one in images] == [2, 0, 1]
    (batch,) = world.events.batches
    assert (batch.events, batch.faces, batch.images) == ((), (), ())
    faces = [one for image in images for one in image.faces]
    assert [one.sample_id for one in faces] == [sample.sample_id for sample, _ in batch.samples]
    assert [data for _, data in batch.samples] == [b"warp 1", b"warp 2", b"warp 1"]
    assert {sample.account_id for sample, _ in batch.samples} == {ONE}
    assert [one.extract.attribute_id for one in faces] == [one.attribute_id for one, _ in batch.attributes]
    assert [seconds for _, seconds in batch.attributes] == [60, 60, 60]
    attribute, sample = batch.attributes[1][0], batch.samples[1][0]
    assert attribute.account_id == ONE
    assert attribute.content == AttributeContent(
        (BOB,), (sample.sample_id,), BasicAttributes(33, Gender.MALE, Ethnicity.ASIAN), (sample.sample_id,)
    )
    assert faces[1].extract.basic_attributes is not None
    assert faces[1].extract.basic_attributes.age == pytest.approx(33.4)


async def test_an_attribute_without_a_sample_names_none_and_lives_five_minutes(world: World) -> None:
    found = await world.one(b"alice", VerifierPolicies(attribute=AttributePolicy(store=True)))
    (batch,) = world.events.batches
    ((attribute, seconds),) = batch.attributes
    assert (attribute.attribute_id, seconds) == (found.extract.attribute_id, 300)
    assert attribute.content == AttributeContent((LIKE_ALICE,))
    assert batch.samples == ()


async def test_what_cannot_be_kept_is_not_answered(world: World) -> None:
    world.events.failure = Unavailable(component="PostgreSQL")
    with pytest.raises(Unavailable):
        await world.perform(b"alice", policies=STORING)


async def test_a_descriptor_is_compared_and_nothing_is_estimated_of_it(world: World) -> None:
    policies = replace(
        STORING,
        detect=DetectPolicy(estimations=frozenset({Estimation.GAZE}), limits=FaceLimits(yaw=0)),
        extract=ExtractPolicy(basic_attributes=True, score_threshold=1.0),
    )
    world.engine.off = frozenset(Estimation)
    found = await world.one(EventSource("mine", descriptor=LIKE_ALICE), policies)
    assert told(found) == [(True, world.alice)]
    assert (found.face, found.sample_id) == (None, None)
    assert (found.extract.score, found.extract.basic_attributes, found.extract.samples) == (None, None, ())
    (batch,) = world.events.batches
    assert batch.samples == ()
    assert batch.attributes[0][0].content == AttributeContent((LIKE_ALICE,))
    assert world.engine.asked == []


async def test_a_descriptor_of_another_version_fails_its_own_entry(world: World) -> None:
    old, fine = EventSource("old", descriptor=OLD), EventSource("fine", descriptor=ALICE)
    first, second = await world.perform(old, fine)
    assert isinstance(first.error, MatchVersionMismatch)
    assert (first.faces, second.error) == ((), None)
    with pytest.raises(MatchVersionMismatch):
        await world.perform(old)


async def test_a_stored_sample_is_told_and_not_stored_again(world: World) -> None:
    sample_id = UUID(int=50)
    await world.samples.add(Sample(sample_id, ONE, SampleType.FACES, 5, b"", NOW), b"alice")
    source = EventSource("s", ImageSource("s", sample_id=sample_id), ImageType.FACE_SAMPLE)
    found = await world.one(source, STORING)
    assert found.sample_id == sample_id
    (batch,) = world.events.batches
    assert batch.samples == ()
    assert batch.attributes[0][0].content.descriptor_samples == (sample_id,)
    assert world.engine.looks == [], "nothing is detected in a sample"
    assert Estimation.DESCRIPTOR in world.engine.asked[-1]


async def test_a_sample_that_is_brought_is_stored_as_it_is(world: World) -> None:
    source = EventSource("s", ImageSource("s", data=b"alice"), ImageType.FACE_SAMPLE)
    found = await world.one(source, STORING)
    ((sample, data),) = world.events.batches[0].samples
    assert (sample.sample_id, data) == (found.sample_id, b"warp 1")


async def test_liveness_is_never_taken_for_granted_of_a_sample(world: World) -> None:
    source = EventSource("s", ImageSource("s", data=b"alice"), ImageType.FACE_SAMPLE)
    for detect in (
        DetectPolicy(liveness=LivenessPolicy(estimate=True)),
        DetectPolicy(limits=FaceLimits(liveness=frozenset({LivenessState.REAL}))),
    ):
        with pytest.raises(BadBody, match="liveness"):
            await world.perform(source, policies=VerifierPolicies(detect=detect))


async def test_what_only_filters_need_is_estimated_and_not_shown(world: World) -> None:
    detect = DetectPolicy(estimations=frozenset({Estimation.EMOTIONS}), limits=FaceLimits(yaw=30))
    (image,) = await world.perform(b"both", policies=VerifierPolicies(detect=detect))
    assert world.engine.asked[-1] == {Estimation.EMOTIONS, Estimation.HEAD_POSE, Estimation.DESCRIPTOR}
    (kept,) = image.faces
    assert kept.face is not None
    assert (kept.face.head_pose, kept.face.descriptor, kept.face.emotions is not None) == (None, None, True)
    (left_out,) = image.filtered
    assert [(one.parameter, one.value, one.threshold) for one in left_out.reasons] == [("yaw_threshold", 40, 30)]


@pytest.mark.parametrize(
    ("policies", "reason"),
    [
        (VerifierPolicies(extract=ExtractPolicy(score_threshold=0.8)), "fd_score_threshold"),
        (
            VerifierPolicies(
                detect=DetectPolicy(
                    limits=FaceLimits(liveness=frozenset({LivenessState.REAL})), liveness=LivenessPolicy(threshold=0.99)
                )
            ),
            "liveness_states",
        ),
        (
            VerifierPolicies(
                detect=DetectPolicy(
                    face_quality=FaceQualityPolicy(
                        True, True, {CheckName.HEAD_YAW: PolicyCheck(threshold=Range(-5, 5))}
                    )
                )
            ),
            "face_quality",
        ),
    ],
)
async def test_a_face_that_does_not_pass_is_not_compared_and_not_stored(
    world: World, policies: VerifierPolicies, reason: str
) -> None:
    (image,) = await world.perform(b"alice", policies=replace(policies, sample=SamplePolicy(store=True)))
    assert image.faces == ()
    assert [one.parameter for one in image.filtered[0].reasons] == [reason]
    assert world.events.batches == []
    looser = replace(
        policies,
        extract=ExtractPolicy(score_threshold=0.75),
        detect=replace(
            policies.detect,
            liveness=LivenessPolicy(threshold=0.95),
            face_quality=FaceQualityPolicy(True, True, {CheckName.HEAD_YAW: PolicyCheck(threshold=Range(-5, 5.25))}),
        ),
    )
    (image,) = await world.perform(b"alice", policies=looser)
    assert image.filtered == ()


async def test_that_nobody_is_seen_is_no_error_but_everybody_who_is_claimed_must_be_there(world: World) -> None:
    (image,) = await world.perform(b"nobody")
    assert (image.faces, image.error) == ((), None)
    with pytest.raises(FaceNotFound):
        await world.perform(b"nobody", claim=Claim(face_ids=(UUID(int=99),)))


async def test_a_broken_image_is_an_entry_unless_it_is_the_only_one(world: World) -> None:
    gone = EventSource("gone", ImageSource("gone", sample_id=UUID(int=60)), ImageType.FACE_SAMPLE)
    broken, alice, missing = await world.perform(b"broken", b"alice", gone)
    assert isinstance(broken.error, NotAnImage)
    assert isinstance(missing.error, SampleNotFound)
    assert told(alice.faces[0]) == [(True, world.alice)]
    with pytest.raises(NotAnImage):
        await world.perform(b"broken")


@pytest.mark.parametrize(
    ("claim", "error"),
    [
        (Claim(), NoneOfQuery),
        (Claim(face_ids=(UUID(int=3),)), FaceNotFound),
        (Claim(face_ids=(UUID(int=10),)), FaceHasNoAttributes),
        (Claim(face_ids=(UUID(int=11),)), NoReferenceDescriptor),
        (Claim(face_ids=(UUID(int=12),)), DescriptorNotFound),
        (Claim(external_ids=("nobody",)), ExternalIdNotFound),
        (Claim(external_ids=("theirs",)), ExternalIdNotFound),
        (Claim(external_ids=("bare",)), FaceHasNoAttributes),
        (Claim(attribute_ids=(UUID(int=20),)), AttributeNotFound),
        (Claim(attribute_ids=(UUID(int=21),)), NoReferenceDescriptor),
        (Claim(attribute_ids=(UUID(int=99),)), AttributeNotFound),
        (Claim(event_ids=(UUID(int=99),)), EventNotFound),
        (Claim(event_ids=(UUID(int=30),)), EventNotFound),
        (Claim(event_ids=(UUID(int=31),)), NoReferenceDescriptor),
        (Claim(event_ids=(UUID(int=32),)), DescriptorNotFound),
        # the first kinds are looked for first, and all of them before any picture
        (Claim(face_ids=(UUID(int=1),), event_ids=(UUID(int=99),)), EventNotFound),
    ],
)
async def test_one_who_cannot_be_had_fails_the_call_by_their_kind_before_any_work(
    world: World, claim: Claim, error: type[LunaError]
) -> None:
    world.faces.put(10, ONE, bare=True, external_id="bare")
    world.faces.put(11, ONE)
    world.faces.put(12, ONE, OLD)
    world.events.put(30, OTHER, ALICE)
    world.events.put(31, ONE, body_descriptor())
    world.events.put(32, ONE, OLD)
    for number, account, content in ((20, OTHER, AttributeContent((ALICE,))), (21, ONE, AttributeContent())):
        attribute = TemporaryAttribute(UUID(int=number), account, NOW, content)
        world.attributes.rows[attribute.attribute_id] = attribute
    # an administrator reads every account's data, and yet only their own is verified
    with pytest.raises(error) as caught:
        await world.perform(b"alice", claim=claim)
    assert type(caught.value) is error
    assert world.engine.asked == []


async def test_a_claim_is_bounded_whatever_an_external_id_stands_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1000, 1999):
        world.faces.put(number, ONE, ALICE, external_id="crowd")
    (image,) = await world.perform(b"alice", claim=Claim((world.alice,), external_ids=("crowd",)))
    assert len(image.faces[0].verifications) == 1000
    with pytest.raises(BadQuery, match="1001 objects"):
        await world.perform(b"alice", claim=Claim((world.alice,), (world.event,), external_ids=("crowd",)))
    monkeypatch.setattr(verification, "MOST_COMPARISONS", 1999)
    with pytest.raises(UnusableRequest, match="2 x 1000 are 2000 comparisons"):
        await world.perform(b"both", claim=Claim((world.alice,), external_ids=("crowd",)), policies=STORING)
    assert world.events.batches == []


async def test_a_sample_of_another_account_is_not_there(world: World) -> None:
    sample = Sample(UUID(int=50), OTHER, SampleType.FACES, 5, b"", NOW)
    await world.samples.add(sample, b"alice")
    with pytest.raises(SampleNotFound):
        await world.perform(EventSource("s", ImageSource("s", sample_id=sample.sample_id), ImageType.FACE_SAMPLE))


async def test_whoever_is_named_twice_is_compared_once(world: World) -> None:
    claim = Claim((world.twin, world.alice, world.twin), (world.event,) * 2, (world.attribute,) * 2, ("alice", "alice"))
    (image,) = await world.perform(b"alice", claim=claim)
    assert [one for _, one in told(image.faces[0])] == [world.twin, world.alice, world.event, world.attribute]


def token(*grants: tuple[str, str]) -> Principal:
    return Principal(ONE, AccountType.USER, TokenGrant(UUID(int=5), Permissions(frozenset(grants)), reads_all=False))


@pytest.mark.parametrize(
    ("claim", "policies", "needed"),
    [
        (Claim(face_ids=(UUID(int=1),)), VerifierPolicies(), {("face", "matching")}),
        (Claim(external_ids=("alice",)), VerifierPolicies(), {("face", "matching")}),
        (Claim(attribute_ids=(UUID(int=7),)), VerifierPolicies(), {("attribute", "matching")}),
        (Claim(event_ids=(UUID(int=4),)), VerifierPolicies(), {("event", "matching")}),
        (
            Claim(face_ids=(UUID(int=1),), attribute_ids=(UUID(int=7),)),
            STORING,
            {("face", "matching"), ("attribute", "matching"), ("face_sample", "creation"), ("attribute", "creation")},
        ),
    ],
)
async def test_a_token_must_be_allowed_each_kind_that_it_compares_with_and_stores(
    world: World, claim: Claim, policies: VerifierPolicies, needed: set[tuple[str, str]]
) -> None:
    await world.perform(b"alice", claim=claim, policies=policies, principal=token(*needed))
    for one in needed:
        with pytest.raises(MissingPermission) as refused:
            await world.perform(b"alice", claim=claim, policies=policies, principal=token(*needed - {one}))
        assert refused.value.values == {"object": one[0], "action": one[1]}


async def test_an_estimation_that_no_model_serves_is_refused_by_the_name_of_its_policy(world: World) -> None:
    world.engine.off = frozenset({Estimation.LANDMARKS68, Estimation.BASIC_ATTRIBUTES})
    for policies, name in (
        (VerifierPolicies(detect=DetectPolicy(estimations=frozenset({Estimation.LANDMARKS68}))), "detect_landmarks68"),
        (VerifierPolicies(extract=ExtractPolicy(basic_attributes=True)), "extract_basic_attributes"),
    ):
        with pytest.raises(FeatureOff, match=name):
            await world.perform(b"alice", policies=policies)


async def test_exif_and_people_are_told_where_the_policies_ask(world: World) -> None:
    detect = DetectPolicy(estimations=frozenset({Estimation.PEOPLE_COUNT}), extract_exif=True)
    (image,) = await world.perform(b"alice", policies=VerifierPolicies(detect=detect))
    assert (image.exif, image.people_count) == ({"Make": "A camera"}, 7)
    (image,) = await world.perform(b"alice")
    assert (image.exif, image.people_count) == (None, None)
