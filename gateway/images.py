"""Images as they come in requests: the forms of a body that give one or more `ImageInput`.

    image/jpeg, ...           the bytes of one image
    image/x-jpeg-base64, ...  the same as Base64 text
    multipart/form-data       parts with such types; and parts of JSON that say where in which image to look:
                              [{"filename": "a.jpg", "face_bounding_boxes": [{"x": 1, "y": 2, ...}]}]
    application/json          {"urls": [...]}, {"samples": [...]} or {"images": [{"url" | "sample_id" | "image", ...}]}

What a form leaves out, such as the file's name, stays empty. Order is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from luna.v6.images_pb2 import ImageInput, Rect

from gateway.binder import Binder, Fill, from_base64
from gateway.documents import read_json
from gateway.media import BASE64_IMAGES, IMAGES, JSON, MULTIPART, MediaType
from gateway.multipart import Part, split
from gateway.refusals import extra, joined
from server.errors import (
    BadBody,
    BadContentType,
    BadMultipart,
    BadPartContentType,
    BadPartType,
    MissingField,
    NoBody,
    RepeatedBoxes,
    SeveralBoxes,
    UnsupportedMediaType,
)

TYPES = (*IMAGES, *BASE64_IMAGES, MULTIPART, JSON)
"""Content types that give images."""
BOXES: dict[str, FieldDescriptor] = {
    field.name: field
    for field in ImageInput.DESCRIPTOR.fields
    if field.is_repeated
    and field.message_type is not None
    and field.message_type.full_name == Rect.DESCRIPTOR.full_name
}
"""Fields of an image that hold boxes; parts with boxes are named like them."""
MAX_FILENAME = 256

M = TypeVar("M", bound=Message)

_json = Binder(binary=False)
_fill_boxes = {name: _json.member(field) for name, field in BOXES.items()}


def one_image(media: MediaType, data: bytes) -> bytes:
    """The bytes of the one image that a body is.

    Raises:
        BadContentType: the type is none of `IMAGES`.
        NoBody: there are no bytes.
    """
    if not data:
        raise NoBody
    if media.name not in IMAGES:
        raise BadContentType(content_type=media.name, allowed=", ".join(IMAGES))
    return data


def images(media: MediaType, data: bytes, ignored: frozenset[str] = frozenset()) -> list[ImageInput]:
    """The images of a body; at least one. Parts with ignored names are not looked at.

    Raises:
        InvalidInput: the body has no images, or has them in no form that is known. The classes are those imported here.
    """
    if not data:
        raise NoBody
    if media.name in IMAGES or media.name in BASE64_IMAGES:
        return [ImageInput(data=content(media, data))]
    if media.name == MULTIPART:
        parts = split(data, media.parameters.get("boundary", ""))
        return _from_parts(part for part in parts if part.name not in ignored)
    if media.name == JSON and media.utf8:
        return _from_json(read_json(data))
    if media.name.startswith("image/"):
        raise BadContentType(content_type=media.name, allowed=", ".join(TYPES))
    raise UnsupportedMediaType(content_type=media.name, allowed=", ".join(TYPES))


def content(media: MediaType, data: bytes) -> bytes:
    """The bytes of an image whose type may say that they are Base64."""
    return from_base64(unwrapped(data)) if media.name in BASE64_IMAGES else data


def unwrapped(text: bytes) -> bytes:
    """A body of Base64 without white space around it and without line breaks, which many encoders make (RFC 2045)."""
    return text.strip().translate(None, b"\r\n")


def _from_parts(parts: Iterable[Part]) -> list[ImageInput]:
    found: list[ImageInput] = []
    boxes: dict[str, dict[str, ImageInput]] = {}
    for part in parts:
        if part.name in BOXES:
            if part.name in boxes:
                raise RepeatedBoxes
            boxes[part.name] = told(part, ImageInput, _fill_boxes[part.name])
        elif part.media.name in IMAGES or part.media.name in BASE64_IMAGES:
            found.append(ImageInput(filename=part.filename, data=content_of(part)))
        else:
            raise BadPartType(
                part=part.name, content_type=part.media.name, allowed=", ".join((*IMAGES, *BASE64_IMAGES))
            )
    if not found:
        raise BadMultipart(message="there is no image in it")
    for name, by_filename in boxes.items():
        attach(found, name, by_filename)
    return found


def content_of(part: Part) -> bytes:
    """The bytes of an image that a part is.

    Raises:
        BadMultipart, BadBase64: there are none, or they are not as the part's type says.
    """
    if not part.data:
        raise BadMultipart(message=f"part '{part.name}' is empty")
    return content(part.media, part.data)


def attach(found: Sequence[M], name: str, told: Mapping[str, M]) -> None:
    """Give what a part tells of images, by their names, to the images of these names.

    Raises:
        BadMultipart: no image has the name, or several have.
    """
    for filename, holder in told.items():
        named = [image for image in found if getattr(image, "filename") == filename]  # noqa: B009 of any message
        if len(named) != 1:
            raise BadMultipart(message=f"{name} names '{filename}', which {len(named)} images are called")
        named[0].MergeFrom(holder)


def told(part: Part, make: type[M], fill: Fill) -> dict[str, M]:
    """What a part of JSON tells of images, by their names: messages in which nothing else is set.

    The part is an array of objects with `filename` and one member that is called like the part.

    Raises:
        BadPartContentType, BadBody, MissingField: the part is no such thing.
        SeveralBoxes: an image is named twice, or has two boxes.
    """
    if part.media.name != JSON:
        raise BadPartContentType(part=part.name, content_type=part.media.name, allowed=JSON)
    value = read_json(part.data)
    if not isinstance(value, list):
        raise BadBody(field=part.name, message="array expected")
    found: dict[str, M] = {}
    for index, item in enumerate(value):
        path = joined(part.name, index)
        members = only(item, {"filename", part.name}, path)
        for needed in ("filename", part.name):
            if needed not in members:
                raise MissingField(field=joined(path, needed))
        filename = members["filename"]
        if not isinstance(filename, str):
            raise BadBody(field=joined(path, "filename"), message="text expected")
        holder = make()
        fill(holder, members[part.name], joined(path, part.name))
        if filename in found or (part.name in BOXES and len(getattr(holder, part.name)) > 1):
            raise SeveralBoxes(filename=filename)
        found[filename] = holder
    return found


def _from_json(value: object) -> list[ImageInput]:
    given = only(value, {"urls", "samples", "images"}, "")
    if len(given) != 1:
        raise BadBody(field="", message="exactly one is needed of urls, samples and images")
    ((name, items),) = given.items()
    if not isinstance(items, list) or not items:
        raise BadBody(field=name, message="array with at least 1 item expected")
    make: Callable[[object, str], ImageInput] = {"urls": _url, "samples": _sample, "images": _entry}[name]
    return [make(item, joined(name, index)) for index, item in enumerate(items)]


def _url(item: object, path: str) -> ImageInput:
    if not isinstance(item, str) or not item:
        raise BadBody(field=path, message="address expected")
    return ImageInput(url=item)


def _sample(item: object, path: str) -> ImageInput:
    if not isinstance(item, str) or not item:
        raise BadBody(field=path, message="sample_id expected")
    return ImageInput(sample_id=item)


def _entry(item: object, path: str) -> ImageInput:
    members = only(item, {*_ENTRY, *BOXES}, path)
    if len(_SOURCES & members.keys()) != 1:
        raise BadBody(field=path, message=f"exactly one is needed of {', '.join(sorted(_SOURCES))}")
    image = ImageInput()
    for name, value in members.items():
        _fill_entry[name](image, value, joined(path, name))
    if not (image.data or image.url or image.sample_id):
        raise BadBody(field=path, message="the image is empty")
    return image


def only(item: object, known: Collection[str], path: str) -> dict[str, object]:
    """The members of an object that has no others than those that are known.

    Raises:
        BadBody: it is no object, or has another member.
    """
    if not isinstance(item, dict):
        raise BadBody(field=path, message="object expected")
    for name in item:
        if name not in known:
            raise BadBody(field=joined(path, name), message=extra(name, known))
    return item


_SOURCES = {"url", "sample_id", "image"}
_ENTRY = {"url": "url", "sample_id": "sample_id", "image": "data", "filename": "filename"}
"""Members of an entry of `images`, and the fields that they stand for."""
_fill_entry = _fill_boxes | {
    name: _json.member(ImageInput.DESCRIPTOR.fields_by_name[key]) for name, key in _ENTRY.items()
}
