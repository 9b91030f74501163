"""How much Envoy may hold, whatever clients do: their connections, and the memory of what they send and are sent."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from typing import Final

from server.settings import Settings

MOST_CONNECTIONS: Final = 16384
"""More than any number of programs keeps open; each costs Envoy some 20 KiB before it has said anything."""

LARGEST_AT_ONCE: Final = 64
"""So many of the largest messages find room at the same time."""

OWN_BYTES: Final = 256 << 20
"""Memory for Envoy itself, and for connections, streams and buffers that hold little."""

_OWN_FILES, _FILES_PER_SERVER = 64, 16
"""Files of Envoy's own, and those of its connections to one server process: each thread has its own to each cluster."""

_ENDS: Final = 4
"""Files for each connection that is allowed: there are two listeners, and WebSockets and calls of lambdas have
connections of their own behind Envoy."""

_CLASSES: Final = 8
"""Sizes by which Envoy tells streams apart, each twice the one before (its reset_high_memory_stream)."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What Envoy is rendered with.

    Attributes:
        connections: clients' connections to each listener, and those behind Envoy of WebSockets and of lambdas.
        memory_bytes: size of the heap at which nothing more is taken.
        smallest_power: streams that hold less than two to this power bytes are spared the longest.
    """

    connections: int
    memory_bytes: int
    smallest_power: int


def bounds(settings: Settings, servers: int, *, files: int | None = None, memory: int | None = None) -> Bounds:
    """The bounds that settings and machine give.

    Without a bound on connections, strangers could open so many that Envoy has no file left for one of its own, which
    ends it; without one on memory, they could send so many bodies without end that the machine has none left.

    Args:
        settings: the bounds that are wished, and the largest message.
        servers: server processes behind Envoy.
        files: files that Envoy may open; None asks the system, whose hard limit Envoy takes.
        memory: bytes of the machine; None asks the system.
    """
    if files is None:
        files = _files()
    if memory is None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    possible = max(1, (files - _OWN_FILES - _FILES_PER_SERVER * servers) // _ENDS)
    largest = settings.grpc.max_message_bytes
    roomy = min(OWN_BYTES + LARGEST_AT_ONCE * largest, memory // 2)
    return Bounds(
        connections=min(settings.rest.connections or MOST_CONNECTIONS, possible),
        memory_bytes=settings.rest.memory_bytes or roomy,
        # the class of the largest streams begins at half of the largest message
        smallest_power=largest.bit_length() - 1 - _CLASSES,
    )


def _files() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard if hard != resource.RLIM_INFINITY else 1 << 20
