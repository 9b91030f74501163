"""The forms that requests for events come in, as `EventSources`.

    image/jpeg, ...                the bytes of one image
    image/x-jpeg-base64, ...       the same as Base64 text
    application/x-sdk-descriptor   the bytes of one descriptor; with -base64 as Base64 text
    multipart/form-data            parts with such types; parts of JSON: policies, meta, and what is told of a source by
                                   its name: [{"filename": "a.jpg", "face_bounding_boxes": [...]}]
    application/json               an array of sources, or an object with one: sources, images, urls or samples
    application/msgpack            such an object; bytes are bytes

A member of an object that is not known is passed over: what is asked of a lambda need not have LUNA's own form.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgpack

from .errors import BadRequest
from .forms import MULTIPART, Part, header, parts_of
from .sources import EventSources, Rect, Source, SourceData, SourceType

JSON = "application/json"
MSGPACK = ("application/msgpack", "application/x-msgpack")
IMAGES = ("image/jpeg", "image/png", "image/bmp", "image/x-portable-pixmap", "image/tiff")
BASE64_IMAGES = tuple(f"image/{name}-base64" for name in ("x-jpeg", "x-png", "x-bmp", "x-tiff", "x-portable-pixmap"))
DESCRIPTORS = ("application/x-sdk-descriptor", "application/x-sdk-descriptor-base64")
ARRAYS = ("sources", "images", "urls", "samples")
"""Members of an object that hold the sources."""
MOST_SOURCES = 100
"""Most sources of a request, as handlers of the service have it."""
UNNAMED = "raw_image"
TYPES = {0: SourceType.RAW_IMAGE, 1: SourceType.FACE_SAMPLE, 2: SourceType.BODY_SAMPLE}
"""What the query's image_type means."""
TOLD = ("face_bounding_boxes", "body_bounding_boxes", "detect_time", "detect_ts", "image_origin")
"""What a source may come with."""


def event_sources(body: bytes, content_type: str, query: Mapping[str, str], headers: Mapping[str, str]) -> EventSources:
    """What a request asks to make events of.

    Args:
        body: its body.
        content_type: the header of that name as it came.
        query: its parameters: those of the method that generates events.
        headers: with Luna-Event-Time and Luna-Event-End-Time.

    Raises:
        BadRequest: there are no sources, or too many, or a member that is known has a value that can not be.
    """
    document, parts = _documents(body, content_type)
    told = _Members(document if isinstance(document, Mapping) else {}, "")
    asked = _Members(query, "query parameter ")
    kind = TYPES.get(asked.whole("image_type") or 0)
    if kind is None:
        raise asked.wrong("image_type", "0, 1 or 2")
    exif = told.flag("use_exif_info", default=asked.flag("use_exif_info", default=True))
    found = [_of_part(part, kind) for part in parts if part.content_type in _CONTENT] + _of_document(document, kind)
    if not 1 <= len(found) <= MOST_SOURCES:
        message = f"1 to {MOST_SOURCES} sources are needed, and {len(found)} were found"
        raise BadRequest(message)
    jsons = {part.name: _read_json(part.body, part.name) for part in parts if part.content_type == JSON}
    found = _told_apart(found, jsons)
    sources = tuple(
        Source(**{"filename": UNNAMED if len(found) == 1 else f"{UNNAMED}_{number}", **one, "use_exif_info": exif})
        for number, one in enumerate(found)
    )
    data = told.part("source_data")
    return EventSources(
        sources=sources,
        aggregate_attributes=told.flag("aggregate_attributes", default=asked.flag("aggregate_attributes")),
        source_data=_data(data) if data is not None else _asked_data(asked, headers, jsons.get("meta")),
        policies=jsons.get("policies", told.members.get("policies")),
    )


def _documents(body: bytes, content_type: str) -> tuple[Any, list[Part]]:
    """The document that a body is, and the parts that it has; one of both."""
    media, _ = header(content_type)
    if media == MULTIPART:
        return None, parts_of(body, content_type)
    if media == JSON:
        return _read_json(body, "body"), []
    if media in MSGPACK:
        return _read_msgpack(body), []
    if media not in _CONTENT:
        message = f"'{media}' gives no sources: {', '.join((*_CONTENT, MULTIPART, JSON, MSGPACK[0]))} do"
        raise BadRequest(message)
    return None, [Part("image", "", media, body)]


def _of_part(part: Part, kind: SourceType) -> dict[str, Any]:
    name = {"filename": part.filename} if part.filename else {}
    return {**name, "source_type": kind, **_CONTENT[part.content_type](part.body, f"part '{part.name}'")}


def _of_document(document: Any, kind: SourceType) -> list[dict[str, Any]]:
    name, items = "", document
    if isinstance(document, Mapping):
        name = next((one for one in ARRAYS if one in document), "")
        if not name:
            message = f"Exactly one is needed of {', '.join(ARRAYS)}"
            raise BadRequest(message)
        items = document[name]
    if items is None:
        return []
    if not isinstance(items, list):
        message = f"'{name}': array expected"
        raise BadRequest(message)
    bare = {"urls": "url", "samples": "sample_id"}.get(name, "url")
    return [
        _item(_Members({bare: item} if isinstance(item, str) else item, f"{name}[{number}]."), kind)
        for number, item in enumerate(items)
    ]


def _item(members: _Members, kind: SourceType) -> dict[str, Any]:
    """One source of JSON or msgpack."""
    found: dict[str, Any] = {"source_type": members.source_type(kind)}
    content = [name for name in ("body", "image", "data", "url", "sample_id") if members.members.get(name) is not None]
    if len(content) != 1:
        raise members.wrong(", ".join(("body", "url", "sample_id")), "exactly one of them")
    match content[0]:
        case "url" | "sample_id" as name:
            found[name] = members.text(name)
        case "data" if members.members.get("type") in {"sdk_descriptor", "raw_descriptor"}:
            found["descriptor"] = members.binary("data")
        case name:
            found["body"] = members.binary(name)
    for name in ("filename", "id"):
        if members.text(name):
            found["filename"] = members.text(name)
            break
    meta = members.part("body_meta")
    if meta is not None:
        found["body_meta"] = meta.members
    data = members.part("source_data")
    if data is not None:
        found["source_data"] = _data(data)
    return found | _told(members)


def _told(members: _Members) -> dict[str, Any]:
    """What is told of a source besides its content."""
    found: dict[str, Any] = {}
    for name in TOLD:
        if members.members.get(name) is not None:
            match name:
                case "detect_time":
                    found[name] = members.time(name)
                case "detect_ts":
                    found[name] = members.number(name)
                case "image_origin":
                    found[name] = members.origin(name)
                case _:
                    found[name] = members.boxes(name)
    return found


def _told_apart(found: list[dict[str, Any]], jsons: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sources with what parts of JSON tell of them by their names."""
    for name in TOLD:
        entries = jsons.get(name)
        if entries is None:
            continue
        if not isinstance(entries, list):
            message = f"part '{name}': array expected"
            raise BadRequest(message)
        for number, entry in enumerate(entries):
            members = _Members(entry, f"{name}[{number}].")
            filename = members.text("filename")
            named = [one for one in found if one.get("filename", UNNAMED) == filename]
            if len(named) != 1:
                raise members.wrong("filename", "the name of one image of the form")
            named[0].update(_told(_Members({name: members.members.get(name)}, members.path)))
    return found


def _data(members: _Members) -> SourceData:
    meta, location = members.part("meta"), members.part("location")
    return SourceData(
        source=members.text("source"),
        stream_id=members.text("stream_id"),
        tags=members.texts("tags"),
        user_data=members.text("user_data") or "",
        external_id=members.text("external_id") or "",
        track_id=members.text("track_id"),
        meta=None if meta is None else meta.members,
        event_time=members.time("event_time"),
        event_end_time=members.time("event_end_time"),
        location={} if location is None else location.members,
    )


def _asked_data(query: _Members, headers: Mapping[str, str], meta: Any) -> SourceData:
    """What the query, two headers and a part of a form say; times of another form are not looked at."""
    location: dict[str, Any] = {
        name: query.text(name)
        for name in ("city", "area", "district", "street", "house_number")
        if query.text(name) is not None
    }
    longitude, latitude = query.number("longitude"), query.number("latitude")
    if (longitude is None) is not (latitude is None):
        raise query.wrong("longitude, latitude", "both or none of them")
    if longitude is not None:
        location["geo_position"] = {"longitude": longitude, "latitude": latitude}
    if meta is not None and not isinstance(meta, Mapping):
        message = "part 'meta': object expected"
        raise BadRequest(message)
    tags = query.text("tags")
    return SourceData(
        source=query.text("source"),
        stream_id=query.text("stream_id"),
        tags=tuple(tags.split(",")) if tags else (),
        user_data=query.text("user_data") or "",
        external_id=query.text("external_id") or "",
        track_id=query.text("track_id"),
        meta=meta,
        event_time=_moment(headers.get("Luna-Event-Time", "")),
        event_end_time=_moment(headers.get("Luna-Event-End-Time", "")),
        location=location,
    )


class _Members:
    """The members of an object, read by their types; None where one is absent or null."""

    def __init__(self, members: Any, path: str) -> None:
        if not isinstance(members, Mapping):
            message = f"'{path.rstrip('.')}': object expected"
            raise BadRequest(message)
        self.members = members
        self.path = path

    def wrong(self, name: str, expected: str) -> BadRequest:
        """An error about a member."""
        return BadRequest(f"Failed to validate input. Path: '{self.path}{name}', message: '{expected} expected'")

    def text(self, name: str) -> str | None:
        """A text."""
        value = self.members.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """An array of texts."""
        value = self.members.get(name) or []
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.wrong(name, "array of texts")
        return tuple(value)

    def number(self, name: str) -> float | None:
        """A finite number; a query has it as text."""
        value = self.members.get(name)
        if value is None:
            return None
        try:
            number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self.wrong(name, "number")
        return number

    def whole(self, name: str) -> int | None:
        """A whole number."""
        number = self.number(name)
        if number is not None and not number.is_integer():
            raise self.wrong(name, "whole number")
        return None if number is None else int(number)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """0 or 1, or a truth value."""
        value = self.members.get(name)
        if value is None:
            return default
        if value not in (0, 1, "0", "1"):
            raise self.wrong(name, "0 or 1")
        return value in (1, "1")

    def part(self, name: str) -> _Members | None:
        """An object."""
        value = self.members.get(name)
        return None if value is None else _Members(value, f"{self.path}{name}.")

    def binary(self, name: str) -> bytes:
        """Bytes of msgpack, or Base64 text."""
        value = self.members.get(name)
        if isinstance(value, bytes) and value:
            return value
        if isinstance(value, str) and value:
            return _from_base64(value.encode(), self.path + name)
        raise self.wrong(name, "bytes")

    def time(self, name: str) -> datetime | None:
        """A time of RFC 3339."""
        text = self.text(name)
        moment = None if text is None else _moment(text)
        if text is not None and moment is None:
            raise self.wrong(name, "date and time with its offset from UTC")
        return moment

    def source_type(self, default: SourceType) -> SourceType:
        """What the bytes are: `source_type` by its word, or `type` of a stored sample."""
        word = self.text("source_type")
        kind = self.members.get("type")
        if word is None:
            return {"face": SourceType.FACE_SAMPLE, "body": SourceType.BODY_SAMPLE}.get(str(kind), default)
        try:
            return SourceType(word)
        except ValueError:
            raise self.wrong(name="source_type", expected=", ".join(one.value for one in SourceType)) from None

    def origin(self, name: str) -> str | bytes:
        """An address, the bytes of an image, or an object with one of both."""
        value = self.members[name]
        if isinstance(value, Mapping):
            told = _Members(value, f"{self.path}{name}.")
            return told.text("url") or told.binary("body")
        if isinstance(value, str) and value.startswith(("http://", "https://", "/6/images/")):
            return value
        return self.binary(name)

    def boxes(self, name: str) -> tuple[Rect, ...]:
        """An array of rectangles."""
        value = self.members[name]
        if not isinstance(value, list):
            raise self.wrong(name, "array of rectangles")
        found = []
        for number, one in enumerate(value):
            members = _Members(one, f"{self.path}{name}[{number}].")
            sides = [members.whole(side) for side in ("x", "y", "width", "height")]
            if None in sides:
                raise members.wrong("x, y, width, height", "whole numbers")
            found.append(Rect(*(side for side in sides if side is not None)))
        return tuple(found)


def _read_json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        message = f"Failed to validate input json. Path: '{name}', message: '{error}'"
        raise BadRequest(message) from None


def _read_msgpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        message = f"The body is no msgpack: {error or type(error).__name__}"
        raise BadRequest(message) from None


def _from_base64(text: bytes, path: str) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        message = f"Failed to validate input. Path: '{path}', message: 'Base64 text expected'"
        raise BadRequest(message) from None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _filled(data: bytes, path: str) -> bytes:
    if not data:
        message = f"{path} is empty"
        raise BadRequest(message)
    return data


_CONTENT: Mapping[str, Callable[[bytes, str], dict[str, bytes]]] = {
    **dict.fromkeys(IMAGES, lambda data, path: {"body": _filled(data, path)}),
    **dict.fromkeys(BASE64_IMAGES, lambda data, path: {"body": _from_base64(_filled(data, path), path)}),
    DESCRIPTORS[0]: lambda data, path: {"descriptor": _filled(data, path)},
    DESCRIPTORS[1]: lambda data, path: {"descriptor": _from_base64(_filled(data, path), path)},
}
"""What a body or a part of such a type gives."""
