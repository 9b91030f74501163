"""Reports of clusterings: the table, the archive, and the page of contact sheets."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from uuid import UUID

import cv2
import numpy as np
import pytest

from engines.vision.thumbnails import OpenCvThumbnails, thumbnail
from server.domain.access import Scope
from server.domain.events import RecordDetection
from server.domain.task_contents import Clustering, EventSelection, FaceSelection, Report
from server.domain.tasks import JSON_RESULT, Collected, ResultForm, Task, TaskResult, TaskStatus, TaskType
from server.errors import BadBody, NoClusters, TaskNotFound, TaskNotReportable
from server.tasks.contact_sheets import MOST_CLUSTERS, MOST_MEMBERS, ContactSheets
from server.tasks.reporter import Reporter
from tests.integration.storage.made import NOW, THEIRS, a_face, number
from tests.integration.storage.made_events import an_event
from tests.populations import World, entries, picture
from tests.task_contexts import FixedForm, MemoryFiles, Run, a_task


class Clusterings:
    """A store of one clustering task."""

    def __init__(self, task: Task, clusters: Sequence[Sequence[UUID]] | None) -> None:
        self._task = task
        self._clusters = clusters

    async def get(self, scope: Scope, task_id: int) -> Task | None:
        return self._task if task_id == self._task.task_id and scope.includes(self._task.account_id) else None

    async def result(self, task: Task, form: ResultForm) -> TaskResult | None:
        if self._clusters is None:
            return None
        found = [[str(one) for one in members] for members in self._clusters]
        return TaskResult(json.dumps({"result": found, "errors": []}).encode(), JSON_RESULT)


def reporting(
    world: World,
    clusters: Sequence[Sequence[UUID]] | None,
    report: Report | None = None,
    *,
    events: bool = False,
    size: int = 2,
    **fields: object,
) -> Run:
    clustering = a_task(**{"task_type": TaskType.CLUSTERING, "task_id": 3, "status": TaskStatus.DONE} | fields)
    objects = EventSelection() if events else FaceSelection()
    form = FixedForm(
        (TaskType.REPORTER, report or Report(3, ("external_id",))), (TaskType.CLUSTERING, Clustering(objects, 0.9))
    )
    tasks, files = Clusterings(clustering, clusters), MemoryFiles()
    if world.deaths is not None:
        tasks, files = world.deaths.around(tasks), world.deaths.around(files)
    reader = world.reader()
    kind = Reporter(form, tasks, reader, ContactSheets(reader, OpenCvThumbnails()), size)
    return Run(kind, a_task(TaskType.REPORTER), files)


def lines(found: dict[str, bytes]) -> list[list[str]]:
    return list(csv.reader(io.StringIO(found["report.csv"].decode(), newline="")))


def html(collected: Collected) -> str:
    assert collected.page is not None
    assert collected.page.content_type == "text/html; charset=utf-8"
    return collected.page.data.decode()


async def test_each_member_has_a_line_with_its_cluster_and_of_one_that_is_gone_no_more(world: World) -> None:
    for value in (1, 2, 4):
        await world.bare_face(a_face(value, external_id=f"e{value}"))
    await world.bare_face(a_face(5, THEIRS, external_id="secret"))
    done = await reporting(world, [[number(2), number(3)], [number(1), number(5)], [number(4)]]).whole()
    assert lines(entries(done)) == [
        ["cluster", "face_id", "external_id"],
        ["0", str(number(2)), "e2"],
        ["0", str(number(3)), ""],
        ["1", str(number(1)), "e1"],
        ["1", str(number(5)), ""],
        ["2", str(number(4)), "e4"],
    ]
    assert (done.result.content_type, done.result.filename) == ("application/zip", "task_7.zip")


async def test_events_are_reported_with_all_columns_where_none_is_named(world: World) -> None:
    await world.event(an_event(1, source="s"), plain=True)
    found = lines(entries(await reporting(world, [[number(1)]], Report(3), events=True).whole()))
    assert found[0][:4] == ["cluster", "event_id", "create_time", "external_id"]
    assert len(found[0]) == 2 + 26
    assert dict(zip(*found, strict=True))["source"] == "s"


async def test_samples_are_in_the_archive_only_where_asked_for(world: World) -> None:
    await world.sample(number(801))
    await world.face(a_face(1), samples=(number(801),))
    await world.bare_face(a_face(2))
    for images, expected in ((False, {"report.csv"}), (True, {"report.csv", f"images/{number(1)}.jpg"})):
        found = entries(await reporting(world, [[number(1), number(2)]], Report(3, images=images)).whole())
        assert set(found) == expected


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"task_id": 4}, TaskNotFound),
        ({"account_id": THEIRS}, TaskNotFound),
        ({"task_type": TaskType.LINKER}, BadBody),
        *(({"status": status}, TaskNotReportable) for status in TaskStatus if status is not TaskStatus.DONE),
    ],
)
async def test_only_clusterings_of_the_account_that_are_done_are_reported(
    world: World, fields: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await reporting(world, [[number(1)]], **fields).split()


async def test_a_clustering_without_a_result_is_not_reported(world: World) -> None:
    with pytest.raises(NoClusters):
        await reporting(world, None).split()


async def test_an_empty_clustering_is_a_header_and_a_page_without_sheets(world: World) -> None:
    done = await reporting(world, []).whole()
    assert lines(entries(done))[0][0] == "cluster"
    assert "<section" not in html(done)


async def test_the_page_shows_the_largest_clusters_and_counts_the_rest(world: World) -> None:
    await world.sample(number(801), data=picture(10))
    await world.sample(number(802), data=b"no image")
    big = [number(value) for value in range(1, MOST_MEMBERS + 6)]
    await world.face(a_face(1), samples=(number(801),))
    await world.face(a_face(2), samples=(number(802),))
    small = [[number(1000 + value)] for value in range(MOST_CLUSTERS + 9)]
    done = await reporting(world, [*small, big], size=1000).whole()
    entries(done)
    page = html(done)
    sections = re.findall(r"<section.*?</section>", page, re.DOTALL)
    assert len(sections) == MOST_CLUSTERS
    assert f"Cluster {len(small)}<" in sections[0]
    assert "Cluster 0<" in sections[1]
    assert sections[0].count("<figure") == MOST_MEMBERS
    assert sections[0].count("<img") == 1
    assert sections[0].count("no sample") == MOST_MEMBERS - 1
    assert "and 5 more" in sections[0]
    assert f"<b>{len(big) + len(small)}</b>faces" in page
    assert f"<b>{len(small) + 1}</b>clusters" in page
    assert f"<b>{len(small)}</b>with one member" in page
    assert f"<b>{len(big)}</b>in the largest one" in page
    assert "10 smaller clusters with 10 faces are not shown" in page


async def test_the_page_needs_nothing_but_itself(world: World) -> None:
    await world.sample(number(801))
    await world.event(an_event(1, face_detections=(RecordDetection(NOW, sample_id=number(801)),)), plain=True)
    done = await reporting(world, [[number(1)]], events=True).whole()
    entries(done)
    page = html(done)
    assert "<b>1</b>events" in page
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "default-src &#39;none&#39;; img-src data:; style-src &#39;sha256-" in page
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page


async def test_a_report_is_the_same_however_often_workers_die(world: World, deadly: World) -> None:
    for value in range(1, 6):
        await world.sample(number(800 + value))
        await world.face(a_face(value), samples=(number(800 + value),))
    clusters, report = [[number(5), number(1)], [number(2), number(3), number(4)]], Report(3, images=True)
    calm, restless = (
        await reporting(world, clusters, report).whole(),
        await reporting(deadly, clusters, report).whole(2),
    )
    assert entries(restless) == entries(calm)
    assert html(restless) == html(calm)
    assert deadly.deaths is not None
    assert deadly.deaths.deaths > 20


def test_thumbnails_fit_and_are_none_of_what_is_no_image() -> None:
    small = thumbnail(picture(200), 96)
    assert small is not None
    pixels = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (96, 96, 3)
    assert abs(int(pixels.mean()) - 200) <= 2
    assert len(small) < 5000
    assert thumbnail(b"no image", 96) is None
