"""Fixtures for every test: the shared data, and one running service for all that need no service of their own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import Account, Service, running

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def hangups() -> Iterator[None]:
    """Programs that tests start take SIGHUP as from a shell: under nohup they would inherit that it is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """The whole service, started once."""
    with running(lambdas=True) as one:
        yield one


@pytest.fixture
def account(service: Service) -> Account:
    """A fresh account of type user."""
    return service.account()


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of test photos."""
    folder = SHARED / "data" / "photos"
    if not folder.is_dir():
        pytest.skip("the shared test photos are not there")
    return folder
