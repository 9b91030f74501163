"""luna.v6.Tasks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from google.protobuf.message import Message
from luna.v6 import tasks_pb2 as pb
from luna.v6 import tasks_pb2_grpc

from server.domain.faces import Page
from server.domain.task_contents import ContentForm
from server.domain.task_registry import TaskRegistry
from server.domain.tasks import ResultForm, TaskStore, TaskType
from server.errors import BadBody, TaskErrorNotFound
from server.rpc.calls import current
from server.services.messages import optional_uuid
from server.services.task_creation import TaskPreparation
from server.services.task_messages import (
    failure_filter,
    failure_message,
    one_failure,
    subtask_message,
    task_filter,
    task_message,
)


class CreateRequest(Protocol):
    """What the requests of all methods that create tasks have, beside their content."""

    description: str
    account_id: str


PART = "application/octet-stream"
"""Type of a part of a result: it is no document by itself."""


class TasksService(tasks_pb2_grpc.TasksServicer):
    """Tasks, their results and errors.

    Args:
        registry: the rules of tasks.
        tasks: where they are kept.
        preparation: what happens to contents before that.
        form: the form that contents are kept in.
        most: bytes of a result that fit into a message.
    """

    def __init__(
        self, registry: TaskRegistry, tasks: TaskStore, preparation: TaskPreparation, form: ContentForm, *, most: int
    ) -> None:
        self._registry = registry
        self._tasks = tasks
        self._preparation = preparation
        self._form = form
        self._most = most

    async def CreateClusteringTask(
        self, request: pb.CreateClusteringTaskRequest, context: object
    ) -> pb.CreateTaskResponse:
        """Create a clustering."""
        return await self._create(TaskType.CLUSTERING, request, request.content)

    async def CreateReporterTask(self, request: pb.CreateReporterTaskRequest, context: object) -> pb.CreateTaskResponse:
        """Create a report of a clustering."""
        return await self._create(TaskType.REPORTER, request, request.content)

    async def CreateExporterTask(self, request: pb.CreateExporterTaskRequest, context: object) -> pb.CreateTaskResponse:
        """Create an export."""
        return await self._create(TaskType.EXPORTER, request, request.content)

    async def CreateLinkerTask(self, request: pb.CreateLinkerTaskRequest, context: object) -> pb.CreateTaskResponse:
        """Create a task that puts objects into a list."""
        return await self._create(TaskType.LINKER, request, request.content)

    async def CreateGcTask(self, request: pb.CreateGcTaskRequest, context: object) -> pb.CreateTaskResponse:
        """Create a task that deletes."""
        return await self._create(TaskType.GC, request, request.content)

    async def CreateCrossMatchTask(
        self, request: pb.CreateCrossMatchTaskRequest, context: object
    ) -> pb.CreateTaskResponse:
        """Create a cross-matching."""
        return await self._create(TaskType.CROSS_MATCH, request, request.content)

    async def CreateRocTask(self, request: pb.CreateRocTaskRequest, context: object) -> pb.CreateTaskResponse:
        """Create a measurement of how well descriptors tell people apart."""
        return await self._create(TaskType.ROC, request, request.content)

    async def CreateEstimatorTask(
        self, request: pb.CreateEstimatorTaskRequest, context: object
    ) -> pb.CreateTaskResponse:
        """Create a task that generates events."""
        return await self._create(TaskType.ESTIMATOR, request, request.content)

    async def CreateAdditionalExtractTask(
        self, request: pb.CreateAdditionalExtractTaskRequest, context: object
    ) -> pb.CreateTaskResponse:
        """Create a task that extracts descriptors anew."""
        return await self._create(TaskType.ADDITIONAL_EXTRACT, request, request.content)

    async def ListTasks(self, request: pb.ListTasksRequest, context: object) -> pb.ListTasksResponse:
        """A page of tasks."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        found = await self._tasks.find(scope, task_filter(request), Page(request.page, request.page_size))
        return pb.ListTasksResponse(tasks=[task_message(one, self._form) for one in found])

    async def CountTasks(self, request: pb.CountTasksRequest, context: object) -> pb.CountTasksResponse:
        """How many tasks pass a filter."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        return pb.CountTasksResponse(count=await self._tasks.count(scope, task_filter(request)))

    async def GetTask(self, request: pb.GetTaskRequest, context: object) -> pb.Task:
        """One task."""
        return task_message(await self._registry.one(current().principal.reads(), request.task_id), self._form)

    async def CancelTask(self, request: pb.CancelTaskRequest, context: object) -> pb.CancelTaskResponse:
        """Cancel a task."""
        await self._registry.cancel(current().principal, request.task_id)
        return pb.CancelTaskResponse()

    async def DeleteTask(self, request: pb.DeleteTaskRequest, context: object) -> pb.DeleteTaskResponse:
        """Delete a task."""
        await self._registry.remove(current().principal, request.task_id)
        return pb.DeleteTaskResponse()

    async def GetTaskResult(self, request: pb.GetTaskResultRequest, context: object) -> pb.GetTaskResultResponse:
        """The result of a task."""
        found = await self._registry.result(
            current().principal,
            request.task_id,
            ResultForm.HTML if request.format == pb.RESULT_FORMAT_HTML else ResultForm.DATA,
            start=request.offset,
            length=request.length if request.HasField("length") else None,
            limit=self._most,
        )
        whole = len(found.data) == found.size
        return pb.GetTaskResultResponse(
            data=found.data,
            content_type=found.content_type if whole else PART,
            filename=found.filename,
            size=found.size,
        )

    async def ListSubtasks(self, request: pb.ListSubtasksRequest, context: object) -> pb.ListSubtasksResponse:
        """The parts of a task."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        await self._registry.one(scope, request.task_id)
        found = await self._tasks.subtasks(scope, request.task_id)
        return pb.ListSubtasksResponse(subtasks=[subtask_message(one) for one in found])

    async def ListErrorsOfTask(self, request: pb.ListErrorsOfTaskRequest, context: object) -> pb.ListTaskErrorsResponse:
        """A page of the errors of a task."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        await self._registry.one(scope, request.task_id)
        page = Page(request.page, request.page_size)
        found = await self._tasks.failures(scope, failure_filter(request), page)
        return pb.ListTaskErrorsResponse(errors=[failure_message(one) for one in found])

    async def ListTaskErrors(self, request: pb.ListTaskErrorsRequest, context: object) -> pb.ListTaskErrorsResponse:
        """A page of the errors of all tasks."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        page = Page(request.page, request.page_size)
        found = await self._tasks.failures(scope, failure_filter(request), page)
        return pb.ListTaskErrorsResponse(errors=[failure_message(one) for one in found])

    async def CountTaskErrors(self, request: pb.CountTaskErrorsRequest, context: object) -> pb.CountTaskErrorsResponse:
        """How many errors pass a filter."""
        scope = current().principal.reads(optional_uuid(request.account_id))
        return pb.CountTaskErrorsResponse(count=await self._tasks.count_failures(scope, failure_filter(request)))

    async def GetTaskError(self, request: pb.GetTaskErrorRequest, context: object) -> pb.TaskError:
        """One error."""
        found = await self._tasks.failures(current().principal.reads(), one_failure(request.error_id), Page())
        if not found:
            raise TaskErrorNotFound(error_id=request.error_id)
        return failure_message(found[0])

    async def _create(self, task_type: TaskType, request: CreateRequest, content: Message) -> pb.CreateTaskResponse:
        principal = current().principal
        if request.account_id and UUID(request.account_id) != principal.account_id:
            raise BadBody(field="account_id", message="only the caller's own account is allowed")
        form = await self._preparation.prepare(principal, content, now=datetime.now(UTC))
        task_id = await self._registry.create(principal, task_type, form, request.description)
        return pb.CreateTaskResponse(task_id=task_id)
