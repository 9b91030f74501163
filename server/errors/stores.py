"""The Image Store: images, samples, objects and their buckets."""

from __future__ import annotations

from server.errors.families import Conflict, NotFound


class SampleNotFound(NotFound):
    """Sample with id '{sample_id}' not found"""

    code = 13003


class NoStoredSample(NotFound):
    """Object with id '{id}' has no stored sample"""

    code = 13003


class ImageNotFound(NotFound):
    """Image with id '{image_id}' not found"""

    code = 13003


class ObjectNotFound(NotFound):
    """Object with id '{object_id}' not found"""

    code = 13007


class BucketTaken(Conflict):
    """Bucket '{bucket}' exists already"""

    code = 13006


class ObjectIdTaken(Conflict):
    """An object with id '{object_id}' exists already"""

    code = 13008
