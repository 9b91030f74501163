"""The errors that a method may be answered with over REST, by HTTP status, as OpenAPI describes them.

They follow from what the method takes, from who may call it, from its fields' `reason`, and from the "Errors:" of its
comment; the classes themselves have codes and texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from luna import options_pb2

from gateway.comments import reasons
from gateway.forms import rules_of
from gateway.places import places_of
from gateway.schemas import COMPONENTS, Schema
from server import errors
from server.errors import LunaError, catalogue

Errors = tuple[type[LunaError], ...]

SHARED: Mapping[str, Errors] = {
    "Unauthenticated": (errors.Unauthenticated,),
    "TooLarge": (errors.RequestTooLarge,),
    "Busy": (errors.Busy,),
    "Internal": (errors.Internal,),
    "Unavailable": (errors.Unavailable,),
    "Late": (errors.DeadlineExceeded,),
}
"""Responses that many operations have, by the names of their components."""

ERROR: Schema = {
    "type": "object",
    "required": ["error_code", "desc", "detail"],
    "properties": {
        "error_code": {"type": "integer", "description": "Code of the error; stable."},
        "desc": {"type": "string", "description": "Short class of the error."},
        "detail": {"type": "string", "description": "What is wrong, with names and values."},
        "link": {"type": "string", "format": "uri-reference", "description": "Page about the code."},
    },
    "description": "Every error has this body.",
}

_JSON: Errors = (errors.NotJson, errors.EmptyBody, errors.BadBody, errors.MissingField, errors.UnsupportedMediaType)
_PARTS: Errors = (errors.BadMultipart, errors.BadPartContentType)
_IMAGES: Errors = (
    errors.BadContentType,
    errors.BadPartType,
    errors.BadBase64,
    errors.RepeatedBoxes,
    errors.SeveralBoxes,
    errors.NoBody,
)
_OF_FORM: Mapping[int, Errors] = {
    options_pb2.BODY_FORM_JSON: _JSON,
    options_pb2.BODY_FORM_MSGPACK: _JSON,
    options_pb2.BODY_FORM_MULTIPART: _PARTS,
    options_pb2.BODY_FORM_IMAGE: (errors.BadContentType, errors.NoBody),
    options_pb2.BODY_FORM_BYTES: (errors.MissingContentType, errors.NoBody),
    options_pb2.BODY_FORM_IMAGES: (*_JSON, *_PARTS, *_IMAGES),
    options_pb2.BODY_FORM_SOURCES: (*_JSON, *_PARTS, *_IMAGES, errors.NoDescriptorInXpk),
}


def failures_of(method: MethodDescriptor) -> dict[int, Errors]:
    """The errors of a method by status, in ascending order; of one status, by code."""
    return _by_status(_all(method))


def failures_on_the_way(method: MethodDescriptor) -> dict[int, Errors]:
    """The errors that a call may have before another process answers it: nothing of it is read but its path."""
    access = method.GetOptions().Extensions[options_pb2.access]
    known = _by_reason()
    told = (known[reason] for reason in reasons(method) if reason in known)
    own = (errors.MalformedRequest, errors.PathNotFound, errors.Internal, errors.Unavailable)
    return _by_status((*own, *_of_access(access), *told))


def _by_status(found: Iterable[type[LunaError]]) -> dict[int, Errors]:
    known = dict.fromkeys(found)
    statuses = sorted({one.status for one in known})
    return {status: tuple(sorted((e for e in known if e.status == status), key=_code)) for status in statuses}


def responses(failures: Mapping[int, Errors], *, body: bool = True) -> dict[str, object]:
    """The response objects of some errors; without `body` they are those of HEAD."""
    return {str(status): _response(classes, body=body) for status, classes in failures.items()}


def components() -> dict[str, object]:
    """The shared responses."""
    return {name: response(classes) for name, classes in SHARED.items()}


def response(classes: Errors, *, body: bool = True) -> dict[str, object]:
    """One response object."""
    made: dict[str, object] = {"description": "\n".join(f"- `{e.code}` {e.reason}: {e.template}" for e in classes)}
    headers = dict(_headers(classes[0].status))
    if headers:
        made["headers"] = headers
    if body:
        made["content"] = {"application/json": {"schema": {"$ref": f"{COMPONENTS}Error"}}}
    return made


def _response(classes: Errors, *, body: bool) -> dict[str, object]:
    shared = next((name for name, same in SHARED.items() if same == classes), "")
    return {"$ref": f"#/components/responses/{shared}"} if shared and body else response(classes, body=body)


def _headers(status: int) -> Iterator[tuple[str, object]]:
    if status == errors.Unauthenticated.status:
        yield "WWW-Authenticate", {"description": "The scheme that is expected.", "schema": {"type": "string"}}
    if status == errors.Busy.status:
        yield "Retry-After", {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}


def _all(method: MethodDescriptor) -> Iterator[type[LunaError]]:
    options, places = method.GetOptions(), places_of(method)
    rest, access = options.Extensions[options_pb2.rest], options.Extensions[options_pb2.access]
    yield errors.MalformedRequest
    if places.outside:
        yield errors.BadQuery
    if places.path:
        yield errors.PathNotFound
    fields = method.input_type.fields_by_name
    if any(rules_of(fields[name]).required for name in places.query):
        yield errors.MissingQuery
    if options.Extensions[annotations_pb2.http].body:
        yield from _of_body(method, rest)
    if not access.open:
        yield from _of_access(access)
    if rest.msgpack or rest.text:
        yield errors.NotAcceptable
    if rest.content:
        yield errors.InvalidInput
    known = _by_reason()
    yield from (known[reason] for reason in reasons(method) if reason in known)
    yield from (known[rule] for rule in sorted(_own_reasons(method.input_type)))
    yield from (errors.Internal, errors.Unavailable, errors.DeadlineExceeded)


def _of_body(method: MethodDescriptor, rest: options_pb2.Rest) -> Iterator[type[LunaError]]:
    for form in rest.forms or (options_pb2.BODY_FORM_JSON,):
        yield from _OF_FORM[form]
    if not rest.body_optional:
        yield errors.NoBody
    if any(field.type == FieldDescriptor.TYPE_BYTES for field in _fields([method.input_type])):
        yield errors.BadBase64
    yield errors.RequestTooLarge


def _of_access(access: options_pb2.Access) -> Iterator[type[LunaError]]:
    yield from (errors.Unauthenticated, errors.AccountHeaderOff, errors.Busy)
    yield errors.TokenNotUsable if access.no_token else errors.TokenRefused
    if access.permissions or not access.no_token:
        yield errors.MissingPermission
    if access.resource:
        yield errors.MissingResource
    if access.changes:
        yield errors.AccountNeeded


def _own_reasons(descriptor: Descriptor) -> set[str]:
    return {reason for field in _fields([descriptor]) if (reason := rules_of(field).reason)}


def _fields(descriptors: Iterable[Descriptor]) -> Iterator[FieldDescriptor]:
    """The fields of some messages and of all messages inside them, each once."""
    seen: set[str] = set()
    waiting = list(descriptors)
    while waiting:
        one = waiting.pop()
        if one.full_name in seen:
            continue
        seen.add(one.full_name)
        for field in one.fields:
            yield field
            if field.message_type is not None:
                waiting.append(field.message_type)


def _code(error: type[LunaError]) -> tuple[int, str]:
    return error.code, error.reason


@cache
def _by_reason() -> Mapping[str, type[LunaError]]:
    return {error.reason: error for error in catalogue()}
