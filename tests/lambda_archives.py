"""Archives of lambdas, and lambdas of a running service, for tests."""

from __future__ import annotations

import io
import json
import time
import uuid
import zipfile
from collections.abc import Mapping

import requests

from tests.service import Account, Service

START_SECONDS = 90


def archive(main: str, files: Mapping[str, str | bytes] | None = None) -> bytes:
    """A ZIP archive with a main file, and others beside it."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in {"lambda_main.py": main, **(files or {})}.items():
            packed.writestr(name, content)
    return data.getvalue()


def create(
    service: Service,
    account: Account,
    main: str,
    *,
    kind: str = "standalone",
    files: Mapping[str, str | bytes] | None = None,
) -> str:
    """A new lambda; its id. It is being built."""
    answer = requests.post(
        f"{service.rest}/6/lambdas",
        files=_parts(archive(main, files), f"test-{uuid.uuid4()}", kind),
        auth=account.auth,
        timeout=30,
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["lambda_id"])


def replace(service: Service, account: Account, lambda_id: str, main: str, *, kind: str = "standalone") -> int:
    """Another program for a lambda; the new version."""
    answer = requests.put(
        f"{service.rest}/6/lambdas/{lambda_id}",
        files=_parts(archive(main), f"test-{uuid.uuid4()}", kind),
        auth=account.auth,
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return int(answer.json()["version"])


def running_lambda(
    service: Service,
    account: Account,
    main: str,
    *,
    kind: str = "standalone",
    files: Mapping[str, str | bytes] | None = None,
) -> str:
    """A new lambda that answers; its id."""
    lambda_id = create(service, account, main, kind=kind, files=files)
    until(service, account, lambda_id, "running")
    return lambda_id


def until(service: Service, account: Account, lambda_id: str, status: str, seconds: float = START_SECONDS) -> None:
    """Wait until a lambda has a status."""
    end = time.monotonic() + seconds
    found = ""
    while time.monotonic() < end:
        found = told(service, account, lambda_id, "status")["status"]
        if found == status:
            return
        time.sleep(0.1)
    logs = told(service, account, lambda_id, "image/logs")["logs"], told(service, account, lambda_id, "logs")["logs"]
    raise AssertionError(f"the lambda is {found} and not {status}: {logs}")


def told(service: Service, account: Account, lambda_id: str, what: str) -> dict[str, object]:
    """What the service tells of a lambda."""
    answer = requests.get(f"{service.rest}/6/lambdas/{lambda_id}/{what}", auth=account.auth, timeout=30)
    assert answer.status_code == 200, answer.text
    value: dict[str, object] = answer.json()
    return value


def call(
    service: Service, account: Account | None, lambda_id: str, path: str = "main", verb: str = "POST", **options: object
) -> requests.Response:
    """What a lambda answers."""
    auth = None if account is None else account.auth
    return requests.request(
        verb,
        f"{service.rest}/6/lambdas/{lambda_id}/proxy/{path}",
        auth=auth,
        timeout=90,
        **options,  # type: ignore[arg-type]
    )


def _parts(data: bytes, name: str, kind: str) -> dict[str, tuple[str | None, bytes | str, str]]:
    return {
        "archive": ("lambda.zip", data, "application/zip"),
        "credentials": (None, json.dumps({"lambda_name": name}), "application/json"),
        "parameters": (None, json.dumps({"lambda_type": kind}), "application/json"),
    }
