"""The estimator: events of every image of a source.

A part of a task may run twice, even side by side. So what is kept for an image is kept in one transaction with a note
of it (`server.domain.task_notes`), of which there can be one: whoever comes second keeps nothing, and takes the answer
from the note. Ids made from the image instead would not do: events are keyed by their time too, a second run may find
other candidates or faces and so other ids, and what is only told has no row that could be there already.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

import orjson

from server.domain.access import Principal
from server.domain.accounts import AccountStore
from server.domain.estimation_rules import policies_of
from server.domain.events import EventStore
from server.domain.generation.generation import Generation
from server.domain.generation.request import EventData, EventSource, GenerationWish
from server.domain.handlers import HandlerStore
from server.domain.image_files import ImageFiles, ImageSources
from server.domain.images import ImageSource
from server.domain.policies import Policies
from server.domain.task_contents import ContentForm, Estimation, S3Source
from server.domain.task_notes import AlreadyNoted, TaskNote, TaskNotes
from server.domain.tasks import (
    JSON_RESULT,
    Collected,
    Subtask,
    Task,
    TaskContext,
    TaskFailure,
    TaskResult,
    TaskStopped,
    TaskType,
)
from server.errors import (
    AccountNotFound,
    BadBody,
    Busy,
    DeadlineExceeded,
    FeatureOff,
    ImageNotAccessible,
    InvalidInput,
    ListsNotFound,
    LunaError,
    Unavailable,
)
from server.tasks.answers import Answers
from server.tasks.results import failure_form

NO_HANDLER: Final = UUID(int=0)
"""The handler of events that are made by policies alone."""

OF_ALL: Final = (FeatureOff, ListsNotFound, BadBody, Unavailable, DeadlineExceeded)
"""Errors that every image would have, and not only the one that was met first: they end the part."""

BUSY_SECONDS: Final = 1.0
BUSY_TIMES: Final = 120
"""How often an image waits for a place before its part is given up for a while."""


@dataclass(frozen=True, slots=True)
class EstimatorLimits:
    """How tasks are cut: images of a part, and images that are worked on at once."""

    images_per_part: int = 50
    images_at_once: int = 4


@dataclass(frozen=True, slots=True)
class _Part:
    """What a part works with."""

    context: TaskContext
    content: Estimation
    policies: Policies
    principal: Principal
    files: ImageFiles


class _Unforeseen(Exception):
    """An image has met an error that nobody foresaw; the others go on."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Estimator:
    """The kind of tasks. Implements `server.domain.tasks.Kind`.

    Args:
        form: reads the content of tasks.
        sources: where images are.
        generation: makes events of them.
        events: keeps these.
        notes: has what was kept before.
        handlers: where handlers are.
        accounts: whose tasks they are.
        answers: writes what is told and answered.
        limits: how tasks are cut.
    """

    def __init__(
        self,
        form: ContentForm,
        sources: ImageSources,
        generation: Generation,
        events: EventStore,
        notes: TaskNotes,
        handlers: HandlerStore,
        accounts: AccountStore,
        answers: Answers,
        limits: EstimatorLimits,
    ) -> None:
        self._form = form
        self._sources = sources
        self._generation = generation
        self._events = events
        self._notes = notes
        self._handlers = handlers
        self._accounts = accounts
        self._answers = answers
        self._limits = limits

    @property
    def task_type(self) -> TaskType:
        """Its number."""
        return TaskType.ESTIMATOR

    async def split(self, context: TaskContext) -> Sequence[Mapping[str, object]]:
        """Parts of so many names each. Names that cannot be written down are reported."""
        content = self._content(context.task)
        await self._policies(context, content)
        names: list[str] = []
        async with self._sources.open(content.source, context.scope, context.files, context.check) as files:
            async for name in files.names():
                context.check()
                if _is_text(name):
                    names.append(name)
                else:
                    shown = name.encode("ascii", "backslashreplace").decode()
                    await context.report(ImageNotAccessible(image=shown, message="its name is no text"), shown)
        size = self._limits.images_per_part
        return [{"first": first, "files": names[first : first + size]} for first in range(0, len(names), size)]

    async def work(self, context: TaskContext, part: Subtask) -> None:
        """Make the events of the images of a part that have none yet."""
        content = self._content(context.task)
        policies = await self._policies(context, content)
        principal = await self._principal(context.task)
        numbered = _files_of(part)
        answers = dict(await self._notes.answers(context.scope, context.task.task_id, numbered))
        if any(answer is None for answer in answers.values()):
            raise TaskStopped  # the result has been collected meanwhile: this part was done by somebody else
        async with self._sources.open(content.source, context.scope, context.files, context.check) as files:
            at_work = _Part(context, content, policies, principal, files)

            async def one(number: int) -> None:
                answer = await self._image(at_work, number, numbered[number])
                if answer is not None:
                    answers[number] = answer

            await _each([one for one in numbered if one not in answers], one, self._limits.images_at_once)
        found = [answer for number in sorted(answers) if (answer := answers[number]) is not None]
        await context.files.write(_answers_name(part), b",\n".join(found))

    async def collect(self, context: TaskContext, parts: Sequence[Subtask], errors: Sequence[TaskFailure]) -> Collected:
        """Put the answers of all images together: {"result": [...], "errors": [...]}, in the order of the names."""
        descriptor, name = await asyncio.to_thread(tempfile.mkstemp, prefix="luna-estimator-", suffix=".json")
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                await _write_result(file, self._written(context, parts), errors)
            await self._notes.forget(context.scope, context.task.task_id)
        except BaseException:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise
        return Collected(TaskResult(b"", JSON_RESULT, file=path))

    async def _written(self, context: TaskContext, parts: Sequence[Subtask]) -> AsyncIterator[bytes]:
        for part in parts:
            context.check()
            if found := await context.files.read(_answers_name(part)):
                yield found

    async def _image(self, part: _Part, number: int, name: str) -> bytes | None:
        """Make and keep the events of an image. What is told of them; None where it was reported that there are none.

        Raises:
            LunaError: the part cannot go on.
        """
        context = part.context
        for _ in range(BUSY_TIMES):
            context.check()
            try:
                return await self._made(part, number, name)
            except Busy as error:
                busy = error
                await asyncio.sleep(BUSY_SECONDS)
            except OF_ALL:
                raise
            except LunaError as error:
                await context.report(error, name)
                return None
            except _Unforeseen as unforeseen:
                await context.report(unforeseen.error, name)
                return None
        raise busy

    async def _made(self, part: _Part, number: int, name: str) -> bytes:
        data = await part.files.read(name)
        content, task = part.content, part.context.task
        answer = self._answers.of(part.policies, _request_id(task))
        source = EventSource(name, ImageSource(name, data=data), content.image_type)
        wish = GenerationWish((source,), _data(content), use_exif=content.use_exif)
        handler_id = content.handler_id or NO_HANDLER
        try:
            generated, batch = await self._generation.make(part.principal, handler_id, part.policies, wish, answer.told)
        except LunaError:
            raise
        except Exception as error:
            raise _Unforeseen(error) from error
        written = answer.written(generated)
        try:
            await self._events.keep(replace(batch, note=TaskNote(task.task_id, number, written)))
        except AlreadyNoted:
            before = (await self._notes.answers(part.context.scope, task.task_id, [number])).get(number)
            if before is None:
                raise TaskStopped from None
            return before
        return written

    async def _policies(self, context: TaskContext, content: Estimation) -> Policies:
        handler = None
        if content.handler_id is not None:
            handler = await self._handlers.get(context.scope, content.handler_id)
        policies = policies_of(content, handler)
        if isinstance(content.source, S3Source) and content.source.save_origin:
            storage = policies.storage
            origin = replace(storage.image_origin, store=True)
            return replace(policies, storage=replace(storage, image_origin=origin))
        return policies

    async def _principal(self, task: Task) -> Principal:
        account = await self._accounts.by_id(task.account_id)
        if account is None:
            raise AccountNotFound(account_id=task.account_id)
        return Principal(account.account_id, account.account_type)

    def _content(self, task: Task) -> Estimation:
        content = self._form.read(TaskType.ESTIMATOR, task.content)
        if not isinstance(content, Estimation):
            raise InvalidInput(message="the content is that of another kind of tasks")
        return content


def _files_of(part: Subtask) -> dict[int, str]:
    """The names of a part's files by their numbers in the task."""
    first, files = part.content["first"], part.content["files"]
    if not isinstance(first, int) or not isinstance(files, list):
        message = "the part was not made by this kind"
        raise TypeError(message)
    return {first + position: str(name) for position, name in enumerate(files)}


def _answers_name(part: Subtask) -> str:
    return f"answers/{part.number}"


def _is_text(name: str) -> bool:
    """True for what PostgreSQL can keep."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name


def _data(content: Estimation) -> EventData:
    return EventData(
        source=content.event_source,
        external_id=content.external_id,
        user_data=content.user_data,
        tags=content.tags,
        location=content.location,
    )


def _request_id(task: Task) -> str:
    """The id of a request that stands for a task: its second, and a UUID that reads as its number."""
    return f"{int(task.create_time.timestamp())},{UUID(f'{task.task_id:032d}')}"


async def _each(items: Sequence[int], work: Callable[[int], Awaitable[None]], at_once: int) -> None:
    """Work on items, so many at a time. The first that fails stops the others, and its error is raised."""
    waiting = iter(items)

    async def lane() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(items))):
                group.create_task(lane())
    except BaseExceptionGroup as failures:
        failed = failures
    else:
        return
    raise _first(failed)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    failure = failures.exceptions[0]
    return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure


async def _write_result(file: BinaryIO, answers: AsyncIterator[bytes], errors: Sequence[TaskFailure]) -> None:
    await asyncio.to_thread(file.write, b'{"result":[')
    before = b""
    async for some in answers:
        await asyncio.to_thread(file.write, before + some)
        before = b",\n"
    await asyncio.to_thread(file.write, b'],"errors":' + orjson.dumps([failure_form(one) for one in errors]) + b"}")
    await asyncio.to_thread(file.flush)
