"""Matching, cross matching and search in an index."""

from __future__ import annotations

from server.errors.families import Forbidden, InvalidInput
from server.errors.tree import GrpcCode, LunaError


class MatchVersionMismatch(InvalidInput):
    """Descriptor version {version} differs from version {needed} used for matching"""

    code = 31001


class MixedDescriptorVersions(InvalidInput):
    """Descriptors of different versions in one request: {versions}"""

    code = 31005


class BadMatchReference(InvalidInput):
    """A match reference must be a descriptor, an attribute id or a face id, not '{reference}'"""

    code = 22017


class IndexVersionMismatch(InvalidInput):
    """Descriptor version {version} differs from version {needed} of the index"""

    code = 26305
    desc = "Descriptor version mismatch"


class IndexSearchFailed(LunaError):
    """Search in the index failed: {message}"""

    code = 26303


class CrossMatchingFailed(LunaError):
    """Cross matching failed: {message}"""

    code = 31003


class NoMatcher(Forbidden):
    """No matcher on this server can serve the request: {message}"""

    code = 31011
    grpc = GrpcCode.FAILED_PRECONDITION
