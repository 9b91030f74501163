"""Images of a request: how they are sent, decoded and what is on them."""

from __future__ import annotations

from server.errors.families import Forbidden, InvalidInput
from server.errors.tree import LunaError


class BadContentType(InvalidInput):
    """Content type '{content_type}' is not an image type, allowed are: {allowed}"""

    code = 11028


class BadPartType(InvalidInput):
    """Content type '{content_type}' of part '{part}' is not an image type, allowed are: {allowed}"""

    code = 11029


class BoxesForSamples(InvalidInput):
    """Bounding boxes are not allowed for samples"""

    code = 11047


class RepeatedBoxes(InvalidInput):
    """More than one list of bounding boxes in the request"""

    code = 11048


class SeveralBoxes(InvalidInput):
    """Several bounding boxes for image '{filename}': one is allowed"""

    code = 11050


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


class OriginNotRemoved(InvalidInput):
    """Image at '{url}' could not be deleted: {message}"""

    code = 11027
    desc = "External request failed"


class MultipleFaces(InvalidInput):
    """Image '{filename}' has {count} faces where one is allowed"""

    code = 11038
    desc = "Multiple faces found"


class NothingToExtract(InvalidInput):
    """Nothing to extract: both extract_descriptor and extract_basic_attributes are off"""

    code = 11052


class SeveralRectangles(Forbidden):
    """Only one detection rectangle per image is supported"""

    code = 11045


class TooManyFaces(InvalidInput):
    """Image '{filename}' has {count} faces, allowed are {limit}"""

    code = 32017
    desc = "Too many faces detected"


class ImageNotAccessible(LunaError):
    """Image '{image}' cannot be accessed: {message}"""

    code = 42009
    desc = "Unprocessable Content"
    status = 422
