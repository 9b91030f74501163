"""What an estimation must satisfy, before a task is made of it and when it is worked on: its source, its policies."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit
from uuid import UUID

from server.domain.handlers import Handler, HandlerType
from server.domain.policies import Policies
from server.domain.task_contents import DiskSource, Estimation, S3Source, SambaSource, Source, ZipSource
from server.errors import BadBody, HandlerNotFound, MissingField

PATH = "content"
"""Where a content stands in the request that creates a task."""

_OBJECT = re.compile(r"/6/objects/([a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12})")
_BUCKET = re.compile(r"[A-Za-z0-9._:/-]{3,2048}")
_REGION = re.compile(r"[A-Za-z0-9-]{0,64}")


def object_of(reference: str) -> UUID | None:
    """The object of this service that an address names; None where it is another one."""
    found = _OBJECT.fullmatch(reference)
    return None if found is None else UUID(found[1])


def check_source(source: Source, path: str = PATH) -> None:
    """Hold a source to what can be told without looking at it. The content that it is of stands at a path.

    Raises:
        BadBody: a member of it cannot be used.
    """
    match source:
        case ZipSource():
            if object_of(source.reference) is None:
                _check_address(source.reference, f"{path}.source.reference", "or /6/objects/ and the id of an object")
        case S3Source():
            if _BUCKET.fullmatch(source.bucket) is None:
                raise BadBody(field=f"{path}.source.bucket_name", message="a name of a bucket or an ARN is needed")
            if _REGION.fullmatch(source.region) is None:
                raise BadBody(field=f"{path}.source.region", message="letters, digits and hyphens are allowed")
            if source.endpoint:
                _check_address(source.endpoint, f"{path}.source.endpoint")
        case DiskSource():
            if not PurePosixPath(source.path).is_absolute() or "\0" in source.path:
                raise BadBody(field=f"{path}.source.path", message="an absolute path is needed")
        case SambaSource():
            if not source.path.replace("\\", "/").strip("/"):
                raise BadBody(field=f"{path}.source.path", message="share or share/folder is needed")


def policies_of(content: Estimation, handler: Handler | None, path: str = PATH) -> Policies:
    """The policies that an estimation works by: those given, or those of a static handler.

    Args:
        content: the estimation.
        handler: the handler that it names; None where there is none.
        path: where the content stands, for errors.

    Raises:
        HandlerNotFound: the handler that it names is not there.
        MissingField: it names neither handler nor policies.
        BadBody: policies are given for a static handler, or not given for a dynamic one; or the handler is a lambda,
            which makes what it likes of requests, so that no task can know what it has made.
    """
    if content.handler_id is None:
        if content.policies is None:
            raise MissingField(field=f"{path}.handler.handler_id")
        return content.policies
    if handler is None:
        raise HandlerNotFound(handler_id=content.handler_id)
    if handler.handler_type is HandlerType.LAMBDA:
        message = "a task works by policies, which a handler of type 2 has not"
        raise BadBody(field=f"{path}.handler.handler_id", message=message)
    if handler.policies is not None:
        if content.policies is not None:
            raise BadBody(field=f"{path}.handler.policies", message="only dynamic handlers take policies")
        return handler.policies
    if content.policies is None:
        raise BadBody(field=f"{path}.handler.policies", message="a dynamic handler needs policies")
    return content.policies


def _check_address(address: str, field: str, otherwise: str = "") -> None:
    """Raise what is wrong with an address. It is not repeated: it may have a password in it."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable:
        raise BadBody(field=field, message=f"an http or https address is needed {otherwise}".rstrip())
    if parts.username or parts.password:
        raise BadBody(field=field, message="an address with credentials is not allowed")
