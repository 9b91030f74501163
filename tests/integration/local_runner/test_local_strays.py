"""The host is killed while it starts sandboxes: whatever it had begun ends by itself."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.lambda_nursery import Lives, left
from tests.local_lambdas import WAYS, need

pytestmark = pytest.mark.timeout(240)
KILLED = 60
MOMENTS = tuple(0.09 * number / KILLED for number in range(KILLED))
"""A sandbox is made within about so many seconds."""
RUNS = 1.0
"""It runs after so many."""
FULL = 4096
ROOM = 30
"""Less than what bubblewrap tells, and more than the first piece of it."""


@pytest.mark.parametrize("way", (*WAYS, "none"))
async def test_a_host_that_is_killed_at_whatever_moment_leaves_no_process(way: str, tmp_path: Path) -> None:
    await need(way)
    assert left(Lives(way, str(tmp_path), (*MOMENTS, RUNS))) == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_start_that_is_broken_off_at_whatever_moment_leaves_no_process(way: str, tmp_path: Path) -> None:
    await need(way)
    assert left(Lives(way, str(tmp_path), broken_off=MOMENTS)) == []


async def test_a_host_that_is_killed_before_a_sandbox_goes_on_leaves_no_process(tmp_path: Path) -> None:
    """Bubblewrap holds the sandbox's first process until it has told which one that is, and may end in between."""
    await need("bubblewrap")
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, FULL)
        os.write(writing, b" " * (FULL - ROOM))
        assert left(Lives("bubblewrap", str(tmp_path), report=(reading, writing))) == []
    finally:
        os.close(reading)
        os.close(writing)
