"""A plain reference for conditions and statistics of events, and random events to try them on.

It is written from what the operators are said to mean, and shares no code with the storage or the domain: the values of
an event are taken from its record by hand.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from server.domain.attributes import Ethnicity, Gender
from server.domain.event_conditions import Box, Column, Condition, MetaField, MetaType, Operator
from server.domain.events import Candidate, EventMatch, EventRecord, Facts, GeoPosition, Location
from server.domain.vision import BodyGender, Emotion, LivenessState, MaskState, Presence
from tests.integration.storage.made import NOW, OURS, THEIRS, a_face, number
from tests.integration.storage.made_events import an_event

TEXTS = ("a", "A", "b", "aé", "100%", "1_0", "/x", "x\\y", "'q'", "Z", "я", "100")
COLOURS = ("black", "white", "green", "undefined")
METAS: tuple[dict[str, Any] | None, ...] = (
    None,
    {},
    {"a": "b"},
    {"a": 5},
    {"a": 5.0},
    {"a": 5.5},
    {"a": "5"},
    {"a": True},
    {"a": None},
    {"a": ["b"]},
    {"a": [{"c": "b"}]},
    {"a": {"c": "b"}},
    {"a": {"c": "Z%"}},
    {"a": {"0": "b"}},
    {"a": {"c": -36.6}},
    {"a": {"c": 0.1 + 0.2}},
    {"a": {"c": 1e22}},
    {"ключ": {'с "кавычками"': "b"}},
    {"a.c": "b"},
)
EMOTION = {"ANGER": 1, "DISGUST": 2, "FEAR": 3, "HAPPINESS": 4, "NEUTRAL": 5, "SADNESS": 6, "SURPRISE": 7}
MASK = {"MISSING": 1, "MEDICAL_MASK": 2, "OCCLUDED": 3}


def random_events(count: int, seed: int = 1) -> list[EventRecord]:
    """Events with every column now there and now not; their values are few, so that conditions often meet some."""
    chance = random.Random(seed)
    return [_random_event(chance, value) for value in range(1, count + 1)]


def _random_event(chance: random.Random, value: int) -> EventRecord:
    def maybe(values: Sequence[Any]) -> Any:
        return chance.choice(values) if chance.random() < 0.7 else None

    created = NOW + timedelta(hours=chance.randint(-2000, 2000), microseconds=chance.randint(0, 3))
    position = GeoPosition(chance.uniform(-180, 180), chance.uniform(-90, 90)) if chance.random() < 0.7 else None
    if chance.random() < 0.1:
        position = GeoPosition(chance.choice((-180.0, 180.0, 179.995, -179.99)), 0.0)
    return an_event(
        chance.getrandbits(120) << 8 | value,
        account=chance.choice((OURS, OURS, THEIRS)),
        handler_id=number(chance.randint(1, 3)),
        create_time=created,
        end_time=created + timedelta(seconds=chance.randint(0, 3)),
        external_id=maybe(TEXTS) or "",
        user_data=maybe(TEXTS) or "",
        source=maybe((*TEXTS, "")),
        stream_id=maybe([number(one) for one in range(3)]),
        track_id=maybe(TEXTS),
        face_id=maybe([number(one) for one in range(30)]),
        tags=tuple(chance.sample(TEXTS, chance.choice((0, 0, 1, 2, 3)))),
        location=Location(maybe(TEXTS), maybe(TEXTS), maybe(TEXTS), maybe(TEXTS), maybe(TEXTS), position),
        facts=Facts(
            gender=maybe(list(Gender)),
            age=maybe((0, 1, 17, 18, 65, 100)),
            ethnicity=maybe(list(Ethnicity)),
            emotion=maybe(list(Emotion)),
            mask=maybe(list(MaskState)),
            liveness=maybe(list(LivenessState)),
            apparent_gender=maybe(list(BodyGender)),
            apparent_age=maybe((0, 1, 17, 18, 65, 100)),
            headwear=maybe(list(Presence)),
            headwear_colour=maybe(COLOURS),
            sleeve_length=maybe(("short", "long")),
            upper_colours=tuple(chance.sample(COLOURS, chance.randint(0, 2))),
            garment=maybe(("shorts", "skirt")),
            garment_colours=tuple(chance.sample(COLOURS, chance.randint(0, 2))),
            shoes_colour=maybe(COLOURS),
            backpack=maybe(list(Presence)),
        ),
        matches=tuple(_random_match(chance) for _ in range(chance.randint(0, 2))),
        meta=chance.choice(METAS),
    )


def _random_match(chance: random.Random) -> EventMatch:
    found = []
    for similarity in sorted((chance.choice((0.25, 0.5, 0.75)) for _ in range(chance.randint(0, 2))), reverse=True):
        value, external = chance.randint(1, 4), chance.choice(("", "a", "b"))
        if chance.random() < 0.5:
            found.append(Candidate(similarity, face=a_face(value, external_id=external)))
        else:
            found.append(Candidate(similarity, event=an_event(value, external_id=external)))
    return EventMatch(chance.choice(("m", "n")), tuple(found))


def held(record: EventRecord, of: Column | MetaField) -> Any:
    """What a column of an event holds; None where there is no value."""
    if isinstance(of, MetaField):
        return _member(record.meta, of)
    name = of.value
    if name in {"city", "area", "district", "street", "house_number", "geo_position"}:
        return getattr(record.location, name)
    if name.startswith("top_"):
        return _top(record, name)
    facts = record.facts
    own = {
        "gender": facts.gender and facts.gender.value if facts.gender is None else facts.gender.value,
        "age": facts.age,
        "emotion": None if facts.emotion is None else EMOTION[facts.emotion.name],
        "mask": None if facts.mask is None else MASK[facts.mask.name],
        "ethnic_group": None if facts.ethnicity is None else facts.ethnicity.value,
        "liveness": None if facts.liveness is None else facts.liveness.value,
        "apparent_gender": None if facts.apparent_gender is None else facts.apparent_gender.value,
        "apparent_age": facts.apparent_age,
        "headwear_state": None if facts.headwear is None else facts.headwear.value,
        "headwear_apparent_color": facts.headwear_colour,
        "sleeve_length": facts.sleeve_length,
        "upper_clothing_colors": facts.upper_colours or None,
        "lower_garment_type": facts.garment,
        "lower_garment_colors": facts.garment_colours or None,
        "shoes_apparent_color": facts.shoes_colour,
        "backpack_state": None if facts.backpack is None else facts.backpack.value,
        "tags": record.tags or None,
    }
    return own[name] if name in own else getattr(record, name)


def _top(record: EventRecord, name: str) -> Any:
    best = None
    for match in record.matches:
        for candidate in match.candidates:
            if best is None or candidate.similarity > best[1].similarity:
                best = (match.label, candidate)
    if best is None:
        return None
    label, candidate = best
    found = candidate.face or candidate.event
    assert found is not None
    return {
        "top_matching_candidates_label": label,
        "top_similar_object_id": getattr(found, "face_id", None) if candidate.face else found.event_id,
        "top_similar_external_id": found.external_id,
        "top_similar_object_similarity": candidate.similarity,
    }[name]


def _member(meta: Any, of: MetaField) -> Any:
    for name in of.path:
        if not isinstance(meta, dict) or name not in meta:
            return None
        meta = meta[name]
    if isinstance(meta, bool):
        return None
    if of.type is MetaType.STRING:
        return meta if isinstance(meta, str) else None
    if not isinstance(meta, int | float) or (of.type is MetaType.INTEGER and meta != int(meta)):
        return None
    return meta


def passes(record: EventRecord, condition: Condition) -> bool:
    """Whether an event satisfies a condition."""
    value, wanted = held(record, condition.of), condition.value
    match condition.operator:
        case Operator.EQ:
            return bool(value == wanted)
        case Operator.NEQ:
            return bool(value != wanted)
        case Operator.IN:
            return value in wanted  # type: ignore[operator]
        case Operator.NIN:
            return value not in wanted  # type: ignore[operator]
        case Operator.GT:
            return value is not None and value > wanted
        case Operator.GTE:
            return value is not None and value >= wanted
        case Operator.LT:
            return value is not None and value < wanted
        case Operator.LTE:
            return value is not None and value <= wanted
        case Operator.LIKE:
            return value is not None and any(wanted in one for one in ([value] if isinstance(value, str) else value))
        case Operator.NLIKE:
            return value is None or not any(wanted in one for one in ([value] if isinstance(value, str) else value))
        case Operator.CONTAINS:
            return set(wanted) <= set(value or ())  # type: ignore[arg-type]
        case Operator.OVERLAPS:
            return None in wanted if value is None else bool(set(wanted) & set(value))  # type: ignore[operator,arg-type]
        case Operator.NOVERLAPS:
            return value is not None and not set(wanted) & set(value)  # type: ignore[arg-type]
        case Operator.COVERED:
            return value is not None and _inside(value, wanted)


def _inside(place: GeoPosition, box: Any) -> bool:
    """By turning the globe, not by a distance: the box's centre becomes longitude 0."""
    assert isinstance(box, Box)
    turned = (place.longitude - box.longitude + 180) % 360 - 180
    return (
        any(-box.longitude_delta <= one <= box.longitude_delta for one in (turned, turned + 360))
        and box.latitude - box.latitude_delta <= place.latitude <= box.latitude + box.latitude_delta
    )


COMPARED = (Operator.EQ, Operator.NEQ, Operator.IN, Operator.NIN)
ORDERED = (Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)
LIKES = (Operator.LIKE, Operator.NLIKE)
LISTS = (Operator.CONTAINS, Operator.OVERLAPS, Operator.NOVERLAPS)
META_FIELDS = tuple(
    MetaField(path, kind)
    for path in (("a",), ("a", "c"), ("a", "0"), ("ключ", 'с "кавычками"'), ("a.c",), ("a", "c", "d"), ("none",))
    for kind in MetaType
)


def operators_of(of: Column | MetaField) -> tuple[Operator, ...]:
    """The operators that a column has."""
    if isinstance(of, MetaField):
        return (*COMPARED, *ORDERED, *(LIKES if of.type is MetaType.STRING else ()))
    if of is Column.GEO_POSITION:
        return (Operator.EQ, Operator.NEQ, Operator.COVERED)
    if of in {Column.TAGS, Column.UPPER_CLOTHING_COLORS, Column.LOWER_GARMENT_COLORS}:
        return (Operator.EQ, Operator.NEQ, *LISTS, *LIKES)
    texts = of.value in {
        "external_id",
        "user_data",
        "source",
        "track_id",
        "city",
        "area",
        "district",
        "street",
        "house_number",
        "headwear_apparent_color",
        "sleeve_length",
        "lower_garment_type",
        "shoes_apparent_color",
        "top_matching_candidates_label",
        "top_similar_external_id",
    }
    return (*COMPARED, *ORDERED, *(LIKES if texts else ()))


def all_conditions(records: Sequence[EventRecord], of: Column | MetaField, seed: int) -> Iterator[Condition]:
    """Conditions of every operator on a column, with values that some events have and some that none has."""
    chance = random.Random(seed)
    for operator in operators_of(of):
        for _ in range(4):
            yield Condition(of, operator, _wanted(chance, records, of, operator))
        if operator in {Operator.EQ, Operator.NEQ}:
            yield Condition(of, operator, None)


def _wanted(chance: random.Random, records: Sequence[EventRecord], of: Column | MetaField, operator: Operator) -> Any:
    if operator is Operator.COVERED:
        return Box(
            chance.choice((0.0, 180.0, -180.0, 179.99, chance.uniform(-180, 180))),
            chance.uniform(-90, 90) if chance.random() < 0.7 else 0.0,
            chance.choice((0.01, 30.0, 90.0, 0.0)),
            chance.choice((0.01, 30.0, 90.0)),
        )
    if isinstance(of, MetaField):
        strings, whole = ("b", "Z%", "5", "%", "a", ""), (5, 0, -37, 10**22, 10**30)
        numbers = (5, 5.5, -36.6, 0.30000000000000004, 0.3, 1e22, 7.0)
        pool: tuple[Any, ...] = {MetaType.STRING: strings, MetaType.INTEGER: whole, MetaType.NUMERIC: numbers}[of.type]
    elif of is Column.GEO_POSITION:
        return None
    else:
        pool = tuple(dict.fromkeys(one for record in records if (one := held(record, of)) is not None))
        pool += _strangers(pool[0])
    if operator in LIKES:
        return chance.choice((*TEXTS, "%", "_", "\\", "/", "", "lac", "hort"))
    if operator in LISTS:
        items = {item for one in pool for item in one}
        some = chance.sample(sorted(items), min(len(items), chance.randint(0, 3)))
        return (*some, *((None,) if operator is not Operator.CONTAINS and chance.random() < 0.4 else ()))
    if operator in {Operator.IN, Operator.NIN}:
        some = chance.sample(pool, min(len(pool), chance.randint(0, 3)))
        return (*some, *((None,) if chance.random() < 0.4 else ()))
    return chance.choice(pool)


def _strangers(like: Any) -> tuple[Any, ...]:
    """Values that no event has, of the kind of another value."""
    if isinstance(like, tuple):
        return (("pink",),)
    kinds: dict[type, Callable[[], tuple[Any, ...]]] = {
        str: lambda: ("no such", "", "Я"),
        int: lambda: (-1, 7, 10**12, -(10**12), 32767, 32768),
        float: lambda: (0.3, 2.0),
        UUID: lambda: (number(99), UUID(int=2**128 - 1)),
        datetime: lambda: (NOW, datetime(1, 1, 1, tzinfo=UTC)),
    }
    return kinds[type(like)]()
