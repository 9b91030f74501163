"""Garbage collection: what is gone, what stays, and that nothing is left behind by workers that die."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import ClassVar
from uuid import UUID

import pytest

from server.domain.access import Scope
from server.domain.event_conditions import Column, Condition, Operator
from server.domain.events import RecordDetection
from server.domain.media import MediaKind
from server.domain.policies import DescriptorKind, EventCandidates, TimeBound
from server.domain.populations import image_at, sample_at
from server.domain.samples import SampleType
from server.domain.task_contents import Cleaning, DescriptorSelection, EventSelection, FaceSelection
from server.domain.tasks import TaskType
from server.errors import OriginNotRemoved
from server.settings import Fetch
from server.tasks.garbage_collection import GarbageCollection
from storage.origins import HttpOrigins
from tests.integration.storage.made import NOW, THEIRS, a_face, number
from tests.integration.storage.made_events import an_event
from tests.populations import World
from tests.task_contexts import FixedForm, MemoryFiles, Run, a_task


class Elsewhere:
    """Images that lie elsewhere, and refuse to go where they are told so."""

    def __init__(self, *refusing: str) -> None:
        self.asked: list[str] = []
        self._refusing = refusing

    async def delete(self, url: str) -> None:
        self.asked.append(url)
        if url in self._refusing:
            raise OriginNotRemoved(url=url, message="status 500")


def cleaning(world: World, content: Cleaning, elsewhere: object = None, size: int = 2) -> Run:
    form = FixedForm((TaskType.GC, content))
    files = MemoryFiles() if world.deaths is None else world.deaths.around(MemoryFiles())
    names = ("populations", "faces", "events", "samples", "cleaning")
    origins = Elsewhere() if elsewhere is None else elsewhere
    if world.deaths is not None:
        origins = world.deaths.around(origins)
    kind = GarbageCollection(form, *(world.store(name) for name in names), origins, size)  # type: ignore[arg-type]
    return Run(kind, a_task(TaskType.GC), files)


async def result(run: Run, times: int = 1) -> dict[str, object]:
    done = await run.whole(times)
    found: dict[str, object] = json.loads(done.result.data)["result"]
    return found


def seen(sample: int, origin: str | None = None) -> RecordDetection:
    return RecordDetection(NOW, sample_id=number(sample), image_origin=origin)


def avatar(sample: int) -> str:
    return f"/6/samples/faces/{number(sample)}"


async def test_faces_go_with_their_samples_and_those_of_others_stay(world: World) -> None:
    for value in (801, 802, 803):
        await world.sample(number(value))
    await world.sample(number(900), THEIRS)
    await world.face(a_face(1, avatar=avatar(801)), samples=(number(802),))
    await world.face(a_face(2, avatar=avatar(900), external_id="keep"), samples=(number(803),))
    await world.face(a_face(3, avatar=avatar(900)))
    await world.face(a_face(4, THEIRS))
    found = await result(cleaning(world, Cleaning(FaceSelection(face_ids=(number(1), number(3), number(4))), True)))
    assert found == {
        "target": "faces", "count": 2, "ids": [str(number(1)), str(number(3))],
        "samples": 2, "samples_in_use": 0, "image_origins": 0, "image_origins_in_use": 0,
    }  # fmt: skip
    assert [await world.has_face(number(value)) for value in (1, 2, 3, 4)] == [False, True, False, True]
    assert [await world.has_sample(number(value)) for value in (801, 802, 803, 900)] == [False, False, True, True]


@pytest.mark.parametrize("samples", [False, True])
async def test_samples_go_only_where_that_is_asked_for(world: World, samples: bool) -> None:
    await world.sample(number(801))
    await world.face(a_face(1, avatar=avatar(801)))
    await result(cleaning(world, Cleaning(FaceSelection(), samples)))
    assert await world.has_sample(number(801)) is not samples
    assert not await world.has_face(number(1))


async def test_events_go_with_samples_of_faces_and_bodies_and_with_images(world: World) -> None:
    for value in (801, 803):
        await world.sample(number(value))
    await world.sample(number(802), kind=SampleType.BODIES)
    await world.image(number(601))
    await world.image(number(602), THEIRS)
    old, gone = NOW - timedelta(days=40), "http://elsewhere/1.jpg"
    mine, foreign = f"/6/images/{number(601)}", f"/6/images/{number(602)}"
    await world.event(
        an_event(1, create_time=old, face_detections=(seen(801, mine),), body_detections=(seen(802, gone),)),
        an_event(2, create_time=old - timedelta(days=1), face_detections=(seen(899, foreign),)),
        an_event(3, face_detections=(seen(803, mine),)),
    )
    await world.event(an_event(4, THEIRS, create_time=old))
    elsewhere = Elsewhere()
    old_ones = EventSelection(EventCandidates(create_time_lt=TimeBound("now-30d")))
    run = cleaning(world, Cleaning(old_ones, samples=True, image_origins=True), elsewhere)
    found = await result(run, times=1)
    assert found == {
        "target": "events", "count": 2, "ids": [str(number(1)), str(number(2))],
        "samples": 2, "samples_in_use": 0, "image_origins": 2, "image_origins_in_use": 0,
    }  # fmt: skip
    assert [await world.has_event(number(value)) for value in (1, 2, 3, 4)] == [False, False, True, True]
    assert [await world.has_sample(number(value)) for value in (801, 803)] == [False, True]
    assert not await world.has_sample(number(802), SampleType.BODIES)
    assert await world.media.get(Scope(None), MediaKind.IMAGES, number(601)) is None
    assert await world.media.get(Scope(None), MediaKind.IMAGES, number(602)) is not None
    assert elsewhere.asked == [gone]
    assert await world.events.descriptor_versions(Scope(None), number(1)) == ()
    assert run.errors == []


@pytest.mark.parametrize("kind", ["faces", "events"])
async def test_ids_in_the_result_are_in_the_order_of_the_selection_in_whatever_order_they_are_read(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """PostgreSQL reads rows by id in the order of whichever plan it finds best, and a part may be begun twice."""
    read = getattr(world.populations, kind)

    async def backwards(scope: Scope, ids: Sequence[UUID]) -> dict[UUID, object]:
        return dict(reversed((await read(scope, ids)).items()))

    monkeypatch.setattr(world.populations, kind, backwards)
    for value in (1, 2, 3):
        await world.face(a_face(value))
        await world.event(an_event(value, create_time=NOW - timedelta(days=value)))
    selection = FaceSelection() if kind == "faces" else EventSelection()
    found = await result(cleaning(world, Cleaning(selection), size=3))
    assert found["ids"] == [str(number(value)) for value in (1, 2, 3)]


async def test_what_a_linked_face_uses_stays_until_that_face_goes_too(world: World) -> None:
    for value in (801, 802, 803, 804):
        await world.sample(number(value))
    await world.event(
        an_event(1, face_detections=(seen(801),)),  # a face was made of it
        an_event(2, face_id=number(12), face_detections=(seen(802),)),  # and with it
        an_event(3, face_detections=(seen(803),), create_time=NOW - timedelta(days=1)),
        an_event(4, THEIRS, face_detections=(seen(804),)),
    )
    await world.face(a_face(11, event_id=number(1)), samples=(number(801),))
    await world.face(a_face(12, avatar=avatar(802)))
    found = await result(cleaning(world, Cleaning(EventSelection(), samples=True)))
    assert (found["count"], found["samples"], found["samples_in_use"]) == (3, 1, 2)
    there = [await world.has_sample(number(value)) for value in (801, 802, 803, 804)]
    assert there == [True, True, False, True]
    found = await result(cleaning(world, Cleaning(FaceSelection(), samples=True)))
    assert (found["count"], found["samples"], found["samples_in_use"]) == (2, 2, 0)
    assert [await world.has_sample(number(value)) for value in (801, 802)] == [False, False]


async def test_what_the_event_of_a_face_uses_stays(world: World) -> None:
    for value in (801, 802):
        await world.sample(number(value))
    await world.event(an_event(1, face_id=number(11), face_detections=(seen(801),)))
    await world.face(a_face(11, avatar=avatar(801)))
    await world.face(a_face(12, avatar=avatar(802)))
    found = await result(cleaning(world, Cleaning(FaceSelection(), samples=True)))
    assert (found["samples"], found["samples_in_use"]) == (1, 1)
    assert [await world.has_sample(number(value)) for value in (801, 802)] == [True, False]


async def test_an_image_of_several_events_goes_with_the_last_of_them(world: World) -> None:
    await world.image(number(601))
    mine, gone = f"/6/images/{number(601)}", "http://elsewhere/1.jpg"
    await world.event(
        *(an_event(value, source=str(value), face_detections=(seen(900, mine), seen(900, gone))) for value in (1, 2, 3))
    )
    elsewhere = Elsewhere()
    content = Cleaning(EventSelection(_one(1)), image_origins=True)
    found = await result(cleaning(world, content, elsewhere))
    assert (found["image_origins"], found["image_origins_in_use"], elsewhere.asked) == (0, 2, [])
    assert await world.media.get(Scope(None), MediaKind.IMAGES, number(601)) is not None
    # the two that are left are in parts of their own: whichever is last takes the image with it
    found = await result(cleaning(world, Cleaning(EventSelection(), image_origins=True), elsewhere, size=1))
    assert (found["count"], found["image_origins"], elsewhere.asked) == (2, 2, [gone])
    assert await world.media.get(Scope(None), MediaKind.IMAGES, number(601)) is None


def _one(value: int) -> EventCandidates:
    return EventCandidates((Condition(Column.EVENT_ID, Operator.IN, (number(value),)),))


async def test_an_image_that_will_not_go_is_told_and_the_event_goes(world: World) -> None:
    await world.event(an_event(1, face_detections=(seen(1, "http://bad/1"), seen(2, "ftp://odd"))))
    run = cleaning(world, Cleaning(EventSelection(), image_origins=True), Elsewhere("http://bad/1"))
    found = await result(run)
    assert (found["count"], found["image_origins"]) == (1, 1)
    assert [(one.code, one.info) for one in run.errors] == [(11027, "http://bad/1")]


async def test_descriptors_of_a_version_go_and_the_objects_stay(world: World) -> None:
    await world.face(a_face(1), samples=(number(801),), vectors=(1001, 1002))
    await world.face(a_face(2), vectors=(1001,))
    await world.face(a_face(3, THEIRS), vectors=(1002,))
    found = await result(cleaning(world, Cleaning(DescriptorSelection(False, 1002))), times=2)
    assert found == {"target": "face_descriptors", "count": 1, "descriptors": 1, "ids": [str(number(1))]}
    versions = {}
    for value in (1, 2, 3):
        attribute = await world.faces.attribute(Scope(None), number(value))
        assert attribute is not None
        versions[value] = [one.version for one in attribute.content.descriptors]
    assert versions == {1: [1001], 2: [1001], 3: [1002]}
    await world.event(an_event(1), an_event(2, THEIRS))
    nothing = Cleaning(DescriptorSelection(True, 1002, DescriptorKind.FACE))
    assert (await result(cleaning(world, nothing)))["count"] == 0
    found = await result(cleaning(world, Cleaning(DescriptorSelection(True, 1002, DescriptorKind.BODY))))
    assert (found["target"], found["descriptors"]) == ("event_descriptors", 1)
    assert await world.events.descriptor_versions(Scope(None), number(1)) == (1001,)
    assert await world.events.descriptor_versions(Scope(None), number(2)) == (1001, 1002)


@pytest.mark.parametrize("objects", [FaceSelection(), EventSelection()])
async def test_nothing_is_left_and_everything_counted_however_often_workers_die(
    world: World, deadly: World, objects: FaceSelection | EventSelection
) -> None:
    origin = "http://elsewhere/1.jpg"
    for value in range(1, 6):
        await world.sample(number(800 + value))
        await world.sample(number(900 + value), kind=SampleType.BODIES)
        await world.image(number(600 + value))
        if isinstance(objects, FaceSelection):
            await world.face(a_face(value, avatar=avatar(800 + value)))
        else:
            detections = (seen(800 + value, f"/6/images/{number(600 + value)}"), seen(800 + value, origin))
            bodies = (RecordDetection(NOW, sample_id=number(900 + value)),)
            await world.event(an_event(value, face_detections=detections, body_detections=bodies))
    content = Cleaning(objects, samples=True, image_origins=isinstance(objects, EventSelection))
    elsewhere = Elsewhere()
    found = await result(cleaning(deadly, content, elsewhere), times=2)
    assert deadly.deaths is not None
    assert deadly.deaths.deaths > 20
    assert found["count"] == 5
    for value in range(1, 6):
        assert not await world.has_face(number(value))
        assert not await world.has_event(number(value))
        assert not await world.has_sample(number(800 + value))
    if isinstance(objects, EventSelection):
        assert (found["samples"], await world.keys()) == (10, set())
        assert set(elsewhere.asked) == {origin}
    else:
        assert found["samples"] == 5
        assert len(await world.keys()) == 10


class Refusing(BaseHTTPRequestHandler):
    """Deletes `/ok`, redirects `/away`, refuses everything else."""

    deleted: ClassVar[list[tuple[str, str]]] = []

    def do_DELETE(self) -> None:
        self.deleted.append((self.path, self.headers["host"]))
        status = {"/ok": 204, "/gone": 404, "/away": 302}.get(self.path, 500)
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/ok")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[int]:
    Refusing.deleted.clear()
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


async def test_images_elsewhere_are_deleted_by_http_at_allowed_addresses_alone() -> None:
    allowed, careful = HttpOrigins(Fetch(allow_private=True)), HttpOrigins(Fetch(allow_private=False))
    with serving() as port:
        host = f"127.0.0.1:{port}"
        for path in ("ok", "gone"):
            await allowed.delete(f"http://{host}/{path}")
        assert Refusing.deleted == [("/ok", host), ("/gone", host)]
        for url, why in {
            f"http://{host}/bad": "status 500",
            f"http://{host}/away": "status 302",
            f"ftp://{host}/ok": "only http",
            f"http://user:secret@{host}/ok": "credentials",
            "http://[/ok": "ValueError",
        }.items():
            with pytest.raises(OriginNotRemoved, match=why):
                await allowed.delete(url)
        before = list(Refusing.deleted)
        with pytest.raises(OriginNotRemoved, match="not a public one"):
            await careful.delete(f"http://{host}/ok")
        assert Refusing.deleted == before


def test_the_ids_of_samples_are_read_of_own_addresses_alone() -> None:
    one = UUID(int=5)
    assert sample_at(f"/6/samples/faces/{one}") == one
    assert image_at(f"/6/images/{one}") == one
    for text in ("", f"/6/samples/bodies/{one}", f"http://x/6/samples/faces/{one}", f"/6/samples/faces/{one}/", "/6/x"):
        assert sample_at(text) is None
        assert image_at(text) is None
