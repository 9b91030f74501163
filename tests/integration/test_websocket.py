"""/6/ws through a real Envoy: the handshake, the messages, and how a WebSocket ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.domain.attributes import Gender
from server.domain.events import Candidate, EventMatch, Facts, GeoPosition, Location, MatchedAttribute
from server.errors import MalformedRequest
from storage.database import Database
from tests.edge import AUTHORIZATION, Edge, envoy
from tests.following import Follower, a_record, commit, follower


@pytest.fixture
async def pair(database: Database, redis_client: Redis) -> AsyncIterator[tuple[Follower, Follower]]:
    """Two processes."""
    async with follower(database, redis_client) as one, follower(database, redis_client) as other:
        yield one, other


@pytest.fixture
async def edge(pair: tuple[Follower, Follower]) -> AsyncIterator[Edge]:
    """An Envoy before both."""
    async with envoy([one.port for one in pair], sockets=[one.socket for one in pair]) as running:
        yield running


def dial(edge: Edge, query: str = "", headers: dict[str, str] | None = AUTHORIZATION, **options: Any) -> connect:
    """A WebSocket through Envoy."""
    return connect(f"ws://127.0.0.1:{edge.port}/6/ws{query}", additional_headers=headers, proxy=None, **options)


async def heard(socket: ClientConnection) -> dict[str, Any]:
    """The next message."""
    async with asyncio.timeout(10):
        text = await socket.recv()
    assert isinstance(text, str)
    value: dict[str, Any] = json.loads(text)
    return value


async def test_a_message_has_exactly_the_keys_of_luna(edge: Edge, pair: tuple[Follower, Follower]) -> None:
    async with dial(edge) as socket:
        record = a_record()
        await commit(pair[0].database, [record])
        message = await heard(socket)
    assert set(message) == {"event", "handler_id", "event-create-time", "event-end-time", "Luna-Request-id"}
    assert message["event"]["event_id"] == str(record.event_id)
    assert message["handler_id"] == str(record.handler_id)
    assert message["Luna-Request-id"] == "id"
    assert message["event-create-time"].endswith("Z")


async def test_what_either_server_makes_comes_through_every_websocket(
    edge: Edge, pair: tuple[Follower, Follower]
) -> None:
    async with dial(edge) as first, dial(edge) as second, dial(edge) as third:
        made = [*await pair[0].tell(2), *await pair[1].tell(2)]
        for socket in (first, second, third):
            assert sorted([(await heard(socket))["event"]["event_id"] for _ in made]) == sorted(made)


async def test_a_query_selects(edge: Edge, pair: tuple[Follower, Follower]) -> None:
    hit = a_record(
        source="door",
        tags=("a", "b"),
        facts=Facts(age=30, gender=Gender.FEMALE),
        location=Location(city="Moscow", geo_position=GeoPosition(36.61, 55.75)),
        matches=(EventMatch("wanted", (Candidate(0.9, attribute=MatchedAttribute(uuid4())),)),),
    )
    miss = a_record(source="window")
    queries = (
        "?sources=door,roof",
        "?tags=a,b",
        "?age__gte=30&age__lt=31",
        "?gender=0",
        "?matching_candidates_labels=unknown,wanted",
        "?object_similarity__gte=0.5",
        "?geo_position=origin_longitude,36.616,origin_latitude,55.752",
        "?geo_position=origin_longitude,36,origin_latitude,55,longitude_delta,1,latitude_delta,1",
        "?cities=Moscow,New%20York",
        f"?handler_ids={hit.handler_id}",
        "?emotions=1,null&cities=Moscow",
        "?nobody_knows=1&sources=door",
    )
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(dial(edge, query)) for query in queries]
        unseen = await stack.enter_async_context(dial(edge, "?gender=null&sources=null,window"))
        await commit(pair[0].database, [miss, hit])
        for query, socket in zip(queries, sockets, strict=True):
            assert (await heard(socket))["event"]["event_id"] == str(hit.event_id), query
        assert (await heard(unseen))["event"]["event_id"] == str(miss.event_id)


@pytest.mark.parametrize(
    "query",
    [
        "?age__gte=x",
        "?handler_ids=1",
        "?liveness=7",
        "?gender=male",
        "?geo_position=origin_longitude,36.6",
        "?geo_position=origin_longitude,200,origin_latitude,5",
        "?geo_position=origin_longitude",
        "?geo_position=1,2",
        "?apparent_age__lt=101",
        "?cursor=7",
        f"?sources={'x' * 9000}",
    ],
)
async def test_a_wrong_query_is_refused_with_the_error_of_luna(edge: Edge, query: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with dial(edge, query):
            pass
    response = caught.value.response
    assert response.status_code == 400
    assert response.body is not None
    body = json.loads(response.body)
    assert set(body) == {"error_code", "desc", "detail", "link"}
    assert response.headers["content-type"] == "application/json"
    assert response.headers["luna-request-id"]


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Basic dTpx"}, {"authorization": "Bearer x"}, {"luna-account-id": str(uuid4())}],
)
async def test_a_handshake_without_valid_credentials_is_refused(edge: Edge, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with dial(edge, headers=headers):
            pass
    response = caught.value.response
    assert response.status_code in {401, 403}
    assert response.body is not None
    assert json.loads(response.body)["error_code"] > 11000


async def test_a_handshake_is_answered_with_the_id_of_its_request(edge: Edge) -> None:
    own = "1536751345,8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a"
    async with dial(edge, headers={**AUTHORIZATION, "Luna-Request-Id": own}) as socket:
        assert socket.response is not None
        assert socket.response.headers["luna-request-id"] == own
    async with dial(edge) as socket:
        assert socket.response is not None
        assert socket.response.headers["luna-request-id"]


async def test_what_is_no_handshake_is_answered_in_the_shape_of_rest(edge: Edge) -> None:
    plain = await edge.ask("GET", "/6/ws")
    assert (plain.status, plain.json["error_code"]) == (400, MalformedRequest.code)
    posted = await edge.ask("POST", "/6/ws", b"")
    assert posted.status == 405
    assert posted.headers["allow"] == "GET, OPTIONS"
    options = await edge.ask("OPTIONS", "/6/ws", authorized=False)
    assert (options.status, options.json) == (200, {})
    assert options.headers["allow"] == "GET, OPTIONS"


async def test_what_a_client_sends_is_not_looked_at_unless_it_is_large(
    edge: Edge, pair: tuple[Follower, Follower]
) -> None:
    async with dial(edge) as socket:
        for _ in range(50):
            await socket.send("anything")
            await socket.send(b"\xff\x00")
        await pair[0].tell(1)
        assert await heard(socket)
        await socket.send("x" * 5000)
        with pytest.raises(ConnectionClosed):
            await heard(socket)
        assert socket.close_code == 1009


async def test_a_server_that_stops_sends_its_clients_to_another(edge: Edge, pair: tuple[Follower, Follower]) -> None:
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(dial(edge)) for _ in range(4)]
        assert all(one.streams.count for one in pair)
        pair[0].streams.stop()
        ended = 0
        await pair[1].tell(1)
        for socket in sockets:
            try:
                await heard(socket)
            except ConnectionClosed:
                assert socket.close_code == 1012
                ended += 1
        assert 0 < ended < 4
        for _ in range(8):
            again = await stack.enter_async_context(dial(edge))
            made = await pair[1].tell(1)
            assert (await heard(again))["event"]["event_id"] == made[0]


async def test_a_gap_closes_a_websocket_and_says_so(
    edge: Edge, pair: tuple[Follower, Follower], redis_client: Redis
) -> None:
    async with dial(edge) as socket:
        await pair[0].tell(1)
        await heard(socket)
        await redis_client.flushdb()
        await pair[0].tell(1)
        with pytest.raises(ConnectionClosed):
            await heard(socket)
        assert socket.close_code == 4000


async def test_a_quiet_websocket_stays_longer_than_a_request_may_take(
    pair: tuple[Follower, Follower],
) -> None:
    ports, sockets = [one.port for one in pair], [one.socket for one in pair]
    async with envoy(ports, timeout_seconds=1, sockets=sockets) as edge, dial(edge) as socket:
        await asyncio.sleep(3)
        made = await pair[0].tell(1)
        assert (await heard(socket))["event"]["event_id"] == made[0]


async def test_a_client_that_answers_no_ping_is_given_up_and_its_place_is_free(
    database: Database, redis_client: Redis
) -> None:
    async with follower(database, redis_client, ping_seconds=0.3) as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.socket)
        lines = (
            "GET /6/ws HTTP/1.1",
            "Host: x",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            f"Authorization: {AUTHORIZATION['authorization']}",
        )
        writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head
        assert one.streams.count == 1
        async with asyncio.timeout(5):
            ping = await reader.readexactly(2)
            assert ping[0] == 0x89
            await reader.read()
            while one.streams.count:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.02)
        writer.close()


async def test_a_websocket_too_many_is_refused_with_429(database: Database, redis_client: Redis) -> None:
    async with (
        follower(database, redis_client, most=1) as one,
        envoy([one.port], sockets=[one.socket]) as edge,
        dial(edge),
    ):
        with pytest.raises(InvalidStatus) as caught:
            async with dial(edge):
                pass
        response = caught.value.response
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) > 0
