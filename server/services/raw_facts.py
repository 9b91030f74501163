"""What an event that the caller made says of its person: its attributes, else its aggregate, else its detections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from luna.v6 import attributes_pb2, images_pb2
from luna.v6 import events_pb2 as pb

from server.domain.events import NO_FACTS, Facts
from server.errors import BadBody
from server.services.estimations import BODY_GENDERS, EMOTIONS, LIVENESS_STATES, MASK_STATES, PRESENCES
from server.services.messages import ETHNICITIES, GENDERS

YEARS = range(101)
"""Ages of people."""
COLOURS = frozenset(
    {
        "undefined",
        "beige",
        "black",
        "blue",
        "brown",
        "green",
        "grey",
        "khaki",
        "multicolored",
        "orange",
        "pink",
        "purple",
        "red",
        "white",
        "yellow",
    }
)
"""Of clothes (reference document, upper_body)."""
PLAIN_COLOURS = frozenset({"undefined", "black", "white", "other"})
"""Of headwear and shoes."""
SLEEVES = frozenset({"undefined", "short", "long"})
GARMENTS = frozenset({"undefined", "trousers", "shorts", "skirt"})

EMOTION_OF = {number: emotion for emotion, number in EMOTIONS.items()}
MASK_OF = {number: mask for mask, number in MASK_STATES.items()}
LIVENESS_OF = {number: state for state, number in LIVENESS_STATES.items()}
BODY_GENDER_OF = {number: gender for gender, number in BODY_GENDERS.items()}
PRESENCE_OF = {number: presence for presence, number in PRESENCES.items()}


def facts_from(event: pb.RawEvent, path: str) -> Facts:
    """What an event says of its person. Of what is said in several places, the first one counts.

    Raises:
        BadBody: an age, a colour or a type is none.
    """
    known = NO_FACTS
    for one in _places(event, path):
        missing = {field.name: getattr(one, field.name) for field in fields(Facts) if not _given(known, field.name)}
        known = replace(known, **missing)
    return known


def _given(facts: Facts, name: str) -> bool:
    return getattr(facts, name) not in (None, ())


def _places(event: pb.RawEvent, path: str) -> Iterator[Facts]:
    if event.face_attributes.HasField("basic_attributes"):
        yield _basic(event.face_attributes.basic_attributes, f"{path}.face_attributes.basic_attributes")
    together = event.aggregate_estimations
    yield _face(together.face.attributes, f"{path}.aggregate_estimations.face.attributes")
    yield _body(together.body.attributes, f"{path}.aggregate_estimations.body.attributes")
    for position, one in enumerate(event.detections):
        where = f"{path}.detections.{position}.samples"
        yield _face(one.samples.face.detection.attributes, f"{where}.face.detection.attributes")
        yield _body(one.samples.body.detection.attributes, f"{where}.body.detection.attributes")


def _face(message: images_pb2.FaceEstimations, path: str) -> Facts:
    return replace(
        _basic(message.basic_attributes, f"{path}.basic_attributes"),
        emotion=EMOTION_OF.get(message.emotions.predominant_emotion),
        mask=MASK_OF.get(message.mask.predominant_mask),
        liveness=LIVENESS_OF.get(message.liveness.prediction),
    )


def _basic(message: attributes_pb2.BasicAttributesEstimation, path: str) -> Facts:
    return Facts(
        gender=GENDERS.get(message.gender),
        age=_age(message.age, f"{path}.age") if message.HasField("age") else None,
        ethnicity=ETHNICITIES.get(message.ethnicities.predominant_ethnicity),
    )


def _body(message: images_pb2.BodyEstimations, path: str) -> Facts:
    known = NO_FACTS
    if message.HasField("basic_attributes"):
        basic = message.basic_attributes
        known = replace(
            known,
            apparent_gender=BODY_GENDER_OF.get(basic.apparent_gender),
            apparent_age=_age(basic.apparent_age, f"{path}.basic_attributes.apparent_age"),
        )
    upper, lower = message.upper_body, message.lower_body
    return replace(
        known,
        headwear=PRESENCE_OF.get(upper.headwear.state),
        headwear_colour=_word(
            upper.headwear.apparent_color, PLAIN_COLOURS, f"{path}.upper_body.headwear.apparent_color"
        ),
        sleeve_length=_word(upper.sleeve.length, SLEEVES, f"{path}.upper_body.sleeve.length"),
        upper_colours=_words(upper.upper_clothing.colors, f"{path}.upper_body.upper_clothing.colors"),
        garment=_word(lower.lower_garment.type, GARMENTS, f"{path}.lower_body.lower_garment.type"),
        garment_colours=_words(lower.lower_garment.colors, f"{path}.lower_body.lower_garment.colors"),
        shoes_colour=_word(lower.shoes.apparent_color, PLAIN_COLOURS, f"{path}.lower_body.shoes.apparent_color"),
        backpack=PRESENCE_OF.get(message.accessories.backpack.state),
    )


def _age(given: int, path: str) -> int:
    if given not in YEARS:
        raise BadBody(field=path, message=f"{given} is not between {YEARS[0]} and {YEARS[-1]}")
    return given


def _word(given: str, allowed: frozenset[str], path: str) -> str | None:
    if given and given not in allowed:
        raise BadBody(field=path, message=f"'{given[:64]}' is none of {', '.join(sorted(allowed))}")
    return given or None


def _words(given: Sequence[str], path: str) -> tuple[str, ...]:
    """Colours, each once."""
    found = (_word(one, COLOURS, f"{path}.{position}") for position, one in enumerate(given))
    return tuple(dict.fromkeys(one for one in found if one is not None))
