"""The prepared world of the contract tests, and the table of what they covered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.contract import FILES, contract
from tests.contract.native import Native
from tests.contract.rest import Rest
from tests.contract.world import Pictures, World
from tests.service import Service

HERE = Path(__file__).parent
OPERATION = "operation"
CHECK = "check"


@pytest.fixture(scope="session")
def rest(service: Service) -> Iterator[Rest]:
    """A client of REST."""
    client = Rest(service)
    yield client
    client.close()


@pytest.fixture(scope="session")
def native(service: Service) -> Iterator[Native]:
    """A client of gRPC."""
    with service.channel() as channel:
        yield Native(channel)


@pytest.fixture(scope="session")
def world(service: Service, rest: Rest, photos: Path) -> World:
    """Accounts and one object of each kind."""
    return World(service, rest, Pictures.of(photos))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "operation(id): the operation that a test is about, for the table at the end")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note on each test which operation it checks, and what of it: its id is operation-check, its file the check."""
    for item in items:
        if HERE not in item.path.parents:
            continue
        mark = item.get_closest_marker(OPERATION)
        named = item.nodeid.partition("[")[2].partition("-")[0].rstrip("]")
        operation = str(mark.args[0]) if mark is not None else named
        if operation:
            item.user_properties.append((OPERATION, operation))
            item.user_properties.append((CHECK, item.path.stem.removeprefix("test_")))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table operation x check: how many tests passed, and how many did not."""
    passed: Counter[tuple[str, str]] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    for outcome, counter in (("passed", passed), ("failed", failed), ("error", failed)):
        for report in terminalreporter.getreports(outcome):
            noted = dict(getattr(report, "user_properties", ()))  # a module that could not be collected has none
            if OPERATION in noted:
                counter[str(noted[OPERATION]), str(noted[CHECK])] += 1
    if not passed and not failed:
        return
    checks = sorted({check for _, check in passed | failed})
    rows = list(contract().operations) if all(file.is_file() for file in FILES) else []
    rows += sorted({operation for operation, _ in passed | failed} - set(rows))
    terminalreporter.section("contract: tests passed by operation and check")
    width = max(map(len, rows))
    terminalreporter.write_line(" " * width + "".join(f"{check:>{len(check) + 2}}" for check in checks))
    for row in rows:
        cells = []
        for check in checks:
            good, bad = passed[row, check], failed[row, check]
            cell = f"{good}!{bad}" if bad else str(good or ".")
            cells.append(f"{cell:>{len(check) + 2}}")
        terminalreporter.write_line(f"{row:<{width}}" + "".join(cells))
