"""The one tree of errors that Luna answers with.

    LunaError                    code, desc, HTTP status, gRPC code, reason
    ├── InvalidInput             400  INVALID_ARGUMENT     names the field, what was found, what is allowed
    │   ├── BadQuery, MissingQuery, BadBody, NotJson, MissingField, EmptyBody, NoBody, ...
    │   ├── images               BadContentType, BadPartType, BadBase64, NotAnImage, ImageTooLarge, WrongSampleSize, ...
    │   └── descriptors          WrongDescriptorLength, UnknownDescriptorVersion, BadSdkDescriptor, ...
    ├── Unauthenticated          401  UNAUTHENTICATED
    ├── Forbidden                403  PERMISSION_DENIED
    ├── NotFound                 404  NOT_FOUND
    ├── Conflict                 409  ALREADY_EXISTS
    ├── Busy                     429  RESOURCE_EXHAUSTED   with the seconds to wait
    ├── FeatureOff               403  FAILED_PRECONDITION  a model pack is not installed
    └── Internal                 500  INTERNAL             the request id and nothing else

The docstring of a class is its message template. `code` and `desc` are LUNA's (reference document and its public
catalogue of codes); `reason` is the class name in upper snake case and is enumerated in `luna/v6/errors.proto`.
One interceptor turns an error into a `google.rpc.Status`, one mapper into the /6 body.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

LINK = "/docs/dev/errors.html#{code}"
"""Where an error's page is, relative to the service's own address."""


class GrpcCode(Enum):
    """The status codes of gRPC that Luna uses, by number, so that this module needs no gRPC."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong: its dotted path, and a sentence with what was found and what is allowed."""

    field: str
    description: str


class LunaError(Exception):
    """Something went wrong."""

    code: ClassVar[int] = 1
    desc: ClassVar[str] = "Internal server error"
    status: ClassVar[int] = 500
    grpc: ClassVar[GrpcCode] = GrpcCode.INTERNAL
    template: ClassVar[str]
    reason: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.template = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        cls.reason = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).upper()

    def __init__(self, *, violations: tuple[Violation, ...] = (), **values: object) -> None:
        self.values = {name: str(value) for name, value in values.items()}
        self.violations = violations
        self.detail = self.template.format_map(self.values)
        super().__init__(self.detail)

    def body(self, base: str = "") -> dict[str, object]:
        """The error as LUNA writes it: `error_code`, `desc`, `detail`, `link`."""
        return {
            "error_code": self.code,
            "desc": self.desc,
            "detail": self.detail,
            "link": base + LINK.format(code=self.code),
        }


LunaError.template = "Something went wrong."
LunaError.reason = "LUNA_ERROR"


# ------------------------------------------------------------------------------------------------ 400: bad input


class InvalidInput(LunaError):
    """{message}"""

    code = 12031
    desc = "Bad/incomplete input data"
    status = 400
    grpc = GrpcCode.INVALID_ARGUMENT


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


class BadContentType(InvalidInput):
    """Content type '{content_type}' is not an image type, allowed are: {allowed}"""

    code = 11028


class BadPartType(InvalidInput):
    """Content type '{content_type}' of part '{part}' is not an image type, allowed are: {allowed}"""

    code = 11029


class BadPartContentType(InvalidInput):
    """Part '{part}' has content type '{content_type}', needed is: {allowed}"""

    code = 12041


class BadMultipart(InvalidInput):
    """Multipart body cannot be used: {message}"""

    code = 11049


class BoxesForSamples(InvalidInput):
    """Bounding boxes are not allowed for samples"""

    code = 11047


class RepeatedBoxes(InvalidInput):
    """More than one list of bounding boxes in the request"""

    code = 11048


class SeveralBoxes(InvalidInput):
    """Several bounding boxes for image '{filename}': one is allowed"""

    code = 11050


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
    grpc = GrpcCode.RESOURCE_EXHAUSTED


class BadBase64(InvalidInput):
    """Base64 text cannot be decoded: {message}"""

    code = 18001


class NotAnImage(InvalidInput):
    """Bytes cannot be decoded as an image: {message}"""

    code = 18002


class ImageTooLarge(InvalidInput):
    """Image of {width}x{height} pixels exceeds the limit of {limit} pixels"""

    code = 100012
    desc = "Invalid image size"


class WrongSampleSize(InvalidInput):
    """A sample must be {needed} pixels, not {width}x{height}"""

    code = 11030


class DownloadFailed(InvalidInput):
    """Image cannot be downloaded from '{url}': {message}"""

    code = 11027
    desc = "External request failed"


class MultipleFaces(InvalidInput):
    """Image '{filename}' has {count} faces where one is allowed"""

    code = 11038
    desc = "Multiple faces found"


class NothingToExtract(InvalidInput):
    """Nothing to extract: both extract_descriptor and extract_basic_attributes are off"""

    code = 11052


class WrongDescriptorLength(InvalidInput):
    """Descriptor of version {version} has {length} bytes, needed are {needed}"""

    code = 12034


class UnknownDescriptorVersion(InvalidInput):
    """Descriptor version {version} is unknown, known are: {known}"""

    code = 12036


class NoDescriptorInXpk(InvalidInput):
    """XPK file has no descriptor inside"""

    code = 12037


class BadSdkDescriptor(InvalidInput):
    """SDK descriptor is not valid: {message}"""

    code = 12038


class MatchVersionMismatch(InvalidInput):
    """Descriptor version {version} differs from version {needed} used for matching"""

    code = 31001


class MixedDescriptorVersions(InvalidInput):
    """Descriptors of different versions in one request: {versions}"""

    code = 31005


class NoReferenceDescriptor(InvalidInput):
    """No descriptor was extracted for {kind} with id '{id}'"""

    code = 11034


class EmptyAttribute(InvalidInput):
    """Attribute has neither descriptors nor basic attributes"""

    code = 22022
    desc = "Bad input data"


class UnknownTarget(InvalidInput):
    """Unknown target '{target}', allowed are: {allowed}"""

    code = 22016
    desc = "Bad input data"


class BadAvatar(InvalidInput):
    """Avatar '{avatar}' is not a valid address"""

    code = 22009
    desc = "Bad/incomplete configuration"


class MissingContentType(InvalidInput):
    """The Content-Type header is required"""

    code = 12023


class TokenCorrupted(InvalidInput):
    """Token is corrupted: {message}"""

    code = 41008


class VisibilityNotAllowed(InvalidInput):
    """visibility_area 'all' is not allowed for an account of type 'user'"""

    code = 41004


# ------------------------------------------------------------------------------- 401 and 403: who may do what


class Unauthenticated(LunaError):
    """{message}"""

    code = 11065
    desc = "Authorization failed"
    status = 401
    grpc = GrpcCode.UNAUTHENTICATED


class CredentialsWrong(Unauthenticated):
    """Login or password is wrong"""

    code = 41006
    desc = "Account credentials wrong"


class TokenExpired(Unauthenticated):
    """Token expired at {expiration_time}"""

    code = 41007
    desc = "Account credentials wrong"


class Forbidden(LunaError):
    """{message}"""

    code = 12033
    desc = "Forbidden"
    status = 403
    grpc = GrpcCode.PERMISSION_DENIED


class AccountHeaderOff(Forbidden):
    """Authorization by Luna-Account-Id is switched off on this server"""

    code = 11061


class AccountNeeded(Forbidden):
    """A request that changes data needs an account"""

    code = 11036


class TokenNotUsable(Forbidden):
    """This resource cannot be used with a token"""

    code = 11064


class MissingPermission(Forbidden):
    """The token lacks the action '{action}' for '{object}'"""

    code = 11059


class MissingResource(Forbidden):
    """The token's resources lack '{resource}'"""

    code = 11060


class TokenRefused(Forbidden):
    """The token is corrupted: {message}"""

    code = 11062


class PermissionExceeded(Forbidden):
    """A token cannot give '{permission}', which it has not itself"""

    code = 12033


class RegistrationClosed(Forbidden):
    """Accounts are created by an administrator on this server"""

    code = 12033


class FeatureOff(LunaError):
    """'{feature}' needs {needs}, which is not installed on this server"""

    code = 11055
    desc = "Forbidden"
    status = 403
    grpc = GrpcCode.FAILED_PRECONDITION


class EventsOff(Forbidden):
    """The Events part is switched off on this server"""

    code = 11040
    grpc = GrpcCode.FAILED_PRECONDITION


# ------------------------------------------------------------------------------------------------ 404 and 405


class NotFound(LunaError):
    """{message}"""

    code = 12013
    desc = "Object not found"
    status = 404
    grpc = GrpcCode.NOT_FOUND


class PathNotFound(NotFound):
    """Path '{path}' is not known"""

    code = 12013
    desc = "Resource not found"


class MethodNotAllowed(LunaError):
    """Path '{path}' does not serve {method}, allowed are: {allowed}"""

    code = 12021
    desc = "Method not allowed"
    status = 405
    grpc = GrpcCode.UNIMPLEMENTED


class AccountNotFound(NotFound):
    """Account with id '{account_id}' not found"""

    code = 41003
    desc = "Account not found"


class SampleNotFound(NotFound):
    """Sample with id '{sample_id}' not found"""

    code = 13003


class ImageNotFound(NotFound):
    """Image with id '{image_id}' not found"""

    code = 13003


class ObjectNotFound(NotFound):
    """Object with id '{object_id}' not found"""

    code = 13007


class TokenNotFound(NotFound):
    """Token with id '{token_id}' not found"""

    code = 41005
    desc = "JWT token not found"


class AttributeNotFound(NotFound):
    """Attribute with id '{attribute_id}' not found"""

    code = 22011


class FaceNotFound(NotFound):
    """Face with id '{face_id}' not found"""

    code = 22002


class FacesNotFound(NotFound):
    """One or more faces not found, including face with id '{face_id}'"""

    code = 22004


class ListNotFound(NotFound):
    """List with id '{list_id}' not found"""

    code = 22003


class ListsNotFound(NotFound):
    """One or more lists not found, including list with id '{list_id}'"""

    code = 22005


class FaceHasNoAttributes(NotFound):
    """Face with id '{face_id}' has no attributes"""

    code = 11032


class DescriptorNotFound(NotFound):
    """Object with id '{id}' has no descriptor of version {version}"""

    code = 22018


class ExternalIdNotFound(NotFound):
    """Face with external id '{external_id}' not found"""

    code = 11041


class EventNotFound(NotFound):
    """Event with id '{event_id}' not found"""

    code = 23001


# ------------------------------------------------------------------------------------------------------- 409


class Conflict(LunaError):
    """{message}"""

    code = 22026
    desc = "Unique constraint error"
    status = 409
    grpc = GrpcCode.ALREADY_EXISTS


class LoginTaken(Conflict):
    """An account with login '{login}' exists already"""

    code = 41001


class AccountIdTaken(Conflict):
    """An account with id '{account_id}' exists already"""

    code = 41002


class AttributeBound(Conflict):
    """Attribute with id '{attribute_id}' is bound to another face already"""

    code = 22001


# ------------------------------------------------------------------------------------------- 429 and 5xx


class Busy(LunaError):
    """The server is busy: {message}. Try again in {retry_after} seconds"""

    code = 1
    desc = "Too many requests"
    status = 429
    grpc = GrpcCode.RESOURCE_EXHAUSTED


class Internal(LunaError):
    """Internal server error, request {request_id}"""


class EngineFailure(LunaError):
    """The recognition engine failed: {message}"""

    code = 99999
    desc = "Unknown fsdk core error"


class DeadlineExceeded(LunaError):
    """The request took longer than its deadline"""

    code = 9
    desc = "Request timeout"
    status = 504
    grpc = GrpcCode.DEADLINE_EXCEEDED


class Unavailable(LunaError):
    """{component} cannot be reached"""

    code = 11
    desc = "Server connection error"
    status = 502
    grpc = GrpcCode.UNAVAILABLE


def catalogue() -> Iterator[type[LunaError]]:
    """Every error class, parents before children."""
    waiting: list[type[LunaError]] = [LunaError]
    while waiting:
        error = waiting.pop(0)
        yield error
        waiting[:0] = error.__subclasses__()
