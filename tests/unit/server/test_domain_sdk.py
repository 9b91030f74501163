"""Looking without keeping: what is looked for, who comes back by which policy, what is shown, what stands together."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from domain_stores import NOW, MemorySamples

from server.domain.access import Scope
from server.domain.aggregation import AGGREGATED
from server.domain.filters import FaceLimits
from server.domain.images import NOT_OF_SAMPLES, Images, ImageSource, ImageType, MultifacePolicy
from server.domain.liveness import LivenessThresholds
from server.domain.samples import Sample, SampleType
from server.domain.sdk import Sdk, SdkImage, SdkResult, SdkWish
from server.domain.vision import (
    BODIES,
    DetectedPerson,
    Estimation,
    HeadPose,
    Liveness,
    LivenessState,
    MaskState,
    Rect,
)
from server.errors import Busy, FeatureOff, LunaError, MultipleFaces, NotAnImage
from tests.scripted_engine import Nowhere, ScriptedEngine, Seen, body, face

ALL = Scope(None)
EVERYTHING = frozenset(Estimation)
OF_FACES = frozenset(one for one in Estimation if not one.of_body) - {Estimation.PEOPLE_COUNT}
OF_BODIES = frozenset(one for one in Estimation if one.of_body)

ALICE = DetectedPerson(face(1), body(1))
BOB = DetectedPerson(face(2))
CAROL = DetectedPerson(None, body(3))


async def estimate(
    seen: Seen, wish: SdkWish, engine: ScriptedEngine | None = None, *, source: ImageSource | None = None
) -> SdkImage:
    (image,) = (await together([seen], wish, engine, source)).images
    return image


async def together(
    seen: Sequence[Seen], wish: SdkWish, engine: ScriptedEngine | None = None, source: ImageSource | None = None
) -> SdkResult:
    images = {f"image {number}".encode(): one for number, one in enumerate(seen)}
    engine = engine or ScriptedEngine(images)
    sdk = Sdk(Images(engine, MemorySamples(), Nowhere()), LivenessThresholds(0.9, 0.5))
    sources = [source] if source else [ImageSource(data.decode(), data=data) for data in images]
    return await sdk.estimate(ALL, sources, wish)


def numbers(persons: Sequence[DetectedPerson]) -> list[tuple[int | None, int | None]]:
    """Faces and bodies by their numbers."""
    return [(one.face.rect.x if one.face else None, one.body.rect.x if one.body else None) for one in persons]


@pytest.mark.parametrize(
    ("policy", "faces", "bodies", "found"),
    [
        (MultifacePolicy.ALLOWED, True, True, [(1, 1), (2, None), (None, 3)]),
        (MultifacePolicy.ALLOWED, True, False, [(1, None), (2, None)]),
        (MultifacePolicy.ALLOWED, False, True, [(None, 1), (None, 3)]),
        (MultifacePolicy.ALLOWED, False, False, []),
        (MultifacePolicy.BEST, True, True, [(1, 1)]),
        (MultifacePolicy.BEST, True, False, [(1, None)]),
        (MultifacePolicy.BEST, False, True, []),
        (MultifacePolicy.NOT_ALLOWED, False, True, []),
    ],
)
async def test_a_policy_decides_whose_bodies_come_back(
    policy: MultifacePolicy, faces: bool, bodies: bool, found: list[tuple[int | None, int | None]]
) -> None:
    wish = SdkWish(faces=faces, bodies=bodies, policy=policy)
    assert numbers((await estimate([ALICE, BOB, CAROL], wish)).persons) == found


@pytest.mark.parametrize("policy", [MultifacePolicy.BEST, MultifacePolicy.NOT_ALLOWED])
async def test_without_a_face_no_body_comes_back_unless_all_are_allowed(policy: MultifacePolicy) -> None:
    assert (await estimate([CAROL], SdkWish(faces=True, bodies=True, policy=policy))).persons == ()


async def test_one_face_and_others_bodies_are_fine_where_one_face_is_allowed() -> None:
    wish = SdkWish(faces=True, bodies=True, policy=MultifacePolicy.NOT_ALLOWED)
    assert numbers((await estimate([ALICE, CAROL], wish)).persons) == [(1, 1)]
    refused = await estimate([ALICE, BOB], wish)
    assert isinstance(refused.error, MultipleFaces)
    assert refused.persons == ()


async def test_only_what_is_looked_for_is_estimated_and_must_be_served() -> None:
    engine = ScriptedEngine({b"image 0": [ALICE]}, off=frozenset({BODIES, *OF_BODIES, Estimation.PEOPLE_COUNT}))
    wish = SdkWish(faces=True, estimations=EVERYTHING - {Estimation.PEOPLE_COUNT})
    await estimate([], wish, engine, source=ImageSource("a", data=b"image 0"))
    assert engine.asked == [OF_FACES]
    bodies = ScriptedEngine({b"image 0": [ALICE]}, off=OF_FACES)
    wish = SdkWish(bodies=True, estimations=EVERYTHING, limits=FaceLimits(yaw=1))
    found = await estimate([], wish, bodies, source=ImageSource("a", data=b"image 0"))
    assert bodies.asked == [OF_BODIES | {Estimation.PEOPLE_COUNT}]
    assert (numbers(found.persons), found.people_count) == ([(None, 1)], 7)


@pytest.mark.parametrize(
    ("wish", "off", "named"),
    [
        (SdkWish(faces=True, estimations=frozenset({Estimation.GAZE})), Estimation.GAZE, "estimate_gaze"),
        (SdkWish(bodies=True), BODIES, "detect_body"),
        (SdkWish(estimations=frozenset({Estimation.PEOPLE_COUNT})), Estimation.PEOPLE_COUNT, "estimate_people_count"),
        (SdkWish(faces=True, limits=FaceLimits(masks=frozenset({MaskState.MISSING}))), Estimation.MASK,
         "estimate_mask"),
        (SdkWish(faces=True, limits=FaceLimits(liveness=frozenset({LivenessState.REAL}))), Estimation.LIVENESS,
         "estimate_liveness"),
    ],
)  # fmt: skip
async def test_what_is_not_served_is_refused_by_name_also_for_the_sake_of_a_filter(
    wish: SdkWish, off: Estimation | str, named: str
) -> None:
    with pytest.raises(FeatureOff) as caught:
        await together([[ALICE]], wish, ScriptedEngine({b"image 0": [ALICE]}, off=frozenset({off})))
    assert f"'{named}'" in caught.value.detail


async def test_a_face_and_a_body_have_what_was_asked_for_and_nothing_else() -> None:
    wish = SdkWish(faces=True, bodies=True, estimations=frozenset({Estimation.EMOTIONS, Estimation.LOWER_BODY}))
    (person,) = (await estimate([ALICE], wish)).persons
    assert person.face is not None
    assert person.body is not None
    assert (person.face.warp, person.face.landmarks5, person.body.warp) == (b"", (), b"")
    left = {one.name.lower() for one in EVERYTHING if getattr(person.face, one.name.lower(), None) is not None}
    assert left == {"emotions"}
    left = {one.name.lower() for one in EVERYTHING if getattr(person.body, one.name.lower(), None) is not None}
    assert left == {"lower_body"}


async def test_warps_and_landmarks_are_there_where_they_are_asked_for() -> None:
    wish = SdkWish(faces=True, bodies=True, landmarks5=True, face_warps=True)
    (person,) = (await estimate([ALICE], wish)).persons
    assert person.face == face(1).__class__(face(1).rect, 0.9, face(1).landmarks5, b"warp 1")
    assert person.body is not None
    assert person.body.warp == b""
    (person,) = (await estimate([ALICE], SdkWish(bodies=True, body_warps=True))).persons
    assert person.body is not None
    assert person.body.warp == b"body 1"


async def test_nobody_encodes_warps_that_nobody_wants() -> None:
    engine = ScriptedEngine({b"image": [ALICE]})
    for wish in (SdkWish(faces=True), SdkWish(faces=True, face_warps=True), SdkWish(bodies=True, body_warps=True)):
        await estimate([], wish, engine, source=ImageSource("a", data=b"image"))
    assert [look.warps for look in engine.looks] == [False, True, True]


async def test_boxes_are_handed_on_and_exif_is_as_it_was_asked_for() -> None:
    engine = ScriptedEngine({b"image": [ALICE]})
    source = ImageSource("a", data=b"image", box=Rect(1, 2, 3, 4), body_box=Rect(5, 6, 7, 8))
    found = await estimate([], SdkWish(use_exif=False, extract_exif=True), engine, source=source)
    (look,) = engine.looks
    assert (look.face_box, look.body_box, look.use_exif) == (source.box, source.body_box, False)
    assert found.exif == {"Make": "A camera"}


class TestFilters:
    """What filters leave out, and that they say every reason."""

    BAD = face(1, HeadPose(yaw=40, pitch=-30, roll=20), score=0.3, mask=MaskState.OCCLUDED, liveness=Liveness(0.1, 0.9))
    LIMITS = FaceLimits(
        pitch=10,
        roll=10,
        yaw=10,
        score=0.5,
        masks=frozenset({MaskState.MISSING, MaskState.MEDICAL_MASK}),
        liveness=frozenset({LivenessState.REAL}),
    )

    async def test_every_reason_is_told_with_what_was_measured_and_what_was_asked_for(self) -> None:
        wish = SdkWish(faces=True, limits=self.LIMITS)
        found = await estimate([self.BAD, face(2)], wish)
        assert numbers(found.persons) == [(2, None)]
        (left_out,) = found.filtered
        assert [(one.parameter, one.value, one.threshold) for one in left_out.reasons] == [
            ("pitch_threshold", -30, 10),
            ("roll_threshold", 20, 10),
            ("yaw_threshold", 40, 10),
            ("score_threshold", 0.3, 0.5),
            ("mask_states", 3, (1, 2)),
            ("liveness_states", 0, (1,)),
        ]
        assert all(one.description for one in left_out.reasons)
        shown = left_out.person.face
        assert shown is not None
        assert (shown.head_pose, shown.mask, shown.descriptor) == (None, None, None), "nobody asked to see them"

    @pytest.mark.parametrize(
        ("limits", "needs"),
        [
            (FaceLimits(), None),
            (FaceLimits(180, 180, 180), None),
            (FaceLimits(pitch=179), Estimation.HEAD_POSE),
            (FaceLimits(score=0.1), Estimation.DESCRIPTOR),
            (FaceLimits(masks=frozenset({MaskState.MISSING})), Estimation.MASK),
            (FaceLimits(liveness=frozenset({LivenessState.REAL})), Estimation.LIVENESS),
        ],
    )
    async def test_a_filter_makes_its_estimation_and_no_other(
        self, limits: FaceLimits, needs: Estimation | None
    ) -> None:
        engine = ScriptedEngine({b"image": [face(1)]})
        await estimate([], SdkWish(faces=True, limits=limits), engine, source=ImageSource("a", data=b"image"))
        assert engine.asked == [frozenset({needs} if needs else ())]

    @pytest.mark.parametrize(
        ("liveness", "state"),
        [
            (Liveness(0.9, 0.5), LivenessState.REAL),
            (Liveness(0.89, 0.5), LivenessState.SPOOF),
            (Liveness(0.99, 0.49), LivenessState.UNKNOWN),
        ],
    )
    async def test_the_state_of_liveness_follows_from_both_thresholds(
        self, liveness: Liveness, state: LivenessState
    ) -> None:
        for asked in LivenessState:
            wish = SdkWish(faces=True, limits=FaceLimits(liveness=frozenset({asked})))
            found = await estimate([face(1, liveness=liveness)], wish)
            assert bool(found.persons) == (asked is state)

    async def test_a_score_at_its_threshold_is_kept(self) -> None:
        for score, kept in ((0.5, True), (0.499, False)):
            found = await estimate([face(1, score=score)], SdkWish(faces=True, limits=FaceLimits(score=0.5)))
            assert bool(found.persons) == kept

    async def test_the_body_of_a_face_that_was_left_out_stays_only_where_all_bodies_do(self) -> None:
        limits = FaceLimits(yaw=10)
        turned = DetectedPerson(self.BAD, body(1))
        found = await estimate([turned, CAROL], SdkWish(faces=True, bodies=True, limits=limits))
        assert numbers(found.persons) == [(None, 1), (None, 3)]
        assert numbers([one.person for one in found.filtered]) == [(1, None)]
        wish = SdkWish(faces=True, bodies=True, limits=limits, policy=MultifacePolicy.BEST)
        found = await estimate([turned, CAROL], wish)
        assert found.persons == ()
        assert numbers([one.person for one in found.filtered]) == [(1, 1)]


class TestSamples:
    """Samples are what they are said to be, and not searched."""

    async def test_a_sample_is_a_face_or_a_body_by_the_type_that_is_named(self) -> None:
        for kind, found in ((ImageType.FACE_SAMPLE, [(1, None)]), (ImageType.BODY_SAMPLE, [(None, 1)])):
            for policy in MultifacePolicy:
                image = await estimate([ALICE], SdkWish(image_type=kind, policy=policy))
                assert (numbers(image.persons), image.sample) == (found, True)

    async def test_of_a_sample_only_what_can_be_is_estimated(self) -> None:
        for kind, made in (
            (ImageType.FACE_SAMPLE, OF_FACES - NOT_OF_SAMPLES),
            (ImageType.BODY_SAMPLE, OF_BODIES),
        ):
            engine = ScriptedEngine({b"image": [ALICE]}, off=NOT_OF_SAMPLES | {BODIES})
            wish = SdkWish(image_type=kind, estimations=EVERYTHING, landmarks5=True, limits=FaceLimits(yaw=0))
            found = await estimate([], wish, engine, source=ImageSource("a", data=b"image"))
            assert engine.asked == [made]
            assert (len(found.persons), found.filtered) == (1, ())
            assert found.persons[0].face is None or found.persons[0].face.landmarks5 == ()

    @pytest.mark.parametrize(
        ("kind", "wanted", "found"),
        [
            (SampleType.FACES, SdkWish(image_type=ImageType.FACE_SAMPLE), [(1, None)]),
            (SampleType.FACES, SdkWish(faces=True), [(1, None)]),
            (SampleType.FACES, SdkWish(), []),
            (SampleType.BODIES, SdkWish(image_type=ImageType.BODY_SAMPLE), [(None, 1)]),
            (SampleType.BODIES, SdkWish(image_type=ImageType.FACE_SAMPLE), None),
        ],
    )
    async def test_a_stored_sample_comes_from_the_folder_of_its_type(
        self, kind: SampleType, wanted: SdkWish, found: list[tuple[int | None, int | None]] | None
    ) -> None:
        store = MemorySamples()
        sample = Sample(uuid4(), UUID(int=1), kind, 5, b"", NOW)
        await store.add(sample, b"image")
        sdk = Sdk(Images(ScriptedEngine({b"image": [ALICE]}), store, Nowhere()), LivenessThresholds())
        source = ImageSource("a", sample_id=sample.sample_id)
        (image,) = (await sdk.estimate(ALL, [source], wanted)).images
        assert (None if image.error else numbers(image.persons)) == found

    async def test_samples_are_filtered_by_what_is_estimated_of_them(self) -> None:
        wish = SdkWish(image_type=ImageType.FACE_SAMPLE, limits=FaceLimits(score=0.9, yaw=1))
        found = await estimate([face(1, HeadPose(90, 0, 0), score=0.5)], wish)
        assert [[one.parameter for one in left_out.reasons] for left_out in found.filtered] == [["score_threshold"]]


class TestAggregation:
    """One estimation of all images."""

    async def test_what_is_aggregated_moves_and_the_rest_stays(self) -> None:
        wish = SdkWish(faces=True, bodies=True, estimations=EVERYTHING, aggregate=True)
        result = await together([[ALICE], [BOB]], wish)
        assert result.aggregate is not None
        for image in result.images:
            for person in image.persons:
                for one in AGGREGATED:
                    for part in (person.face, person.body):
                        assert part is None or getattr(part, one.name.lower(), None) is None
                assert person.face is not None
                assert person.face.head_pose is not None
        assert result.aggregate.face is not None
        assert result.aggregate.body is not None
        assert all(getattr(result.aggregate.face, name) is not None for name in result.aggregate.face.__slots__)
        assert all(getattr(result.aggregate.body, name) is not None for name in result.aggregate.body.__slots__)

    async def test_only_what_was_asked_for_is_aggregated(self) -> None:
        wish = SdkWish(faces=True, estimations=frozenset({Estimation.MASK}), aggregate=True)
        result = await together([[ALICE], [BOB]], wish)
        assert result.aggregate is not None
        assert result.aggregate.face is not None
        assert result.aggregate.face.mask is not None
        assert result.aggregate.face.descriptor is None
        assert result.aggregate.body is None
        assert (await together([[ALICE]], SdkWish(faces=True))).aggregate is None

    async def test_descriptors_are_aggregated_by_the_engine_without_the_faces_that_were_left_out(self) -> None:
        seen = [[face(1)], [face(2, score=0.1)], [face(3)], []]
        wish = SdkWish(
            faces=True,
            estimations=frozenset({Estimation.DESCRIPTOR}),
            limits=FaceLimits(score=0.5),
            aggregate=True,
        )
        result = await together(seen, wish)
        assert result.aggregate is not None
        assert result.aggregate.face is not None
        assert result.aggregate.face.descriptor is not None
        assert result.aggregate.face.descriptor.data[:3] == b"\x01\x03\x00"

    async def test_several_faces_in_one_image_cannot_be_one_person(self) -> None:
        wish = SdkWish(faces=True, aggregate=True)
        result = await together([[ALICE, BOB], [ALICE]], wish)
        assert [type(image.error) for image in result.images] == [MultipleFaces, type(None)]
        best = SdkWish(faces=True, aggregate=True, policy=MultifacePolicy.BEST)
        assert [image.error for image in (await together([[ALICE, BOB]], best)).images] == [None]

    async def test_nothing_together_is_nothing(self) -> None:
        result = await together([[], NotAnImage(message="no")], SdkWish(faces=True, aggregate=True))
        assert result.aggregate is not None
        assert (result.aggregate.face, result.aggregate.body) == (None, None)


async def test_a_failure_stays_with_its_image_and_trouble_of_the_server_does_not() -> None:
    result = await together([NotAnImage(message="no"), [ALICE]], SdkWish(faces=True))
    assert [type(image.error) for image in result.images] == [NotAnImage, type(None)]
    assert [image.source.filename for image in result.images] == ["image 0", "image 1"]
    trouble: LunaError = Busy(message="full", retry_after=1)
    with pytest.raises(Busy):
        await together([[ALICE], trouble], SdkWish(faces=True))
