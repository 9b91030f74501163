"""What tasks have left behind: in the database, in the blob store, and of their own.

What is made of ids and times of the population is compared as it is. Where a task makes ids of its own, they are
replaced by one word, and rows are compared as a multiset: so many of each, and not one more.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import text

from server import settings
from server.domain.tasks import TaskType
from storage.blobs import BlobStore
from storage.database import Database
from storage.sweeper import FOLDERS, Sweeper
from tests.robustness.crash_world import Case

_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)")
_REQUEST: Final = re.compile(r"<time>|<id>")

#: Rows of an account, or of its objects. Numbers that a sequence gives, and times of the work itself, are left out.
ROWS: Final[Mapping[str, str]] = {
    "lists": "SELECT * FROM lists WHERE account_id = :account",
    "list_faces": "SELECT * FROM list_faces WHERE account_id = :account",
    "faces": "SELECT * FROM faces WHERE account_id = :account",
    "face_attributes": "SELECT a.* FROM face_attributes a JOIN faces USING (face_id) WHERE account_id = :account",
    "face_descriptors": "SELECT d.* FROM face_descriptors d JOIN faces USING (face_id) WHERE account_id = :account",
    "samples": "SELECT * FROM samples WHERE account_id = :account",
    "media": "SELECT * FROM media WHERE account_id = :account",
    "events": "SELECT * FROM events WHERE account_id = :account",
    "event_descriptors": "SELECT d.* FROM event_descriptors d JOIN events e USING (event_id) WHERE account_id = :account",
    "task": """
        SELECT task_id, status, content, result_type, result_name, result_id IS NULL AS without_result, parts_done,
            parts_all, tries, end_time IS NULL AS without_end FROM tasks WHERE account_id = :account
    """,
    "parts": "SELECT number, status, content, tries FROM subtasks JOIN tasks t USING (task_id) WHERE account_id = :account".replace(
        "number, status, content, tries", "s.number, s.status, s.content, s.tries"
    ).replace("FROM subtasks JOIN", "FROM subtasks s JOIN"),
    "notes": "SELECT n.* FROM task_notes n JOIN tasks USING (task_id) WHERE account_id = :account",
    "errors": "SELECT code, status_code, description, detail, info FROM task_errors WHERE account_id = :account",
}
WHOLE: Final = """
    SELECT count(*) FILTER (WHERE event.event_id IS NULL) FROM faces LEFT JOIN events event USING (event_id)
    WHERE faces.account_id = :account
"""


@dataclass(frozen=True, slots=True)
class Effects:
    """What one task has left behind.

    Attributes:
        rows: how many there are of each row, by table.
        blobs: how many there are of each content of a blob, by folder.
        result: the bytes of the result and of its page, without numbers and times of errors.
        notices: how many events are to be told, and of how many events.
        changed: objects that the trail names as changed by the task, by method.
        entries: how many entries of the trail there are.
    """

    rows: Mapping[str, Counter[str]]
    result: tuple[str, ...]
    notices: tuple[int, int]
    changed: frozenset[str]
    entries: int


@dataclass(frozen=True, slots=True)
class Remains:
    """What all tasks together have left behind.

    Attributes:
        effects: by the name of the case.
        blobs: how many blobs there are of each content, by folder, once strays have been swept.
        followed: ids of faces of the population whose changes followers are told.
        strays: how many blobs the sweeper has removed.
        files: files that nobody will ever remove: of tasks that have ended, half written, temporary.
    """

    effects: Mapping[str, Effects]
    blobs: Counter[str]
    strays: int
    files: tuple[str, ...] = field(default=())


async def remains(url: SecretStr, data: Path, temporary: Path, cases: Sequence[Case]) -> Remains:
    """Look at everything, after the sweeper has passed."""
    database, blobs = Database(url, settings.Database()), BlobStore(settings.Blobs(), data)
    try:
        sweeper = Sweeper(database, blobs, age=timedelta(0))
        strays = await sweeper.sweep_blobs(len(FOLDERS))
        effects = {case.name: await _effects(database, blobs, case) for case in cases}
    finally:
        await database.close()
    root = data / "blobs"
    found = [one.relative_to(root) for one in root.rglob("*") if one.is_file()]
    left = [str(one) for one in found if one.parts[0] == "tasks" or "#" in one.name]
    left += [str(one.relative_to(temporary)) for one in temporary.rglob("*") if one.is_file()]
    kept = [one for one in found if one.parts[0] not in {"tasks", "task_results", "task_pages"} and "#" not in one.name]
    counted = Counter(f"{one.parent.parent} {_digest((root / one).read_bytes())}" for one in kept)
    results = Counter(one.parts[0] for one in found if one.parts[0] in {"task_results", "task_pages"})
    return Remains(effects, counted + results, strays, tuple(sorted(left)))


async def _effects(database: Database, blobs: BlobStore, case: Case) -> Effects:
    own = case.task_type is TaskType.ESTIMATOR
    values = {"account": case.account_id}

    async def read(query: str) -> list[Any]:
        return list(await database.fetch(text(query), values))

    rows = {}
    for name, query in ROWS.items():
        found = await read(f"SELECT to_jsonb(row)::text FROM ({query}) AS row")  # noqa: S608 - of constants
        rows[name] = Counter(_anonymous(one[0], case) if own else one[0] for one in found)
    notices = [bytes(row.notice) for row in await read("SELECT notice FROM event_outbox WHERE account_id = :account")]
    if own:
        events = {str(row.event_id) for row in await read("SELECT event_id FROM events WHERE account_id = :account")}
        told = [events & set(_ID.findall(one.decode("latin-1"))) for one in notices]
        assert all(len(one) == 1 for one in told), "a notice is of one event that is there"
        (loose,) = (await read(WHOLE))[0]
        assert loose == 0, "a face has its event"
    else:
        told = []
    trail = await read("SELECT method, objects, done FROM audit WHERE account_id = :account")
    changed = {f"{row.method} {one}" for row in trail for one in row.objects}
    if own:
        changed = {one for one in changed if not _made_later(one)}
    return Effects(
        rows,
        tuple([_result(one, case) for one in await _results(database, blobs, case)]),
        (len(notices), len({one for some in told for one in some})),
        frozenset(changed),
        len(trail),
    )


async def _results(database: Database, blobs: BlobStore, case: Case) -> list[bytes]:
    rows = await database.fetch(text("SELECT result_id FROM tasks WHERE task_id = :id"), {"id": case.task_id})
    result_id: UUID | None = rows[0].result_id
    found = [await blobs.get(f"{folder}/{str(result_id)[-2:]}/{result_id}") for folder in ("task_results", "task_pages")]
    return [one for one in found if one is not None]


def _result(data: bytes, case: Case) -> str:
    """A digest of a result; JSON is told as it is, without what counts errors and tells their time."""
    if not data.startswith(b"{"):
        return _digest(data)
    whole = json.loads(data)
    for one in whole["errors"]:
        del one["error_id"], one["error_time"]
    whole["errors"].sort(key=json.dumps)
    told = json.dumps(whole, sort_keys=True)
    return _anonymous(told, case) if case.task_type is TaskType.ESTIMATOR else told


def _anonymous(told: str, case: Case) -> str:
    """A row or a result without the ids and times that the task has made."""
    known = _ID.sub(lambda found: found[0] if _known(found[0]) else "<id>", told)
    return _TIME.sub("<time>", known)


def _known(one: str) -> bool:
    """Ids of the population count from 1."""
    return UUID(one).int < 1 << 64


def _made_later(told: str) -> bool:
    return not _known(told.rpartition(" ")[2])


def _digest(data: bytes) -> str:
    return f"{len(data)} {sha256(data).hexdigest()[:16]}"


def differences(wanted: Remains, found: Remains) -> Iterable[tuple[str, str]]:
    """Where two differ: the name of the case, empty for all together, and what differs."""
    for name, one in wanted.effects.items():
        other = found.effects[name]
        for table, rows in one.rows.items():
            lost, more = rows - other.rows[table], other.rows[table] - rows
            if lost or more:
                yield name, f"{table}: {lost.total()} lost, {more.total()} more: {_some(lost)} / {_some(more)}"
        for what in ("result", "notices", "changed"):
            if getattr(one, what) != getattr(other, what):
                yield name, f"{what}: {_some(getattr(one, what))} / {_some(getattr(other, what))}"
        if other.entries < one.entries:
            yield name, f"the trail has {other.entries} entries, not {one.entries}"
    if wanted.blobs != found.blobs:
        yield "", f"blobs: {wanted.blobs - found.blobs} lost, {found.blobs - wanted.blobs} more"
    if found.files:
        yield "", f"files are left: {found.files[:5]}"


def _some(value: object) -> str:
    told = str(list(value)) if isinstance(value, Counter | frozenset | tuple) else str(value)
    return told if len(told) < 300 else f"{told[:300]}..."
