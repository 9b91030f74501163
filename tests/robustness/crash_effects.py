"""What tasks have left behind: in the database, in the blob store, and in files of their own.

What is made of ids and times of the population is compared as it is. A task that makes ids of its own has them, and the
times of its work, replaced by one word, and rows are compared as multisets: so many of each, and not one more.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import text

from server import settings
from server.domain.tasks import TaskType
from storage.blobs import BlobStore
from storage.database import Database
from storage.sweeper import FOLDERS, Sweeper
from storage.task_files import FILES, PAGES, RESULTS, result_key
from tests.robustness.crash_world import Case, of_population

_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)")

#: Rows of an account. Numbers that sequences give, and times of the work itself, are left out.
ROWS: Final[Mapping[str, str]] = {
    "lists": "SELECT * FROM lists WHERE account_id = :account",
    "members of lists": "SELECT * FROM list_faces WHERE account_id = :account",
    "faces": "SELECT * FROM faces WHERE account_id = :account",
    "attributes": "SELECT one.* FROM face_attributes one JOIN faces USING (face_id) WHERE account_id = :account",
    "descriptors": "SELECT one.* FROM face_descriptors one JOIN faces USING (face_id) WHERE account_id = :account",
    "samples": "SELECT * FROM samples WHERE account_id = :account",
    "images": "SELECT * FROM media WHERE account_id = :account",
    "events": "SELECT * FROM events WHERE account_id = :account",
    "descriptors of events": """
        SELECT one.* FROM event_descriptors one JOIN events USING (event_id) WHERE account_id = :account
    """,
    "tasks": """
        SELECT task_id, status, content, result_type, result_name, result_id IS NULL AS without_result, parts_done,
            parts_all, end_time IS NULL AS without_end FROM tasks WHERE account_id = :account
    """,
    "parts": """
        SELECT one.number, one.status, one.content FROM subtasks one JOIN tasks USING (task_id)
        WHERE account_id = :account
    """,
    "notes": "SELECT one.* FROM task_notes one JOIN tasks USING (task_id) WHERE account_id = :account",
    "errors": "SELECT code, status_code, description, detail, info FROM task_errors WHERE account_id = :account",
}
TRIES: Final = """
    SELECT tries + (SELECT coalesce(sum(tries), 0) FROM subtasks part WHERE part.task_id = task.task_id) AS tries
    FROM tasks task WHERE task_id = :task
"""
TRAIL: Final = "SELECT method, objects FROM audit WHERE account_id = :account"
NOTICES: Final = "SELECT notice FROM event_outbox WHERE account_id = :account"
EVENTS: Final = "SELECT event_id, face_id FROM events WHERE account_id = :account AND face_id IS NOT NULL"
FACES: Final = "SELECT event_id, face_id FROM faces WHERE account_id = :account AND event_id IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Effects:
    """What one task has left behind.

    Attributes:
        rows: how many there are of each row, by table.
        results: the result and its page, without numbers and times of errors.
        told: how many notices wait, and then how many of each event that the task has made.
        paired: True where its events and their faces name each other.
        changed: methods and objects of the audit trail.
        entries: how many entries the trail has.
        tries: how often a step failed in a way that passes, as where the machine is too busy.
    """

    rows: Mapping[str, Counter[str]]
    results: tuple[str, ...]
    told: tuple[int, ...]
    paired: bool
    changed: frozenset[str]
    entries: int
    tries: int


@dataclass(frozen=True, slots=True)
class Remains:
    """What all tasks together have left behind.

    Attributes:
        effects: by the name of the case.
        blobs: how many blobs there are of each content, by folder, once strays have been swept.
        strays: how many the sweeper has removed.
        files: files that nobody would ever remove: of tasks that have ended, half written, temporary.
        elsewhere: images that somebody else has deleted because a task asked for it.
    """

    effects: Mapping[str, Effects]
    blobs: Counter[str]
    strays: int
    files: tuple[str, ...]
    elsewhere: frozenset[str] = frozenset()


async def remains(url: SecretStr, data: Path, temporary: Path, cases: Sequence[Case]) -> Remains:
    """Look at everything. Files of tasks are gone before the sweeper passes, strays of the blob store behind it."""
    database, blobs = Database(url, settings.Database()), BlobStore(settings.Blobs(), data)
    try:
        files = [f"{FILES}/{one}" for one in await asyncio.to_thread(_files, data / "blobs" / FILES) if "#" not in one]
        sweeper = Sweeper(database, blobs, age=timedelta(0))
        strays = await sweeper.sweep_blobs(len(FOLDERS)) + await sweeper.sweep_task_files()
        effects = {case.name: await _effects(database, blobs, case) for case in cases}
    finally:
        await database.close()
    kept, half = await asyncio.to_thread(_blobs, data / "blobs")
    files += half + [one for one in await asyncio.to_thread(_files, temporary) if one.startswith("luna-")]
    return Remains(effects, kept, strays, tuple(sorted(files)))


def differences(wanted: Remains, found: Remains) -> Iterator[tuple[str, str]]:
    """Where two differ: the name of the case, empty for all together, and what differs."""
    for name, one in wanted.effects.items():
        other = found.effects[name]
        for table, rows in one.rows.items():
            lost, more = rows - other.rows[table], other.rows[table] - rows
            if lost or more:
                yield name, f"{lost.total()} {table} are lost, {more.total()} too many: {_some(lost)}; {_some(more)}"
        for was, there in zip(one.results, other.results, strict=True):
            if was != there:
                place = len(os.path.commonprefix([was, there]))  # noqa: RUF071 - of texts
                around = slice(max(0, place - 100), place + 200)
                yield name, f"the result is {there[around]} where it was {was[around]}"
        if one.told != other.told:
            yield name, f"notices of events: {other.told} where they were {one.told}"
        if not other.paired:
            yield name, "events and faces do not name each other"
        if one.changed != other.changed:
            lacking, more_of = one.changed - other.changed, other.changed - one.changed
            yield name, f"the trail lacks {_some(lacking)}, and has {_some(more_of)}"
    if wanted.blobs != found.blobs:
        yield "", f"blobs are lost, {wanted.blobs - found.blobs}, or too many, {found.blobs - wanted.blobs}"
    if wanted.elsewhere != found.elsewhere:
        yield "", f"images elsewhere: {_some(wanted.elsewhere - found.elsewhere)} are still there"
    if found.files:
        yield "", f"files are left: {found.files[:5]}"


async def _effects(database: Database, blobs: BlobStore, case: Case) -> Effects:
    values = {"account": case.account_id}
    rows = {
        table: Counter(
            _anonymous(row[0], case)
            for row in await database.fetch(text(f"SELECT to_jsonb(row)::text FROM ({query}) row"), values)
        )
        for table, query in ROWS.items()
    }
    trail = await database.fetch(text(TRAIL), values)
    pairs = {tuple(row) for row in await database.fetch(text(EVENTS), values)}
    made = {str(event_id) for event_id, _ in pairs}
    notices = await database.fetch(text(NOTICES), values)
    told = Counter(one for row in notices for one in made.intersection(_ID.findall(row.notice.decode("latin-1"))))
    named = {tuple(row) for row in await database.fetch(text(FACES), values)}
    return Effects(
        rows=rows,
        results=tuple([_result(one, case) for one in await _results(database, blobs, case)]),
        told=(len(notices), *sorted(told.values())),
        paired=case.task_type is not TaskType.ESTIMATOR or pairs == named,
        changed=frozenset(_anonymous(f"{row.method} {one}", case) for row in trail for one in row.objects),
        entries=len(trail),
        tries=int((await database.fetch(text(TRIES), {"task": case.task_id}))[0].tries),
    )


async def _results(database: Database, blobs: BlobStore, case: Case) -> list[bytes]:
    rows = await database.fetch(text("SELECT result_id FROM tasks WHERE task_id = :id"), {"id": case.task_id})
    found = [await blobs.get(result_key(folder, rows[0].result_id)) for folder in (RESULTS, PAGES)]
    return [one for one in found if one is not None]


def _result(data: bytes, case: Case) -> str:
    """JSON without what counts errors and tells their time; a digest of any other result."""
    if not data.startswith(b"{"):
        return _digest(data)
    whole = json.loads(data)
    for one in whole["errors"]:
        del one["error_id"], one["error_time"]
    whole["errors"].sort(key=json.dumps)
    return _anonymous(json.dumps(whole, sort_keys=True), case)


def _anonymous(told: str, case: Case) -> str:
    """What is told of an object, without ids and times that the task has made."""
    if case.task_type is not TaskType.ESTIMATOR:
        return told
    known = _ID.sub(lambda found: found[0] if of_population(UUID(found[0])) else "<id>", told)
    return _TIME.sub("<time>", known)


def _files(folder: Path) -> list[str]:
    return [str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()]


def _blobs(root: Path) -> tuple[Counter[str], list[str]]:
    """How many blobs there are of each content, by folder; of results only how many. And those half written."""
    kept, half = Counter[str](), []
    for name in _files(root):
        folder = name.split("/")[0]
        if "#" in name:
            half.append(name)
        elif folder in {RESULTS, PAGES}:
            kept[folder] += 1
        else:
            kept[f"{folder} {_digest((root / name).read_bytes())}"] += 1
    return kept, half


def _digest(data: bytes) -> str:
    return f"{len(data)} bytes {sha256(data).hexdigest()[:16]}"


def _some(value: Counter[str] | frozenset[str]) -> str:
    told = str(list(value))
    return told if len(told) < 300 else f"{told[:300]}..."
