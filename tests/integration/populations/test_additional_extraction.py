"""Additional extraction: who has a descriptor of the version in the end, of which samples, and what is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from server.domain.access import Scope
from server.domain.events import RecordDetection
from server.domain.extraction import Extraction
from server.domain.policies import DescriptorKind
from server.domain.samples import SampleType
from server.domain.task_contents import DescriptorSelection, EventSelection, FaceSelection
from server.domain.task_contents import Extraction as Content
from server.domain.tasks import TaskType
from server.domain.vision import DetectedPerson, ExtractedDescriptor
from server.errors import BadBody, Busy, NotAnImage, VersionNotEstimated
from server.tasks.additional_extraction import AdditionalExtraction
from server.tasks.sample_descriptors import SampleDescriptors
from tests.integration.storage.made import NOW, THEIRS, a_face, number
from tests.integration.storage.made_events import an_event
from tests.populations import World
from tests.scripted_engine import ScriptedEngine, body
from tests.task_contexts import FixedForm, MemoryFiles, Run, a_task

VERSION = 1002


class Describing(ScriptedEngine):
    """Describes samples by their bytes: the first byte is the descriptor's. `b"x"` is no image."""

    full: int = 10_000
    refused: int = 0

    async def describe(self, samples: Sequence[bytes], *, version: int | None = None) -> list[ExtractedDescriptor]:
        if version != VERSION:
            raise VersionNotEstimated(version=version)
        if b"busy" in samples:
            self.refused += 1
            if self.refused <= self.full:
                raise Busy(message="full", retry_after=1)
        if b"x" in samples:
            raise NotAnImage(message="x")
        return [ExtractedDescriptor(version, one[:1] * 256, 0.5) for one in samples]


def extracting(world: World, content: Content, engine: Describing | None = None, size: int = 2) -> Run:
    engine = engine or Describing({})
    form = FixedForm((TaskType.ADDITIONAL_EXTRACT, content))
    files = MemoryFiles() if world.deaths is None else world.deaths.around(MemoryFiles())
    extraction = Extraction(engine, world.store("samples"), None)  # type: ignore[arg-type]
    descriptors = SampleDescriptors(extraction, engine, world.store("samples"), busy_seconds=0)
    kind = AdditionalExtraction(form, world.store("populations"), world.store("described"), descriptors, size)
    return Run(kind, a_task(TaskType.ADDITIONAL_EXTRACT), files)


async def vectors(world: World, value: int) -> dict[int, int]:
    """The first byte of each descriptor of a face, by its version."""
    attribute = await world.faces.attribute(Scope(None), number(value))
    return {} if attribute is None else {one.version: one.data[0] for one in attribute.content.descriptors}


async def event_vector(world: World, value: int) -> int | None:
    found = await world.events.descriptor(Scope(None), number(value), VERSION)
    return None if found is None else found.data[0]


@pytest.mark.parametrize("overwrite", [False, True])
async def test_faces_get_the_descriptor_of_their_samples(world: World, overwrite: bool) -> None:
    await world.sample(number(801), data=b"a")
    await world.sample(number(802), data=b"b")
    await world.sample(number(803), data=b"c")
    await world.sample(number(804), data=b"x")
    await world.sample(number(900), THEIRS, data=b"t")
    await world.face(a_face(1), samples=(number(801),))
    await world.face(a_face(2), samples=(number(801), number(802)))
    await world.face(a_face(3), samples=(number(803),), vectors=(1001, VERSION))
    await world.bare_face(a_face(4, avatar=f"/6/samples/faces/{number(802)}"))
    await world.face(a_face(5))
    await world.face(a_face(6), samples=(number(804),))
    await world.face(a_face(7), samples=(number(900),))
    await world.face(a_face(8, THEIRS), samples=(number(900),))
    run = extracting(world, Content(FaceSelection(), VERSION, overwrite))
    done = await run.whole()
    assert await vectors(world, 1) == {1001: 1, VERSION: ord("a")}
    assert await vectors(world, 2) == {1001: 1, VERSION: ord("a")}  # the mean, as the engine makes it
    assert await vectors(world, 3) == {1001: 1, VERSION: ord("c") if overwrite else 1}
    assert await vectors(world, 4) == {VERSION: ord("b")}
    for value in (5, 6, 7, 8):
        assert await vectors(world, value) == {1001: 1}
    told = json.loads(done.result.data)
    assert told["result"] == {
        "descriptor_version": VERSION, "extracted": 3 + overwrite, "skipped": 1 - overwrite
    }  # fmt: skip
    assert {(one.code, one.info) for one in run.errors} == {
        (13003, str(number(5))), (18002, str(number(6))), (13003, str(number(7)))
    }  # fmt: skip
    assert len(told["errors"]) == 3
    attribute = await world.faces.attribute(Scope(None), number(4))
    assert attribute is not None
    assert (attribute.content.descriptor_samples, attribute.content.basic_attributes) == ((number(802),), None)


async def test_events_get_the_descriptor_of_their_face_samples(world: World) -> None:
    await world.sample(number(801), data=b"a")
    detections = (RecordDetection(NOW, sample_id=number(801)), RecordDetection(NOW))
    with_sample = an_event(1, face_detections=detections)
    await world.event(with_sample, an_event(2), plain=True)
    await world.event(replace(with_sample, event_id=number(3)))  # it has 1001 and 1002, of its body
    await world.event(replace(with_sample, event_id=number(4), account_id=THEIRS), plain=True)
    run = extracting(world, Content(EventSelection(), VERSION))
    done = await run.whole()
    assert [await event_vector(world, value) for value in (1, 2, 3, 4)] == [ord("a"), None, 2, None]
    assert json.loads(done.result.data)["result"] == {"descriptor_version": VERSION, "extracted": 1, "skipped": 1}
    assert [one.info for one in run.errors] == [str(number(2))]


@pytest.mark.parametrize(("version", "data", "error"), [(1003, b"a", VersionNotEstimated), (VERSION, b"busy", Busy)])
async def test_what_is_wrong_with_the_engine_ends_the_task(
    world: World, version: int, data: bytes, error: type[Exception]
) -> None:
    for value in (1, 2):
        await world.sample(number(800 + value), data=data)
        await world.face(a_face(value), samples=(number(800 + value),))
    run = extracting(world, Content(FaceSelection(), version))
    with pytest.raises(error):
        await run.whole()
    assert run.errors == []


@pytest.mark.parametrize("objects", [FaceSelection(), EventSelection()])
async def test_each_object_is_described_and_counted_once_however_often_workers_die(
    world: World, deadly: World, objects: FaceSelection | EventSelection
) -> None:
    for value in range(1, 6):
        await world.sample(number(800 + value), data=b"a")
        await world.face(a_face(value), samples=(number(800 + value),), vectors=(VERSION,) if value == 5 else ())
        seen = (RecordDetection(NOW, sample_id=number(800 + value)),)
        await world.event(an_event(value, face_detections=seen), plain=value != 5)
    done = await extracting(deadly, Content(objects, VERSION)).whole(times=2)
    assert json.loads(done.result.data)["result"] == {"descriptor_version": VERSION, "extracted": 4, "skipped": 1}
    assert deadly.deaths is not None
    assert deadly.deaths.deaths > 15
    for value in range(1, 5):
        if isinstance(objects, FaceSelection):
            assert await vectors(world, value) == {VERSION: ord("a")}
        else:
            assert await event_vector(world, value) == ord("a")


async def test_an_engine_that_is_busy_is_waited_for(world: World) -> None:
    await world.sample(number(801), data=b"busy")
    await world.face(a_face(1), samples=(number(801),))
    engine = Describing({})
    engine.full = 20
    await extracting(world, Content(FaceSelection(), VERSION), engine).whole()
    assert await vectors(world, 1) == {1001: 1, VERSION: ord("b")}
    assert engine.refused == 21


async def test_bodies_of_events_get_descriptors_of_their_versions(world: World) -> None:
    seen = body(9, body_descriptor=ExtractedDescriptor(1101, bytes([9]) * 1536, 0.25))
    engine = Describing({b"body": [DetectedPerson(body=seen)]})
    await world.sample(number(801), kind=SampleType.BODIES, data=b"body")
    detections = (RecordDetection(NOW, sample_id=number(801)),)
    await world.event(an_event(1, body_detections=detections), an_event(2, face_detections=detections), plain=True)
    run = extracting(world, Content(EventSelection(), 1101), engine)
    await run.whole()
    found = await world.events.descriptor(Scope(None), number(1), 1101)
    assert found is not None
    assert found.data == bytes([9]) * 1536
    assert [one.info for one in run.errors] == [str(number(2))]
    of_bodies = DescriptorSelection(True, 1101, DescriptorKind.BODY)
    keys = await world.populations.described_events(Scope(None), of_bodies, None, 10)
    assert [one.event_id for one in keys] == [number(1)]
    with pytest.raises(VersionNotEstimated):
        await extracting(world, Content(EventSelection(), 1912), engine).whole()
    with pytest.raises(BadBody, match="is a version of bodies"):
        await extracting(world, Content(FaceSelection(), 1101), engine).whole()


async def test_a_face_that_goes_meanwhile_is_no_error(world: World) -> None:
    await world.sample(number(801), data=b"a")
    for value in (1, 2):
        await world.face(a_face(value), samples=(number(801),))
    run = extracting(world, Content(FaceSelection(), VERSION))
    await run.split()
    await world.faces.remove(Scope(None), [number(1)], ignore_missing=False)
    await run.work()
    done = await run.collect()
    assert json.loads(done.result.data) == {
        "result": {"descriptor_version": VERSION, "extracted": 1, "skipped": 0}, "errors": []
    }  # fmt: skip
