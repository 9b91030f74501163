"""Fixtures for every test: the shared data, and one running service for all that need no service of their own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import Account, Service, running

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


def pytest_configure() -> None:
    """Let Python keep what it compiles, whatever the machine's own habit is.

    Tests start hundreds of processes; without bytecode each takes seconds longer, to compile the same modules again.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


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
