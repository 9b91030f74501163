"""Fixtures of the storage tests: servers, stores, and values to put into them."""

from __future__ import annotations

from pathlib import Path

import pytest

from server import settings
from storage.accounts import PostgresAccountStore
from storage.blobs import BlobStore
from storage.database import Database
from storage.faces import PostgresFaceStore
from storage.lists import PostgresListStore
from storage.samples import PostgresSampleStore


@pytest.fixture
def accounts(database: Database) -> PostgresAccountStore:
    return PostgresAccountStore(database)


@pytest.fixture
def faces(database: Database) -> PostgresFaceStore:
    return PostgresFaceStore(database)


@pytest.fixture
def lists(database: Database) -> PostgresListStore:
    return PostgresListStore(database)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(settings.Blobs(), tmp_path)


@pytest.fixture
def samples(database: Database, blobs: BlobStore) -> PostgresSampleStore:
    return PostgresSampleStore(database, blobs)
