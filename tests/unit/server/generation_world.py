"""Everything that generating events needs, in memory: pictures by script, a store that can fail, known people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from domain_stores import (
    NOW,
    MemoryAttributes,
    MemoryFaces,
    MemorySamples,
    SlowComparer,
    SlowIndex,
    descriptor,
)

from server.domain.access import Principal
from server.domain.accounts import AccountType
from server.domain.events import Batch
from server.domain.generation.generation import Generation
from server.domain.generation.keeping import Keeping
from server.domain.generation.made import Generated, MadeEvent
from server.domain.generation.request import EventData, EventSource, GenerationWish
from server.domain.images import Images, ImageSource, ImageType
from server.domain.matching import Matching
from server.domain.policies import Policies
from server.domain.samples import Sample, SampleType
from server.domain.vision import DetectedFace, ExtractedDescriptor
from server.errors import DownloadFailed, LunaError
from tests.scripted_engine import ScriptedEngine, Seen, face

ONE, OTHER = UUID(int=100), UUID(int=200)
USER = Principal(ONE, AccountType.USER)
HANDLER = UUID(int=7)


def known_face(number: int, *head: float, score: float = 0.75, **changes: Any) -> DetectedFace:
    """A face whose descriptor begins with some numbers, so that it can be told apart from others."""
    described = ExtractedDescriptor(1001, descriptor(*head).data, score)
    return replace(face(number), descriptor=described, **changes)


@dataclass
class MemoryEvents:
    """Keeps batches as they come; `failure` is what happens instead."""

    batches: list[Batch] = field(default_factory=list)
    failure: LunaError | None = None

    async def keep(self, batch: Batch) -> None:
        if self.failure is not None:
            raise self.failure
        self.batches.append(batch)


@dataclass
class Web:
    """Pictures by their addresses; `asked` are those that were wanted."""

    pictures: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self.pictures:
            raise DownloadFailed(url=url, message="unknown")
        return self.pictures[url]


class World:
    """What there is to generate events with.

    Args:
        seen: who is in each picture, by its name.
    """

    def __init__(self, seen: Mapping[str, Seen], **engine: Any) -> None:
        self.engine = ScriptedEngine({name.encode(): persons for name, persons in seen.items()}, **engine)
        self.samples = MemorySamples()
        self.faces = MemoryFaces()
        self.attributes = MemoryAttributes()
        self.index = SlowIndex(self.faces)
        self.store = MemoryEvents()
        self.web = Web()
        self.images = Images(self.engine, self.samples, self.web)
        self.matching = Matching(
            self.index,
            SlowComparer(),
            self.faces,
            self.attributes,
            self.store,  # type: ignore[arg-type] # the rest of the store is not used
            None,
            descriptor_version=1001,
        )
        self.keeping = Keeping(self.store)  # type: ignore[arg-type] # the rest of the store is not used
        self.generation = Generation(self.images, self.matching, self.keeping)
        self.told: list[MadeEvent] = []

    def stored_sample(self, content: str, kind: SampleType = SampleType.FACES, account_id: UUID = ONE) -> UUID:
        """A sample that is there already."""
        sample_id = UUID(int=9000 + len(self.samples.rows))
        data = content.encode()
        self.samples.rows[sample_id] = (Sample(sample_id, account_id, kind, len(data), b"", NOW), data)
        return sample_id

    async def generate(
        self,
        policies: Policies,
        *sources: EventSource | str,
        data: EventData | None = None,
        principal: Principal = USER,
        **wish: Any,
    ) -> Generated:
        """The events of photos by their names, or of other sources."""
        given = tuple(photo(one) if isinstance(one, str) else one for one in sources)
        wanted = GenerationWish(given, data or EventData(), **wish)
        return await self.generation.generate(principal, HANDLER, policies, wanted, self._notice)

    @property
    def batch(self) -> Batch:
        """What was kept, in its one step."""
        (batch,) = self.store.batches
        return batch

    def _notice(self, made: MadeEvent) -> bytes:
        self.told.append(made)
        return made.record.event_id.bytes


def photo(name: str, **given: Any) -> EventSource:
    """A photo that comes as bytes."""
    boxes = {key: given.pop(key) for key in ("box", "body_box") if key in given}
    return EventSource(name, ImageSource(name, data=name.encode(), **boxes), **given)


def sample(name: str, kind: ImageType = ImageType.FACE_SAMPLE, **given: Any) -> EventSource:
    """A sample that comes as bytes."""
    return replace(photo(name, **given), kind=kind)


def kept_sample(sample_id: UUID, kind: ImageType = ImageType.FACE_SAMPLE, **boxes: Any) -> EventSource:
    """A sample that is stored."""
    name = str(sample_id)
    return EventSource(name, ImageSource(name, sample_id=sample_id, **boxes), kind)


def numbers(generated: Generated) -> list[list[tuple[int | None, int | None]]]:
    """Who each event shows: the numbers of faces and bodies in each of its pictures."""
    return [
        [
            (
                None if one.face is None else int(one.face.face.rect.x),
                None if one.body is None else int(one.body.body.rect.x),
            )
            for one in event.detections
        ]
        for event in generated.events
    ]
