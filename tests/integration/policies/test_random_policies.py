"""Thousands of generated policies and pictures: what is answered and stored is what the reference document says."""

from __future__ import annotations

import base64
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from luna.notices.v1 import notices_pb2
from luna.v6 import (
    accounts_pb2,
    accounts_pb2_grpc,
    attributes_pb2,
    events_pb2,
    events_pb2_grpc,
    faces_pb2,
    faces_pb2_grpc,
    handlers_pb2,
    handlers_pb2_grpc,
    images_pb2,
    lists_pb2,
    lists_pb2_grpc,
    policies_pb2,
)
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import func, select

import server.application
from gateway.binder import Binder
from gateway.render import Renderer
from server import settings
from server.domain.attributes import Ethnicity
from server.domain.checks import CheckName, FaceQuality
from server.domain.vision import (
    BasicAttributesEstimation,
    DetectedFace,
    DetectedPerson,
    ExtractedDescriptor,
    HeadPose,
    Liveness,
    Mask,
    MaskState,
    Rect,
)
from server.errors import NotAnImage
from storage.database import Database
from storage.notices import KEY
from storage.schema import events, faces, media, samples
from tests.integration.policies.generated import Generator, unit
from tests.integration.policies.reference import MASKS, Answer, Expected, FaceSeen, Known, Person, Vector, answer
from tests.ports import free_ports
from tests.scripted_engine import ScriptedEngine, body, face, shares

SEEDS = (6196, 12022, 34000)
REQUESTS = 700
"""For each seed."""
GALLERY, LISTS = 40, 3
VERSION = 1001
NEARLY = 2e-3
"""Similarities agree to this: vectors are kept as half floats."""

_binder = Binder(binary=False)
_renderer = Renderer(binary=False)


def raw(vector: Vector) -> bytes:
    """A vector as it is kept."""
    return vector.astype("<f2").tobytes()


def seen(one: FaceSeen) -> DetectedFace:
    """A face as an engine tells of it."""
    return replace(
        face(
            min(one.number, 255),
            HeadPose(yaw=one.angles["yaw"], pitch=one.angles["pitch"], roll=one.angles["roll"]),
            mask=MaskState(MASKS[one.mask]),
            liveness=Liveness(one.liveness_score, one.liveness_quality),
        ),
        mask=Mask(shares(MaskState(MASKS[one.mask]), MaskState)),
        face_quality=FaceQuality(
            values={CheckName(name): value for name, value in one.checks.items()},
            unavailable={CheckName.GAZE_YAW: "a pack"},
        ),
        basic_attributes=BasicAttributesEstimation(
            one.age, float(one.gender), shares(Ethnicity(one.ethnic_group), Ethnicity)
        ),
        descriptor=ExtractedDescriptor(VERSION, raw(one.vector), one.score),
    )


class Stage:
    """A server with an engine that sees what it is told to see, and an account with a gallery."""

    def __init__(
        self, channel: grpc.aio.Channel, engine: ScriptedEngine, metadata: tuple[tuple[str, str], ...]
    ) -> None:
        self._events = events_pb2_grpc.EventsStub(channel)
        self._channel = channel
        self._seen = engine.seen
        self.metadata = metadata
        self.handler_id = ""
        self.gallery: list[Known] = []
        self.lists: list[str] = []
        self._pictures = 0

    async def furnish(self, chance: Any) -> None:
        """Make lists, faces and a dynamic handler."""
        lists, people = lists_pb2_grpc.ListsStub(self._channel), faces_pb2_grpc.FacesStub(self._channel)
        for _ in range(LISTS):
            made = await lists.CreateList(lists_pb2.CreateListRequest(), metadata=self.metadata)
            self.lists.append(made.list_id)
        for number in range(GALLERY):
            vector = unit(chance)
            list_id = chance.choice([*self.lists, None])
            external_id = f"person {number % 30}"
            request = faces_pb2.CreateFaceRequest(
                attribute=faces_pb2.FaceAttributeInput(
                    face_descriptors=[attributes_pb2.DescriptorInput(descriptor=raw(vector), version=VERSION)]
                ),
                external_id=external_id,
                lists=[list_id] if list_id else [],
            )
            made_face = await people.CreateFace(request, metadata=self.metadata)
            lists_of = frozenset([list_id] if list_id else [])
            self.gallery.append(Known(made_face.face_id, external_id, lists_of, vector))
        dynamic = handlers_pb2.CreateHandlerRequest(handler_type=handlers_pb2.HANDLER_TYPE_DYNAMIC)
        made_handler = await handlers_pb2_grpc.HandlersStub(self._channel).CreateHandler(
            dynamic, metadata=self.metadata
        )
        self.handler_id = made_handler.handler_id

    def show(self, people: Sequence[Person] | None) -> bytes:
        """A picture of some people, or of nothing that could be decoded."""
        self._pictures += 1
        picture = f"picture {self._pictures}".encode()
        assert isinstance(self._seen, dict)
        self._seen[picture] = (
            NotAnImage(message="it is none")
            if people is None
            else [
                DetectedPerson(
                    None if one.face is None else _placed(seen(one.face), one.face.number),
                    None if one.body is None else replace(body(1), rect=Rect(one.body, 3, 70, 140)),
                )
                for one in people
            ]
        )
        return picture

    async def generate(self, policies: dict[str, Any], pictures: Sequence[bytes], tags: Sequence[str]) -> Any:
        """The answer as REST has it."""
        message = policies_pb2.Policies()
        _binder.filler(policies_pb2.Policies.DESCRIPTOR)(message, policies, "policies")
        request = events_pb2.GenerateEventsRequest(
            handler_id=self.handler_id,
            sources=[images_pb2.Source(filename=str(n), data=one) for n, one in enumerate(pictures)],
            policies=message,
            tags=tags,
        )
        response = await self._events.GenerateEvents(request, metadata=self.metadata, timeout=60)
        return _renderer.render(response)

    async def event(self, event_id: str) -> Any:
        """A stored event as REST has it."""
        found = await self._events.GetEvent(
            events_pb2.GetEventRequest(event_id=event_id), metadata=self.metadata, timeout=60
        )
        return _renderer.render(found)


def _placed(detected: DetectedFace, number: int) -> DetectedFace:
    return replace(detected, rect=Rect(number, 2, 50, 60))


@asynccontextmanager
async def stage(
    url: SecretStr, redis: SecretStr, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    engine = ScriptedEngine({})

    @asynccontextmanager
    async def scripted(*_: object) -> AsyncIterator[ScriptedEngine]:
        yield engine

    monkeypatch.setattr(server.application, "engine_of", scripted)
    chosen = settings.Settings(
        data=folder,
        database=settings.Database(url=url),
        redis=settings.Redis(url=redis),
        grpc=settings.Grpc(port=free_ports(1)[0]),
    )
    async with server.application.application(chosen) as running:
        await running.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            login, password = f"policies-{uuid.uuid4()}@example.com", uuid.uuid4().hex
            request = accounts_pb2.CreateAccountRequest(login=login, password=password)
            request.account_type = accounts_pb2.ACCOUNT_TYPE_USER
            await accounts_pb2_grpc.AccountsStub(channel).CreateAccount(request)
            basic = base64.b64encode(f"{login}:{password}".encode()).decode()
            yield Stage(channel, engine, (("authorization", f"Basic {basic}"),))
        await running.drain(5)


def compare(expected: Answer, got: Any) -> None:
    """Hold an answer to what must be in it."""
    assert [one["status"] for one in got["images"]] == [0 if failed else 1 for failed in expected.failed]
    filtered = [
        (int(one["filename"]), one["detection"]["rect"]["x"], {reason["name"] for reason in one["filter_reasons"]})
        for one in got["filtered_detections"]["face_detections"]
    ]
    assert filtered == expected.filtered
    assert len(got["events"]) == len(expected.events)
    for wanted, event in zip(expected.events, got["events"], strict=True):
        compare_event(wanted, event)


def compare_event(wanted: Expected, event: Any) -> None:
    (detection,) = event["detections"]
    found, there = detection["samples"]["face"], detection["samples"]["body"]
    assert (found and found["detection"]["rect"]["x"]) == wanted.face
    assert (there and there["detection"]["rect"]["x"]) == wanted.body
    assert event["tags"] == wanted.tags
    assert [one["label"] for one in event["matches"]] == [label for label, _ in wanted.matches]
    for match, (_, near) in zip(event["matches"], wanted.matches, strict=True):
        assert [one["face"]["face_id"] for one in match["candidates"]] == [face_id for face_id, _ in near]
        for one, (_, similarity) in zip(match["candidates"], near, strict=True):
            assert one["similarity"] == pytest.approx(similarity, abs=NEARLY)
    if found is not None:
        assert set(found["detection"]["attributes"]) == wanted.shown
        assert (found["sample_id"] is not None) == wanted.face_sample
    if there is not None:
        assert (there["sample_id"] is not None) == wanted.body_sample
    assert (detection["image_origin"] is not None) == wanted.image
    attributes = event["face_attributes"]
    assert (attributes and attributes["score"]) == pytest.approx(wanted.score)
    assert bool(attributes and attributes["attribute_id"]) == wanted.attribute
    made = event["face"]
    assert (made is not None) == wanted.made_face
    if made is not None:
        assert sorted(made["lists"]) == sorted(wanted.lists)
        assert bool(made["avatar"]) == wanted.avatar
        assert made["event_id"] == event["event_id"]
    assert (event["url"] is not None) == wanted.stored


def made_of(wanted: Expected, event: Any, sources: Sequence[Sequence[Person]]) -> Known:
    """The face that an event has made, which later requests will find."""
    faces_seen = {person.face.number: person.face for people in sources for person in people if person.face}
    assert wanted.face is not None
    return Known(event["face"]["face_id"], "", frozenset(event["face"]["lists"]), faces_seen[wanted.face].vector)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.timeout(240)
async def test_answers_and_stored_state_are_those_of_the_reference(
    seed: int,
    database_url: SecretStr,
    database: Database,
    redis_url: SecretStr,
    redis_client: Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await redis_client.flushdb()
    stored: Counter[str] = Counter()
    told: set[str] = set()
    async with stage(database_url, redis_url, tmp_path, monkeypatch) as one:
        generator = Generator(seed, one.gallery, one.lists)
        await one.furnish(generator.chance)
        for number in range(REQUESTS):
            policies = generator.policies()
            sources = [generator.people() for _ in range(generator.chance.choice((1, 1, 1, 2, 3)))]
            shown: list[list[Person] | None] = [*sources]
            if len(sources) > 1 and generator.chance.random() < 0.2:
                shown[0] = None
            tags = generator.chance.sample(("watched", "door 1"), generator.chance.randint(0, 2))
            expected = answer(policies, shown, tags, one.gallery)
            pictures = [one.show(people) for people in shown]
            if len(shown) == 1 and expected.failed[0]:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await one.generate(policies, pictures, tags)
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                continue
            got = await one.generate(policies, pictures, tags)
            try:
                compare(expected, got)
            except AssertionError:
                print(f"request {number} of seed {seed}", policies, shown, got, sep="\n\n")
                raise
            for wanted, event in zip(expected.events, got["events"], strict=True):
                stored["samples"] += wanted.face_sample + wanted.body_sample
                stored["faces"] += wanted.made_face
                stored["events"] += wanted.stored
                stored["images"] += wanted.image
                if wanted.made_face and wanted.score is not None:
                    one.gallery.append(made_of(wanted, event, sources))
                if wanted.told:
                    told.add(event["event_id"])
                if wanted.stored and number % 5 == 0:
                    kept = await one.event(event["event_id"])
                    assert {name: kept[name] for name in wanted.facts} == wanted.facts
                    assert kept["tags"] == wanted.tags
                    assert [match["label"] for match in kept["match_result"]] == [label for label, _ in wanted.matches]
        counts = {
            name: (await database.fetch(select(func.count()).select_from(table)))[0][0]
            for name, table in (("samples", samples), ("faces", faces), ("events", events))
        }
        assert counts["samples"] == stored["samples"]
        assert counts["faces"] == stored["faces"] + GALLERY
        assert counts["events"] == stored["events"]
        # several events of one picture share the image that is kept of it
        kept_images = (await database.fetch(select(func.count()).select_from(media)))[0][0]
        assert 0 < kept_images <= stored["images"]
    entries: Any = await redis_client.xrange(KEY)
    notices = [notices_pb2.Notice.FromString(fields[b"n"]) for _, fields in entries if fields[b"n"]]
    assert {notice.told.event.event_id for notice in notices} == told
