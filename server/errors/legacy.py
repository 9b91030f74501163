"""Codes of the APIs before 6: the legacy core, backport 3 and backport 4."""

from __future__ import annotations

from server.errors.families import Conflict, InvalidInput, NotFound, Unauthenticated


class LegacyBadQuery(InvalidInput):
    """Query parameter '{field}' is wrong or missing: {message}"""

    code = 101
    desc = "Bad/incomplete query"


class LegacyNoFaces(InvalidInput):
    """The image has no face"""

    code = 4003
    desc = "No faces found"


class LegacyMatchFailed(InvalidInput):
    """A descriptor is broken, missing or of a wrong format: {message}"""

    code = 5003
    desc = "Failed to match descriptors"


class LegacyBadMatchInput(InvalidInput):
    """Descriptors cannot be matched: {message}"""

    code = 5004


class LegacyReferenceMissing(InvalidInput):
    """Reference object with id '{id}' not found"""

    code = 5101
    desc = "Reference uuid is missing"


class LegacyReferenceBare(InvalidInput):
    """Reference object with id '{id}' has no descriptor of version {version}"""

    code = 5102
    desc = "Reference uuid has no extracted descriptor"


class LegacyLoginFailed(Unauthenticated):
    """No account has this login and password"""

    code = 11002


class LegacyDescriptorNotFound(NotFound):
    """Object with id '{id}' has no face descriptor of version {version}"""

    code = 11018


class LegacyBadParameter(InvalidInput):
    """Parameter '{field}' is not supported"""

    code = 12018


class PersonNotFound(NotFound):
    """Person with id '{person_id}' not found"""

    code = 22007


class PersonHasFace(Conflict):
    """Face with id '{face_id}' is attached to the person already"""

    code = 22008


class LegacyBadHandler(InvalidInput):
    """Handler with id '{handler_id}' cannot be used here: {message}"""

    code = 35002
    desc = "Handler is not supported"


class LegacyThresholds(InvalidInput):
    """No face passed the thresholds: {message}"""

    code = 36003
    desc = "Face does not satisfy thresholds limits"
