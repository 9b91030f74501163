"""What bounds Envoy, for settings and machines of every size."""

from __future__ import annotations

import pytest

from gateway.bounds import MOST_CONNECTIONS, bounds
from server.settings import Grpc, Rest, Settings

GIB = 1 << 30


@pytest.mark.parametrize("servers", [1, 8, 64])
@pytest.mark.parametrize("files", [4096, 20_000, 1 << 20])
def test_connections_and_what_they_need_behind_envoy_never_take_all_files(files: int, servers: int) -> None:
    for wished in (0, 1 << 20):
        settings = Settings(rest=Rest(connections=wished))
        assert 4 * bounds(settings, servers, files=files, memory=GIB).connections <= files - 16 * servers


def test_connections_are_those_of_the_setting_where_there_are_files_for_them() -> None:
    assert bounds(Settings(rest=Rest(connections=100)), 1, files=4096, memory=GIB).connections == 100
    assert bounds(Settings(), 1, files=1 << 20, memory=GIB).connections == MOST_CONNECTIONS


def test_memory_follows_the_largest_message_and_leaves_half_of_the_machine() -> None:
    assert bounds(Settings(), 1, files=4096, memory=64 * GIB).memory_bytes == 64 * (32 << 20) + (256 << 20)
    assert bounds(Settings(), 1, files=4096, memory=2 * GIB).memory_bytes == GIB
    assert bounds(Settings(rest=Rest(memory_bytes=5)), 1, files=4096, memory=64 * GIB).memory_bytes == 5


@pytest.mark.parametrize("largest", [1 << 20, 32 << 20, 100_000_000])
def test_the_largest_messages_are_in_the_class_that_goes_first(largest: int) -> None:
    power = bounds(Settings(grpc=Grpc(max_message_bytes=largest)), 1, files=4096, memory=GIB).smallest_power
    assert largest / 2 <= 2 ** (power + 8) <= largest  # eight classes: that of the largest begins at 2 ** (power + 7)
