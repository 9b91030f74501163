"""Faces: what is kept comes back, filters, order, paging, accounts that are walls, and removal that is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from server.domain.access import Scope
from server.domain.attributes import AttributeContent, BasicAttributes, Ethnicity, FaceAttribute, Gender
from server.domain.faces import Face, FaceChanges, FaceFilter, Keep, NewFace, Page
from server.errors import AttributeBound, Conflict, FacesNotFound, InvalidInput, ListsNotFound
from storage.database import ConstraintViolated, Database
from storage.faces import PostgresFaceStore
from storage.lists import PostgresListStore
from tests.integration.storage.made import EVERYONE, NOW, OURS, THEIRS, a_face, a_list, an_attribute, number, vector

OUR_SCOPE = Scope(OURS)
FIRST_HUNDRED = Page(size=100)


async def ids(
    faces: PostgresFaceStore, where: FaceFilter, page: Page = FIRST_HUNDRED, scope: Scope = OUR_SCOPE
) -> list[int]:
    return [found.face_id.int for found in await faces.find(scope, where, page)]


async def test_a_face_comes_back_as_it_was(faces: PostgresFaceStore, lists: PostgresListStore) -> None:
    for value in (8, 7):
        await lists.create(a_list(value))
    full = a_face(1, event_id=uuid4(), user_data="Ωmega %_\\ 'x'", external_id="e-1", avatar="/6/samples/faces/1")
    await faces.create(NewFace(full, list_ids=(number(8), number(7), number(8))))
    await faces.create(NewFace(a_face(2)))
    assert await faces.get(Scope(OURS), number(1)) == replace(full, lists=(number(7), number(8)))
    assert await faces.get(EVERYONE, number(2)) == a_face(2)
    assert await faces.get(Scope(OURS), number(3)) is None


async def test_an_attribute_comes_back_as_it_was(faces: PostgresFaceStore) -> None:
    whole = FaceAttribute(
        NOW,
        AttributeContent(
            descriptors=(vector(1, 1001), vector(2, 1002)),
            descriptor_samples=(uuid4(), uuid4()),
            basic_attributes=BasicAttributes(age=44, gender=Gender.FEMALE, ethnicity=Ethnicity.ASIAN),
            basic_attributes_samples=(uuid4(),),
        ),
        attribute_id=uuid4(),
    )
    unknown = FaceAttribute(NOW, AttributeContent(basic_attributes=BasicAttributes()))
    empty = FaceAttribute(NOW, AttributeContent())
    for value, kept in enumerate((whole, unknown, empty)):
        await faces.create(NewFace(a_face(value), kept))
        assert await faces.attribute(Scope(OURS), number(value)) == kept
    assert await faces.count_with_attributes(Scope(OURS)) == 3


async def test_setting_an_attribute_replaces_everything(faces: PostgresFaceStore) -> None:
    await faces.create(NewFace(a_face(1), an_attribute(vector(1, 1001), vector(2, 1002), attribute_id=number(9))))
    new = an_attribute(vector(3, 1002))
    assert await faces.set_attribute(Scope(OURS), number(1), new)
    assert await faces.attribute(Scope(OURS), number(1)) == new
    assert await faces.set_attribute(Scope(OURS), number(1), an_attribute())
    assert await faces.attribute(Scope(OURS), number(1)) == an_attribute()
    assert await faces.clear_attribute(Scope(OURS), number(1))
    assert await faces.clear_attribute(Scope(OURS), number(1))
    assert await faces.attribute(Scope(OURS), number(1)) is None
    assert not await faces.clear_attribute(Scope(OURS), number(2))
    assert not await faces.set_attribute(Scope(OURS), number(2), new)
    assert await faces.count_with_attributes(EVERYONE) == 0


async def test_a_temporary_attribute_goes_to_one_face_only(faces: PostgresFaceStore) -> None:
    bound = an_attribute(vector(1), attribute_id=number(9))
    await faces.create(NewFace(a_face(1), bound))
    with pytest.raises(AttributeBound, match=str(number(9))):
        await faces.create(NewFace(a_face(2), bound))
    assert await faces.get(EVERYONE, number(2)) is None, "nothing of the refused face may stay"
    await faces.create(NewFace(a_face(3), an_attribute(vector(3))))
    with pytest.raises(AttributeBound):
        await faces.set_attribute(Scope(OURS), number(3), bound)
    assert await faces.attribute(Scope(OURS), number(3)) == an_attribute(vector(3))
    assert await faces.set_attribute(Scope(OURS), number(1), bound), "the face that has it may have it again"
    await faces.remove(Scope(OURS), [number(1)], ignore_missing=False)
    assert await faces.set_attribute(Scope(OURS), number(3), bound)


async def test_of_two_faces_that_take_an_attribute_at_once_one_gets_it(faces: PostgresFaceStore) -> None:
    bound = an_attribute(vector(1), attribute_id=number(9))
    outcomes = await asyncio.gather(
        *(faces.create(NewFace(a_face(value), bound)) for value in range(8)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, AttributeBound) for outcome in outcomes) == 7


async def test_a_face_is_not_made_in_lists_that_are_not_there(
    faces: PostgresFaceStore, lists: PostgresListStore
) -> None:
    await lists.create(a_list(7))
    await lists.create(a_list(8, THEIRS))
    for foreign in (8, 9):
        with pytest.raises(ListsNotFound, match=str(number(foreign))):
            await faces.create(NewFace(a_face(1), list_ids=(number(7), number(foreign))))
    assert await faces.count(EVERYONE, FaceFilter()) == 0


async def test_an_id_is_used_once(faces: PostgresFaceStore) -> None:
    await faces.create(NewFace(a_face(1, user_data="first"), an_attribute(vector(1))))
    with pytest.raises(Conflict):
        await faces.create(NewFace(a_face(1, THEIRS), an_attribute(vector(2))))
    assert await faces.get(EVERYONE, number(1)) == a_face(1, user_data="first")


async def test_each_filter_selects_what_it_says(faces: PostgresFaceStore, lists: PostgresListStore) -> None:
    await lists.create(a_list(7))
    event = uuid4()
    await faces.create(NewFace(a_face(1, external_id="a", user_data="one", create_time=NOW - timedelta(hours=3))))
    await faces.create(NewFace(a_face(2, external_id="b", event_id=event, create_time=NOW - timedelta(hours=2))))
    await faces.create(
        NewFace(
            a_face(3, external_id="a", user_data="One", create_time=NOW - timedelta(hours=1)), list_ids=(number(7),)
        )
    )
    await faces.create(NewFace(a_face(4, external_id="A", user_data="none")))
    cases = {
        FaceFilter(): [4, 3, 2, 1],
        FaceFilter(face_ids=(number(1), number(4), number(9), number(1))): [4, 1],
        FaceFilter(face_ids=()): [],
        FaceFilter(external_ids=("a", "b")): [3, 2, 1],
        FaceFilter(external_ids=()): [],
        FaceFilter(event_id=event): [2],
        FaceFilter(event_id=uuid4()): [],
        FaceFilter(list_id=number(7)): [3],
        FaceFilter(list_id=number(1)): [],
        FaceFilter(user_data="one"): [4, 1],
        FaceFilter(user_data=""): [4, 3, 2, 1],
        FaceFilter(create_time_gte=NOW - timedelta(hours=2)): [4, 3, 2],
        FaceFilter(create_time_lt=NOW - timedelta(hours=2)): [1],
        FaceFilter(face_id_gte=number(2)): [2, 3, 4],
        FaceFilter(face_id_lt=number(4)): [1, 2, 3],
        FaceFilter(face_id_gte=number(2), face_id_lt=number(3)): [2],
        FaceFilter(external_ids=("a",), user_data="one"): [1],
        FaceFilter(external_ids=("a",), list_id=number(7), create_time_lt=NOW, face_ids=(number(3), number(1))): [3],
        FaceFilter(event_id=event, user_data="one"): [],
    }  # fmt: skip
    for where, expected in cases.items():
        assert await ids(faces, where) == expected, where
        assert await faces.count(Scope(OURS), where) == len(expected), where
        assert await ids(faces, where, scope=EVERYONE) == expected, where
        assert await ids(faces, where, scope=Scope(THEIRS)) == [], where


@pytest.mark.parametrize("text", ["%", "_", "\\", "/", "a%b", "50%_", "\\%", "'", '"', "é", "😀", "%%", "//", "a/b"])
async def test_user_data_is_matched_as_it_is_written(faces: PostgresFaceStore, text: str) -> None:
    others = ["", "a", "aXb", "50xx", "E", "percent"]
    await faces.create(NewFace(a_face(1, user_data=f"before {text} after")))
    for value, other in enumerate(others, start=2):
        await faces.create(NewFace(a_face(value, user_data=other)))
    assert await ids(faces, FaceFilter(user_data=text)) == [1]


async def test_a_character_that_cannot_be_stored_is_bad_input(faces: PostgresFaceStore) -> None:
    for bad in ("nul \0", "lone \ud800"):
        with pytest.raises(InvalidInput):
            await faces.create(NewFace(a_face(1, user_data=bad)))
        with pytest.raises(InvalidInput):
            await faces.count(EVERYONE, FaceFilter(user_data=bad))
    await faces.create(NewFace(a_face(1)))


async def test_pages_show_every_face_once_in_a_fixed_order(faces: PostgresFaceStore) -> None:
    times = [NOW, NOW - timedelta(seconds=1), NOW, NOW - timedelta(seconds=1), NOW, NOW + timedelta(seconds=1), NOW]
    for value, time in enumerate(times):
        await faces.create(NewFace(a_face(value, create_time=time)))
    expected = sorted(range(len(times)), key=lambda value: (-times[value].timestamp(), value))
    paged = [value for page in (1, 2, 3) for value in await ids(faces, FaceFilter(), Page(page, 3))]
    assert paged == expected
    by_id = [
        value for page in (1, 2, 3) for value in await ids(faces, FaceFilter(face_id_gte=number(0)), Page(page, 3))
    ]
    assert by_id == list(range(len(times)))
    assert await ids(faces, FaceFilter(), Page(10**30, 10**18)) == []


async def test_thousands_of_ids_are_one_parameter(faces: PostgresFaceStore) -> None:
    await faces.create(NewFace(a_face(5)))
    many = tuple(number(value) for value in range(50_000))
    assert await ids(faces, FaceFilter(face_ids=many)) == [5]
    await faces.remove(Scope(OURS), many, ignore_missing=True)
    assert await faces.count(EVERYONE, FaceFilter()) == 0


async def test_a_change_changes_what_is_named(faces: PostgresFaceStore) -> None:
    event = uuid4()
    before = a_face(1, event_id=event, user_data="u", external_id="e", avatar="a")
    await faces.create(NewFace(before))
    after = before
    steps: tuple[tuple[FaceChanges, dict[str, object]], ...] = (
        (FaceChanges(), {}),
        (FaceChanges(user_data=""), {"user_data": ""}),
        (FaceChanges(event_id=Keep.KEEP, avatar="b"), {"avatar": "b"}),
        (FaceChanges(event_id=None, external_id="x"), {"event_id": None, "external_id": "x"}),
    )
    for changes, fields in steps:
        after = replace(after, **fields)
        assert await faces.change(Scope(OURS), number(1), changes)
        assert await faces.get(Scope(OURS), number(1)) == after
        assert not await faces.change(Scope(OURS), number(2), changes)


async def test_removal_is_all_or_none(faces: PostgresFaceStore, database: Database) -> None:
    for value in (1, 2, 3):
        await faces.create(NewFace(a_face(value), an_attribute(vector(value))))
    await faces.create(NewFace(a_face(4, THEIRS)))
    for absent in (4, 9):
        with pytest.raises(FacesNotFound, match=str(number(absent))):
            await faces.remove(Scope(OURS), [number(1), number(absent), number(2)], ignore_missing=False)
        assert await faces.count(Scope(OURS), FaceFilter()) == 3
    await faces.remove(Scope(OURS), [number(1), number(4), number(9), number(1)], ignore_missing=True)
    assert await ids(faces, FaceFilter(), scope=EVERYONE) == [2, 3, 4]
    await faces.remove(Scope(OURS), [], ignore_missing=False)
    await faces.remove(Scope(OURS), [number(2), number(2), number(3)], ignore_missing=False)
    for table in ("face_attributes", "face_descriptors"):
        assert (await database.fetch(text(f"SELECT count(*) FROM {table}")))[0][0] == 0


async def test_external_ids_are_found_oldest_first(faces: PostgresFaceStore) -> None:
    await faces.create(NewFace(a_face(1, external_id="x")))
    await faces.create(NewFace(a_face(2, external_id="x", create_time=NOW - timedelta(days=1))))
    await faces.create(NewFace(a_face(3, THEIRS, external_id="x", create_time=NOW - timedelta(days=2))))
    await faces.create(NewFace(a_face(4)))
    assert await faces.by_external_id(Scope(OURS), "x") == [number(2), number(1)]
    assert await faces.by_external_id(EVERYONE, "x") == [number(3), number(2), number(1)]
    assert await faces.by_external_id(EVERYONE, "") == []


async def test_nothing_of_another_account_is_seen_or_changed(
    faces: PostgresFaceStore, lists: PostgresListStore
) -> None:
    await lists.create(a_list(7, THEIRS))
    secret = a_face(1, THEIRS, user_data="secret", external_id="x")
    kept = an_attribute(vector(1), attribute_id=number(9))
    await faces.create(NewFace(secret, kept, (number(7),)))
    ours = Scope(OURS)
    everything = FaceFilter(face_ids=(number(1),), external_ids=("x",), list_id=number(7), user_data="secret")
    assert await faces.get(ours, number(1)) is None
    assert await faces.find(ours, everything, Page()) == []
    assert await faces.count(ours, everything) == 0
    assert await faces.count_with_attributes(ours) == 0
    assert not await faces.change(ours, number(1), FaceChanges(user_data="changed"))
    assert not await faces.change(ours, number(1), FaceChanges())
    assert await faces.attribute(ours, number(1)) is None
    assert not await faces.set_attribute(ours, number(1), an_attribute(vector(2)))
    assert not await faces.clear_attribute(ours, number(1))
    assert await faces.by_external_id(ours, "x") == []
    await faces.remove(ours, [number(1)], ignore_missing=True)
    assert await faces.get(Scope(THEIRS), number(1)) == replace(secret, lists=(number(7),))
    assert await faces.attribute(Scope(THEIRS), number(1)) == kept


async def test_the_schema_itself_keeps_faces_out_of_other_accounts_lists(
    faces: PostgresFaceStore, lists: PostgresListStore, database: Database
) -> None:
    await faces.create(NewFace(a_face(1)))
    await lists.create(a_list(7, THEIRS))
    for account in (OURS, THEIRS):
        with pytest.raises(ConstraintViolated, match="list_faces_account_id_"):
            async with database.transaction() as connection:
                row = {"account": account, "list": number(7), "face": number(1)}
                await connection.execute(text("INSERT INTO list_faces VALUES (:account, :list, :face)"), row)


filters = st.builds(
    FaceFilter,
    face_ids=st.none() | st.lists(st.integers(0, 14).map(number), max_size=8).map(tuple),
    external_ids=st.none() | st.lists(st.sampled_from(["", "a", "b"]), max_size=2).map(tuple),
    event_id=st.none() | st.sampled_from([number(20), number(21)]),
    list_id=st.none() | st.sampled_from([number(30), number(31)]),
    user_data=st.none() | st.text("a%_\\", max_size=2),
    create_time_gte=st.none() | st.integers(0, 4).map(lambda n: NOW + timedelta(seconds=n)),
    create_time_lt=st.none() | st.integers(0, 4).map(lambda n: NOW + timedelta(seconds=n)),
    face_id_gte=st.none() | st.integers(0, 12).map(number),
    face_id_lt=st.none() | st.integers(0, 12).map(number),
)


def admits(where: FaceFilter, kept: Face) -> bool:
    conditions: list[tuple[object, Callable[[], bool]]] = [
        (where.face_ids, lambda: kept.face_id in where.face_ids),
        (where.external_ids, lambda: kept.external_id in where.external_ids),
        (where.event_id, lambda: kept.event_id == where.event_id),
        (where.list_id, lambda: where.list_id in kept.lists),
        (where.user_data, lambda: where.user_data in kept.user_data),
        (where.create_time_gte, lambda: kept.create_time >= where.create_time_gte),
        (where.create_time_lt, lambda: kept.create_time < where.create_time_lt),
        (where.face_id_gte, lambda: kept.face_id >= where.face_id_gte),
        (where.face_id_lt, lambda: kept.face_id < where.face_id_lt),
    ]
    return all(given is None or holds() for given, holds in conditions)


@pytest.fixture
async def a_dozen(faces: PostgresFaceStore, lists: PostgresListStore) -> list[Face]:
    for value, account in ((30, OURS), (31, THEIRS)):
        await lists.create(a_list(value, account))
    dozen = []
    for value in range(12):
        account = OURS if value % 3 else THEIRS
        list_id = number(30 if account == OURS else 31)
        made = a_face(
            value,
            account,
            create_time=NOW + timedelta(seconds=value % 5),
            event_id=(None, number(20), number(21))[value % 3],
            external_id=("", "a", "b")[value // 2 % 3],
            user_data=("", "a", "%a", "a_", "\\", "_%")[value % 6],
        )
        await faces.create(NewFace(made, list_ids=(list_id,) if value % 2 else ()))
        dozen.append(replace(made, lists=(list_id,) if value % 2 else ()))
    return dozen


async def test_filters_agree_with_a_slow_loop(faces: PostgresFaceStore, a_dozen: list[Face]) -> None:
    loop = asyncio.get_running_loop()
    pages = st.builds(Page, st.integers(1, 3), st.integers(1, 5))

    async def compare(where: FaceFilter, scope: Scope, page: Page) -> None:
        admitted = [kept for kept in a_dozen if scope.includes(kept.account_id) and admits(where, kept)]
        admitted.sort(key=lambda kept: kept.face_id)
        if not where.ordered_by_id:
            admitted.sort(key=lambda kept: kept.create_time, reverse=True)
        assert await faces.find(scope, where, page) == admitted[page.offset :][: page.size]
        assert await faces.count(scope, where) == len(admitted)

    @given(where=filters, account=st.sampled_from([None, OURS, THEIRS]), page=pages)
    @hypothesis_settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def check(where: FaceFilter, account: UUID | None, page: Page) -> None:
        asyncio.run_coroutine_threadsafe(compare(where, Scope(account), page), loop).result(30)

    await asyncio.to_thread(check)
