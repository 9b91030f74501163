"""Sources as they come in requests: the forms of a body that give one or more images, samples or descriptors.

    image/jpeg, ...                the bytes of one image
    image/x-jpeg-base64, ...       the same as Base64 text
    application/x-sdk-descriptor   the bytes of one descriptor; with -base64 as Base64 text
    application/x-vl-xpk           a file of descriptors, likewise; its layout is not published, and none is found in it
    multipart/form-data            parts with such types; parts of JSON that tell of an image by its name, as boxes do:
                                   [{"filename": "a.jpg", "detect_time": "2018-08-11T09:11:41Z"}]; and parts of JSON for
                                   other fields of the request
    application/json               [{"url": ...}, {"data": ...}, {"sample_id": ...}, {"type": ..., "data": ...}], or an
                                   object with such an array: sources, images, urls or samples

What a form leaves out, such as the file's name, stays empty. Order is kept.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message
from luna.v6.attributes_pb2 import DescriptorInput
from luna.v6.images_pb2 import Source

from gateway.binder import Binder, Fill, from_base64
from gateway.documents import read_json
from gateway.images import BOXES, attach, content, content_of, only, told, unwrapped
from gateway.media import BASE64_IMAGES, DESCRIPTORS, IMAGES, JSON, MULTIPART, SDK_DESCRIPTORS, XPK_FILES, MediaType
from gateway.multipart import Part, split
from gateway.refusals import joined
from server.errors import (
    BadBody,
    BadContentType,
    BadMultipart,
    BadPartContentType,
    BadPartType,
    MissingField,
    NoBody,
    NoDescriptorInXpk,
    RepeatedBoxes,
    UnsupportedMediaType,
)

ITEMS = (*IMAGES, *BASE64_IMAGES, *DESCRIPTORS)
"""Content types that give one source."""
TYPES = (*ITEMS, MULTIPART, JSON)
"""Content types that give sources."""
ARRAYS = ("sources", "images", "urls", "samples")
"""Members of an object of JSON that hold the sources."""
ORIGIN = "image_origin"
TOLD = (*BOXES, "detect_time", "detect_ts", ORIGIN)
"""What a source may come with; parts that tell it are named like this."""
SAMPLE_TYPES = ("face", "body")
DESCRIPTOR_TYPES = ("sdk_descriptor", "raw_descriptor", "xpk_file")
_ADDRESS = re.compile(r"(?:https?://|/6/images/)", re.IGNORECASE)
_BASE64 = "-base64"


@dataclass(slots=True)
class Given:
    """What a body gives: sources, and values of other fields of the request by their names."""

    sources: list[Source] = field(default_factory=list)
    values: dict[str, object] = field(default_factory=dict)


def given(media: MediaType, data: bytes, others: Collection[str] = (), ignored: Collection[str] = frozenset()) -> Given:
    """What a body gives; at least one source.

    Args:
        media: its type.
        data: its bytes.
        others: names of the parts of JSON that are other fields of the request.
        ignored: names of the parts that are not looked at.

    Raises:
        InvalidInput: the body has no sources, or has them in no form that is known, with the classes imported here.
    """
    if not data:
        raise NoBody
    if media.name in ITEMS:
        return Given([_source(media, data)])
    if media.name == MULTIPART:
        parts = split(data, media.parameters.get("boundary", ""))
        return _from_parts([part for part in parts if part.name not in ignored], others)
    if media.name == JSON and media.utf8:
        return Given(_from_json(read_json(data)))
    if media.name.startswith("image/"):
        raise BadContentType(content_type=media.name, allowed=", ".join(TYPES))
    raise UnsupportedMediaType(content_type=media.name, allowed=", ".join(TYPES))


def _source(media: MediaType, data: bytes, filename: str = "") -> Source:
    if media.name not in DESCRIPTORS:
        return Source(filename=filename, data=content(media, data))
    bare = from_base64(unwrapped(data)) if media.name.endswith(_BASE64) else data
    if media.name in XPK_FILES:
        raise NoDescriptorInXpk
    return Source(filename=filename, descriptor=DescriptorInput(sdk_descriptor=bare))


def _from_parts(parts: Collection[Part], others: Collection[str]) -> Given:
    found = Given()
    by_filename: dict[str, dict[str, Source]] = {}
    for part in parts:
        if part.name in TOLD:
            if part.name in by_filename:
                raise RepeatedBoxes if part.name in BOXES else BadMultipart(message=_twice(part))
            by_filename[part.name] = told(part, Source, _FILL[part.name])
        elif part.name in others:
            if part.name in found.values:
                raise BadMultipart(message=_twice(part))
            if part.media.name != JSON:
                raise BadPartContentType(part=part.name, content_type=part.media.name, allowed=JSON)
            found.values[part.name] = read_json(part.data)
        elif part.media.name in SDK_DESCRIPTORS or part.media.name in XPK_FILES:
            if not part.data:
                raise BadMultipart(message=f"part '{part.name}' is empty")
            found.sources.append(_source(part.media, part.data, part.filename))
        elif part.media.name in ITEMS:
            found.sources.append(Source(filename=part.filename, data=content_of(part)))
        else:
            raise BadPartType(part=part.name, content_type=part.media.name, allowed=", ".join(ITEMS))
    if not found.sources:
        raise BadMultipart(message="there is no image in it")
    for name, parts_told in by_filename.items():
        attach(found.sources, name, parts_told)
    return found


def _twice(part: Part) -> str:
    return f"part '{part.name}' is given twice"


def _from_json(value: object) -> list[Source]:
    name, items = "", value
    if isinstance(value, dict):
        members = only(value, ARRAYS, "")
        if len(members) != 1:
            raise BadBody(field="", message=f"exactly one is needed of {', '.join(ARRAYS)}")
        ((name, items),) = members.items()
    if not isinstance(items, list) or not items:
        raise BadBody(field=name, message="array with at least 1 item expected")
    return [_item(item, name, joined(name, index)) for index, item in enumerate(items)]


def _item(item: object, name: str, path: str) -> Source:
    if isinstance(item, str) and name in _BARE:
        return _content({_BARE[name]: item}, path)
    members = only(item, _MEMBERS, path)
    source = _content(members, path)
    for key in TOLD:
        if members.get(key) is not None or (key in members and key in BOXES):
            _FILL[key](source, members[key], joined(path, key))
    return source


def _content(members: Mapping[str, object], path: str) -> Source:
    """What an item is about. `data` is a descriptor where there is a `type`, and an image otherwise."""
    chosen = [name for name in ("url", "sample_id", "image", "data") if name in members]
    if len(chosen) != 1:
        raise BadBody(field=path, message="exactly one is needed of url, sample_id, image and data")
    kind = chosen[0]
    if kind == "data" and "type" in members:
        return _descriptor(members, path)
    _refuse(members, {"id", *(() if kind == "sample_id" else ("type",))}, path)
    _refuse(members, () if kind in {"image", "data"} else ("mimetype",), path)
    _word(members, "type", SAMPLE_TYPES, path)
    _word(members, "mimetype", (*IMAGES, *BASE64_IMAGES), path)
    source = Source()
    for name in (kind, "filename"):
        if name in members:
            _FILL[_NAMES.get(name, name)](source, members[name], joined(path, name))
    if not getattr(source, _NAMES.get(kind, kind)):
        raise BadBody(field=joined(path, kind), message="it must not be empty")
    return source


def _descriptor(members: Mapping[str, object], path: str) -> Source:
    _refuse(members, ("mimetype",), path)
    kind = _word(members, "type", DESCRIPTOR_TYPES, path)
    if "id" in members and "filename" in members:
        raise BadBody(field=path, message="only one is allowed of filename, id")
    source = Source()
    for name in ("id", "filename"):
        if name in members:
            _FILL["filename"](source, members[name], joined(path, name))
    _FILL["descriptor"](source, members["data"], joined(path, "data"))
    if (kind == "raw_descriptor") is bool(source.descriptor.sdk_descriptor):
        needed = "a descriptor and its version are needed" if kind == "raw_descriptor" else "Base64 text expected"
        raise BadBody(field=joined(path, "data"), message=needed)
    if kind == "xpk_file":
        raise NoDescriptorInXpk
    return source


def _word(members: Mapping[str, object], name: str, allowed: Collection[str], path: str) -> str:
    word = members.get(name, "")
    if name in members and (not isinstance(word, str) or word not in allowed):
        raise BadBody(field=joined(path, name), message=f"value is not one of {', '.join(allowed)}")
    return str(word)


def _refuse(members: Mapping[str, object], names: Collection[str], path: str) -> None:
    for name in names:
        if name in members:
            raise BadBody(field=joined(path, name), message="extra fields not permitted")


def _fill_origin(message: Message, value: object, path: str) -> None:
    """An address, or an image as Base64 text."""
    if not isinstance(value, str):
        raise BadBody(field=path, message="address or Base64 text of an image expected")
    if not value:
        raise MissingField(field=path)
    if _ADDRESS.match(value):
        setattr(message, "image_origin_url", value)  # noqa: B010 Message has no such attribute, Source does
    else:
        setattr(message, "image_origin_data", from_base64(value, path))  # noqa: B010


_json = Binder(binary=False)
_FILL: Mapping[str, Fill] = {
    **{
        name: _json.member(Source.DESCRIPTOR.fields_by_name[name])
        for name in (*TOLD, "url", "sample_id", "data", "descriptor", "filename")
        if name != ORIGIN
    },
    ORIGIN: _fill_origin,
}
"""What sets a field of a source, and that which it may come with."""
_BARE = {"urls": "url", "samples": "sample_id"}
"""Arrays whose items may be bare texts, and the fields that these are."""
_NAMES = {"image": "data"}
_MEMBERS = ("url", "sample_id", "image", "data", "filename", "mimetype", "id", "type", *TOLD)
"""Members of an item."""
