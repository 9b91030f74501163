"""Linking: who is in the list in the end, and that nobody is in it, or made, twice."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select

from server.domain.access import Scope
from server.domain.attributes import BasicAttributes, Ethnicity, Gender
from server.domain.descriptors import Descriptor
from server.domain.faces import Face, FaceFilter, Page
from server.domain.policies import EventCandidates, TimeBound
from server.domain.task_contents import EventSelection, FaceSelection, Link
from server.domain.tasks import TaskType
from server.errors import ListNotFound
from server.tasks.linker import Linker, face_of
from storage.schema import audit, faces
from tests.integration.storage.made import NOW, OURS, THEIRS, a_face, a_list, number, vector
from tests.integration.storage.made_events import a_full_event, an_event
from tests.populations import World
from tests.task_contexts import FixedForm, MemoryFiles, Run, a_task

LIST = number(50)
LATER = NOW + timedelta(hours=1)


def linking(world: World, content: Link, size: int = 2, task_id: int = 7) -> Run:
    form = FixedForm((TaskType.LINKER, content))
    files = MemoryFiles() if world.deaths is None else world.deaths.around(MemoryFiles())
    kind = Linker(form, world.store("populations"), world.store("linking"), size)
    return Run(kind, a_task(TaskType.LINKER, task_id, create_time=LATER), files)


async def members(world: World, list_id: UUID = LIST) -> list[Face]:
    return await world.faces.find(Scope(None), FaceFilter(list_id=list_id, face_id_gte=UUID(int=0)), Page(size=1000))


async def count_faces(world: World) -> int:
    (row,) = await world.database.fetch(select(func.count()).select_from(faces))
    return int(row[0])


async def test_selected_faces_are_in_the_list_once_however_often_it_is_done(world: World) -> None:
    await world.lists.create(a_list(50))
    await world.lists.create(a_list(51))
    for value in range(1, 6):
        await world.bare_face(a_face(value, external_id="e" if value < 5 else ""))
    await world.bare_face(a_face(9, THEIRS, external_id="e"))
    await world.lists.attach(Scope(OURS), LIST, [number(2)], NOW)
    run = linking(world, Link(FaceSelection(external_ids=("e",)), LIST))
    done = await run.whole(times=3)
    expected = [number(value) for value in range(1, 5)]
    assert [one.face_id for one in await members(world)] == expected
    assert json.loads(done.result.data) == {
        "result": {"list_id": str(LIST), "faces": [str(one) for one in expected]},
        "errors": [],
    }
    assert done.result.content_type == "application/json"
    kept = await world.lists.get(Scope(OURS), LIST)
    assert kept is not None
    assert kept.last_update_time == LATER
    assert await members(world, number(51)) == []


async def test_a_list_is_made_once_with_its_text(world: World) -> None:
    await world.bare_face(a_face(1))
    await linking(world, Link(FaceSelection(), LIST, create=True, user_data="new")).whole(times=2)
    kept = await world.lists.get(Scope(OURS), LIST)
    assert kept is not None
    assert (kept.user_data, kept.create_time, kept.account_id) == ("new", LATER, OURS)
    assert len(await members(world)) == 1


@pytest.mark.parametrize("create", [False, True])
async def test_a_list_of_another_account_is_none(world: World, create: bool) -> None:
    await world.lists.create(a_list(50, THEIRS))
    await world.bare_face(a_face(1))
    with pytest.raises(ListNotFound):
        await linking(world, Link(FaceSelection(), LIST, create=create)).whole()
    assert await members(world) == []


async def test_a_list_that_is_deleted_meanwhile_ends_the_task(world: World) -> None:
    await world.bare_face(a_face(1))
    await world.event(a_full_event(1))
    for objects in (FaceSelection(), EventSelection()):
        run = linking(world, Link(objects, LIST, create=True))
        await run.split()
        await world.lists.remove(Scope(OURS), [LIST], with_faces=False)
        with pytest.raises(ListNotFound):
            await run.work()
    assert await count_faces(world) == 1


async def test_faces_that_come_after_the_task_was_made_are_not_linked_unless_an_end_is_named(world: World) -> None:
    await world.lists.create(a_list(50))
    await world.bare_face(a_face(1))
    await world.bare_face(a_face(2, create_time=LATER))
    await linking(world, Link(FaceSelection(), LIST)).whole()
    assert [one.face_id for one in await members(world)] == [number(1)]
    end = TimeBound((LATER + timedelta(days=1)).isoformat())
    await linking(world, Link(FaceSelection(create_time_lt=end), LIST)).whole()
    assert [one.face_id for one in await members(world)] == [number(1), number(2)]
    await world.event(an_event(3, create_time=LATER), an_event(4), plain=True)
    await linking(world, Link(EventSelection(), LIST)).whole()
    assert [one.event_id for one in await members(world) if one.event_id] == [number(4)]
    await linking(world, Link(EventSelection(EventCandidates(create_time_lt=end)), LIST)).whole()
    assert {one.event_id for one in await members(world) if one.event_id} == {number(3), number(4)}


async def test_faces_of_events_have_what_the_events_had(world: World) -> None:
    await world.event(a_full_event(1))
    await world.event(an_event(2), plain=True)
    await world.event(an_event(3, THEIRS))
    done = await linking(world, Link(EventSelection(), LIST, create=True)).whole(times=2)
    found = {one.event_id: one for one in await members(world)}
    assert set(found) == {number(1), number(2)}
    assert sorted(json.loads(done.result.data)["result"]["faces"]) == sorted(str(one.face_id) for one in found.values())
    full, bare = found[number(1)], found[number(2)]
    assert full == Face(
        face_id=full.face_id,
        account_id=OURS,
        create_time=LATER,
        event_id=number(1),
        user_data="data of the caller's own",
        external_id="Ωmega %_\\ 'x'",
        avatar=f"/6/samples/faces/{number(8001)}",
        lists=(LIST,),
    )
    attribute = await world.faces.attribute(Scope(OURS), full.face_id)
    assert attribute is not None
    assert attribute.content.descriptors == (vector(1, 1001),)
    assert attribute.content.descriptor_samples == (number(8001),)
    assert attribute.content.basic_attributes == BasicAttributes(0, Gender.FEMALE, Ethnicity.ASIAN)
    assert bare.avatar == ""
    assert await world.faces.attribute(Scope(OURS), bare.face_id) is None


async def test_each_task_makes_faces_of_its_own(world: World) -> None:
    await world.event(a_full_event(1))
    await linking(world, Link(EventSelection(), LIST, create=True)).whole()
    await linking(world, Link(EventSelection(), LIST, create=True), task_id=8).whole()
    assert len(await members(world)) == 2


async def test_a_face_of_another_account_that_has_the_id_is_left_alone(world: World) -> None:
    content = Link(EventSelection(), LIST, create=True)
    run = linking(world, content)
    taken = face_of(run.task, a_full_event(1), ()).face
    await world.faces.create(replace(face_of(run.task, a_full_event(1), ()), face=replace(taken, account_id=THEIRS)))
    await world.event(a_full_event(1), an_event(2))
    await run.whole()
    assert [one.event_id for one in await members(world)] == [number(2)]
    kept = await world.faces.get(Scope(THEIRS), taken.face_id)
    assert kept is not None
    assert kept.lists == ()


@pytest.mark.parametrize("objects", [FaceSelection(), EventSelection()])
async def test_the_effects_are_there_once_however_often_workers_die(
    world: World, deadly: World, objects: FaceSelection | EventSelection
) -> None:
    for value in range(1, 6):
        await world.face(a_face(value))
    await world.event(*(an_event(value) for value in range(1, 6)))
    done = await linking(deadly, Link(objects, LIST, create=True)).whole(times=2)
    linked = json.loads(done.result.data)["result"]["faces"]
    assert deadly.deaths is not None
    assert deadly.deaths.deaths > 10
    assert sorted(linked) == [str(one.face_id) for one in await members(world)]
    assert len(linked) == 5
    assert await count_faces(world) == (5 if isinstance(objects, FaceSelection) else 10)
    for one in linked:
        attribute = await world.faces.attribute(Scope(OURS), UUID(one))
        assert attribute is not None
        assert attribute.content.descriptors == (Descriptor(1001, bytes([1]) * 256),)
    assert await world.database.fetch(select(audit)) == []
