"""The bodies of requests and responses by media type, as OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.api import annotations_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from luna import options_pb2
from luna.v6.images_pb2 import ImageInput, Source

from gateway.comments import comment, media_types
from gateway.endpoints import offered
from gateway.forms import RestField, rest_field, rest_message
from gateway.images import BOXES, MAX_FILENAME
from gateway.media import BASE64_IMAGES, BYTES, IMAGES, JSON, MSGPACK, MULTIPART, TEXT
from gateway.places import CONTENT_TYPE, Places
from gateway.schemas import BINARY, Direction, Schema, Schemas, described, nullable
from gateway.sources import DESCRIPTOR_TYPES, ITEMS, ORIGIN, SAMPLE_TYPES, TOLD

ANY = "*/*"
_BASE64: Schema = {"type": "string", "contentEncoding": "base64", "minLength": 1}
_BOXED: Schema = {"type": "string", "maxLength": MAX_FILENAME}


def request_body(method: MethodDescriptor, places: Places, schemas: Schemas) -> Schema | None:
    """The request body of a method; None where it takes none."""
    options = method.GetOptions()
    http, rest = options.Extensions[annotations_pb2.http], options.Extensions[options_pb2.rest]
    if not http.body:
        return None
    field = None if http.body == "*" else rest_field(method.input_type.fields_by_name[http.body])
    content: Schema = {}
    for form in rest.forms or (options_pb2.BODY_FORM_JSON,):
        content |= _content(form, method, field, places, schemas)
    body: Schema = {"content": content}
    if not rest.body_optional:
        body["required"] = True
    return described(body, comment(field.descriptor) if field is not None else "")


def response_content(method: MethodDescriptor, schemas: Schemas) -> Schema:
    """The content of a successful response that has one."""
    options = method.GetOptions()
    http, rest = options.Extensions[annotations_pb2.http], options.Extensions[options_pb2.rest]
    output = method.output_type
    if rest.content:
        named = media_types(method, output.fields_by_name[CONTENT_TYPE]) or (ANY,)
        return {media: {"schema": _bytes_of(media)} for media in named}
    if http.response_body:
        schema = schemas.field(rest_field(output.fields_by_name[http.response_body]), Direction.RESPONSE)
    else:
        schema = schemas.message(output, Direction.RESPONSE)
    return {media: {"schema": {"type": "string"} if media == TEXT else schema} for media in offered(rest)}


def _bytes_of(media: str) -> Schema:
    """The schema of bytes of a media type: what reads JSON, YAML or text sees more than bytes."""
    if media == JSON:
        return {}
    if media.endswith("yaml"):
        return {"type": "object"}
    return {"type": "string"} if media.startswith("text/") else dict(BINARY)


def _content(
    form: int, method: MethodDescriptor, field: RestField | None, places: Places, schemas: Schemas
) -> dict[str, object]:
    match form:
        case options_pb2.BODY_FORM_IMAGES:
            return _images(schemas, method.GetOptions().Extensions[options_pb2.rest].ignored_parts)
        case options_pb2.BODY_FORM_SOURCES:
            rest = method.GetOptions().Extensions[options_pb2.rest]
            others = [known for known in _of_body(method, places) if known != field]
            return _sources(schemas, others, rest.ignored_parts)
        case options_pb2.BODY_FORM_IMAGE:
            return {media: {"schema": dict(BINARY)} for media in IMAGES}
        case options_pb2.BODY_FORM_BYTES:
            return {ANY: {"schema": dict(BINARY)}}
        case options_pb2.BODY_FORM_MULTIPART:
            return {MULTIPART: _multipart(method, places, schemas)}
        case _:
            schema = (
                schemas.field(field, Direction.REQUEST)
                if field is not None
                else schemas.body(method.input_type, places.body)
            )
            return {MSGPACK if form == options_pb2.BODY_FORM_MSGPACK else JSON: {"schema": schema}}


def _of_body(method: MethodDescriptor, places: Places) -> list[RestField]:
    return [one for one in rest_message(method.input_type).fields if one.key in places.body]


def _multipart(method: MethodDescriptor, places: Places, schemas: Schemas) -> Schema:
    """A part for each field: bytes in a part of their own type, and any other value as JSON."""
    known = _of_body(method, places)
    properties: Schema = {}
    encoding: Schema = {}
    for one in known:
        whole = one.descriptor.type == FieldDescriptor.TYPE_BYTES and not one.descriptor.is_repeated
        schema = dict(BINARY) if whole else schemas.field(one, Direction.REQUEST)
        properties[one.name] = described(schema, comment(one.descriptor))
        encoding[one.name] = {"contentType": one.rules.part_type or (BYTES if whole else JSON)}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    needed = [one.name for one in known if one.rules.required or one.rules.present]
    if needed:
        schema["required"] = needed
    return {"schema": schema, "encoding": encoding}


def _images(schemas: Schemas, ignored: Iterable[str]) -> dict[str, object]:
    """One image as it is or as Base64 text, several as parts, or JSON that tells where they are."""
    boxes = {name: schemas.field(rest_field(field), Direction.REQUEST) for name, field in BOXES.items()}
    parts: Schema = {
        "image": {"type": "array", "items": dict(BINARY), "description": "The images, as files."},
        **{name: _by_filename(name, schema) for name, schema in boxes.items()},
    }
    for name in ignored:
        parts[name] = {"deprecated": True, "description": "Accepted, and not looked at."}
    multipart: Schema = {
        "schema": {"type": "object", "properties": parts, "required": ["image"]},
        "encoding": {
            "image": {"contentType": ", ".join((*IMAGES, *BASE64_IMAGES))},
            **{name: {"contentType": JSON} for name in boxes},
        },
    }
    return {
        **{media: {"schema": dict(BINARY)} for media in IMAGES},
        **{media: {"schema": {**_BASE64, "description": "Base64 text of one image."}} for media in BASE64_IMAGES},
        MULTIPART: multipart,
        JSON: {"schema": {"oneOf": [_several("urls", _url()), _several("samples", _sample()), _entries(boxes)]}},
    }


def _sources(schemas: Schemas, others: Iterable[RestField], ignored: Iterable[str]) -> dict[str, object]:
    """One source as it is or as Base64 text, several as parts, or JSON with an array of them."""
    told = _told(schemas)
    own = {known.name: schemas.field(known, Direction.REQUEST) for known in others}
    parts: Schema = {
        "image": {"type": "array", "items": dict(BINARY), "description": "The images or descriptors, as files."},
        **{name: _by_filename(name, schema) for name, schema in told.items()},
        **own,
        **{name: {"deprecated": True, "description": "Accepted, and not looked at."} for name in ignored},
    }
    multipart: Schema = {
        "schema": {"type": "object", "properties": parts, "required": ["image"]},
        "encoding": {
            "image": {"contentType": ", ".join(ITEMS)},
            **{name: {"contentType": JSON} for name in (*told, *own)},
        },
    }
    text = {media: {"schema": {**_BASE64, "description": "Base64 text."}} for media in ITEMS if media.endswith("64")}
    whole = {media: {"schema": dict(BINARY)} for media in ITEMS if media not in text}
    items: Schema = {"type": "array", "minItems": 1, "items": {"anyOf": list(_items(schemas, told))}}
    objects = [
        _several("sources", items["items"]),
        _several("images", items["items"]),
        _several("urls", {"anyOf": [_url(), items["items"]]}),
        _several("samples", {"anyOf": [_sample(), items["items"]]}),
    ]
    return {**whole, **text, MULTIPART: multipart, JSON: {"schema": {"oneOf": [items, *objects]}}}


def _told(schemas: Schemas) -> dict[str, Schema]:
    """What a source may come with."""
    fields = Source.DESCRIPTOR.fields_by_name
    known = {name: schemas.field(rest_field(fields[name]), Direction.REQUEST) for name in TOLD if name in fields}
    return {**known, ORIGIN: {"type": "string", "minLength": 1, "description": "Address or Base64 text of the image."}}


def _items(schemas: Schemas, told: dict[str, Schema]) -> Iterator[Schema]:
    """An item of an array of sources: an address, an image, a sample or a descriptor."""
    more = {
        "filename": _BOXED,
        **{name: schema if name in BOXES else nullable(schema) for name, schema in told.items()},
    }
    image = {**more, "mimetype": {"enum": [*IMAGES, *BASE64_IMAGES]}}
    data = schemas.field(rest_field(Source.DESCRIPTOR.fields_by_name["descriptor"]), Direction.REQUEST)
    for needed, members in (
        (("url",), {"url": _url(), **more}),
        (("image",), {"image": _BASE64, **image}),
        (("data",), {"data": _BASE64, **image}),
        (("sample_id",), {"sample_id": _sample(), "type": {"enum": list(SAMPLE_TYPES)}, **more}),
        (("type", "data"), {"id": _BOXED, "type": {"enum": list(DESCRIPTOR_TYPES)}, "data": data, **more}),
    ):
        yield {"type": "object", "required": list(needed), "properties": members, "additionalProperties": False}


def _by_filename(name: str, schema: Schema) -> Schema:
    """A part that tells something of images by their names."""
    item: Schema = {
        "type": "object",
        "required": ["filename", name],
        "properties": {"filename": _BOXED, name: schema},
        "additionalProperties": False,
    }
    about = "Where in which image to look" if name in BOXES else "What is told of which image"
    return {"type": "array", "items": item, "description": f"{about}: an entry for a file's name."}


def _several(name: str, item: object) -> Schema:
    members: Schema = {name: {"type": "array", "minItems": 1, "items": item}}
    return {"type": "object", "required": [name], "properties": members, "additionalProperties": False}


def _entries(boxes: dict[str, Schema]) -> Schema:
    sources: dict[str, Schema] = {
        "url": _url(),
        "sample_id": _sample(),
        "image": described(_BASE64, comment(ImageInput.DESCRIPTOR.fields_by_name["data"])),
    }
    entry: Schema = {
        "type": "object",
        "properties": {**sources, "filename": _BOXED, **boxes},
        "oneOf": [{"required": [name]} for name in sources],
        "additionalProperties": False,
    }
    return _several("images", entry)


def _url() -> Schema:
    return _required(ImageInput.DESCRIPTOR.fields_by_name["url"], {"minLength": 1})


def _sample() -> Schema:
    return _required(ImageInput.DESCRIPTOR.fields_by_name["sample_id"], {})


def _required(field: FieldDescriptor, limits: Schema) -> Schema:
    return described({**Schemas((), ()).one(rest_field(field), Direction.REQUEST), **limits}, comment(field))
