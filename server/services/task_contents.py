"""What tasks are asked to do: the messages of the API, the form that it is kept in, and values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, cast
from uuid import UUID

from google.protobuf.message import Message
from luna.v6 import tasks_pb2 as pb

from server.domain.liveness import LivenessThresholds
from server.domain.policies import Policies
from server.domain.task_contents import (
    AttributeSelection,
    Cleaning,
    Clustering,
    Content,
    CrossMatching,
    DescriptorSelection,
    Estimation,
    EventSelection,
    Export,
    Extraction,
    FaceSelection,
    Link,
    Mark,
    Report,
    Roc,
)
from server.domain.tasks import TaskType
from server.errors import BadBody, LunaError, MissingField
from server.rpc.validation import complete, problems, rest_name
from server.services.event_sources import TYPES, location_from
from server.services.match_policies import DESCRIPTORS
from server.services.messages import optional_uuid
from server.services.policies import ProtoPolicyForm, policies_from, policies_message
from server.services.task_selections import attributes_from, events_from, faces_from, objects_from, source_from

Bind: TypeAlias = Callable[[Message, object, str], None]
"""(message, object of JSON, path): sets a message from its REST form, or raises the error that names what is wrong."""
Render: TypeAlias = Callable[[Message], object]
"""A message in its REST form."""

MESSAGES: Final[Mapping[TaskType, type[Message]]] = {
    TaskType.LINKER: pb.LinkerContent,
    TaskType.CLUSTERING: pb.ClusteringContent,
    TaskType.REPORTER: pb.ReporterContent,
    TaskType.GC: pb.GcContent,
    TaskType.ADDITIONAL_EXTRACT: pb.AdditionalExtractContent,
    TaskType.CROSS_MATCH: pb.CrossMatchContent,
    TaskType.ROC: pb.RocContent,
    TaskType.EXPORTER: pb.ExporterContent,
    TaskType.ESTIMATOR: pb.EstimatorContent,
}
"""The message of each kind's content."""

PATH: Final = "content"
"""Where contents stand in a request."""
SECRETS: Final = frozenset({"password", "public_access_key", "secret_access_key"})
HIDDEN: Final = "***"
_IN_ADDRESS: Final = re.compile(r"(?<=://)[^/@\s]*@")


class ProtoContentForm:
    """Implements `server.domain.task_contents.ContentForm`: objects of JSON as REST has them.

    An estimator's policies are in the form of handlers' ones, which has every default and reads what it has written.

    Args:
        bind: what reads that form into messages.
        render: what writes it.
        liveness: what absent thresholds of liveness in an estimator's policies are.
    """

    def __init__(self, bind: Bind, render: Render, liveness: LivenessThresholds) -> None:
        self._bind = bind
        self._render = render
        self._liveness = liveness
        self._policies = ProtoPolicyForm(liveness)

    def read(self, task_type: TaskType, form: Mapping[str, object]) -> Content:
        """The content of a stored task.

        Raises:
            ValueError: the object is none of this kind.
        """
        rest, policies = _apart(form) if task_type is TaskType.ESTIMATOR else (form, None)
        # a list that was not given is kept as an empty one, which callers may not give
        given = {name: value for name, value in rest.items() if value != []}
        try:
            return self._value(
                self.message(task_type, given), PATH, self._policies.read(policies) if policies else None
            )
        except LunaError as error:
            raise ValueError(str(error)) from error

    def message(self, task_type: TaskType, form: Mapping[str, object], path: str = PATH) -> Message:
        """A content in its REST form, which stands at a path, as a message within its limits, with its defaults.

        Raises:
            BadBody, MissingField: it is no such content; the error names the field.
        """
        message = MESSAGES[task_type]()
        self._bind(message, dict(form), path)
        complete(message)
        for problem in problems(message, rest_name):
            name = f"{path}.{problem.name}"
            if problem.missing:
                raise MissingField(field=name)
            raise BadBody(field=name, message=problem.description)
        return message

    def write(self, message: Message) -> dict[str, object]:
        """A message of a content in the form that it is kept in."""
        form = cast("dict[str, object]", self._render(message))
        if isinstance(message, pb.EstimatorContent) and message.handler.HasField("policies"):
            policies = policies_from(message.handler.policies, self._liveness)
            form["handler"] = {"handler_id": message.handler.handler_id, "policies": self._policies.write(policies)}
        return form

    def shown(self, task_type: TaskType, form: Mapping[str, object]) -> dict[str, object]:
        """The object as callers see it: without passwords and keys."""
        if task_type is not TaskType.ESTIMATOR:
            return dict(form)
        rest, policies = _apart(form)
        shown = cast("dict[str, object]", _without_secrets(rest))
        if policies:
            written = self._render(policies_message(self._policies.read(policies)))
            shown["handler"] = {**cast("dict[str, object]", rest["handler"]), "policies": written}
        return shown

    def value(self, message: Message, path: str = PATH) -> Content:
        """A content as a value, from a message that is complete and within its limits.

        Raises:
            BadBody, MissingField: its parts do not fit together.
        """
        return self._value(message, path, None)

    def _value(self, message: Message, path: str, policies: Policies | None) -> Content:
        match message:
            case pb.LinkerContent():
                return _link(message, path)
            case pb.ClusteringContent():
                return Clustering(
                    objects=objects_from(message, path),
                    threshold=message.threshold,
                    descriptor=DESCRIPTORS[message.descriptor_type],
                    use_tracks=message.use_track_info,
                )
            case pb.ReporterContent():
                return Report(message.task_id, tuple(message.columns), message.save_images, message.csv_delimiter)
            case pb.ExporterContent():
                return Export(
                    objects_from(message, path), tuple(message.columns), message.save_images, message.csv_delimiter
                )
            case pb.GcContent():
                return _cleaning(message, path)
            case pb.CrossMatchContent():
                return CrossMatching(
                    references=_side(message, message.WhichOneof("reference_filters"), f"{path}.reference_filters"),
                    candidates=_side(message, message.WhichOneof("candidate_filters"), f"{path}.candidate_filters"),
                    threshold=message.threshold,
                    limit=message.limit,
                    descriptor=DESCRIPTORS[message.descriptor_type],
                )
            case pb.RocContent():
                return _roc(message, path)
            case pb.EstimatorContent():
                return self._estimation(message, path, policies)
            case pb.AdditionalExtractContent():
                return Extraction(objects_from(message, path), message.descriptor_version, message.overwrite)
            case _:
                error = f"{message.DESCRIPTOR.full_name} is no content of a task"
                raise TypeError(error)

    def _estimation(self, message: pb.EstimatorContent, path: str, policies: Policies | None) -> Estimation:
        handler = message.handler
        if handler.HasField("policies"):
            policies = policies_from(handler.policies, self._liveness, f"{path}.handler.policies")
        if not handler.handler_id and policies is None:
            raise MissingField(field=f"{path}.handler.handler_id")
        return Estimation(
            source=source_from(message),
            handler_id=optional_uuid(handler.handler_id),
            policies=policies,
            image_type=TYPES[message.image_type],
            use_exif=message.use_exif_info,
            external_id=message.external_id,
            user_data=message.user_data,
            tags=tuple(message.tags),
            event_source=message.event_source or None,
            location=location_from(message.location),
        )


def _apart(form: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object] | None]:
    """An estimator's content without its policies, and those."""
    handler = form.get("handler")
    if not isinstance(handler, Mapping) or not isinstance(handler.get("policies"), Mapping):
        return dict(form), None
    kept = {name: value for name, value in handler.items() if name != "policies"}
    return {**form, "handler": kept}, dict(handler["policies"])


def _link(message: pb.LinkerContent, path: str) -> Link:
    if not message.list_id:
        raise MissingField(field=f"{path}.list_id")
    return Link(objects_from(message, path), UUID(message.list_id), message.create_list, message.user_data)


def _cleaning(message: pb.GcContent, path: str) -> Cleaning:
    target = message.WhichOneof("filters")
    if target not in {"face_descriptors", "event_descriptors"}:
        for name, given in (
            ("descriptor_version", message.HasField("descriptor_version")),
            ("descriptor_type", message.HasField("descriptor_type")),
        ):
            if given:
                raise BadBody(field=f"{path}.{name}", message="only with a target of descriptors")
        if target == "faces" and not _selects(message.faces):
            # what is left out by mistake must not delete everybody; of events the reference's own samples leave it out
            raise MissingField(field=f"{path}.filters")
        return Cleaning(objects_from(message, path), message.remove_samples, message.remove_image_origins)
    if not message.HasField("descriptor_version"):
        raise MissingField(field=f"{path}.descriptor_version")
    for name in ("remove_samples", "remove_image_origins"):
        if getattr(message, name):
            raise BadBody(field=f"{path}.{name}", message="descriptors have no samples and no images")
    of_events = target == "event_descriptors"
    kind = DESCRIPTORS.get(message.descriptor_type) if message.HasField("descriptor_type") else None
    if kind is not None and not of_events:
        raise BadBody(field=f"{path}.descriptor_type", message="only with the target event_descriptors")
    return Cleaning(DescriptorSelection(of_events, message.descriptor_version, kind))


def _selects(filters: Message) -> bool:
    """True where filters have a condition besides that on the account."""
    return any(field.name != "account_id" for field, _ in filters.ListFields())


def _side(
    message: pb.CrossMatchContent, chosen: str | None, path: str
) -> FaceSelection | EventSelection | AttributeSelection:
    """One side of a cross-matching: the field of the message that was chosen for what stands at a path."""
    match chosen:
        case "reference_faces" | "candidate_faces":
            return faces_from(getattr(message, chosen))
        case "reference_events" | "candidate_events":
            return events_from(getattr(message, chosen), path)
        case "reference_attributes" | "candidate_attributes":
            return attributes_from(getattr(message, chosen))
        case _:
            raise MissingField(field=path)


def _roc(message: pb.RocContent, path: str) -> Roc:
    marks = []
    for position, one in enumerate(message.markup):
        if sum(map(bool, (one.face_id, one.event_id, one.attribute_id))) != 1:
            raise BadBody(
                field=f"{path}.markup.{position}",
                message="exactly one of face_id, event_id, attribute_id is needed",
            )
        ids = (optional_uuid(one.face_id), optional_uuid(one.event_id), optional_uuid(one.attribute_id))
        marks.append(Mark(one.label, *ids))
    return Roc(tuple(marks), message.limit, message.threshold_hit_top, tuple(message.key_fprs))


def _without_secrets(value: object, key: str = "") -> object:
    if isinstance(value, Mapping):
        return {name: _without_secrets(item, name) for name, item in value.items()}
    if isinstance(value, str) and value:
        if key in SECRETS:
            return HIDDEN
        if key in {"reference", "endpoint"}:
            return _IN_ADDRESS.sub(f"{HIDDEN}@", value)
    return value
