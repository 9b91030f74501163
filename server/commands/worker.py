"""`luna worker`: tasks, schedules, and upkeep of the stores, beside the servers."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import AsyncExitStack
from datetime import timedelta

import uvloop

from server.commands.logs import configure
from server.commands.schema import NoSchema, bring_up
from server.commands.scratch import own_folder
from server.domain.tokens import TokenRegistry
from server.errors import LunaError
from server.settings import NotConfigured, Settings, address
from server.task_application import MakeKinds, kinds, task_worker
from storage.accounts import PostgresAccountStore
from storage.blobs import BlobStore
from storage.database import Database
from storage.event_months import EventMonths
from storage.scheduler import Scheduler
from storage.schedules import PostgresScheduleStore
from storage.sweeper import Sweeper
from storage.tokens import PostgresTokenStore

log = logging.getLogger(__name__)

SWEEP_SECONDS = 300.0
"""How often stray blobs and old index changes are looked for."""


def run(settings: Settings, make: MakeKinds = kinds) -> None:
    """Work until SIGTERM or SIGINT, on the kinds of tasks that `make` gives."""
    configure(settings.log_level)
    logging.getLogger("procrastinate").setLevel(logging.WARNING)  # it tells of each job, and tasks have thousands
    try:
        with own_folder():
            uvloop.run(_work(settings, make))
    except (NotConfigured, NoSchema) as error:
        sys.exit(str(error))


async def _work(settings: Settings, make: MakeKinds) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await bring_up(settings)
    async with AsyncExitStack() as stack:
        database = Database(
            address(settings.database.url, "DATABASE"), settings.database, application_name="luna-worker"
        )
        stack.push_async_callback(database.close)
        blobs = BlobStore(settings.blobs, settings.data)
        worker = await stack.enter_async_context(task_worker(settings, database, blobs, make))
        log.info("working")
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(stop), name="tasks")
            group.create_task(Scheduler(database, PostgresScheduleStore(database)).run(stop), name="schedules")
            group.create_task(_keep_house(settings, database, blobs, stop), name="upkeep")


async def _keep_house(settings: Settings, database: Database, blobs: BlobStore, stop: asyncio.Event) -> None:
    sweeper = Sweeper(database, blobs)
    tokens = TokenRegistry(PostgresTokenStore(database), PostgresAccountStore(database))
    age = timedelta(days=settings.access.token_key_days)
    months = EventMonths(database)
    while not stop.is_set():
        await _keep_up(sweeper, tokens, age)
        await _make_months(months)
        try:
            async with asyncio.timeout(SWEEP_SECONDS):
                await stop.wait()
        except TimeoutError:
            continue


async def _keep_up(sweeper: Sweeper, tokens: TokenRegistry, age: timedelta) -> None:
    try:
        await tokens.rotate(age)
        await sweeper.sweep_blobs()
        await sweeper.sweep_task_files()
        await sweeper.prune_changes()
    except LunaError as error:
        log.warning("upkeep was put off: %s", error)


async def _make_months(months: EventMonths) -> None:
    """Looking takes a millisecond, and so needs no clock of its own: a month is made a month or two ahead."""
    try:
        await months.prepare()
    except LunaError as error:
        log.warning("months of events were put off: %s", error)
