"""Real stores for tests of the kinds of tasks that go over populations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server import settings
from storage.blobs import BlobStore
from storage.database import Database
from tests.populations import World
from tests.task_contexts import Interruptions


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    return World(database, BlobStore(settings.Blobs(), tmp_path))


@pytest.fixture
def deadly(world: World) -> World:
    """The same stores, in which workers die after each call."""
    return World(world.database, world.blobs, Interruptions())


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Temporary archives are gone at the end."""
    folder = tmp_path_factory.mktemp("archives")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []
