"""Results of comparisons as the caller gives them with an event of their own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from google.protobuf.message import Message
from luna.v6 import attributes_pb2, faces_pb2
from luna.v6 import events_pb2 as pb

from server.domain.events import Candidate, EventMatch, EventRecord, Facts, MatchedAttribute
from server.domain.faces import Face
from server.errors import BadBody, MissingField
from server.rpc.validation import UUID as UUID_FORM
from server.services.event_sources import location_from, meta_from
from server.services.match_targets import ATTRIBUTE_TARGETS, FACE_TARGETS
from server.services.messages import ETHNICITIES, GENDERS, moment
from server.services.raw_facts import BODY_GENDER_OF, EMOTION_OF, LIVENESS_OF, MASK_OF, PRESENCE_OF
from server.services.stored_events import CANDIDATE_TARGETS

MOST_EXTERNAL_ID, MOST_USER_DATA, MOST_ADDRESS = 36, 128, 256
_KNOWN = frozenset({*FACE_TARGETS, *CANDIDATE_TARGETS, *ATTRIBUTE_TARGETS})


class RawCandidates:
    """Reads candidates. What is not said of one is taken from the event that it belongs to, and is not told.

    Args:
        account_id: the account of the event.
        handler_id: its handler.
        now: when it is taken.
    """

    def __init__(self, account_id: UUID, handler_id: UUID, now: datetime) -> None:
        self._account_id = account_id
        self._handler_id = handler_id
        self._now = now

    def match(self, message: pb.EventMatch, path: str) -> EventMatch:
        """One comparison; its best candidate comes first.

        Raises:
            MissingField: a candidate lacks its similarity or its id.
            BadBody: it is not exactly one of face, event and attribute, or one of its values is none.
        """
        found = [self._candidate(one, f"{path}.candidates.{at}") for at, one in enumerate(message.candidates)]
        told = {word for one in message.candidates for word in _told(one)}
        found.sort(key=lambda one: -one.similarity)
        return EventMatch(message.label, tuple(found), tuple(sorted(told)))

    def _candidate(self, message: pb.EventCandidate, path: str) -> Candidate:
        kinds = [name for name in ("face", "event", "attribute") if message.HasField(name)]
        if len(kinds) != 1:
            raise BadBody(field=path, message="exactly one of face, event and attribute is needed")
        if not message.HasField("similarity"):
            raise MissingField(field=f"{path}.similarity")
        where = f"{path}.{kinds[0]}"
        return Candidate(
            similarity=message.similarity,
            face=self._face(message.face, where) if message.HasField("face") else None,
            event=self._event(message.event, where) if message.HasField("event") else None,
            attribute=self._attribute(message.attribute, where) if message.HasField("attribute") else None,
        )

    def _face(self, message: faces_pb2.Face, path: str) -> Face:
        return Face(
            face_id=_needed(message.face_id, f"{path}.face_id"),
            account_id=_id(message.account_id, f"{path}.account_id") or self._account_id,
            create_time=self._time(message, "create_time"),
            event_id=_id(message.event_id, f"{path}.event_id"),
            user_data=_short(message.user_data, MOST_USER_DATA, f"{path}.user_data"),
            external_id=_short(message.external_id, MOST_EXTERNAL_ID, f"{path}.external_id"),
            avatar=_short(message.avatar, MOST_ADDRESS, f"{path}.avatar"),
            lists=tuple(_needed(one, f"{path}.lists.{at}") for at, one in enumerate(message.lists)),
        )

    def _attribute(self, message: attributes_pb2.Attribute, path: str) -> MatchedAttribute:
        return MatchedAttribute(
            attribute_id=_needed(message.attribute_id, f"{path}.attribute_id"),
            account_id=_id(message.account_id, f"{path}.account_id"),
            create_time=self._time(message, "create_time") if message.HasField("create_time") else None,
        )

    def _event(self, message: pb.StoredEvent, path: str) -> EventRecord:
        created = self._time(message, "create_time")
        return EventRecord(
            event_id=_needed(message.event_id, f"{path}.event_id"),
            account_id=_id(message.account_id, f"{path}.account_id") or self._account_id,
            handler_id=_id(message.handler_id, f"{path}.handler_id") or self._handler_id,
            create_time=created,
            end_time=self._time(message, "end_time") if message.HasField("end_time") else created,
            external_id=_short(message.external_id, MOST_EXTERNAL_ID, f"{path}.external_id"),
            user_data=_short(message.user_data, MOST_USER_DATA, f"{path}.user_data"),
            source=message.source or None,
            stream_id=_id(message.stream_id, f"{path}.stream_id"),
            track_id=message.track_id or None,
            face_id=_id(message.face_id, f"{path}.face_id"),
            tags=tuple(message.tags),
            location=location_from(message.location),
            facts=_facts(message),
            attach_result=tuple(_needed(one, f"{path}.attach_result") for one in message.attach_result),
            meta=meta_from(message.meta, f"{path}.meta") if message.HasField("meta") else None,
        )

    def _time(self, message: Message, field: str) -> datetime:
        return moment(getattr(message, field)) if message.HasField(field) else self._now


def _told(candidate: pb.EventCandidate) -> Iterator[str]:
    """The fields that the caller has given of a candidate."""
    for given in (candidate.face, candidate.event, candidate.attribute):
        yield from (field.name for field, _ in given.ListFields() if field.name in _KNOWN)


def _facts(message: pb.StoredEvent) -> Facts:
    upper, lower, body = message.upper_body, message.lower_body, message.body_basic_attributes
    return Facts(
        gender=GENDERS.get(message.gender),
        age=message.age if message.HasField("age") else None,
        ethnicity=ETHNICITIES.get(message.ethnic_group),
        emotion=EMOTION_OF.get(message.emotion),
        mask=MASK_OF.get(message.mask),
        liveness=LIVENESS_OF.get(message.liveness),
        apparent_gender=BODY_GENDER_OF.get(body.apparent_gender),
        apparent_age=body.apparent_age if body.HasField("apparent_age") else None,
        headwear=PRESENCE_OF.get(upper.headwear.state),
        headwear_colour=upper.headwear.apparent_color or None,
        sleeve_length=upper.sleeve.length or None,
        upper_colours=tuple(upper.upper_clothing.colors),
        garment=lower.lower_garment.type or None,
        garment_colours=tuple(lower.lower_garment.colors),
        shoes_colour=lower.shoes.apparent_color or None,
        backpack=PRESENCE_OF.get(message.accessories.backpack.state),
    )


def _id(text: str, path: str) -> UUID | None:
    if text and not UUID_FORM.fullmatch(text):
        raise BadBody(field=path, message=f"'{text[:64]}' is not a uuid (lower case, with dashes)")
    return UUID(text) if text else None


def _needed(text: str, path: str) -> UUID:
    found = _id(text, path)
    if found is None:
        raise MissingField(field=path)
    return found


def _short(text: str, most: int, path: str) -> str:
    if len(text) > most:
        raise BadBody(field=path, message=f"{len(text)} characters, at most {most} are allowed")
    return text
