"""Requests made from the service's own description: whatever comes, the answer is one that the description has.

    python -m tests.robustness.test_schemathesis --cases 20000

sends more of them than a test has time for.
"""

from __future__ import annotations

import argparse
import base64
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gateway.openapi import as_yaml, specification
from server.application import SERVICES
from tests.service import Account, Service, running

SEED = 6196
ROOT = Path(__file__).resolve().parents[2]
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)
PER_OPERATION = 4
"""Cases of an operation in the test, beside those of its coverage."""
SECONDS = 60
"""What the test may take; more cases are sent where there is time left."""

INTERPRETER = "SystemError: AST constructor recursion depth mismatch"
"""A defect of Python 3.11's parser that Hypothesis meets now and then: the run is then made once more."""


def send(service: Service, folder: Path, per_operation: int, *extra: str) -> int:
    """Let schemathesis send cases to a service, with what it tells on our own output. Its exit status."""
    description = folder / "openapi.yaml"
    description.write_bytes(as_yaml(specification(SERVICES.values())))
    arguments = [
        *("--url", service.rest, "--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing"),
        *("--max-examples", str(per_operation), "--seed", str(SEED), "--continue-on-failure", "--no-shrink"),
        # one worker: Python 3.11 sometimes fails where two threads parse at once, as Hypothesis does
        *("--request-timeout", "30", "--workers", "1", "--suppress-health-check", "all", "--warnings", "off"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "protos"))),
        "SCHEMATHESIS_HOOKS": "tests.robustness.generated",
        "LUNA_TEST_CALLER": _basic(service.account("advanced_user")),
        "LUNA_TEST_CHANGED": _basic(service.account()),
    }
    program = str(Path(sys.executable).with_name("schemathesis"))
    for _ in range(2):
        done = subprocess.run(
            [program, "run", str(description), *arguments, *extra],
            env=environment,
            cwd=folder,
            check=False,
            stdout=subprocess.PIPE,
            text=True,
        )
        print(done.stdout)
        if done.returncode == 0 or INTERPRETER not in done.stdout:
            break
    return done.returncode


@pytest.mark.timeout(2 * SECONDS + 180)
def test_every_answer_is_one_that_the_description_has(service: Service, tmp_path: Path) -> None:
    # OPTIONS is the same for every path, and other tests ask for it
    extra = ("--exclude-method", "OPTIONS", "--max-time", str(SECONDS))
    assert send(service, tmp_path, PER_OPERATION, *extra) == 0


def main() -> int:
    """Send as many cases as the command line tells to a service of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000, help="how many, beside those of the coverage")
    cases = parser.parse_args().cases
    paths = specification(SERVICES.values())["paths"]
    operations = sum(len(item) for item in paths.values()) if isinstance(paths, dict) else 1
    with running() as service, tempfile.TemporaryDirectory() as folder:
        return send(service, Path(folder), math.ceil(cases / operations))


def _basic(account: Account) -> str:
    return base64.b64encode(f"{account.login}:{account.password}".encode()).decode()


if __name__ == "__main__":
    sys.exit(main())
