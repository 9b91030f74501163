"""Knowing the objects of a kind: they are listed, then watched from there, and listed again where that breaks."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from .programs import Json
from .refusals import ClusterError

if TYPE_CHECKING:
    from .cluster import Cluster

RETRY_SECONDS = 5.0
LEAST_SECONDS = 1.0
"""Between two requests, so that a server that ends each watch at once is not asked all the time."""
GONE = 410
"""The version that a watch would go on from is too old."""

log = logging.getLogger(__name__)


class Follower(Protocol):
    """Who is told."""

    def all(self, kind: str, objects: list[Json]) -> None:
        """These are all objects of the kind."""
        ...

    def one(self, kind: str, live: Json, *, gone: bool) -> None:
        """An object was made or has changed; `gone`, it was deleted."""
        ...


async def follow(cluster: Cluster, kind: str, follower: Follower) -> None:
    """Tell of the objects of a kind until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            objects, version = await cluster.listed(kind)
            follower.all(kind, objects)
            while True:
                began = loop.time()
                async for event, live in cluster.watched(kind, version):
                    version = str(live["metadata"].get("resourceVersion") or version)
                    if event != "BOOKMARK":
                        follower.one(kind, live, gone=event == "DELETED")
                await asyncio.sleep(began + LEAST_SECONDS - loop.time())
        except ClusterError as error:
            if error.status != GONE:
                log.warning("the cluster's objects of kind %s cannot be watched: %s", kind, error)
                await asyncio.sleep(RETRY_SECONDS)
        await asyncio.sleep(began + LEAST_SECONDS - loop.time())
