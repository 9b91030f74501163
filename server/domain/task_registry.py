"""The rules of tasks: what can be known to fail before a task begins, and what may be done with one in which state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from server.domain.access import Principal, Scope
from server.domain.estimation_rules import check_source, policies_of
from server.domain.faces import ListFilter, ListStore
from server.domain.handler_registry import HandlerRegistry
from server.domain.handlers import HandlerStore
from server.domain.policies import DescriptorKind
from server.domain.task_columns import EVENT_COLUMNS, EVENT_EXPORT_COLUMNS, FACE_COLUMNS, FACE_EXPORT_COLUMNS
from server.domain.task_contents import (
    Clustering,
    Content,
    CrossMatching,
    Estimation,
    EventSelection,
    Export,
    FaceSelection,
    Link,
    Report,
)
from server.domain.tasks import NewTask, ResultForm, ResultRange, Task, TaskStatus, TaskStore, TaskType
from server.errors import (
    BadBody,
    BadQuery,
    InvalidInput,
    NoClusters,
    NoTaskResult,
    NoTaskResultYet,
    TaskCancelled,
    TaskNotFound,
    TaskNotReportable,
    TaskResultGone,
    TaskResultTooLarge,
)


class TaskRegistry:
    """Creates, cancels and deletes tasks, and hands out their results.

    Args:
        tasks: where they are kept.
        lists: where the linker's lists are.
        handlers: where the estimator's handlers are.
        policies: the rules that an estimator's policies are held to.
    """

    def __init__(self, tasks: TaskStore, lists: ListStore, handlers: HandlerStore, policies: HandlerRegistry) -> None:
        self._tasks = tasks
        self._lists = lists
        self._handlers = handlers
        self._policies = policies

    async def create(
        self, principal: Principal, task_type: TaskType, content: Mapping[str, object], description: str
    ) -> int:
        """Keep a new task of the caller's account, whose content has passed `check`. Its id."""
        return await self._tasks.create(NewTask(principal.account_id, task_type, content, description))

    async def check(self, principal: Principal, content: Content, path: str = "content") -> None:
        """See that a content, which stands at a path, can be worked on as far as that can be known now.

        Raises:
            BadBody: its parts do not fit together, or there is no such list; the error names the field.
            ListsNotFound, HandlerNotFound, TaskNotFound, TaskNotReportable, NoClusters: what else it names,
                policies included, is not there, or not as it would have to be.
        """
        match content:
            case Clustering():
                _check_descriptor(content.descriptor, [content.objects], path)
            case CrossMatching():
                _check_descriptor(content.descriptor, [content.references, content.candidates], path)
            case Report():
                await self._check_report(principal, content, path)
            case Export():
                faces = isinstance(content.objects, FaceSelection)
                _check_columns(content.columns, FACE_EXPORT_COLUMNS if faces else EVENT_EXPORT_COLUMNS, path)
            case Link():
                await self._check_link(principal, content, path)
            case Estimation():
                await self._check_estimation(principal, content, path)
            case _:
                return

    async def one(self, scope: Scope, task_id: int) -> Task:
        """A task inside a scope.

        Raises:
            TaskNotFound: there is none.
        """
        found = await self._tasks.get(scope, task_id)
        if found is None:
            raise TaskNotFound(task_id=task_id)
        return found

    async def cancel(self, principal: Principal, task_id: int) -> None:
        """Cancel a task of the caller's account.

        Raises:
            TaskNotFound: there is none.
            InvalidInput: it has ended.
        """
        status = await self._tasks.cancel(principal.writes, task_id)
        if status is None:
            raise TaskNotFound(task_id=task_id)
        if status.ended:
            raise InvalidInput(message=f"Task with id '{task_id}' is {_word(status)}, and cannot be cancelled")

    async def remove(self, principal: Principal, task_id: int) -> None:
        """Delete a task of the caller's account with all that belongs to it; one that has not ended is cancelled first.

        Raises:
            TaskNotFound: there is none.
        """
        status = await self._tasks.remove(principal.writes, task_id)
        if status is not None and not status.ended:
            await self._tasks.cancel(principal.writes, task_id)
            status = await self._tasks.remove(principal.writes, task_id)
        if status is None:
            raise TaskNotFound(task_id=task_id)

    async def result(
        self, principal: Principal, task_id: int, form: ResultForm, start: int, length: int | None, limit: int
    ) -> ResultRange:
        """The result of a task, or a range of it: `length` bytes from `start` on.

        Args:
            principal: who asks.
            task_id: the task.
            form: the form of the result.
            start: the first byte.
            length: how many bytes; None is all that follow.
            limit: most bytes of an answer. A longer range is cut to it, a whole result is not.

        Raises:
            TaskNotFound: there is no such task.
            NoTaskResultYet, NoTaskResult, TaskCancelled: it has not ended, or not with a result.
            TaskResultGone: the result was lost.
            TaskResultTooLarge: the whole result was asked for, and does not fit.
            BadQuery: the range begins behind the end, or tasks of this kind have no such form.
        """
        task = await self.one(principal.reads(), task_id)
        _check_result(task)
        found = await self._tasks.result_range(task, form, start, min(length or limit, limit))
        if found is None:
            data = ResultForm.DATA
            if form is not data and await self._tasks.result_range(task, data, 0, 0) is not None:
                raise BadQuery(field="format", message=f"the result of this task has no form '{form.value}'")
            raise TaskResultGone(task_id=task_id)
        if start and start >= found.size:
            raise BadQuery(field="offset", message=f"the result has {found.size} bytes")
        if length is None and start + len(found.data) < found.size:
            raise TaskResultTooLarge(task_id=task_id, size=found.size, limit=limit)
        return found

    async def _check_report(self, principal: Principal, content: Report, path: str) -> None:
        task = await self.one(principal.writes, content.task_id)
        if task.task_type is not TaskType.CLUSTERING:
            raise BadBody(field=f"{path}.task_id", message="only clustering tasks can be reported")
        if task.status is not TaskStatus.DONE:
            raise TaskNotReportable(task_id=task.task_id, status=_word(task.status))
        if task.result_id is None:
            raise NoClusters(task_id=task.task_id)
        faces = task.content.get("objects_type") == "faces"
        _check_columns(content.columns, FACE_COLUMNS if faces else EVENT_COLUMNS, path)

    async def _check_link(self, principal: Principal, content: Link, path: str) -> None:
        if content.create:
            return
        if not await self._lists.count(principal.writes, ListFilter(list_ids=(content.list_id,))):
            # the reference document answers 400 here, not the 404 of a list in a path
            raise BadBody(field=f"{path}.list_id", message=f"list '{content.list_id}' not found")

    async def _check_estimation(self, principal: Principal, content: Estimation, path: str) -> None:
        check_source(content.source, path)
        named = content.handler_id
        handler = None if named is None else await self._handlers.get(principal.writes, named)
        policies_of(content, handler, path)
        if content.policies is not None:
            await self._policies.check(principal, content.policies, f"{path}.handler.policies")


def _check_descriptor(kind: DescriptorKind, sides: Sequence[object], path: str) -> None:
    if kind is DescriptorKind.BODY and not all(isinstance(side, EventSelection) for side in sides):
        raise BadBody(field=f"{path}.descriptor_type", message="only events have descriptors of bodies")


def _check_columns(columns: Sequence[str], allowed: Sequence[str], path: str) -> None:
    for position, column in enumerate(columns):
        if column not in allowed:
            raise BadBody(field=f"{path}.columns.{position}", message=f"value is not one of {', '.join(allowed)}")


def _check_result(task: Task) -> None:
    if task.status is TaskStatus.CANCELLED:
        raise TaskCancelled(task_id=task.task_id)
    if task.status is TaskStatus.FAILED:
        raise NoTaskResult(task_id=task.task_id, status=_word(task.status))
    if not task.status.ended:
        raise NoTaskResultYet(task_id=task.task_id)


def _word(status: TaskStatus) -> str:
    return status.name.lower().replace("_", " ")
