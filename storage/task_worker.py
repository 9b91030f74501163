"""A worker of the queue: takes jobs, tells that it is there, and takes over from workers that are lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Final

import psycopg
import psycopg_pool
from procrastinate import App, BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision
from procrastinate.exceptions import ProcrastinateException
from procrastinate.jobs import DeleteJobCondition, Job
from procrastinate.utils import utcnow
from pydantic import SecretStr

from server import settings
from server.domain.task_progress import TaskProgress
from server.domain.task_work import TaskWork, TryAgain
from server.errors import LunaError
from storage.task_queue import COLLECT, PART, PLAN, QUEUE, TIDY

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
"""A new job wakes the workers; one that is to be tried again does not, and is found by looking."""
REST_SECONDS: Final = 1.0
"""Wait before a worker that lost its database begins again."""
RECOVER_SECONDS: Final = 30.0
MOST_WAIT: Final = 30.0
CONNECT_SECONDS: Final = 5

_TROUBLE: Final = (ProcrastinateException, psycopg.Error, psycopg_pool.PoolTimeout, OSError, LunaError)


class _Again(BaseRetryStrategy):
    """Every job is tried again until it has ended: it ends by itself where its task has."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        wait = exception.seconds if isinstance(exception, TryAgain) else min(2.0**job.attempts, MOST_WAIT)
        return RetryDecision(retry_at=utcnow() + timedelta(seconds=wait))


class TaskWorker:
    """Does the jobs of tasks, `options.workers` at once.

    Args:
        url: address of the database, as libpq reads it.
        options: pace and concurrency.
        work: what the jobs do.
        progress: what is asked for tasks that no job is there for.
    """

    def __init__(self, url: SecretStr, options: settings.Tasks, work: TaskWork, progress: TaskProgress) -> None:
        self._options = options
        self._work = work
        self._progress = progress
        self._running: set[int | None] = set()
        self._app = App(
            connector=PsycopgConnector(
                conninfo=url.get_secret_value(),
                min_size=1,
                max_size=2 + options.workers,
                timeout=CONNECT_SECONDS,
                kwargs={"application_name": "luna-worker", "connect_timeout": CONNECT_SECONDS},
            )
        )
        self._register()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain. Where the database goes away, work goes on once it is back."""
        while not stop.is_set():
            try:
                async with self._app.open_async():
                    await self._run(stop)
            except _TROUBLE as error:
                log.warning("tasks wait for the database: %s", error)
            if not stop.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), REST_SECONDS)

    async def _run(self, stop: asyncio.Event) -> None:
        options = self._options
        working = asyncio.create_task(
            self._app.run_worker_async(
                queues=[QUEUE],
                concurrency=options.workers,
                install_signal_handlers=False,
                fetch_job_polling_interval=POLL_SECONDS,
                delete_jobs=DeleteJobCondition.ALWAYS,
                update_heartbeat_interval=options.heartbeat_seconds,
                stalled_worker_timeout=options.stalled_seconds,
            ),
            name="tasks",
        )
        beside = [
            asyncio.create_task(self._work.watch(), name="watch tasks"),
            asyncio.create_task(self._every(options.stalled_seconds / 4, self._take_over), name="take over"),
            asyncio.create_task(self._every(RECOVER_SECONDS, self._recover), name="recover tasks"),
        ]
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                working.cancel()  # it takes no job any more, and waits for those that run
                await asyncio.wait([working], timeout=options.drain_seconds)
                await self._work.give_back()
            with suppress(asyncio.CancelledError):
                await working
        finally:
            for one in (stopping, *beside):
                one.cancel()
            await asyncio.gather(stopping, *beside, return_exceptions=True)

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except _TROUBLE as error:
                log.warning("looking for lost tasks was put off: %s", error)
            except Exception:
                log.exception("looking for lost tasks failed")
            await asyncio.sleep(seconds)

    async def _take_over(self) -> None:
        """Put the jobs of workers that are lost back into the queue.

        This worker is none, however late its own heartbeat is, as where its machine is overloaded: to do its steps a
        second time beside the first one would load it more, and count as if the steps killed their workers.
        """
        manager = self._app.job_manager
        for job in await manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=self._options.stalled_seconds):
            if job.id in self._running:
                continue
            log.warning("job %s of a lost worker is taken over", job.call_string)
            # another worker may have been faster, which the library tells as an error
            with suppress(ProcrastinateException):
                await manager.retry_job(job, retry_at=utcnow())

    async def _recover(self) -> None:
        if found := await self._progress.recover():
            log.warning("%s tasks had no job, and have one again", found)

    @contextmanager
    def _doing(self, context: JobContext) -> Iterator[int]:
        """Remember that a job is done here. How often it was begun before."""
        self._running.add(context.job.id)
        try:
            yield context.job.attempts
        finally:
            self._running.discard(context.job.id)

    def _register(self) -> None:
        task = partial(self._app.task, queue=QUEUE, retry=_Again(), pass_context=True)

        @task(name=PLAN)
        async def plan(context: JobContext, task_id: int) -> None:
            with self._doing(context) as begun:
                await self._work.plan(task_id, begun)

        @task(name=PART)
        async def part(context: JobContext, task_id: int, number: int) -> None:
            with self._doing(context) as begun:
                await self._work.part(task_id, number, begun)

        @task(name=COLLECT)
        async def collect(context: JobContext, task_id: int) -> None:
            with self._doing(context) as begun:
                await self._work.collect(task_id, begun)

        @task(name=TIDY)
        async def tidy(context: JobContext, task_id: int) -> None:
            with self._doing(context):
                await self._work.tidy(task_id)
