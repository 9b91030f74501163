"""What happens to the content of a task before it is kept: defaults, whose data it names, and whether it can work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from google.protobuf.message import Message
from luna.v6 import event_filters_pb2
from luna.v6 import tasks_pb2 as pb

from server.domain.access import Principal
from server.domain.ids import uuid7
from server.domain.task_registry import TaskRegistry
from server.domain.tasks import TaskSettings, TaskType
from server.errors import BadBody, MissingField
from server.services.task_contents import PATH, ProtoContentForm

AT_CREATION = "now-0s"
"""The moment that a task is created at, whenever that will be."""
_OWNED = (pb.FaceFilters, event_filters_pb2.EventFilters, pb.RocFilters)


class TaskPreparation:
    """Makes contents ready to be kept.

    Args:
        form: the form that they are kept in.
        registry: the rules that they are held to.
        defaults: what the server decides where a caller says nothing.
        descriptor_version: that of the server's own face descriptors.
    """

    def __init__(
        self, form: ProtoContentForm, registry: TaskRegistry, defaults: TaskSettings, *, descriptor_version: int
    ) -> None:
        self._form = form
        self._registry = registry
        self._defaults = defaults
        self._descriptor_version = descriptor_version

    async def prepare(
        self, principal: Principal, message: Message, path: str = PATH, now: datetime | None = None
    ) -> dict[str, object]:
        """A content in the form that it is kept in, from a message that is complete and within its limits.

        Args:
            principal: whose task it will be.
            message: the content; its defaults are filled in.
            path: where it stands in the request, for errors.
            now: when the task is created; None where that is for a schedule to say.

        Raises:
            BadBody, MissingField: its parts do not fit together, or it names another account.
            LunaError: as for `TaskRegistry.check`.
        """
        self._fill(message, now)
        _check_unions(message, path)
        _check_accounts(principal, message, path)
        await self._registry.check(principal, self._form.value(message, path), path)
        return self._form.write(message)

    async def prepare_form(
        self, principal: Principal, task_type: TaskType, form: Mapping[str, object], path: str = PATH
    ) -> dict[str, object]:
        """The same from an object of JSON in its REST form, for tasks that a schedule makes.

        Raises:
            LunaError: as for `prepare`.
        """
        return await self.prepare(principal, self._form.message(task_type, form, path), path)

    def _fill(self, message: Message, now: datetime | None) -> None:
        match message:
            case pb.ClusteringContent():
                if not message.HasField("threshold"):
                    message.threshold = self._defaults.clustering_threshold
            case pb.CrossMatchContent():
                if not message.HasField("threshold"):
                    message.threshold = self._defaults.cross_match_threshold
                if not message.HasField("limit"):
                    message.limit = self._defaults.cross_match_limit
            case pb.AdditionalExtractContent():
                if not message.HasField("descriptor_version"):
                    message.descriptor_version = self._descriptor_version
            case pb.LinkerContent():
                if message.create_list and not message.list_id:
                    message.list_id = str(uuid7())
                chosen = message.WhichOneof("filters")
                if chosen is not None and not getattr(message, chosen).create_time_lt:
                    moment = AT_CREATION if now is None else now.astimezone(UTC).isoformat().replace("+00:00", "Z")
                    getattr(message, chosen).create_time_lt = moment
            case _:
                return


def _check_unions(message: Message, path: str) -> None:
    """What REST cannot leave out and gRPC can: which of the objects is meant.

    Raises:
        MissingField: it is not said.
    """
    oneof, member = next(
        ((name, by) for name, by in (("filters", "objects_type"), ("source", "source")) if _has_oneof(message, name)),
        ("", ""),
    )
    if oneof and message.WhichOneof(oneof) is None:
        raise MissingField(field=f"{path}.{'target' if isinstance(message, pb.GcContent) else member}")


def _has_oneof(message: Message, name: str) -> bool:
    return name in message.DESCRIPTOR.oneofs_by_name


def _check_accounts(principal: Principal, message: Message, path: str) -> None:
    """See that every account that a content names is the caller's own: tasks work on nothing else.

    Raises:
        BadBody: it is another one.
    """
    for name, filters in _filters(message):
        if filters.account_id and filters.account_id != str(principal.account_id):
            raise BadBody(field=f"{path}.{name}.account_id", message="only the caller's own account is allowed")


def _filters(message: Message) -> Iterator[tuple[str, pb.FaceFilters | event_filters_pb2.EventFilters | pb.RocFilters]]:
    for field, value in message.ListFields():
        if isinstance(value, _OWNED):
            oneof = field.containing_oneof
            united = oneof is not None and len(oneof.fields) > 1
            yield (oneof.name if united and oneof is not None else field.name), value
