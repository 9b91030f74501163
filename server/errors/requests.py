"""Requests that cannot be read: path, headers, body, JSON, query."""

from __future__ import annotations

from server.errors.families import InvalidInput, NotFound


class BadQuery(InvalidInput):
    """Bad parameter '{field}': {message}"""

    code = 12012


class MissingQuery(InvalidInput):
    """Required query parameters are missing: {field}"""

    code = 12014


class BadBody(InvalidInput):
    """Failed to validate input json. Path: '{field}', message: '{message}'"""

    code = 12022


class NotJson(InvalidInput):
    """Request body is not valid {format}: {message}"""

    code = 12002


class MissingField(InvalidInput):
    """Required field '{field}' is missing"""

    code = 12003


class EmptyBody(InvalidInput):
    """Request body is empty: a JSON value is needed"""

    code = 12005


class NoBody(InvalidInput):
    """Request has no body"""

    code = 12030


class UnsupportedMediaType(InvalidInput):
    """Content type '{content_type}' is not supported, allowed are: {allowed}"""

    code = 12024


class MissingContentType(InvalidInput):
    """The Content-Type header is required"""

    code = 12023


class BadPartContentType(InvalidInput):
    """Part '{part}' has content type '{content_type}', needed is: {allowed}"""

    code = 12041


class BadMultipart(InvalidInput):
    """Multipart body cannot be used: {message}"""

    code = 11049


class NotAcceptable(InvalidInput):
    """Content type '{content_type}' cannot be produced, allowed are: {allowed}"""

    code = 12023
    status = 406


class MalformedRequest(InvalidInput):
    """Malformed HTTP request: {message}"""

    code = 12046


class RequestTooLarge(InvalidInput):
    """Request body is larger than {limit} bytes"""

    code = 12046
    status = 413


class PathNotFound(NotFound):
    """Path '{path}' is not known"""

    code = 12013
    desc = "Resource not found"


class BadDocument(InvalidInput):
    """Failed to validate input json: {message}"""

    code = 12027


class NoneOfQuery(InvalidInput):
    """One of these query parameters is required: {allowed}"""

    code = 12016


class UnusableRequest(InvalidInput):
    """{message}"""

    code = 11043


class BadStreamsVersion(InvalidInput):
    """Header LUNA-STREAMS-API-VERSION is '{version}', allowed are: 1, 2"""

    code = 11076
