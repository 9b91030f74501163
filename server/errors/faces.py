"""Faces, lists and attributes."""

from __future__ import annotations

from server.errors.families import Conflict, InvalidInput, NotFound


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


class ExternalIdNotFound(NotFound):
    """Face with external id '{external_id}' not found"""

    code = 11041


class AttributeBound(Conflict):
    """Attribute with id '{attribute_id}' is bound to another face already"""

    code = 22001


class SamplesDiffer(Conflict):
    """Samples of the face's attribute differ from the given ones"""

    code = 22025
    desc = "Conflict input data"
