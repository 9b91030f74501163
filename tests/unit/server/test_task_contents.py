"""Contents of tasks: the form they are kept in keeps what they say, and hides what opens sources."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from server.application import content_form
from server.domain.access import Principal, Scope
from server.domain.accounts import AccountType
from server.domain.event_conditions import Column, Condition, Operator
from server.domain.liveness import LivenessThresholds
from server.domain.policies import DescriptorKind, TimeBound
from server.domain.task_contents import (
    Cleaning,
    Clustering,
    Content,
    CrossMatching,
    DescriptorSelection,
    Estimation,
    EventSelection,
    Export,
    Extraction,
    FaceSelection,
    FtpSource,
    Link,
    Mark,
    Report,
    Roc,
    S3Source,
    SambaSource,
    ZipSource,
)
from server.domain.tasks import TaskSettings, TaskType
from server.errors import BadBody, LunaError
from server.services.task_creation import TaskPreparation

FORM = content_form(LivenessThresholds(0.88, 0))
ID = UUID("0f0c0d0e-0000-4000-8000-000000000001")
OWN = Principal(UUID("0f0c0d0e-0000-4000-8000-00000000000a"), AccountType.USER)
NAMED = {"handler": {"handler_id": str(ID)}}


def estimated(source: object, **more: object) -> dict[str, object]:
    return {"source": source, **NAMED, **more}


CASES: list[tuple[TaskType, dict[str, object], Content]] = [
    (TaskType.CLUSTERING, {"objects_type": "faces", "threshold": 0.5}, Clustering(FaceSelection(), 0.5)),
    (
        TaskType.CLUSTERING,
        {
            "objects_type": "faces",
            "threshold": 0,
            "filters": {"list_id": None, "face_ids": [str(ID)], "user_data": "a"},
        },
        Clustering(FaceSelection(face_ids=(ID,), no_list=True, user_data="a"), 0.0),
    ),
    (
        TaskType.EXPORTER,
        {"objects_type": "faces", "filters": {"face_id__gte": str(ID), "create_time__lt": "now-3d"}},
        Export(FaceSelection(face_id_gte=ID, create_time_lt=TimeBound("now-3d"))),
    ),
    (
        TaskType.EXPORTER,
        {"objects_type": "faces", "columns": ["lists", "face_id"], "save_images": 1, "csv_delimiter": ";"},
        Export(FaceSelection(), ("lists", "face_id"), True, ";"),
    ),
    (TaskType.REPORTER, {"task_id": 3, "columns": ["lists"]}, Report(3, ("lists",))),
    (TaskType.LINKER, {"objects_type": "faces", "list_id": str(ID)}, Link(FaceSelection(), ID)),
    (
        TaskType.GC,
        {"target": "faces", "filters": {"face_id__gte": str(ID)}, "remove_samples": True},
        Cleaning(FaceSelection(face_id_gte=ID), samples=True),
    ),
    (
        TaskType.GC,
        {"target": "event_descriptors", "descriptor_version": 5, "descriptor_type": "body"},
        Cleaning(DescriptorSelection(True, 5, DescriptorKind.BODY)),
    ),
    (
        TaskType.CROSS_MATCH,
        {
            "reference_filters": {"origin": "faces"},
            "candidate_filters": {"origin": "faces", "list_id": str(ID)},
            "threshold": 0.25,
            "limit": 7,
        },
        CrossMatching(FaceSelection(), FaceSelection(list_id=ID), 0.25, 7),
    ),
    (
        TaskType.ROC,
        {"markup": [{"face_id": str(ID), "label": 1}, {"attribute_id": str(ID), "label": -2}], "key_FPRs": [0.1]},
        Roc((Mark(1, face_id=ID), Mark(-2, attribute_id=ID)), fprs=(0.1,)),
    ),
    (
        TaskType.ESTIMATOR,
        estimated({"source_type": "zip", "reference": "a", "authorization": {"password": "x"}}),
        Estimation(ZipSource("a", "x"), ID, None),
    ),
    (
        TaskType.ESTIMATOR,
        estimated({"source_type": "ftp", "host": "h", "recursive": 1, "authorization": {"user": "u", "password": "x"}}),
        Estimation(FtpSource("h", recursive=True, user="u", password="x"), ID, None),
    ),
    (
        TaskType.ESTIMATOR,
        estimated({"source_type": "samba", "host": "h", "path": "share/a", "postfix": ".jpg"}, tags=["t"]),
        Estimation(SambaSource("h", "share/a", postfix=".jpg"), ID, None, tags=("t",)),
    ),
    (
        TaskType.ESTIMATOR,
        estimated(
            {
                "source_type": "s3",
                "bucket_name": "b",
                "save_origin": 1,
                "authorization": {"public_access_key": "k", "secret_access_key": "s"},
            }
        ),
        Estimation(S3Source("b", save_origin=True, access_key="k", secret_key="s"), ID, None),
    ),
    (
        TaskType.ADDITIONAL_EXTRACT,
        {"objects_type": "faces", "descriptor_version": 65, "overwrite": 1},
        Extraction(FaceSelection(), 65, True),
    ),
]


@pytest.mark.parametrize(("task_type", "given", "meant"), CASES, ids=lambda one: getattr(one, "name", None))
def test_what_is_given_is_what_is_read_again(task_type: TaskType, given: dict[str, object], meant: Content) -> None:
    message = FORM.message(task_type, given)
    assert FORM.value(message) == meant
    assert FORM.read(task_type, FORM.write(message)) == meant


def test_filters_of_events_are_conditions() -> None:
    filters = {"tags": ["a"], "stream_ids": [str(ID), None], "create_time__gte": "now-30d", "meta": {"a:integer": "3"}}
    content = FORM.read(TaskType.LINKER, {"objects_type": "events", "list_id": str(ID), "filters": filters})
    assert isinstance(content, Link)
    assert isinstance(content.objects, EventSelection)
    chosen = content.objects.candidates
    assert {one for one in chosen.conditions if isinstance(one.of, Column)} == {
        Condition(Column.TAGS, Operator.CONTAINS, ("a",)),
        Condition(Column.STREAM_ID, Operator.IN, (ID, None)),
    }
    assert chosen.create_time_gte == TimeBound("now-30d")


def test_policies_are_kept_with_their_defaults_and_shown_as_rest_has_them() -> None:
    source = {"source_type": "network_disk", "path": "/a"}
    given = {"source": source, "handler": {"policies": {"extract_policy": {"extract_basic_attributes": 1}}}}
    message = FORM.message(TaskType.ESTIMATOR, given)
    kept = FORM.write(message)
    assert FORM.read(TaskType.ESTIMATOR, kept) == FORM.value(message)
    shown = FORM.shown(TaskType.ESTIMATOR, kept)
    assert shown["handler"]["policies"]["extract_policy"]["extract_basic_attributes"] == 1  # type: ignore[index]


@pytest.mark.parametrize("task_type", list(TaskType))
@pytest.mark.parametrize("form", [{}, {"objects_type": 1}, {"nose": 1}, {"content": {}}])
def test_what_is_no_content_is_a_value_error(task_type: TaskType, form: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="content"):
        FORM.read(task_type, form)


def test_secrets_are_hidden_and_nothing_else() -> None:
    source = {
        "source_type": "zip",
        "reference": "https://me:hush@host/a.zip?x=1",
        "authorization": {"password": "hush"},
        "prefix": "password",
    }
    shown = FORM.shown(TaskType.ESTIMATOR, {"source": source, **NAMED, "user_data": "password"})
    assert shown == {
        "source": {
            **source,
            "reference": "https://***@host/a.zip?x=1",
            "authorization": {"password": "***"},
        },
        **NAMED,
        "user_data": "password",
    }


class Anything:
    """Rules that let everything pass."""

    async def check(self, principal: Principal, content: Content, path: str = "content") -> None:
        assert principal.writes == Scope(OWN.account_id)


def preparation() -> TaskPreparation:
    defaults = TaskSettings(clustering_threshold=0.7, cross_match_threshold=0.6, cross_match_limit=4)
    return TaskPreparation(FORM, Anything(), defaults, descriptor_version=65)  # type: ignore[arg-type]


async def test_what_the_server_decides_is_filled_in() -> None:
    async def prepared(task_type: TaskType, form: dict[str, object]) -> dict[str, object]:
        return await preparation().prepare_form(OWN, task_type, form)

    assert (await prepared(TaskType.CLUSTERING, {"objects_type": "faces"}))["threshold"] == 0.7
    assert (await prepared(TaskType.CLUSTERING, {"objects_type": "faces", "threshold": 0}))["threshold"] == 0
    sides = {"reference_filters": {"origin": "faces"}, "candidate_filters": {"origin": "faces"}}
    matching = await prepared(TaskType.CROSS_MATCH, sides)
    assert (matching["threshold"], matching["limit"]) == (0.6, 4)
    assert (await prepared(TaskType.ADDITIONAL_EXTRACT, {"objects_type": "faces"}))["descriptor_version"] == 65
    linked = await prepared(TaskType.LINKER, {"objects_type": "faces", "create_list": 1})
    assert UUID(str(linked["list_id"])).version == 7
    # a schedule makes its tasks later, each of which has a moment of its own
    assert linked["filters"] == {"create_time__lt": "now-0s"}


async def test_a_linker_takes_what_was_there_when_its_task_was_created() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    message = FORM.message(TaskType.LINKER, {"objects_type": "events", "list_id": str(ID)})
    form = await preparation().prepare(OWN, message, now=now)
    assert form["filters"] == {"create_time__lt": "2026-01-02T03:04:05.678901Z"}
    given = {"objects_type": "faces", "list_id": str(ID), "filters": {"create_time__lt": "now-1d"}}
    form = await preparation().prepare(OWN, FORM.message(TaskType.LINKER, given), now=now)
    assert form["filters"] == {"create_time__lt": "now-1d"}


@pytest.mark.parametrize(("task_type", "form", "field"), [
    (TaskType.CLUSTERING, {"objects_type": "faces", "filters": {"account_id": str(ID)}}, "filters.account_id"),
    (TaskType.CLUSTERING, {"objects_type": "events", "filters": {"account_id": str(ID)}}, "filters.account_id"),
    (
        TaskType.CROSS_MATCH,
        {"reference_filters": {"origin": "faces"}, "candidate_filters": {"origin": "events", "account_id": str(ID)}},
        "candidate_filters.account_id",
    ),
    (
        TaskType.ROC,
        {"markup": [{"face_id": str(ID), "label": 1}] * 2, "filters": {"account_id": str(ID)}},
        "filters.account_id",
    ),
])  # fmt: skip
async def test_no_other_account_may_be_named(task_type: TaskType, form: dict[str, object], field: str) -> None:
    with pytest.raises(BadBody, match=f"task.content.{field}"):
        await preparation().prepare_form(OWN, task_type, form, "task.content")
    text = str(form).replace(str(ID), str(OWN.account_id))
    assert await preparation().prepare_form(OWN, task_type, eval(text))


def test_errors_of_contents_are_those_of_requests() -> None:
    with pytest.raises(LunaError) as refused:
        FORM.message(TaskType.GC, {"target": "events", "filters": {"masks": [9]}}, "task.content")
    assert (refused.value.code, "task.content.filters.masks.0" in refused.value.detail) == (12022, True)


@pytest.mark.parametrize("filters", [{}, {"account_id": str(ID)}], ids=["none", "the account alone"])
def test_a_collection_of_faces_without_a_condition_is_refused(filters: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"content\.filters"):
        FORM.read(TaskType.GC, {"target": "faces", "filters": filters})


def test_a_collection_of_all_events_is_what_the_samples_of_the_reference_ask_for() -> None:
    assert FORM.read(TaskType.GC, {"target": "events"}) == Cleaning(EventSelection())
