"""A thousand events while servers are killed: none that was acknowledged is lost, none is half stored, all are told."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest

from tests.robustness.test_followers import follow
from tests.service import Account, Service, running

EVENTS, CALLERS = 1000, 8
KILLS = (200, 450, 700)
VERSION = 1001
SDK = {"content-type": "application/x-sdk-descriptor"}


@dataclass
class Run:
    """What was acknowledged: ids of events, and of the faces that they made."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    killed: int = 0


def descriptor(chance: np.random.Generator) -> bytes:
    """A random descriptor of the default pack's version, as an SDK descriptor."""
    vector = chance.normal(size=128)
    half = (vector / np.linalg.norm(vector)).astype("<f2").tobytes()
    return b"dp\x00\x00" + struct.pack("<I", VERSION) + half


async def call(
    service: Service, client: httpx.AsyncClient, run: Run, handler: str, chance: np.random.Generator
) -> None:
    """Make events one after the other, and kill a server when it is time to."""
    while len(run.acknowledged) < EVENTS:
        if run.killed < len(KILLS) and len(run.acknowledged) >= KILLS[run.killed]:
            pids = service.pids("server")
            run.killed += 1
            if pids:
                os.kill(pids[run.killed % len(pids)], signal.SIGKILL)
        with suppress(httpx.TransportError):
            answer = await client.post(f"/6/handlers/{handler}/events", content=descriptor(chance), headers=SDK)
            if answer.status_code == 201:
                (event,) = answer.json()["events"]
                run.acknowledged[event["event_id"]] = event["face"]["face_id"]
                continue
            assert answer.status_code in {429, 499, 502, 503, 504}, answer.text
        await asyncio.sleep(0.1)


async def everything(client: httpx.AsyncClient, path: str, name: str | None) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    while True:
        answer = await client.get(path, params={"page": len(found) // 1000 + 1, "page_size": 1000})
        assert answer.status_code == 200, answer.text
        page = answer.json() if name is None else answer.json()[name]
        found += page
        if len(page) < 1000:
            return found


async def scenario(service: Service, account: Account) -> None:
    run, began = Run(), asyncio.Event()
    told: dict[str, int] = {}
    follower = asyncio.create_task(follow(service, account, 0, told, began))
    async with httpx.AsyncClient(base_url=service.rest, auth=account.auth, timeout=60) as client:
        list_id = (await client.post("/6/lists")).json()["list_id"]
        policies = {
            "storage_policy": {
                "face_policy": {"store_face": 1, "link_to_lists_policy": [{"list_id": list_id}]},
            },
        }
        made = await client.post("/6/handlers", json={"description": "faults", "policies": policies})
        assert made.status_code == 201, made.text
        await asyncio.wait_for(began.wait(), 60)
        chances = [np.random.default_rng(seed) for seed in range(CALLERS)]
        await asyncio.gather(*(call(service, client, run, made.json()["handler_id"], one) for one in chances))
        await asyncio.to_thread(service.wait)

        events = {one["event_id"]: one for one in await everything(client, "/6/events", "events")}
        faces = {one["face_id"]: one for one in await everything(client, "/6/faces", "faces")}
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                while set(events) - set(told):  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.1)
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)

    assert run.killed == len(KILLS)
    # nothing that was acknowledged is lost
    assert set(run.acknowledged) <= set(events)
    assert {events[one]["face_id"] for one in run.acknowledged} == set(run.acknowledged.values())
    # nothing is half stored, acknowledged or not: each event has its face, each face its event and its list
    assert {one["face_id"] for one in events.values()} == set(faces)
    assert {one["event_id"] for one in faces.values()} == set(events)
    assert all(one["lists"] == [list_id] for one in faces.values())
    assert all(one["attach_result"] == [list_id] for one in events.values())
    # a subscriber who went on from its cursor has heard of every one, and of no other
    assert set(told) == set(events)


@pytest.mark.timeout(300)
def test_events_survive_servers_that_are_killed_whole_or_not_at_all() -> None:
    with running(servers=2) as service:
        asyncio.run(scenario(service, service.account()))
