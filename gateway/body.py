"""Bodies of requests: which form one has, and the fields that it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from google.protobuf.message import Message
from luna import options_pb2

from gateway.binder import Binder
from gateway.documents import read_json, read_msgpack
from gateway.forms import rest_field, rest_message
from gateway.images import images, one_image
from gateway.media import BYTES, JSON, MSGPACK, MULTIPART, MediaType, parse
from gateway.multipart import split
from gateway.places import CONTENT_TYPE, Places
from gateway.refusals import extra
from gateway.sources import given
from server.errors import (
    BadBody,
    BadMultipart,
    BadPartContentType,
    EmptyBody,
    MissingContentType,
    MissingField,
    NoBody,
    UnsupportedMediaType,
)
from server.rpc.methods import Method

Read = Callable[[Message, MediaType, bytes], None]
"""(request, type, bytes): sets the fields of the body."""


class Body:
    """The body of one method.

    Raises:
        TypeError: the method's forms do not fit the field that takes the body.
    """

    def __init__(self, method: Method, places: Places, binders: Mapping[str, Binder]) -> None:
        self._method = method
        self._optional = method.rest.body_optional
        self._field = None if method.http.body == "*" else method.input.fields_by_name[method.http.body]
        elsewhere = places.outside | places.headers
        self._fill = {
            kind: binder.field(self._field) if self._field is not None else binder.members(method.input, elsewhere)
            for kind, binder in binders.items()
        }
        self._parts = {
            known.name: (known, {kind: binder.field(known.descriptor) for kind, binder in binders.items()})
            for known in rest_message(method.input).fields
            if known.key in places.body
        }
        self._readers: dict[str, Read] = {}
        self._only: Read | None = None
        for form in method.rest.forms or (options_pb2.BODY_FORM_JSON,):
            self._add(form, places)

    def read(self, request: Message, content_type: str, data: bytes) -> None:
        """Set the fields of the body.

        Raises:
            InvalidInput: there is no body where one is needed, its type is not one of the method's, or it is wrong.
        """
        media = parse(content_type)
        if self._only is not None:
            self._only(request, media, data)
            return
        if not data.strip() and (not data or media.name == JSON):
            if self._optional:
                return
            raise EmptyBody if media.name == JSON else NoBody
        reader = self._readers.get(media.name)
        if reader is None or not media.utf8:
            raise UnsupportedMediaType(content_type=content_type, allowed=", ".join(self._readers))
        reader(request, media, data)

    def _add(self, form: int, places: Places) -> None:
        if form == options_pb2.BODY_FORM_JSON:
            self._readers[JSON] = lambda request, _, data: self._fill[JSON](request, read_json(data), "")
        elif form == options_pb2.BODY_FORM_MSGPACK:
            self._readers[MSGPACK] = lambda request, _, data: self._fill[MSGPACK](request, read_msgpack(data), "")
        elif form == options_pb2.BODY_FORM_MULTIPART and self._field is None:
            self._readers[MULTIPART] = self._multipart
        elif form == options_pb2.BODY_FORM_IMAGES and self._field is not None:
            self._only = self._images
        elif form == options_pb2.BODY_FORM_SOURCES and self._field is not None:
            self._only = self._sources
        elif form == options_pb2.BODY_FORM_IMAGE and self._field is not None:
            self._only = self._image
        elif form == options_pb2.BODY_FORM_BYTES and self._field is not None and CONTENT_TYPE in places.headers:
            self._only = self._bytes
        else:
            message = f"{self._method.name} has a form of body that its body cannot have"
            raise TypeError(message)

    def _images(self, request: Message, media: MediaType, data: bytes) -> None:
        if self._field is not None:
            ignored = frozenset(self._method.rest.ignored_parts)
            getattr(request, self._field.name).extend(images(media, data, ignored))

    def _sources(self, request: Message, media: MediaType, data: bytes) -> None:
        if self._field is None:
            return
        own = rest_field(self._field).name
        found = given(media, data, self._parts.keys() - {own}, frozenset(self._method.rest.ignored_parts))
        getattr(request, self._field.name).extend(found.sources)
        for name, value in found.values.items():
            self._parts[name][1][JSON](request, value, "")

    def _image(self, request: Message, media: MediaType, data: bytes) -> None:
        if self._field is not None:
            setattr(request, self._field.name, one_image(media, data))

    def _bytes(self, request: Message, media: MediaType, data: bytes) -> None:
        if not data:
            raise NoBody
        if not media.header.strip():
            raise MissingContentType
        if self._field is not None:
            setattr(request, self._field.name, data)
            setattr(request, CONTENT_TYPE, media.header.strip())

    def _multipart(self, request: Message, media: MediaType, data: bytes) -> None:
        given: set[str] = set()
        for part in split(data, media.parameters.get("boundary", "")):
            if part.name not in self._parts:
                raise BadBody(field=part.name, message=extra(part.name, self._parts))
            known, fill = self._parts[part.name]
            if part.name in given and not known.repeated:
                raise BadMultipart(message=f"part '{part.name}' is given twice")
            given.add(part.name)
            wanted = known.rules.part_type
            if wanted and part.media.name != wanted:
                raise BadPartContentType(part=part.name, content_type=part.media.name, allowed=wanted)
            if part.media.name == JSON:
                value = read_json(part.data)
                fill[JSON](request, [value] if known.repeated and not isinstance(value, list) else value, "")
            elif wanted or part.media.name == BYTES:
                fill[MSGPACK](request, [part.data] if known.repeated else part.data, "")
            else:
                raise BadPartContentType(part=part.name, content_type=part.media.name, allowed=f"{JSON}, {BYTES}")
        for name, (known, _) in self._parts.items():
            if name not in given and (known.rules.required or known.rules.present):
                raise MissingField(field=name)
