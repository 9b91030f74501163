"""Descriptors that are given, and descriptors that are needed."""

from __future__ import annotations

from server.errors.families import InvalidInput, NotFound


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


class NoReferenceDescriptor(InvalidInput):
    """No descriptor was extracted for {kind} with id '{id}'"""

    code = 11034


class DescriptorNotFound(NotFound):
    """Object with id '{id}' has no descriptor of version {version}"""

    code = 22018


class BodyDescriptorNotFound(NotFound):
    """Object with id '{id}' has no body descriptor of version {version}"""

    code = 23007


class DescriptorNotDecrypted(InvalidInput):
    """Descriptor cannot be decrypted: {message}"""

    code = 31010
    desc = "Bad input data"
