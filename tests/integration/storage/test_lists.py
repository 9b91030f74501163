"""Lists: what is kept comes back, filters, members, times, accounts that are walls, and no deadlocks."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest
from sqlalchemy import text

from server.domain.access import Scope
from server.domain.faces import FaceFilter, ListFilter, NewFace, Page
from server.errors import Conflict, FacesNotFound, ListNotFound, ListsNotFound, LunaError
from storage.database import Database
from storage.faces import PostgresFaceStore
from storage.lists import PostgresListStore
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, a_face, a_list, an_attribute, number, vector

OUR_SCOPE = Scope(OURS)
LATER = NOW + timedelta(minutes=1)


async def members(faces: PostgresFaceStore, list_id: int) -> list[int]:
    found = await faces.find(EVERYONE, FaceFilter(list_id=number(list_id)), Page(size=100))
    return sorted(face.face_id.int for face in found)


async def updated(lists: PostgresListStore, list_id: int) -> timedelta:
    found = await lists.get(EVERYONE, number(list_id))
    assert found is not None
    return found.last_update_time - NOW


async def test_a_list_comes_back_as_it_was(lists: PostgresListStore) -> None:
    kept = a_list(1, user_data="Ωmega", last_update_time=LATER)
    await lists.create(kept)
    assert await lists.get(OUR_SCOPE, number(1)) == kept
    assert await lists.get(OUR_SCOPE, number(2)) is None
    with pytest.raises(Conflict):
        await lists.create(a_list(1, THEIRS))


async def test_each_filter_selects_what_it_says(lists: PostgresListStore) -> None:
    await lists.create(a_list(1, user_data="50%"))
    await lists.create(a_list(2, user_data="50% off", create_time=NOW - timedelta(hours=1)))
    await lists.create(a_list(3, user_data="500", last_update_time=LATER))
    cases = {
        ListFilter(): [1, 3, 2],
        ListFilter(list_ids=(number(3), number(9))): [3],
        ListFilter(list_ids=()): [],
        ListFilter(user_data="0%"): [1, 2],
        ListFilter(user_data_eq="50%"): [1],
        ListFilter(user_data_eq=""): [],
        ListFilter(create_time_gte=NOW): [1, 3],
        ListFilter(create_time_lt=NOW): [2],
        ListFilter(last_update_time_gte=LATER): [3],
        ListFilter(last_update_time_lt=LATER): [1, 2],
        ListFilter(list_id_gte=number(2)): [2, 3],
        ListFilter(list_id_lt=number(3)): [1, 2],
        ListFilter(user_data="50", create_time_gte=NOW, list_id_lt=number(2)): [1],
    }
    for where, expected in cases.items():
        assert [kept.list_id.int for kept in await lists.find(OUR_SCOPE, where, Page())] == expected, where
        assert await lists.count(OUR_SCOPE, where) == len(expected), where
        assert await lists.find(Scope(THEIRS), where, Page()) == []
    assert [kept.list_id.int for kept in await lists.find(OUR_SCOPE, ListFilter(), Page(2, 2))] == [2]


async def test_attaching_and_detaching_are_idempotent_and_note_the_time(
    faces: PostgresFaceStore, lists: PostgresListStore
) -> None:
    await lists.create(a_list(7))
    for value in (1, 2, 3):
        await faces.create(NewFace(a_face(value)))
    await lists.attach(OUR_SCOPE, number(7), [number(2), number(1), number(2)], LATER)
    assert await members(faces, 7) == [1, 2]
    assert await updated(lists, 7) == timedelta(minutes=1)
    await lists.attach(OUR_SCOPE, number(7), [number(1), number(3)], LATER + timedelta(minutes=1))
    assert await members(faces, 7) == [1, 2, 3]
    await lists.detach(OUR_SCOPE, number(7), [number(1), number(3)], LATER + timedelta(minutes=2))
    await lists.detach(OUR_SCOPE, number(7), [number(1)], LATER)
    assert await members(faces, 7) == [2]
    assert await updated(lists, 7) == timedelta(minutes=3), "time does not run backwards"


async def test_patching_and_making_a_face_inside_note_the_time(
    faces: PostgresFaceStore, lists: PostgresListStore
) -> None:
    await lists.create(a_list(7, user_data="before"))
    assert await lists.change(OUR_SCOPE, number(7), "after", LATER)
    assert await lists.change(OUR_SCOPE, number(7), None, LATER + timedelta(minutes=1))
    assert await lists.get(OUR_SCOPE, number(7)) == a_list(
        7, user_data="after", last_update_time=LATER + timedelta(minutes=1)
    )
    await faces.create(NewFace(a_face(1, create_time=NOW + timedelta(hours=1)), list_ids=(number(7),)))
    assert await updated(lists, 7) == timedelta(hours=1)
    assert not await lists.change(OUR_SCOPE, number(8), "x", LATER)


async def test_attaching_is_all_or_none(faces: PostgresFaceStore, lists: PostgresListStore) -> None:
    await lists.create(a_list(7))
    await faces.create(NewFace(a_face(1)))
    await faces.create(NewFace(a_face(2, THEIRS)))
    for absent in (2, 9):
        for operation in (lists.attach, lists.detach):
            with pytest.raises(FacesNotFound, match=str(number(absent))):
                await operation(OUR_SCOPE, number(7), [number(1), number(absent)], LATER)
            with pytest.raises(FacesNotFound, match=str(number(absent))):
                await operation(EVERYONE, number(7), [number(1), number(absent)], LATER)
            with pytest.raises(ListNotFound, match=str(number(8))):
                await operation(OUR_SCOPE, number(8), [number(1)], LATER)
    assert await members(faces, 7) == []
    assert await updated(lists, 7) == timedelta(0)


async def test_removing_lists_is_all_or_none_and_leaves_faces(
    faces: PostgresFaceStore, lists: PostgresListStore
) -> None:
    await lists.create(a_list(7))
    await lists.create(a_list(8))
    await faces.create(NewFace(a_face(1), list_ids=(number(7), number(8))))
    with pytest.raises(ListsNotFound, match=str(number(9))):
        await lists.remove(OUR_SCOPE, [number(7), number(9)], with_faces=True)
    await lists.remove(OUR_SCOPE, [number(7), number(7)], with_faces=False)
    face = await faces.get(OUR_SCOPE, number(1))
    assert face is not None
    assert face.lists == (number(8),)


async def test_removing_lists_with_faces_removes_everything_of_them(
    faces: PostgresFaceStore, lists: PostgresListStore, database: Database
) -> None:
    for value in (7, 8):
        await lists.create(a_list(value))
    for value, list_ids in ((1, (7,)), (2, (7, 8)), (3, (8,)), (4, ())):
        inside = tuple(map(number, list_ids))
        await faces.create(NewFace(a_face(value), an_attribute(vector(value)), inside))
    await lists.remove(OUR_SCOPE, [number(7)], with_faces=True)
    assert [face.face_id.int for face in await faces.find(OUR_SCOPE, FaceFilter(), Page())] == [3, 4]
    assert await members(faces, 8) == [3]
    for table, column in (("face_attributes", "face_id"), ("face_descriptors", "face_id"), ("lists", "list_id")):
        rows = await database.fetch(text(f"SELECT {column} AS id FROM {table} ORDER BY 1"))
        assert [row.id.int for row in rows] == ([8] if table == "lists" else [3, 4])


async def test_nothing_of_another_account_is_seen_or_changed(
    faces: PostgresFaceStore, lists: PostgresListStore
) -> None:
    kept = a_list(7, THEIRS, user_data="secret")
    await lists.create(kept)
    await faces.create(NewFace(a_face(1, THEIRS), list_ids=(number(7),)))
    await faces.create(NewFace(a_face(2)))
    assert await lists.get(OUR_SCOPE, number(7)) is None
    assert await lists.find(OUR_SCOPE, ListFilter(list_ids=(number(7),), user_data="secret"), Page()) == []
    assert await lists.count(OUR_SCOPE, ListFilter()) == 0
    assert not await lists.change(OUR_SCOPE, number(7), "changed", LATER)
    for with_faces in (False, True):
        with pytest.raises(ListsNotFound):
            await lists.remove(OUR_SCOPE, [number(7)], with_faces=with_faces)
    with pytest.raises(ListNotFound):
        await lists.attach(OUR_SCOPE, number(7), [number(2)], LATER)
    with pytest.raises(ListNotFound):
        await lists.detach(OUR_SCOPE, number(7), [number(1)], LATER)
    assert await lists.get(EVERYONE, number(7)) == kept
    assert await members(faces, 7) == [1]


@pytest.mark.parametrize("faces_descend", [False, True])
@pytest.mark.parametrize("members_descend", [False, True])
async def test_removing_a_list_and_removing_its_faces_at_once_do_not_deadlock(
    faces: PostgresFaceStore, lists: PostgresListStore, database: Database, faces_descend: bool, members_descend: bool
) -> None:
    """Both reach the same rows, from two sides and in the order of the plan; a lock in the middle makes them meet."""
    ids = [number(value) for value in range(60)]
    await lists.create(a_list(100))
    for face_id in sorted(ids, reverse=faces_descend):
        await faces.create(NewFace(a_face(face_id.int)))
    for face_id in sorted(ids, reverse=members_descend):
        await lists.attach(OUR_SCOPE, number(100), [face_id], LATER)
    async with database.transaction() as middle:
        await middle.execute(text("SELECT FROM list_faces WHERE face_id = :face_id FOR UPDATE"), {"face_id": ids[30]})
        removals = asyncio.gather(
            faces.remove(OUR_SCOPE, ids, ignore_missing=False),
            lists.remove(OUR_SCOPE, [number(100)], with_faces=False),
        )
        await until_two_wait(database)
    await removals
    assert await faces.count(EVERYONE, FaceFilter()) == await lists.count(EVERYONE, ListFilter()) == 0


async def until_two_wait(database: Database) -> None:
    """Return once two connections wait for locks."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    for _ in range(500):
        if (await database.fetch(waiting))[0][0] == 2:
            return
        await asyncio.sleep(0.02)
    pytest.fail("nobody waits")


async def test_operations_that_meet_do_not_deadlock(faces: PostgresFaceStore, lists: PostgresListStore) -> None:
    """Twelve clients attach, detach, make and remove the same few faces and lists, in every order."""
    chance = random.Random(7)
    ids = [number(value) for value in range(12)]
    list_ids = [number(value) for value in range(100, 104)]

    async def client() -> None:
        for _ in range(25):
            some = chance.sample(ids, chance.randint(1, 8))
            list_id = chance.choice(list_ids)
            operation = chance.choice(
                (
                    lambda some=some, list_id=list_id: lists.attach(OUR_SCOPE, list_id, some[:2], LATER),
                    lambda some=some, list_id=list_id: lists.detach(OUR_SCOPE, list_id, some[:2], LATER),
                    lambda some=some: faces.remove(OUR_SCOPE, some, ignore_missing=True),
                    lambda: lists.remove(OUR_SCOPE, chance.sample(list_ids, 2), with_faces=chance.random() < 0.5),
                    lambda list_id=list_id: lists.create(a_list(list_id.int)),
                    lambda some=some: faces.set_attribute(OUR_SCOPE, some[0], an_attribute(vector(1))),
                    *(
                        lambda value=value: faces.create(
                            NewFace(a_face(value.int), an_attribute(vector(2)), tuple(chance.sample(list_ids, 2)))
                        )
                        for value in some[:3]
                    ),
                )
            )
            try:
                await operation()
            except (FacesNotFound, ListNotFound, ListsNotFound, Conflict):
                continue

    outcomes = await asyncio.gather(*(client() for _ in range(12)), return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
    assert not any(isinstance(outcome, LunaError) for outcome in outcomes)
