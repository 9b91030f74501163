"""Writers and readers that go on through every fault, and know what they were promised."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import asyncpg
import grpc
import requests

from storage.embedded.postgres import EmbeddedPostgres
from tests.robustness.client import Client, client, person
from tests.service import Account, Service

STRANGERS = 10**9
"""Seeds of people whom the load itself never writes."""


@dataclass
class Promises:
    """What the service has acknowledged. What it did not answer may or may not have happened, and is left out."""

    faces: dict[str, int] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    lists: set[str] = field(default_factory=set)
    members: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, int] = field(default_factory=dict)
    lies: list[str] = field(default_factory=list)
    failures: int = 0
    searches: int = 0


class Load:
    """One account that writes through gRPC and REST and reads what it has written."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._account: Account = service.account()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._seed = 0
        self._tries = 0
        self.promises = Promises()

    @contextmanager
    def running(self) -> Iterator[Promises]:
        """Write and read for the length of the block."""
        self._over.clear()
        threads = [threading.Thread(target=self._repeat, args=(one,)) for one in (self._write, self._read)]
        threads.append(threading.Thread(target=self._rest))
        for thread in threads:
            thread.start()
        try:
            yield self.promises
        finally:
            self._over.set()
            for thread in threads:
                thread.join(60)

    def verify(self) -> None:
        """Hold the service to all that it has acknowledged, and its audit trail to all that is there."""
        assert asyncio.run(unseen(self._service)) == []
        with client(self._service, self._account) as one:
            promised = self.promises
            assert promised.lies == []
            there = one.faces()
            assert promised.faces.keys() <= there.keys()
            assert not promised.deleted.keys() & there.keys()
            assert promised.lists <= one.lists()
            for face_id, list_id in promised.members.items():
                assert face_id not in promised.faces or list_id in there[face_id]
            for face_id, seed in sample(promised.faces, 40):
                assert one.search(person(seed), limit=1) == [face_id]
            for face_id, seed in sample(promised.deleted, 40):
                assert face_id not in one.search(person(seed), limit=5)
            for attribute_id, seed in promised.attributes.items():
                assert one.remembered(attribute_id) == person(seed)

    def works(self) -> bool:
        """True where the whole way works: a face is written, found and forgotten, and REST is healthy."""
        try:
            with client(self._service, self._account) as one:
                # someone new each time: a face whose creation was not acknowledged may be there all the same
                self._tries += 1
                face_id = one.enrol(person(STRANGERS + self._tries))
                found = one.search(person(STRANGERS + self._tries), limit=1) == [face_id]
                one.forget(face_id)
            healthy = requests.get(f"{self._service.rest}/6/healthcheck", timeout=5).status_code == 200
        except (grpc.RpcError, requests.RequestException):
            return False
        return found and healthy

    def _repeat(self, step: Callable[[Client], None]) -> None:
        with client(self._service, self._account) as one:
            while not self._over.is_set():
                try:
                    step(one)
                except grpc.RpcError:
                    self.promises.failures += 1
                    time.sleep(0.05)

    def _write(self, one: Client) -> None:
        promised = self.promises
        list_id = one.new_list()
        promised.lists.add(list_id)
        for number in range(4):
            self._seed += 1
            face_id = one.enrol(person(self._seed), lists=[list_id] if number else [])
            with self._lock:
                promised.faces[face_id] = self._seed
            if number:
                promised.members[face_id] = list_id
            else:
                one.put(face_id, list_id, into=True)
                promised.members[face_id] = list_id
        attribute_id = one.remember(person(self._seed))
        promised.attributes[attribute_id] = self._seed
        with self._lock:
            face_id, seed = random.choice(list(promised.faces.items()))
            # from here on it is not known whether the face is there
            del promised.faces[face_id]
        one.forget(face_id)
        with self._lock:
            promised.deleted[face_id] = seed

    def _read(self, one: Client) -> None:
        promised = self.promises
        with self._lock:
            there, gone = sample(promised.faces, 1), sample(promised.deleted, 1)
        for face_id, seed in there:
            found = one.search(person(seed), limit=1)
            with self._lock:
                if found != [face_id] and face_id in promised.faces:
                    promised.lies.append(f"{face_id} was not found")
        for face_id, seed in gone:
            if face_id in one.search(person(seed), limit=5):
                promised.lies.append(f"{face_id} was found, and had been deleted")
        promised.searches += len(there) + len(gone)
        time.sleep(0.002)

    def _rest(self) -> None:
        with requests.Session() as session:
            session.auth = self._account.auth
            while not self._over.is_set():
                try:
                    answer = session.post(f"{self._service.rest}/6/lists", json={"user_data": "rest"}, timeout=10)
                except requests.RequestException:
                    self.promises.failures += 1
                else:
                    if answer.status_code == 201:
                        self.promises.lists.add(answer.json()["list_id"])
                    else:
                        self.promises.failures += 1
                time.sleep(0.05)


async def unseen(service: Service) -> list[tuple[str, str]]:
    """Faces and lists that are there, or have been deleted, without an entry of the audit trail that tells of it."""
    made = """
        SELECT '{0}', {0}_id::text FROM {0}s WHERE NOT EXISTS (
            SELECT FROM audit WHERE method LIKE '%.Create{1}' AND objects @> ARRAY[{0}_id])
    """
    deleted = """
        SELECT 'deleted face', made.objects[cardinality(made.objects)]::text FROM audit AS made
        WHERE made.method LIKE '%.CreateFace' AND NOT EXISTS (
            SELECT FROM faces WHERE face_id = made.objects[cardinality(made.objects)]
        ) AND NOT EXISTS (
            SELECT FROM audit AS later WHERE later.method LIKE '%.DeleteFace%'
            AND later.objects @> ARRAY[made.objects[cardinality(made.objects)]])
    """
    connection = await asyncpg.connect(EmbeddedPostgres(service.data).url)
    try:
        await connection.execute("CREATE INDEX IF NOT EXISTS test_audit_objects ON audit USING gin (objects)")
        statements = (made.format("face", "Face"), made.format("list", "List"), deleted)
        return [(row[0], row[1]) for one in statements for row in await connection.fetch(one)]
    finally:
        await connection.close()


def sample(known: dict[str, int], count: int) -> list[tuple[str, int]]:
    """Some of the known."""
    return random.sample(list(known.items()), min(count, len(known)))
