"""Exports: what is in the archive, and that it is the same however often a worker dies."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from dataclasses import replace

import pytest

from server.domain.access import Scope
from server.domain.samples import SampleType
from server.domain.task_columns import EVENT_EXPORT_COLUMNS
from server.domain.task_contents import EventSelection, Export, FaceSelection
from server.domain.tasks import TaskStopped, TaskType
from server.errors import BadBody
from server.tasks.exporter import Exporter
from tests.integration.storage.made import OURS, THEIRS, a_face, a_list, number
from tests.integration.storage.made_events import a_full_event, an_event
from tests.populations import World, entries, picture
from tests.task_contexts import FixedForm, MemoryContext, MemoryFiles, Run, a_task


def exporting(world: World, content: Export, size: int = 2) -> Run:
    form = FixedForm((TaskType.EXPORTER, content))
    files = MemoryFiles() if world.deaths is None else world.deaths.around(MemoryFiles())
    return Run(Exporter(form, world.store("populations"), world.reader(), size), a_task(TaskType.EXPORTER), files)


def rows(data: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter))


async def test_faces_are_exported_with_all_columns(world: World) -> None:
    await world.lists.create(a_list(50))
    await world.bare_face(
        a_face(1, event_id=number(9), user_data='a "b", c\nd', external_id="x;1", avatar="/a", lists=(number(50),))
    )
    await world.bare_face(a_face(2))
    await world.bare_face(a_face(3, THEIRS))
    done = await exporting(world, Export(FaceSelection())).whole()
    assert (done.result.content_type, done.result.filename) == ("application/zip", "task_7.zip")
    found = entries(done)
    assert list(found) == ["report.csv"]
    assert rows(found["report.csv"]) == [
        ["face_id", "user_data", "create_time", "lists", "external_id", "avatar", "event_id"],
        [
            str(number(1)),
            'a "b", c\nd',
            "2026-03-01T12:00:00.123456Z",
            json.dumps([str(number(50))]),
            "x;1",
            "/a",
            str(number(9)),
        ],
        [str(number(2)), "", "2026-03-01T12:00:00.123456Z", "", "", "", ""],
    ]


async def test_events_are_exported_with_all_columns(world: World) -> None:
    await world.event(a_full_event(1), an_event(2))
    found = entries(await exporting(world, Export(EventSelection())).whole())
    header, plain, full = rows(found["report.csv"])
    assert header == list(EVENT_EXPORT_COLUMNS)
    values = dict(zip(header, full, strict=True))
    assert len(full) == len(plain) == len(header)
    texts = {
        "event_id": str(number(1)),
        "create_time": "2026-03-01T11:59:58.123456Z",
        "external_id": "Ωmega %_\\ 'x'",
        "handler_id": str(number(7000)),
        "source": "cam 1",
        "stream_id": str(number(5001)),
        "face_id": str(number(3000)),
        "gender": "0",
        "age": "0",
        "emotion": "5",
        "mask": "2",
        "ethnic_group": "3",
        "liveness": "0",
        "user_data": "data of the caller's own",
        "city": "City",
        "area": "Area",
        "district": "District",
        "street": "Street",
        "house_number": "1a",
        "latitude": "89.25",
        "longitude": "-179.5",
        "track_id": "track-1",
        "apparent_gender": "0",
        "apparent_age": "44",
        "headwear_state": "0",
        "headwear_apparent_color": "undefined",
        "sleeve_length": "short",
        "lower_garment_type": "shorts",
        "shoes_apparent_color": "other",
        "backpack_state": "2",
    }
    assert {name: values[name] for name in texts} == texts
    several = {name: json.loads(values[name]) for name in header if name not in texts}
    assert several["tags"] == ["one", "two words", "один"]
    assert several["attach_result"] == [str(number(20)), str(number(21))]
    assert several["upper_clothing_colors"] == ["black", "white"]
    assert several["lower_garment_colors"] == ["green"]
    assert several["top_match"] == {
        "label": "events", "similarity": 0.9, "face_id": None, "event_id": str(number(4001)), "external_id": "found"
    }  # fmt: skip
    assert several["face_detections"][0] == {
        "sample_id": str(number(8001)),
        "image_origin": "http://example.com/1.jpg",
        "detect_time": "2026-03-01T12:00:00.123456Z",
        "detect_ts": 0.0,
        "detection": {"rect": {"x": -1, "y": 2, "width": 30, "height": 40}},
    }
    assert several["body_detections"][0]["detect_ts"] == 1.25
    assert [one["label"] for one in several["match_result"]] == ["nobody", "faces", "events", "attributes"]
    assert several["match_result"][1]["candidates"][0] == {"similarity": 0.75, "face": {"face_id": str(number(3001))}}
    empty = dict(zip(header, plain, strict=True))
    assert {name for name, value in empty.items() if value} == {"event_id", "create_time", "handler_id"}


async def test_columns_come_in_the_order_that_was_asked_for_behind_the_id(world: World) -> None:
    await world.bare_face(a_face(1, external_id="e", user_data="u;1"))
    content = Export(FaceSelection(), ("user_data", "face_id", "external_id"), delimiter=";")
    found = entries(await exporting(world, content).whole())
    assert rows(found["report.csv"], ";") == [["face_id", "user_data", "external_id"], [str(number(1)), "u;1", "e"]]
    assert found["report.csv"].endswith(b';"u;1";e\r\n')


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (Export(FaceSelection(), ("age",)), "content.columns.0"),
        (Export(EventSelection(), ("age", "lists")), "content.columns.1"),
        (Export(FaceSelection(), delimiter='"'), "content.csv_delimiter"),
        (Export(FaceSelection(), delimiter="\n"), "content.csv_delimiter"),
    ],
)
async def test_columns_and_delimiters_that_are_none_end_the_task(world: World, content: Export, field: str) -> None:
    with pytest.raises(BadBody, match=f"Path: '{field}'"):
        await exporting(world, content).whole()


async def test_formulas_are_defused_and_numbers_and_telephones_are_not(world: World) -> None:
    texts = ["=1+1", "+7 (999) 123-45-67", "-5.5", "@SUM(A1)", "-2+3+cmd|' /C calc'!A0", " =A1", "\t=A1", "'x", "a=b"]
    for value, text in enumerate(texts, 1):
        await world.bare_face(a_face(value, user_data=text))
    found = entries(await exporting(world, Export(FaceSelection(), ("user_data",)), 3).whole())
    assert [row[1] for row in rows(found["report.csv"])[1:]] == [
        "'=1+1",
        "+7 (999) 123-45-67",
        "-5.5",
        "'@SUM(A1)",
        "'-2+3+cmd|' /C calc'!A0",
        "' =A1",
        "'\t=A1",
        "'x",
        "a=b",
    ]


async def test_samples_are_in_the_archive_and_missing_ones_are_told(world: World) -> None:
    avatar, extracted, face, body = (number(value) for value in (801, 802, 8001, 804))
    for one in (avatar, extracted, face):
        await world.sample(one)
    await world.sample(body, kind=SampleType.BODIES)
    await world.sample(number(900), THEIRS)
    await world.face(a_face(1, avatar=f"/6/samples/faces/{avatar}"), samples=(extracted, avatar))
    await world.face(a_face(2), samples=(extracted,))
    await world.face(a_face(3, avatar=f"/6/samples/faces/{number(900)}"))
    await world.bare_face(a_face(4, avatar="http://somewhere/else.jpg"))
    run = exporting(world, Export(FaceSelection(), images=True))
    found = entries(await run.whole())
    del found["report.csv"]
    assert found == {
        f"images/{number(1)}.jpg": picture(avatar.int % 255),
        f"images/{number(1)}_2.jpg": picture(extracted.int % 255),
        f"images/{number(2)}.jpg": picture(extracted.int % 255),
    }
    assert [(one.code, one.info) for one in run.errors] == [(13003, str(number(3)))]

    full = a_full_event(1)
    bodies = tuple(replace(one, sample_id=body) for one in full.body_detections)
    await world.event(replace(full, body_detections=bodies))
    found = entries(await exporting(world, Export(EventSelection(), images=True)).whole())
    assert set(found) == {"report.csv", f"images/{number(1)}.jpg", f"images/{number(1)}_body.jpg"}


async def test_an_export_of_nothing_is_a_header(world: World) -> None:
    run = exporting(world, Export(FaceSelection(), ("user_data",), images=True))
    assert entries(await run.whole()) == {"report.csv": b"face_id,user_data\r\n"}
    assert run.parts == []


async def test_objects_that_go_meanwhile_are_left_out(world: World) -> None:
    for value in (1, 2, 3):
        await world.bare_face(a_face(value))
    run = exporting(world, Export(FaceSelection(), ("user_data",)))
    await run.split()
    await world.faces.remove(Scope(OURS), [number(2)], ignore_missing=False)
    await run.work()
    found = entries(await run.collect())
    assert [row[0] for row in rows(found["report.csv"])[1:]] == [str(number(1)), str(number(3))]


async def test_an_export_is_the_same_however_often_workers_die(world: World, deadly: World) -> None:
    for value in range(1, 6):
        await world.sample(number(800 + value))
        await world.face(a_face(value), samples=(number(800 + value),))
    content = Export(FaceSelection(), images=True)
    calm = entries(await exporting(world, content).whole())
    assert entries(await exporting(deadly, content).whole(times=2)) == calm
    assert deadly.deaths is not None
    assert deadly.deaths.deaths > 20


@pytest.mark.parametrize("steps", [1, 40, 200])
async def test_an_export_that_is_cancelled_leaves_no_file_behind(world: World, steps: int) -> None:
    for value in range(1, 6):
        await world.sample(number(800 + value))
        await world.face(a_face(value), samples=(number(800 + value),))
    run = exporting(world, Export(FaceSelection(), images=True))
    await run.split()
    await run.work()
    collecting = asyncio.create_task(run.collect())
    for _ in range(steps):
        await asyncio.sleep(0)
    collecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await collecting


async def test_an_export_stops_where_its_task_was_cancelled(world: World) -> None:
    await world.sample(number(801))
    await world.face(a_face(1), samples=(number(801),))
    run = exporting(world, Export(FaceSelection(), images=True))
    await run.split()
    await run.work()
    with pytest.raises(TaskStopped):
        await run.kind.collect(MemoryContext(run.task, run.files, cancelled=True), run.parts, [])
