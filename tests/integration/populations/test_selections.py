"""Selections: each object once, in batches of any size, of the task's account alone."""

from __future__ import annotations

import random
from datetime import timedelta
from uuid import UUID

import pytest

from server.domain.event_conditions import Column, Condition, Operator
from server.domain.policies import DescriptorKind, EventCandidates, TimeBound
from server.domain.populations import EventKey
from server.domain.task_contents import DescriptorSelection, EventSelection, FaceSelection
from server.domain.tasks import TaskType
from server.tasks.selections import selected
from tests.integration.storage.made import NOW, OURS, THEIRS, a_face, a_list, number
from tests.integration.storage.made_events import an_event
from tests.populations import World
from tests.task_contexts import MemoryContext, MemoryFiles, a_task

CONTEXT = MemoryContext(a_task(TaskType.EXPORTER), MemoryFiles())


async def ids(world: World, objects: FaceSelection | EventSelection | DescriptorSelection, size: int) -> list[UUID]:
    found = [one async for one in selected(world.populations, CONTEXT, objects, size)]
    assert all(0 < len(one) <= size for one in found)
    return [one for some in found for one in some]


def days(count: float) -> timedelta:
    return timedelta(days=count)


async def test_faces_are_selected_by_each_condition_as_they_are_by_hand(world: World) -> None:
    await world.lists.create(a_list(1))
    rng = random.Random(5)
    faces = []
    for value in rng.sample(range(100, 900), 40):
        lists = (number(1),) if rng.random() < 0.5 else ()
        face = a_face(
            value,
            external_id=rng.choice(("", "a", "b")),
            user_data=rng.choice(("", "100% sure", "1000")),
            create_time=NOW - days(rng.randrange(60)),
            lists=lists,
        )
        faces.append(await world.bare_face(face))
    await world.bare_face(a_face(500_000, THEIRS, external_id="a", user_data="100% sure"))
    some = tuple(one.face_id for one in faces[:7])
    cases = {
        FaceSelection(): lambda one: True,
        FaceSelection(face_ids=(*some, number(500_000), number(3))): lambda one: one.face_id in some,
        FaceSelection(face_ids=()): lambda one: False,
        FaceSelection(external_ids=("a", "c")): lambda one: one.external_id == "a",
        FaceSelection(list_id=number(1)): lambda one: one.lists,
        FaceSelection(no_list=True): lambda one: not one.lists,
        FaceSelection(user_data="100%"): lambda one: "100%" in one.user_data,
        FaceSelection(create_time_gte=TimeBound("now-20d")): lambda one: one.create_time >= NOW - days(20),
        FaceSelection(create_time_lt=TimeBound("now-20d")): lambda one: one.create_time < NOW - days(20),
        FaceSelection(create_time_lt=TimeBound(NOW.isoformat())): lambda one: one.create_time < NOW,
        FaceSelection(face_id_gte=some[0]): lambda one: one.face_id >= some[0],
        FaceSelection(face_id_lt=some[0], external_ids=("a",)): lambda one: (
            one.face_id < some[0] and one.external_id == "a"
        ),
    }
    for selection, holds in cases.items():
        expected = sorted(one.face_id for one in faces if holds(one))
        for size in (1, 7, 1000):
            assert await ids(world, selection, size) == expected, selection


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_events_of_one_moment_and_of_many_are_selected_once_each(world: World, size: int) -> None:
    records = [an_event(value, create_time=NOW - days(value % 5), source=f"s{value % 2}") for value in range(1, 24)]
    await world.event(*records, an_event(99, THEIRS), plain=True)
    newest = [one.event_id for one in sorted(records, key=lambda one: (one.create_time, one.event_id), reverse=True)]
    assert await ids(world, EventSelection(), size) == newest
    candidates = EventCandidates((Condition(Column.SOURCE, Operator.IN, ("s1",)),), create_time_lt=TimeBound("now-2d"))
    by_id = {one.event_id: one for one in records}
    expected = [one for one in newest if by_id[one].source == "s1" and by_id[one].create_time < NOW - days(2)]
    assert await ids(world, EventSelection(candidates), size) == expected


@pytest.mark.parametrize("size", [1, 1000])
async def test_descriptors_are_selected_by_version_and_kind(world: World, size: int) -> None:
    await world.face(a_face(1), vectors=(1001, 1002))
    await world.face(a_face(2), vectors=(1002,))
    await world.face(a_face(3, THEIRS), vectors=(1002,))
    await world.event(an_event(10), an_event(11, create_time=NOW - days(1)), an_event(12, THEIRS))
    assert await ids(world, DescriptorSelection(False, 1002), size) == [number(1), number(2)]
    assert await ids(world, DescriptorSelection(False, 1001), size) == [number(1)]
    assert await ids(world, DescriptorSelection(True, 1001), size) == [number(10), number(11)]
    assert await ids(world, DescriptorSelection(True, 1001, DescriptorKind.BODY), size) == []
    assert await ids(world, DescriptorSelection(True, 1002, DescriptorKind.BODY), size) == [number(10), number(11)]


async def test_a_face_that_comes_while_others_are_gone_through_moves_none_of_them(world: World) -> None:
    earlier = iter(range(1, 10))
    for value in range(10, 20):
        await world.bare_face(a_face(value))
    found = []
    async for some in selected(world.populations, CONTEXT, FaceSelection(), 4):
        found += some
        await world.bare_face(a_face(next(earlier)))
    assert found == [number(value) for value in range(10, 20)]
    keys = await world.populations.event_keys(CONTEXT.scope, EventSelection(), NOW, EventKey(NOW, OURS), 5)
    assert keys == []
