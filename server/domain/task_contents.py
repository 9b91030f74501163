"""What tasks are asked to do, as values. Defaults that the server decides are filled in when a task is created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias
from uuid import UUID

from server.domain.events import Location
from server.domain.images import ImageType
from server.domain.policies import DescriptorKind, EventCandidates, Policies, TimeBound
from server.domain.tasks import TaskType


@dataclass(frozen=True, slots=True)
class FaceSelection:
    """Which faces of the task's account. None is no condition; `no_list` selects faces that are in no list.

    Relative times count from the moment that the task was created.
    """

    face_ids: tuple[UUID, ...] | None = None
    external_ids: tuple[str, ...] | None = None
    list_id: UUID | None = None
    no_list: bool = False
    user_data: str | None = None
    create_time_gte: TimeBound | None = None
    create_time_lt: TimeBound | None = None
    face_id_gte: UUID | None = None
    face_id_lt: UUID | None = None


@dataclass(frozen=True, slots=True)
class EventSelection:
    """Which events of the task's account; relative times count from the moment that the task was created."""

    candidates: EventCandidates = field(default_factory=EventCandidates)


@dataclass(frozen=True, slots=True)
class AttributeSelection:
    """Which temporary attributes."""

    attribute_ids: tuple[UUID, ...]


Objects: TypeAlias = FaceSelection | EventSelection


@dataclass(frozen=True, slots=True)
class Clustering:
    """Put objects whose descriptors have at least this similarity into one cluster, transitively."""

    objects: Objects
    threshold: float
    descriptor: DescriptorKind = DescriptorKind.FACE
    use_tracks: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """Report a clustering, with these columns behind the cluster and the object."""

    task_id: int
    columns: tuple[str, ...] = ()
    images: bool = False
    delimiter: str = ","


@dataclass(frozen=True, slots=True)
class Export:
    """Export objects with these columns; all where there are none."""

    objects: Objects
    columns: tuple[str, ...] = ()
    images: bool = False
    delimiter: str = ","


@dataclass(frozen=True, slots=True)
class Link:
    """Put objects into a list, which is made where `create` says so. `list_id` is always known by now."""

    objects: Objects
    list_id: UUID
    create: bool = False
    user_data: str = ""


@dataclass(frozen=True, slots=True)
class DescriptorSelection:
    """Descriptors of a version, of faces or of events; of events both kinds where `kind` is None."""

    of_events: bool
    version: int
    kind: DescriptorKind | None = None


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Delete objects, with their samples and the images that they came from where asked for."""

    target: Objects | DescriptorSelection
    samples: bool = False
    image_origins: bool = False


@dataclass(frozen=True, slots=True)
class CrossMatching:
    """Search each reference among the candidates."""

    references: Objects | AttributeSelection
    candidates: Objects | AttributeSelection
    threshold: float
    limit: int
    descriptor: DescriptorKind = DescriptorKind.FACE


@dataclass(frozen=True, slots=True)
class Mark:
    """An object and whose it is: exactly one id is there."""

    label: int
    face_id: UUID | None = None
    event_id: UUID | None = None
    attribute_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Roc:
    """Measure how well descriptors tell people apart. `fprs` are the rates that are told of, each in [0, 1]."""

    marks: tuple[Mark, ...]
    limit: int = 5
    hit_threshold: float = 0.0
    fprs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ZipSource:
    """A ZIP archive at an address; one of this service's own objects by its path."""

    reference: str
    password: str = field(default="", repr=False)
    prefix: str = ""
    postfix: str = ""


@dataclass(frozen=True, slots=True)
class S3Source:
    """A bucket."""

    bucket: str
    endpoint: str = ""
    region: str = ""
    prefix: str = ""
    recursive: bool = False
    save_origin: bool = False
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    signature: str = "s3v4"


@dataclass(frozen=True, slots=True)
class DiskSource:
    """A folder that workers see."""

    path: str
    recursive: bool = False
    follow_links: bool = False
    prefix: str = ""
    postfix: str = ""


@dataclass(frozen=True, slots=True)
class FtpSource:
    """A folder of an FTP server."""

    host: str
    port: int = 21
    sessions: int = 1
    path: str = ""
    recursive: bool = False
    prefix: str = ""
    postfix: str = ""
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SambaSource:
    """A folder of a Samba share; `path` begins with the share."""

    host: str
    path: str
    port: int = 445
    recursive: bool = False
    prefix: str = ""
    postfix: str = ""
    user: str = ""
    password: str = field(default="", repr=False)


Source: TypeAlias = ZipSource | S3Source | DiskSource | FtpSource | SambaSource


@dataclass(frozen=True, slots=True)
class Estimation:
    """Generate events from all images of a source.

    `handler_id` is that of a handler, whose policies are used unless `policies` are given.
    """

    source: Source
    handler_id: UUID | None
    policies: Policies | None
    image_type: ImageType = ImageType.RAW
    use_exif: bool = True
    external_id: str = ""
    user_data: str = ""
    tags: tuple[str, ...] = ()
    event_source: str | None = None
    location: Location = field(default_factory=Location)


@dataclass(frozen=True, slots=True)
class Extraction:
    """Extract descriptors anew, in a version, from the stored samples of objects."""

    objects: Objects
    version: int
    overwrite: bool = False


Content: TypeAlias = Clustering | Report | Export | Link | Cleaning | CrossMatching | Roc | Estimation | Extraction


class ContentForm(Protocol):
    """The form that contents are kept in: objects of JSON by the names of the API."""

    def read(self, task_type: TaskType, form: Mapping[str, object]) -> Content:
        """The content of a stored task.

        Raises:
            ValueError: the object is none of this kind.
        """
        ...

    def shown(self, task_type: TaskType, form: Mapping[str, object]) -> dict[str, object]:
        """The object as callers see it: without passwords and keys."""
        ...
