"""Tasks over REST and gRPC: what creating them checks, lists, filters, counts, results, errors, states."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
import pytest_asyncio
import requests
from luna.v6 import tasks_pb2 as pb
from luna.v6 import tasks_pb2_grpc
from pydantic import SecretStr
from sqlalchemy import update

from server import settings
from server.domain.access import Scope
from server.domain.task_progress import NewFailure, task_object
from server.domain.tasks import HTML_RESULT, JSON_RESULT, Collected, NewTask, TaskResult, TaskStatus, TaskType
from storage.audit import PostgresAuditTrail
from storage.blobs import BlobStore
from storage.database import Database
from storage.embedded.postgres import EmbeddedPostgres
from storage.schema import tasks as rows
from storage.task_progress import PostgresTaskProgress
from storage.tasks import PostgresTaskStore
from tests.service import Account, Service

NOBODY = str(uuid.uuid4())
FACES = {"objects_type": "faces"}
MARKS = {"markup": [{"face_id": NOBODY, "label": 1}, {"event_id": NOBODY, "label": 2}]}
STATIC: dict[str, object] = {"policies": {}, "handler_type": 0}


@dataclass
class Backstage:
    """The service's own database, where tests put tasks into the states that they need."""

    database: Database
    store: PostgresTaskStore
    progress: PostgresTaskProgress

    async def task(
        self, account: Account, status: TaskStatus, task_type: TaskType = TaskType.CLUSTERING, **values: object
    ) -> int:
        """A task in a state that no worker changes any more: its jobs are gone, and it is too new to be recovered."""
        new = NewTask(UUID(account.account_id), task_type, {"objects_type": "faces", "filters": {}}, "mine")
        # never waiting: a worker would take it
        async with self.database.transaction() as connection:
            from storage import task_rows

            task_id = await task_rows.insert_task(connection, new)
            later = datetime.now(UTC) + timedelta(days=1)
            fixed = {"status": status.value, "last_update_time": later, **values}
            await connection.execute(update(rows).where(rows.c.task_id == task_id).values(fixed))
        return task_id

    async def done(self, account: Account, collected: Collected) -> int:
        task_id = await self.task(account, TaskStatus.COLLECTING, parts_all=1)
        await self.progress.finish(task_id, collected, [])
        return task_id

    async def failed(self, account: Account, code: int = 28010) -> int:
        task_id = await self.task(account, TaskStatus.IN_PROGRESS, TaskType.ROC, parts_all=1)
        failure = NewFailure(code, 400, "Bad", "It went wrong", datetime.now(UTC), "a file")
        await self.progress.fail(task_id, None, [failure])
        return task_id


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def backstage(service: Service) -> AsyncIterator[Backstage]:
    database = Database(SecretStr(EmbeddedPostgres(service.data).url), settings.Database(pool_size=2))
    blobs = BlobStore(settings.Blobs(), service.data)
    yield Backstage(database, PostgresTaskStore(database, blobs), PostgresTaskProgress(database, blobs))
    await database.close()


@dataclass
class Client:
    """REST as one account."""

    service: Service
    account: Account

    def ask(self, verb: str, path: str, **how: Any) -> requests.Response:
        return requests.request(verb, f"{self.service.rest}/6/tasks{path}", auth=self.account.auth, timeout=30, **how)

    def create(self, kind: str, content: object, **body: object) -> requests.Response:
        return self.ask("POST", f"/{kind}", json={"content": content, **body})

    def get(self, path: str, **query: object) -> Any:
        answer = self.ask("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, answer: requests.Response) -> tuple[int, int]:
        return answer.status_code, answer.json()["error_code"]


@pytest.fixture
def client(service: Service, account: Account) -> Client:
    return Client(service, account)


@pytest.mark.parametrize(("kind", "number", "content"), [
    ("clustering", 2, FACES),
    ("exporter", 8, {**FACES, "columns": ["face_id", "lists"]}),
    (
        "linker",
        1,
        {"objects_type": "events", "create_list": 1, "filters": {"tags": ["a"], "create_time__gte": "now-3d"}},
    ),
    ("gc", 4, {"target": "events", "filters": {"event_ids": [NOBODY]}, "remove_samples": True}),
    ("gc", 4, {"target": "face_descriptors", "descriptor_version": 59}),
    ("cross_match", 6, {"reference_filters": {"origin": "faces"}, "candidate_filters": {"origin": "events"}}),
    ("roc", 7, MARKS),
    ("additional_extract", 5, FACES),
    ("estimator", 9, {"source": {"source_type": "zip", "reference": "http://a/b.zip"}, "handler": {"policies": {}}}),
])  # fmt: skip
def test_a_created_task_is_shown_with_its_content_and_defaults(
    client: Client, kind: str, number: int, content: dict[str, object]
) -> None:
    answer = client.create(kind, content, description="mine", account_id=client.account.account_id)
    assert answer.status_code == 202, answer.text
    task = client.get(f"/{answer.json()['task_id']}")
    assert (task["task_type"], task["description"]) == (number, "mine")
    assert task["account_id"] == client.account.account_id
    assert {"create_time", "last_update_time", "end_time", "result_id", "schedule_id", "count_task_parts_all"} <= set(
        task
    )
    shown = task["content"]
    for name in content.keys() - {"filters", "source", "handler", "reference_filters", "candidate_filters"}:
        assert shown[name] == content[name], name
    if kind == "clustering":
        assert shown == {**FACES, "filters": {}, "threshold": 0.9, "descriptor_type": "face", "use_track_info": 0}
    if kind == "linker":
        assert shown["list_id"]
        assert shown["filters"]["create_time__lt"].startswith("20")
        assert shown["filters"]["create_time__gte"] == "now-3d"
    if kind == "cross_match":
        assert (shown["threshold"], shown["limit"]) == (0.9, 10)
        assert shown["reference_filters"] == {"origin": "faces"}


@pytest.mark.parametrize(("kind", "content", "refusal", "field"), [
    ("clustering", {}, (400, 12003), "content.objects_type"),
    ("clustering", {**FACES, "descriptor_type": "body"}, (400, 12022), "content.descriptor_type"),
    ("clustering", {**FACES, "threshold": 1.5}, (400, 12022), "content.threshold"),
    ("clustering", {**FACES, "filters": {"account_id": NOBODY}}, (400, 12022), "content.filters.account_id"),
    ("clustering", {**FACES, "filters": {"face_ids": ["x"]}}, (400, 12022), "content.filters.face_ids.0"),
    ("clustering", {**FACES, "filters": {"page": 1}}, (400, 12022), "content.filters.page"),
    ("clustering", {**FACES, "filters": {"create_time__lt": "soon"}}, (400, 12022), "content.filters.create_time__lt"),
    ("exporter", {**FACES, "columns": ["nose"]}, (400, 12022), "content.columns.0"),
    ("exporter", {**FACES, "columns": ["gender"]}, (400, 12022), "content.columns.0"),
    ("linker", FACES, (400, 12003), "content.list_id"),
    ("gc", {"target": "face_descriptors"}, (400, 12003), "content.descriptor_version"),
    ("gc", {"target": "faces", "descriptor_version": 5}, (400, 12022), "content.descriptor_version"),
    ("gc", {"target": "lists"}, (400, 12022), "content.target"),
    ("cross_match", {"reference_filters": {"origin": "faces"}}, (400, 12003), "content.candidate_filters"),
    (
        "cross_match",
        {"reference_filters": {"origin": "events", "account_id": NOBODY}, "candidate_filters": {"origin": "faces"}},
        (400, 12022),
        "content.reference_filters.account_id",
    ),
    (
        "cross_match",
        {
            "reference_filters": {"origin": "events"},
            "candidate_filters": {"origin": "faces"},
            "descriptor_type": "body",
        },
        (400, 12022),
        "content.descriptor_type",
    ),
    ("roc", {"markup": [{"face_id": NOBODY, "label": 1}]}, (400, 12022), "content.markup"),
    ("roc", {"markup": [*MARKS["markup"], {"label": 1}]}, (400, 12022), "content.markup.2"),
    ("roc", {**MARKS, "filters": {"account_id": NOBODY}}, (400, 12022), "content.filters.account_id"),
    ("roc", {**MARKS, "key_FPRs": [2]}, (400, 12022), "content.key_FPRs"),
    ("estimator", {"source": {"source_type": "zip", "reference": "a"}}, (400, 12003), "content.handler"),
    ("estimator", {"source": {"source_type": "zip", "reference": "a"}, "handler": {}}, (400, 12003), "handler_id"),
    ("estimator", {"source": {"source_type": "tar"}, "handler": {"policies": {}}}, (400, 12022), "content.source"),
    ("reporter", {"task_id": 0}, (400, 12022), "content.task_id"),
])  # fmt: skip
def test_a_content_that_cannot_work_is_refused_with_its_field(
    client: Client, kind: str, content: object, refusal: tuple[int, int], field: str
) -> None:
    answer = client.create(kind, content)
    assert client.refused(answer) == refusal, answer.text
    assert field in answer.json()["detail"]
    assert client.get("/count") == {"count": 0}


def test_what_a_content_names_must_be_there(client: Client, service: Service) -> None:
    assert client.refused(client.create("linker", {**FACES, "list_id": NOBODY})) == (400, 12022)
    zipped = {"source_type": "zip", "reference": "http://a/b.zip"}
    unknown = {"source": zipped, "handler": {"handler_id": NOBODY}}
    assert client.refused(client.create("estimator", unknown)) == (404, 34000)
    assert client.refused(client.create("reporter", {"task_id": 10**9})) == (404, 28001)
    made = requests.post(f"{service.rest}/6/handlers", auth=client.account.auth, json=STATIC, timeout=30)
    handler = {"handler_id": made.json()["handler_id"]}
    both = {"source": zipped, "handler": {**handler, "policies": {}}}
    assert client.refused(client.create("estimator", both)) == (400, 12022)
    assert client.create("estimator", {"source": zipped, "handler": handler}).status_code == 202
    stranger = Client(service, service.account())
    assert client.refused(stranger.create("estimator", {"source": zipped, "handler": handler})) == (404, 34000)
    assert client.refused(client.create("clustering", FACES, account_id=NOBODY)) == (400, 12022)


async def test_only_a_clustering_that_is_done_can_be_reported(client: Client, backstage: Backstage) -> None:
    account = client.account
    done = await backstage.done(account, Collected(TaskResult(b"{}", JSON_RESULT)))
    running = await backstage.task(account, TaskStatus.IN_PROGRESS, parts_all=1)
    empty = await backstage.task(account, TaskStatus.DONE)
    other = await backstage.failed(account)
    content = {"columns": ["lists"]}
    assert client.create("reporter", {"task_id": done, **content}).status_code == 202
    assert client.refused(client.create("reporter", {"task_id": done, "columns": ["gender"]})) == (400, 12022)
    assert client.refused(client.create("reporter", {"task_id": running, **content})) == (400, 28015)
    assert client.refused(client.create("reporter", {"task_id": empty, **content})) == (400, 28016)
    assert client.refused(client.create("reporter", {"task_id": other, **content})) == (400, 12022)


def test_passwords_and_keys_are_not_shown(client: Client) -> None:
    keys = {"public_access_key": "letmein", "secret_access_key": "sesame"}
    source = {"source_type": "s3", "bucket_name": "bucket", "endpoint": "https://host", "authorization": keys}
    answer = client.create("estimator", {"source": source, "handler": {"policies": {"extract_policy": {}}}})
    assert answer.status_code == 202, answer.text
    text = client.ask("GET", f"/{answer.json()['task_id']}").text
    for secret in ("letmein", "sesame"):
        assert f'"{secret}' not in text
    shown = json.loads(text)["content"]
    assert shown["source"]["authorization"]["secret_access_key"] == "***"
    assert shown["handler"]["policies"]["extract_policy"]["extract_face_descriptor"] == 1


async def test_lists_and_counts_pass_filters(client: Client, backstage: Backstage) -> None:
    account = client.account
    done = await backstage.done(account, Collected(TaskResult(b"{}", JSON_RESULT)))
    cancelled = await backstage.task(account, TaskStatus.CANCELLED, end_time=datetime(2020, 1, 1, tzinfo=UTC))
    failed = await backstage.failed(account)
    await backstage.failed(client.service.account())  # somebody else's

    def ids(**query: object) -> list[int]:
        found = [task["task_id"] for task in client.get("", **query)["tasks"]]
        assert client.get("/count", **query) == {"count": len(found)}
        return found

    assert ids() == [failed, cancelled, done]
    assert ids(task_ids=f"{done},{failed}") == [failed, done]
    assert ids(task_type=2) == [cancelled, done]
    assert ids(task_type=0) == []
    assert ids(task_status=5) == [done]
    assert ids(task_status=0) == []
    assert ids(end_time__lt="2021-01-01T00:00:00Z") == [cancelled]
    assert ids(end_time__gte="2021-01-01T00:00:00Z") == [failed, done]
    assert ids(create_time__lt="2021-01-01T00:00:00Z") == []
    assert ids(schedule_id=7) == []
    assert [task["task_id"] for task in client.get("", page=2, page_size=2)["tasks"]] == [done]
    assert client.ask("GET", "", params={"task_status": 9}).status_code == 400


async def test_results_are_told_by_the_state_of_their_task(client: Client, backstage: Backstage) -> None:
    account, data = client.account, b'{"result": [["a"]], "errors": []}'
    page = TaskResult(b"<!doctype html>", HTML_RESULT)
    done = await backstage.done(account, Collected(TaskResult(data, JSON_RESULT), page))
    answer = client.ask("GET", f"/{done}/result")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, data, "application/json")
    answer = client.ask("GET", f"/{done}/result", params={"format": "html"})
    assert (answer.content, answer.headers["content-type"]) == (b"<!doctype html>", "text/html; charset=utf-8")

    zipped = await backstage.done(account, Collected(TaskResult(b"PK", "application/zip", "task_1.zip")))
    answer = client.ask("GET", f"/{zipped}/result")
    assert answer.headers["content-disposition"] == "attachment; filename=task_1.zip"
    assert client.refused(client.ask("GET", f"/{zipped}/result", params={"format": "html"})) == (400, 12012)

    running = await backstage.task(account, TaskStatus.IN_PROGRESS, parts_all=1)
    cancelled = await backstage.task(account, TaskStatus.CANCELLED)
    gone = await backstage.task(account, TaskStatus.DONE, result_id=uuid.uuid4())
    failed = await backstage.failed(account)
    assert client.refused(client.ask("GET", f"/{running}/result")) == (404, 28018)
    assert client.refused(client.ask("GET", f"/{cancelled}/result")) == (400, 28025)
    assert client.refused(client.ask("GET", f"/{gone}/result")) == (404, 28017)
    assert client.refused(client.ask("GET", f"/{failed}/result")) == (404, 28020)
    assert client.refused(client.ask("GET", "/1000000000/result")) == (404, 28001)
    stranger = Client(client.service, client.service.account())
    assert client.refused(stranger.ask("GET", f"/{done}/result")) == (404, 28001)


async def test_a_result_larger_than_a_message_comes_in_ranges(client: Client, backstage: Backstage) -> None:
    data = bytes(range(256)) * (33 << 12)
    task_id = await backstage.done(client.account, Collected(TaskResult(data, "application/zip", "a.zip")))
    answer = client.ask("GET", f"/{task_id}/result")
    assert client.refused(answer) == (400, 12031)
    assert str(len(data)) in answer.json()["detail"]
    found = b""
    while len(found) < len(data):
        answer = client.ask("GET", f"/{task_id}/result", params={"offset": len(found), "length": 20 << 20})
        assert answer.status_code == 200, answer.text
        found += answer.content
    assert found == data
    beyond = client.ask("GET", f"/{task_id}/result", params={"offset": len(data), "length": 1})
    assert client.refused(beyond) == (400, 12012)
    with client.service.channel() as channel:
        stub = tasks_pb2_grpc.TasksStub(channel)
        request = pb.GetTaskResultRequest(task_id=task_id, offset=len(data) - 3, length=100)
        told = stub.GetTaskResult(request, metadata=client.account.metadata, timeout=30)
        assert (told.data, told.size, told.filename) == (data[-3:], len(data), "a.zip")


async def test_errors_are_listed_filtered_and_counted(client: Client, backstage: Backstage) -> None:
    first, second = [await backstage.failed(client.account, code) for code in (28010, 28022)]
    errors = client.get("/errors")["errors"]
    assert [(one["task_id"], one["error_code"]) for one in errors] == [(second, 28022), (first, 28010)]
    assert errors[0]["task_type"] == 7
    assert (errors[0]["additional_info"], errors[0]["status_code"]) == ("a file", 400)
    assert client.get(f"/{first}/errors")["errors"] == [errors[1]]
    assert client.get(f"/errors/{errors[0]['error_id']}") == errors[0]
    for query, found in (
        ({"task_ids": first}, 1), ({"error_code": 28022}, 1), ({"error_ids": errors[0]["error_id"]}, 1),
        ({"task_type": 7}, 2), ({"task_type": 2}, 0), ({"status_code": 404}, 0),
        ({"error_time__lt": "2020-01-01T00:00:00Z"}, 0), ({"error_time__gte": "2020-01-01T00:00:00Z"}, 2),
    ):  # fmt: skip
        assert len(client.get("/errors", **query)["errors"]) == found, query
    assert client.get("/errors/count", status_code=400) == {"count": 2}
    assert client.get("/errors/count", task_type=2) == {"count": 0}
    assert client.refused(client.ask("GET", "/errors/1000000000")) == (404, 28003)
    assert client.refused(client.ask("GET", "/1000000000/errors")) == (404, 28001)
    stranger = Client(client.service, client.service.account())
    assert stranger.get("/errors") == {"errors": []}
    assert client.refused(stranger.ask("GET", f"/errors/{errors[0]['error_id']}")) == (404, 28003)


async def test_a_task_is_cancelled_once_and_deleted_ended_or_not(client: Client, backstage: Backstage) -> None:
    account = client.account
    task_id = await backstage.task(account, TaskStatus.IN_PROGRESS, parts_all=1)
    stranger = Client(client.service, client.service.account())
    for verb in ("PATCH", "DELETE"):
        assert client.refused(stranger.ask(verb, f"/{task_id}")) == (404, 28001)
    running = await backstage.task(account, TaskStatus.IN_PROGRESS, parts_all=1)
    assert client.ask("DELETE", f"/{running}").status_code == 204
    assert client.refused(client.ask("GET", f"/{running}")) == (404, 28001)
    assert client.ask("PATCH", f"/{task_id}").status_code == 204
    assert client.get(f"/{task_id}")["task_status"] == 2
    assert client.refused(client.ask("PATCH", f"/{task_id}")) == (400, 12031)
    assert client.ask("DELETE", f"/{task_id}").status_code == 204
    assert client.refused(client.ask("GET", f"/{task_id}")) == (404, 28001)
    assert client.refused(client.ask("DELETE", f"/{task_id}")) == (404, 28001)
    trail = PostgresAuditTrail(backstage.database)
    told = [(one.method, one.objects) for one in await trail.newest(UUID(account.account_id), 2)]
    assert told == [
        ("luna.v6.Tasks.DeleteTask", (task_object(task_id),)),
        ("luna.v6.Tasks.CancelTask", (task_object(task_id),)),
    ]


async def test_a_deleted_task_takes_its_result_with_it(client: Client, backstage: Backstage) -> None:
    page = TaskResult(b"<html>", HTML_RESULT)
    task_id = await backstage.done(client.account, Collected(TaskResult(b"{}", JSON_RESULT), page))
    task = await backstage.store.get(Scope(UUID(client.account.account_id)), task_id)
    assert task is not None
    folder = client.service.data / "blobs"
    assert len(list(folder.rglob(str(task.result_id)))) == 2
    assert client.ask("DELETE", f"/{task_id}").status_code == 204
    assert list(folder.rglob(str(task.result_id))) == []


def test_grpc_says_the_same_and_asks_for_what_rest_cannot_leave_out(client: Client) -> None:
    with client.service.channel() as channel:
        stub = tasks_pb2_grpc.TasksStub(channel)
        metadata = client.account.metadata
        content = pb.ClusteringContent(faces=pb.FaceFilters(user_data="a"))
        created = stub.CreateClusteringTask(
            pb.CreateClusteringTaskRequest(content=content), metadata=metadata, timeout=30
        )
        task = stub.GetTask(pb.GetTaskRequest(task_id=created.task_id), metadata=metadata, timeout=30)
        assert task.task_type == pb.TASK_TYPE_CLUSTERING
        assert task.content["filters"]["user_data"] == "a"
        assert task.content["threshold"] == 0.9
        with pytest.raises(grpc.RpcError) as refused:
            stub.CreateClusteringTask(
                pb.CreateClusteringTaskRequest(content=pb.ClusteringContent()), metadata=metadata, timeout=30
            )
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "content.objects_type" in str(refused.value.details())


async def test_subtasks_are_listed(client: Client, backstage: Backstage) -> None:
    task_id = await backstage.task(client.account, TaskStatus.IN_PROGRESS)
    await backstage.progress.planned(task_id, [{"a": 1}, {"a": 2}], [])
    subtasks = client.get(f"/{task_id}/subtasks")["subtasks"]
    assert [one["content"] for one in subtasks] == [{"a": 1}, {"a": 2}]
    assert {"subtask_id", "task_id", "subtask_status", "create_time", "end_time", "result_id"} <= set(subtasks[0])
    assert client.refused(client.ask("GET", "/1000000000/subtasks")) == (404, 28001)


def test_the_service_tells_that_it_has_tasks(service: Service) -> None:
    told = requests.get(f"{service.rest}/6/features", timeout=30).json()
    assert "tasks" in json.dumps(told)
