"""What was estimated of faces and bodies, as messages. A field is set where the estimation is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value
from luna.v6 import attributes_pb2, bodies_pb2, checks_pb2
from luna.v6 import images_pb2 as pb

from server.domain import checks
from server.domain.aggregation import BodyAggregate, FaceAggregate
from server.domain.checks import Allowed, CheckName, ChecksResult, Threshold
from server.domain.descriptors import Descriptor
from server.domain.filters import Reason
from server.domain.liveness import LivenessThresholds
from server.domain.vision import (
    BasicAttributesEstimation,
    BodyGender,
    DetectedBody,
    DetectedFace,
    Emotion,
    Emotions,
    ExtractedDescriptor,
    Eye,
    EyeState,
    Glasses,
    Liveness,
    LivenessState,
    LowerBody,
    Mask,
    MaskState,
    Point,
    Presence,
    Quality,
    Rect,
    UpperBody,
)
from server.services.messages import ETHNICITIES, GENDER_OF

EYE_STATES = {
    EyeState.OPEN: pb.EYE_STATE_OPEN,
    EyeState.CLOSED: pb.EYE_STATE_CLOSED,
    EyeState.OCCLUDED: pb.EYE_STATE_OCCLUDED,
}
EMOTIONS = {one: pb.Emotion.Value(f"EMOTION_{one.name}") for one in Emotion}
MASK_STATES = {one: pb.MaskState.Value(f"MASK_STATE_{one.name}") for one in MaskState}
GLASSES = {
    Glasses.NONE: pb.GLASSES_NO_GLASSES,
    Glasses.EYEGLASSES: pb.GLASSES_EYEGLASSES,
    Glasses.SUNGLASSES: pb.GLASSES_SUNGLASSES,
}
LIVENESS_STATES = {one: pb.LivenessState.Value(f"LIVENESS_STATE_{one.name}") for one in LivenessState}
CHECK_NAMES = {one: checks_pb2.CheckName.Value(f"CHECK_NAME_{one.name}") for one in CheckName}
BODY_GENDERS = {one: bodies_pb2.BodyGender.Value(f"BODY_GENDER_{one.name}") for one in BodyGender}
PRESENCES = {one: bodies_pb2.Presence.Value(f"PRESENCE_{one.name}") for one in Presence}
_ETHNICITY_OF = {value: key for key, value in ETHNICITIES.items()}


def face_detection(
    face: DetectedFace,
    thresholds: LivenessThresholds,
    *,
    sample: bool,
    held_to: Mapping[CheckName, Threshold] = checks.FACE_QUALITY,
) -> pb.FaceDetection:
    """A face. That of a sample has no rectangle and no landmarks of its own.

    Args:
        face: with the estimations that are shown.
        thresholds: when it is a living one.
        sample: it is all of its picture.
        held_to: what face_quality holds it to.
    """
    message = pb.FaceDetection(attributes=face_estimations(face, thresholds))
    if not sample:
        message.rect.CopyFrom(rect(face.rect))
        message.landmarks5.extend(points(face.landmarks5))
    if face.landmarks68 is not None:
        message.landmarks68.extend(points(face.landmarks68))
    if face.quality is not None:
        message.quality.CopyFrom(_quality(face.quality))
    if face.face_quality is not None:
        message.face_quality.CopyFrom(checks_result(checks.face_quality(face.face_quality, held_to)))
    return message


def face_estimations(face: DetectedFace | FaceAggregate, thresholds: LivenessThresholds) -> pb.FaceEstimations:
    """What was estimated of a face, or of several as one."""
    message = pb.FaceEstimations()
    if isinstance(face, DetectedFace):
        _fill_of_one(message, face)
    if face.emotions is not None:
        message.emotions.CopyFrom(_emotions(face.emotions))
    if face.mask is not None:
        message.mask.CopyFrom(_mask(face.mask))
    if face.liveness is not None:
        message.liveness.CopyFrom(_liveness(face.liveness, thresholds))
    if face.basic_attributes is not None:
        message.basic_attributes.CopyFrom(basic_attributes(face.basic_attributes))
    if face.descriptor is not None:
        message.descriptor.CopyFrom(_descriptor(face.descriptor))
    return message


def body_detection(body: DetectedBody, *, sample: bool) -> pb.BodyDetection:
    """A body. That of a sample has no rectangle of its own."""
    return pb.BodyDetection(rect=None if sample else rect(body.rect), attributes=body_estimations(body))


def body_estimations(body: DetectedBody | BodyAggregate) -> pb.BodyEstimations:
    """What was estimated of a body, or of several as one."""
    message = pb.BodyEstimations()
    if (basic := body.body_basic_attributes) is not None:
        attributes = bodies_pb2.BodyBasicAttributes(apparent_gender=BODY_GENDERS[basic.gender], apparent_age=basic.age)
        message.basic_attributes.CopyFrom(attributes)
    if body.upper_body is not None:
        message.upper_body.CopyFrom(_upper_body(body.upper_body))
    if body.lower_body is not None:
        message.lower_body.CopyFrom(_lower_body(body.lower_body))
    if body.accessories is not None:
        backpack = bodies_pb2.Backpack(state=PRESENCES[body.accessories.backpack])
        message.accessories.CopyFrom(bodies_pb2.Accessories(backpack=backpack))
    if body.body_descriptor is not None:
        message.descriptor.CopyFrom(_descriptor(body.body_descriptor))
    return message


def checks_result(result: ChecksResult) -> checks_pb2.ChecksResult:
    """The checks of a face."""
    return checks_pb2.ChecksResult(
        status=result.passed,
        checks=[
            checks_pb2.Check(
                name=CHECK_NAMES[one.name],
                object_value=value(one.object_value),
                threshold_value=_threshold(one.threshold),
                result=one.passed,
            )
            for one in result.checks
        ],
        unavailable_checks=[
            checks_pb2.UnavailableCheck(name=CHECK_NAMES[name], needs=needs)
            for name, needs in result.unavailable.items()
        ],
    )


def filter_reasons(reasons: Sequence[Reason]) -> list[pb.FilterReason]:
    """Why a face was left out."""
    return [
        pb.FilterReason(
            type=one.parameter, desc=one.description, value=value(one.value), threshold=value(one.threshold)
        )
        for one in reasons
    ]


def value(given: float | str | Sequence[float | str] | Mapping[str, float] | None) -> Value:
    """A number, a text, a list or an object as a value of JSON; a whole number is written without a fraction."""
    match given:
        case None:
            return Value(null_value=NULL_VALUE)
        case str():
            return Value(string_value=given)
        case int() | float():
            return Value(number_value=given)
        case Mapping():
            return Value(struct_value=Struct(fields={name: value(one) for name, one in given.items()}))
        case _:
            return Value(list_value=ListValue(values=[value(one) for one in given]))


def rect(given: Rect) -> pb.Rect:
    """A rectangle."""
    return pb.Rect(x=given.x, y=given.y, width=given.width, height=given.height)


def points(given: Sequence[Point]) -> list[pb.Point]:
    """Points."""
    return [pb.Point(x=x, y=y) for x, y in given]


def _fill_of_one(message: pb.FaceEstimations, face: DetectedFace) -> None:
    """What cannot be said of several faces as one."""
    if (pose := face.head_pose) is not None:
        message.head_pose.CopyFrom(pb.HeadPose(pitch=pose.pitch, roll=pose.roll, yaw=pose.yaw))
    if (eyes := face.eyes) is not None:
        message.eyes_attributes.CopyFrom(pb.EyesAttributes(left_eye=_eye(eyes.left), right_eye=_eye(eyes.right)))
    if (mouth := face.mouth) is not None:
        message.mouth_attributes.CopyFrom(
            pb.MouthAttributes(opened=mouth.opened, occluded=mouth.occluded, smile=mouth.smile, score=mouth.score)
        )
    if face.glasses is not None:
        message.glasses.CopyFrom(pb.GlassesEstimation(glasses=GLASSES[face.glasses]))
    if (gaze := face.gaze) is not None:
        message.gaze.CopyFrom(pb.Gaze(pitch=gaze.pitch, yaw=gaze.yaw))


def _eye(eye: Eye) -> pb.Eye:
    return pb.Eye(
        state=EYE_STATES[eye.state],
        iris_landmarks=points(eye.iris_landmarks),
        eyelid_landmarks=points(eye.eyelid_landmarks),
    )


def _quality(quality: Quality) -> pb.Quality:
    return pb.Quality(
        blurriness=quality.blurriness,
        dark=quality.dark,
        illumination=quality.illumination,
        specularity=quality.specularity,
        light=quality.light,
    )


def _emotions(emotions: Emotions) -> pb.Emotions:
    scores = pb.EmotionScores(**{one.value: score for one, score in emotions.estimations.items()})
    return pb.Emotions(predominant_emotion=EMOTIONS[emotions.predominant], estimations=scores)


def _mask(mask: Mask) -> pb.Mask:
    scores = pb.MaskScores(**{one.value: score for one, score in mask.estimations.items()})
    return pb.Mask(predominant_mask=MASK_STATES[mask.predominant], estimations=scores)


def _liveness(liveness: Liveness, thresholds: LivenessThresholds) -> pb.LivenessEstimation:
    return pb.LivenessEstimation(
        prediction=LIVENESS_STATES[thresholds.state(liveness)],
        estimations=pb.LivenessScores(quality=liveness.quality, score=liveness.score),
    )


def basic_attributes(estimated: BasicAttributesEstimation) -> attributes_pb2.BasicAttributesEstimation:
    """Basic attributes as they were estimated."""
    message = attributes_pb2.BasicAttributesEstimation()
    if estimated.age is not None:
        message.age = round(estimated.age)
    if estimated.gender is not None:
        message.gender = GENDER_OF[estimated.gender]
    if estimated.ethnicities is not None and estimated.ethnicity is not None:
        scores = attributes_pb2.EthnicityScores(
            **{one.name.lower(): score for one, score in estimated.ethnicities.items()}
        )
        message.ethnicities.CopyFrom(
            attributes_pb2.Ethnicities(predominant_ethnicity=_ETHNICITY_OF[estimated.ethnicity], estimations=scores)
        )
    return message


def _descriptor(extracted: ExtractedDescriptor) -> pb.Descriptor:
    descriptor = Descriptor(extracted.version, extracted.data)
    return pb.Descriptor(sdk_descriptor=descriptor.to_sdk(), score=extracted.score)


def _upper_body(body: UpperBody) -> bodies_pb2.UpperBody:
    return bodies_pb2.UpperBody(
        headwear=bodies_pb2.Headwear(state=PRESENCES[body.headwear], apparent_color=body.headwear_colour),
        sleeve=bodies_pb2.Sleeve(length=body.sleeve_length),
        upper_clothing=bodies_pb2.UpperClothing(colors=body.colours),
    )


def _lower_body(body: LowerBody) -> bodies_pb2.LowerBody:
    return bodies_pb2.LowerBody(
        lower_garment=bodies_pb2.LowerGarment(type=body.garment, colors=body.colours),
        shoes=bodies_pb2.Shoes(apparent_color=body.shoes_colour),
    )


def _threshold(threshold: Threshold) -> Value:
    """{min, max}, a list of words, or the one number that is allowed (reference document: threshold_value)."""
    if isinstance(threshold, Allowed):
        only = threshold.values[0] if len(threshold.values) == 1 else None
        return value(only) if isinstance(only, int) else value(threshold.values)
    bounds = {"min": threshold.min, "max": threshold.max}
    return value({name: bound for name, bound in bounds.items() if bound is not None})
