"""Two servers over one database: what one has done, the other knows in its very next answer."""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from uuid import UUID

import grpc
import pytest
import requests
from luna.v6 import accounts_pb2, accounts_pb2_grpc
from pydantic import SecretStr

from server import settings
from storage.audit import PostgresAuditTrail
from storage.database import Database
from storage.embedded.postgres import EmbeddedPostgres
from tests.edge import relayed
from tests.robustness.client import Client, client, person
from tests.robustness.faults import pids, until
from tests.service import Account, Service, running

ROUNDS = 200


@pytest.fixture(scope="module")
def pair() -> Iterator[Service]:
    """A service with two servers."""
    with running(servers=2) as one:
        yield one


@pytest.fixture
def clients(pair: Service) -> Iterator[tuple[Client, Client]]:
    """A client of each server, of one fresh account."""
    account = pair.account()
    with ExitStack() as stack:
        first, second = (stack.enter_context(client(pair, account, server)) for server in (0, 1))
        yield first, second


def test_a_face_is_found_by_the_very_next_search_through_the_other_server(clients: tuple[Client, Client]) -> None:
    watched = clients[0].new_list()
    there: list[tuple[int, str]] = []
    gone: list[tuple[int, str]] = []
    source = random.Random(7)
    for number in range(ROUNDS):
        writer, reader = clients[number % 2], clients[1 - number % 2]
        whom = person(number)
        face_id = writer.enrol(whom)
        assert reader.search(whom, limit=1) == [face_id]
        assert reader.search(whom, watched, limit=1) != [face_id]
        writer.put(face_id, watched, into=True)
        assert reader.search(whom, watched, limit=1) == [face_id]
        if number % 3 == 1:
            reader.put(face_id, watched, into=False)
            assert face_id not in writer.search(whom, watched)
            assert writer.search(whom, limit=1) == [face_id]
        there.append((number, face_id))
        if number % 2 == 1:
            old = there.pop(source.randrange(len(there)))
            reader.forget(old[1])
            gone.append(old)
            assert old[1] not in writer.search(person(old[0]))
        for seed, deleted in source.sample(gone, min(2, len(gone))):
            assert deleted not in reader.search(person(seed))
    for one in clients:
        assert all(face_id not in one.search(person(seed)) for seed, face_id in gone[::10])
        assert all(one.search(person(seed), limit=1) == [face_id] for seed, face_id in there[::10])


def test_each_server_knows_a_client_by_the_address_that_envoy_saw(pair: Service) -> None:
    """Envoy comes from 127.0.0.1, and the client from another address of this machine."""
    account = pair.account()
    for _ in range(8):
        connection = http.client.HTTPConnection("127.0.0.1", pair.rest_port, source_address=("127.0.0.2", 0))
        authorization = {"Authorization": account.metadata[0][1], "Content-Type": "application/json"}
        connection.request("POST", "/6/lists", b"{}", authorization)
        assert connection.getresponse().status == 201
        connection.close()
    assert asyncio.run(_addresses(pair, account)) == ["127.0.0.2"] * 8


def test_each_server_knows_a_native_client_by_the_address_that_envoy_saw(pair: Service) -> None:
    account = pair.account()
    asyncio.run(_make_lists(pair.grpc_port, account, 8))
    assert asyncio.run(_addresses(pair, account)) == ["127.0.0.2"] * 8
    # who gets to a server's own port cannot say that it is somewhere else
    asyncio.run(_make_lists(pair.server_ports[0], account, 1))
    assert asyncio.run(_addresses(pair, account)) == ["127.0.0.2"] * 9


async def _make_lists(port: int, account: Account, count: int) -> None:
    """Make lists as a client of 127.0.0.2 that says that it is elsewhere."""
    metadata = (*account.metadata, ("luna-client-address", "192.0.2.1"), ("luna-edge-key", "x" * 43))
    async with relayed(port, "127.0.0.2") as near, grpc.aio.insecure_channel(f"127.0.0.1:{near}") as channel:
        for _ in range(count):
            await channel.unary_unary("/luna.v6.Lists/CreateList")(b"", metadata=metadata, timeout=10)


async def _addresses(service: Service, account: Account) -> list[str]:
    database = Database(SecretStr(EmbeddedPostgres(service.data).url), settings.Database(pool_size=1))
    try:
        entries = await PostgresAuditTrail(database).newest(UUID(account.account_id), 100)
    finally:
        await database.close()
    return [entry.address for entry in entries]


def test_searches_of_many_see_what_was_written_just_before_each(pair: Service) -> None:
    account = pair.account()

    def work(worker: int) -> int:
        with client(pair, account, worker % 2) as writer, client(pair, account, 1 - worker % 2) as reader:
            for number in range(15):
                whom = person(1_000_000 + 1000 * worker + number)
                face_id = writer.enrol(whom)
                assert reader.search(whom, limit=1) == [face_id]
                writer.forget(face_id)
                assert face_id not in reader.search(whom)
        return worker

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6))) == list(range(6))


def test_a_password_that_was_changed_through_one_server_is_refused_by_the_other_at_once(pair: Service) -> None:
    account = pair.account()
    with pair.channel(0) as one, pair.channel(1) as other:
        stubs = [accounts_pb2_grpc.AccountsStub(channel) for channel in (one, other)]
        for stub in stubs:
            stub.GetAccount(accounts_pb2.GetAccountRequest(), metadata=account.metadata, timeout=10)
        request = accounts_pb2.GetAccountRequest()
        change = accounts_pb2.UpdateAccountRequest(password="another one")
        stubs[0].UpdateAccount(change, metadata=account.metadata, timeout=10)
        refused = [_code(partial(stub.GetAccount, request, metadata=account.metadata, timeout=10)) for stub in stubs]
        assert refused == [grpc.StatusCode.UNAUTHENTICATED] * 2
    again = Account(account.account_id, account.login, "another one")
    for _ in range(4):
        assert requests.get(f"{pair.rest}/6/account", auth=account.auth, timeout=10).status_code == 401
        assert requests.get(f"{pair.rest}/6/account", auth=again.auth, timeout=10).status_code == 200


def test_rest_goes_on_while_one_server_is_killed_and_comes_back(pair: Service) -> None:
    account = pair.account()
    before = pair.pids("server")
    assert len(before) == 2
    statuses: list[int] = []
    with requests.Session() as session:
        session.auth = account.auth

        def ask() -> int:
            status = session.get(f"{pair.rest}/6/faces", timeout=10).status_code
            statuses.append(status)
            return status

        assert [ask() for _ in range(20)] == [200] * 20
        os.kill(before[0], signal.SIGKILL)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            ask()
        # a call that was under way in the killed server may fail; the next one goes to the other
        assert statuses.count(200) >= len(statuses) - 2, statuses
        until(lambda: len(pids(pair, "server")) == 2, 20)
        assert [ask() for _ in range(20)] == [200] * 20
    assert before[1] in pair.pids("server")
    with client(pair, account, 0) as one, client(pair, account, 1) as other:
        until(lambda: _answers(one) and _answers(other), 20)
        face_id = other.enrol(person(5))
        assert one.search(person(5), limit=1) == [face_id]


def test_grpc_goes_on_while_one_server_drains_or_is_killed(pair: Service) -> None:
    account = pair.account()
    for number in (signal.SIGTERM, signal.SIGKILL):
        before = pair.pids("server")
        assert len(before) == 2
        codes: list[grpc.StatusCode] = []
        end = time.monotonic() + 5
        over = threading.Event()

        def ask(end: float = end, codes: list[grpc.StatusCode] = codes) -> None:
            with pair.channel() as channel:
                stub = accounts_pb2_grpc.AccountsStub(channel)
                while time.monotonic() < end:
                    try:
                        stub.GetAccount(accounts_pb2.GetAccountRequest(), metadata=account.metadata, timeout=10)
                        codes.append(grpc.StatusCode.OK)
                    except grpc.RpcError as error:
                        codes.append(error.code())

        with ThreadPoolExecutor(2) as pool:
            asking = [pool.submit(ask) for _ in range(2)]
            over.wait(1)
            os.kill(before[0], number)
            for one in asking:
                one.result()
        failed = [code for code in codes if code is not grpc.StatusCode.OK]
        # a drain loses nothing; of a killed server the calls that it was about to answer are lost
        assert failed == [grpc.StatusCode.UNAVAILABLE] * len(failed)
        assert len(failed) <= (0 if number is signal.SIGTERM else 2)
        assert len(codes) > 100
        until(lambda: len(pids(pair, "server")) == 2, 20)
        with client(pair, account, 0) as one, client(pair, account, 1) as other:
            until(lambda one=one, other=other: _answers(one) and _answers(other), 20)  # type: ignore[misc]


def _code(call: Callable[[], object]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    code: grpc.StatusCode = caught.value.code()
    return code


def _answers(one: Client) -> bool:
    try:
        one.lists()
    except grpc.RpcError:
        return False
    return True
