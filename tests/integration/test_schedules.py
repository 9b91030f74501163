"""Schedules as a client meets them, by REST and by gRPC, with the worker of the service making their tasks."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
import grpc
import pytest
import requests
from google.protobuf.struct_pb2 import Struct
from luna.v6 import tasks_pb2, tasks_pb2_grpc

from storage.embedded import EmbeddedPostgres
from tests.service import Account, Service

Body = Mapping[str, Any]
YEARLY = {"cron": "0 0 1 1 *", "cron_timezone": "utc"}
OLD_EVENTS = {"target": "events", "filters": {"create_time__lt": "now-30d"}, "remove_samples": 1}

ARCHIVE = "/6/objects/5a3f1f0e-6c1b-4a54-8f43-0a4f5d1f6f10"


def wanted(content: Body = OLD_EVENTS, task_type: int = 4, trigger: Body = YEARLY, **behaviour: bool) -> dict[str, Any]:
    body = {"task": {"task_type": task_type, "content": content}, "trigger": trigger}
    return {**body, "behaviour": behaviour} if behaviour else body


@dataclass
class Client:
    """An account that asks by REST."""

    service: Service
    account: Account

    def ask(self, verb: str, path: str, body: object = None, **query: object) -> requests.Response:
        return requests.request(
            verb,
            f"{self.service.rest}/6/tasks{path}",
            json=body,
            params=cast("dict[str, str]", query),
            auth=self.account.auth,
            timeout=30,
        )

    def made(self, body: Body) -> int:
        """A new schedule."""
        answer = self.ask("POST", "/schedules", body)
        assert answer.status_code == 201, answer.text
        schedule_id = answer.json()["schedule_id"]
        assert answer.json() == {"schedule_id": schedule_id}
        assert answer.headers["location"] == f"/6/tasks/schedules/{schedule_id}"
        return int(schedule_id)

    def told(self, schedule_id: int) -> Any:
        answer = self.ask("GET", f"/schedules/{schedule_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def set(self, statement: str, schedule_id: int) -> None:
        """Change the database behind the service's back."""

        async def execute() -> None:
            connection = await asyncpg.connect(EmbeddedPostgres(self.service.data).url)
            try:
                await connection.execute(statement, schedule_id)
            finally:
                await connection.close()

        asyncio.run(execute())

    def tasks(self, schedule_id: int) -> Any:
        answer = self.ask("GET", "", schedule_id=schedule_id, page_size=1000)
        assert answer.status_code == 200, answer.text
        return answer.json()["tasks"]


@pytest.fixture
def client(service: Service, account: Account) -> Client:
    return Client(service, account)


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def test_a_schedule_is_told_as_it_was_sent_with_its_defaults(client: Client) -> None:
    body = wanted() | {"trigger": {"cron": "0 0 1 1 *"}}
    body["task"]["description"] = "old ones"
    schedule_id = client.made(body)
    told = client.told(schedule_id)
    year = datetime.now(UTC).year + 1
    times = {name: told.pop(name) for name in ("create_time", "last_update_time", "next_run_time")}
    assert datetime.fromisoformat(times["next_run_time"]) == datetime(year, 1, 1, tzinfo=UTC)
    assert times["create_time"] == times["last_update_time"]
    content = told["task"].pop("content")
    assert content["target"] == "events"
    assert content["filters"]["create_time__lt"] == "now-30d"
    assert told == {
        "schedule_id": schedule_id,
        "task_ids": [],
        "account_id": client.account.account_id,
        "task": {"task_type": 4, "description": "old ones"},
        "trigger": {"cron": "0 0 1 1 *", "cron_timezone": "utc"},
        "status": "running",
    }
    assert client.ask("GET", "/schedules").json() == [client.told(schedule_id)]


def test_rest_and_grpc_are_one(client: Client) -> None:
    content = Struct()
    content.update(OLD_EVENTS)
    task = tasks_pb2.ScheduledTask(task_type=tasks_pb2.TASK_TYPE_GC, content=content)
    trigger = tasks_pb2.Trigger(cron="0 0 1 1 *")
    with client.service.channel() as channel:
        stub = tasks_pb2_grpc.SchedulesStub(channel)
        request = tasks_pb2.CreateScheduleRequest(task=task, trigger=trigger)
        native_id = stub.CreateSchedule(request, metadata=client.account.metadata).schedule_id
        rest_id = client.made(wanted())
        both = [client.told(one) for one in (native_id, rest_id)]
        for one in both:
            one.update(dict.fromkeys(("schedule_id", "create_time", "last_update_time")))
        assert both[0] == both[1]
        listed = stub.ListSchedules(tasks_pb2.ListSchedulesRequest(), metadata=client.account.metadata).schedules
        assert [one.schedule_id for one in listed] == [rest_id, native_id]
        request.trigger.cron = "0 0 1 13 *"
        with pytest.raises(grpc.RpcError) as refused:
            stub.CreateSchedule(request, metadata=client.account.metadata)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_start_immediately_makes_a_task_with_the_schedule(client: Client) -> None:
    schedule_id = client.made(wanted(start_immediately=True))
    told = client.told(schedule_id)
    (task,) = client.tasks(schedule_id)
    assert told["task_ids"] == [task["task_id"]]
    assert (task["schedule_id"], task["task_type"]) == (schedule_id, 4)
    assert task["content"]["filters"]["create_time__lt"] == "now-30d", "it is for the task to say when that is"
    assert told["status"] == "running"
    assert told["next_run_time"] is not None


def test_a_schedule_that_is_created_stopped_waits_to_be_started(client: Client) -> None:
    schedule_id = client.made(wanted(create_stopped=True, start_immediately=False))
    assert {name: client.told(schedule_id)[name] for name in ("status", "next_run_time", "task_ids")} == {
        "status": "paused",
        "next_run_time": None,
        "task_ids": [],
    }
    assert client.ask("PATCH", f"/schedules/{schedule_id}", action="start").status_code == 204
    assert client.told(schedule_id)["status"] == "running"
    assert client.told(schedule_id)["next_run_time"] is not None
    answer = client.ask("PATCH", f"/schedules/{schedule_id}", action="pause")
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.told(schedule_id)["status"] == "paused"


def test_a_stopped_schedule_may_still_begin_with_a_task(client: Client) -> None:
    schedule_id = client.made(wanted(create_stopped=True, start_immediately=True))
    told = client.told(schedule_id)
    assert (told["status"], told["next_run_time"], len(told["task_ids"])) == ("paused", None, 1)


def test_the_worker_makes_the_task_of_a_minute_when_it_comes(client: Client) -> None:
    now = datetime.now(UTC)
    if now.second > 50:  # the schedule is to be there before the minute that it is looked for in
        time.sleep(61 - now.second)
    due = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    schedule_id = client.made(wanted(trigger={"cron": "* * * * *", "cron_timezone": "Asia/Kolkata"}))
    assert datetime.fromisoformat(client.told(schedule_id)["next_run_time"]) == due
    until(lambda: bool(client.told(schedule_id)["task_ids"]), seconds=75)
    (task,) = client.tasks(schedule_id)
    late = datetime.fromisoformat(task["create_time"]) - due
    assert timedelta(0) <= late < timedelta(seconds=5)
    assert datetime.fromisoformat(client.told(schedule_id)["next_run_time"]) == due + timedelta(minutes=1)


@contextmanager
def halted(service: Service) -> Iterator[None]:
    """Nothing is done by the workers of a service."""
    workers = service.pids("worker")
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def test_a_replaced_schedule_cancels_what_it_began(client: Client) -> None:
    new = wanted({"objects_type": "faces", "create_list": 1}, 1, {"cron": "5 4 * * *", "cron_timezone": "local"})
    with halted(client.service):  # or the task would have ended before
        schedule_id = client.made(wanted(create_stopped=True, start_immediately=True))
        created = client.told(schedule_id)["create_time"]
        answer = client.ask("PUT", f"/schedules/{schedule_id}", new)
    assert (answer.status_code, answer.json()) == (200, {"schedule_id": schedule_id})
    told = client.told(schedule_id)
    assert (told["task"]["task_type"], told["status"], told["create_time"]) == (1, "running", created)
    assert told["trigger"] == {"cron": "5 4 * * *", "cron_timezone": "local"}
    (task,) = client.tasks(schedule_id)
    assert (task["task_status"], task["task_type"]) == (2, 4)
    assert task["end_time"] is not None


def test_tasks_of_a_deleted_schedule_stay(client: Client) -> None:
    schedule_id = client.made(wanted(start_immediately=True))
    (task_id,) = client.told(schedule_id)["task_ids"]
    assert client.ask("DELETE", f"/schedules/{schedule_id}").status_code == 204
    assert client.ask("GET", f"/schedules/{schedule_id}").status_code == 404
    task = client.ask("GET", f"/{task_id}")
    assert (task.status_code, task.json()["schedule_id"]) == (200, None)


def test_what_is_not_there_is_told_in_every_verb(client: Client) -> None:
    path = f"/schedules/{2**62}"
    asked = [
        client.ask("GET", path),
        client.ask("PUT", path, wanted()),
        client.ask("PATCH", path, action="pause"),
        client.ask("DELETE", path),
    ]
    for answer in asked:
        assert answer.status_code == 404, answer.request.method
        assert answer.json()["detail"] == f"Schedule with id '{2**62}' not found"


def test_schedules_of_another_account_are_not_there(client: Client) -> None:
    schedule_id = client.made(wanted(start_immediately=True))
    before = client.told(schedule_id)
    stranger = Client(client.service, client.service.account())
    path = f"/schedules/{schedule_id}"
    asked = [
        stranger.ask("GET", path),
        stranger.ask("GET", path, account_id=client.account.account_id),
        stranger.ask("PUT", path, wanted()),
        stranger.ask("PATCH", path, action="pause"),
        stranger.ask("DELETE", path),
        stranger.ask("DELETE", path, account_id=client.account.account_id),
        client.ask("DELETE", path, account_id=stranger.account.account_id),
    ]
    assert [answer.status_code for answer in asked] == [404] * len(asked)
    assert stranger.ask("GET", "/schedules").json() == []
    assert client.told(schedule_id) == before
    reader = Client(client.service, client.service.account("advanced_user"))
    assert reader.told(schedule_id) == before
    assert reader.ask("DELETE", path).status_code == 404


def test_schedules_are_listed_newest_first_by_page_and_filter(client: Client) -> None:
    ids = [client.made(wanted()) for _ in range(2)]
    ids.append(client.made(wanted({"objects_type": "faces", "create_list": 1}, 1)))
    time_of = client.told(ids[1])["create_time"]
    cases: list[tuple[dict[str, object], list[int]]] = [
        ({}, ids[::-1]),
        ({"page": 2, "page_size": 2}, [ids[0]]),
        ({"task_type": 4}, [ids[1], ids[0]]),
        ({"task_type": 9}, []),
        ({"create_time__gte": time_of}, [ids[2], ids[1]]),
        ({"create_time__lt": time_of}, [ids[0]]),
        ({"account_id": str(uuid.uuid4())}, ids[::-1]),
    ]
    for query, expected in cases:
        assert [one["schedule_id"] for one in client.ask("GET", "/schedules", **query).json()] == expected, query


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"trigger": {"cron": "60 4 * * *"}}, "trigger.cron"),
        ({"trigger": {"cron": "* * * * * *"}}, "trigger.cron"),
        ({"trigger": {"cron": "* * * * *", "cron_timezone": "Mars/Base"}}, "trigger.cron_timezone"),
        ({"trigger": {"cron_timezone": "utc"}}, "trigger.cron"),
        ({"trigger": None}, "trigger"),
        ({"task": {"task_type": 4}}, "task.content"),
        ({"task": {"content": OLD_EVENTS}}, "task.task_type"),
        ({"task": {"task_type": 0, "content": OLD_EVENTS}}, "task.task_type"),
        ({"task": {"task_type": 10, "content": OLD_EVENTS}}, "task.task_type"),
        ({"task": {"task_type": 4, "content": {"target": "cars"}}}, "task.content.target"),
        ({"task": {"task_type": 4, "content": {}}}, "task.content.target"),
        ({"task": {"task_type": 4, "content": {"target": "faces", "x": 1}}}, "task.content.x"),
        (
            {"task": {"task_type": 4, "content": {"target": "faces", "filters": {"face_ids": ["x"]}}}},
            "task.content.filters.face_ids",
        ),
        (
            {"task": {"task_type": 4, "content": {"target": "events", "filters": {"create_time__lt": "soon"}}}},
            "task.content.filters.create_time__lt",
        ),
        ({"task": {"task_type": 2, "content": {"objects_type": "faces", "threshold": 2}}}, "task.content.threshold"),
        ({"task": {"task_type": 1, "content": {"objects_type": "faces"}}}, "task.content.list_id"),
        ({"task": {"task_type": 4, "content": OLD_EVENTS, "description": "x" * 129}}, "task.description"),
        ({"behaviour": {"start_immediately": "yes"}}, "behaviour.start_immediately"),
        ({"behaviour": {"again": True}}, "behaviour.again"),
        ({"behavior": {}, "behaviour": {}}, ""),
    ],
)
def test_a_bad_schedule_is_refused_with_its_field_and_changes_nothing(client: Client, change: Body, field: str) -> None:
    schedule_id = client.made(wanted())
    before = client.told(schedule_id)
    for answer in (
        client.ask("POST", "/schedules", {**wanted(), **change}),
        client.ask("PUT", f"/schedules/{schedule_id}", {**wanted(), **change}),
    ):
        assert answer.status_code == 400, answer.text
        assert field in answer.json()["detail"]
    assert client.ask("GET", "/schedules").json() == [before]


def test_what_a_scheduled_task_names_must_be_there(client: Client) -> None:
    missing = str(uuid.uuid4())
    linker = {"objects_type": "faces", "list_id": missing}
    direct = client.ask("POST", "/linker", {"content": linker})
    scheduled = client.ask("POST", "/schedules", wanted(linker, 1))
    assert direct.status_code == scheduled.status_code == 400
    assert missing in scheduled.json()["detail"]
    assert scheduled.json()["detail"] == direct.json()["detail"].replace("'content.", "'task.content.")
    estimator = {"source": {"source_type": "zip", "reference": ARCHIVE}, "handler": {"handler_id": missing}}
    assert client.ask("POST", "/schedules", wanted(estimator, 9)).status_code == 404


@pytest.mark.parametrize("action", [None, "", "stop", "PAUSE", "pause,start"])
def test_an_action_that_is_none_is_refused(client: Client, action: str | None) -> None:
    schedule_id = client.made(wanted())
    answer = client.ask("PATCH", f"/schedules/{schedule_id}", **({} if action is None else {"action": action}))
    assert answer.status_code == 400
    assert "action" in answer.json()["detail"]
    assert client.told(schedule_id)["status"] == "running"


def test_passwords_of_a_scheduled_task_are_not_shown(client: Client) -> None:
    zip_source = {"source_type": "zip", "reference": ARCHIVE, "authorization": {"password": "Sesame!"}}
    content = {"source": zip_source, "handler": {"policies": {}}}
    schedule_id = client.made(wanted(content, 9, create_stopped=True, start_immediately=True))
    shown = [
        client.ask("GET", f"/schedules/{schedule_id}"),
        client.ask("GET", "/schedules"),
        client.ask("GET", "", schedule_id=schedule_id),
    ]
    assert all(ARCHIVE in answer.text and "Sesame" not in answer.text for answer in shown)


def test_schedules_survive_a_worker_that_is_killed(client: Client) -> None:
    for pid in client.service.pids("worker"):
        os.kill(pid, signal.SIGKILL)
    schedule_id = client.made(wanted())
    client.set("UPDATE schedules SET next_run_time = now() - interval '1 day' WHERE schedule_id = $1", schedule_id)
    until(lambda: len(client.told(schedule_id)["task_ids"]) == 1)
    told = client.told(schedule_id)
    assert datetime.fromisoformat(told["next_run_time"]) > datetime.now(UTC)
