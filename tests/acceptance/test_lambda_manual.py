"""The page about lambdas does what it says: its commands, its first lambda, and the program that deploys a folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import requests

from server.settings import Lambdas
from tests.lambda_archives import call, until
from tests.service import Account, Service

DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "how-to"
PAGE = (DOCS / "lambdas.md").read_text()
PYTHON, BASH = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("python", "bash"))


def shell(block: str, service: Service, account: Account, folder: Path, **variables: str) -> list[str]:
    """What the commands of a block print, with this service instead of the usual one."""
    text = block.replace("http://127.0.0.1:5000", service.rest).replace("curl ", "curl -sS -w '\\n' ")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "LOGIN": account.login, "PASSWORD": account.password, **variables}
    done = subprocess.run(
        ["bash", "-ec", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def test_the_first_lambda_and_its_commands_do_what_the_page_says(
    service: Service, account: Account, tmp_path: Path
) -> None:
    (tmp_path / "lambda_main.py").write_text(PYTHON[0])
    (created,) = shell(BASH[0], service, account, tmp_path)
    lambda_id = json.loads(created)["lambda_id"]
    until(service, account, lambda_id, "running")
    image, _, status, _, answer = map(json.loads, shell(BASH[1], service, account, tmp_path, LAMBDA=lambda_id))
    assert (image, status) == ({"status": "completed"}, {"status": "running"})
    assert answer == {"hello": "Ada", "account": account.account_id}


def test_a_folder_is_deployed_replaced_and_used_as_a_handler(
    service: Service, account: Account, tmp_path: Path
) -> None:
    program = tmp_path / "deploy.py"
    program.write_text((DOCS / "lambdas" / "deploy.py").read_text().replace("127.0.0.1:50051", service.target))
    command = [sys.executable, program, account.login, account.password, DOCS / "lambdas" / "blur_faces", "handlers"]
    lambda_id = ""
    for version in (1, 2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        lambda_id = lambda_id or first.split()[0]
        assert (first, second) == (f"{lambda_id} version {version}", "running")
    (tmp_path / "people.jpg").write_bytes((DOCS / "pictures" / "people.jpg").read_bytes())
    make, use = re.findall(r"^curl .*?(?<!\\)\n", next(one for one in BASH if "handler_type" in one), re.DOTALL | re.M)
    (made,) = shell(make, service, account, tmp_path, LAMBDA=lambda_id)
    (events,) = shell(use, service, account, tmp_path, HANDLER=json.loads(made)["handler_id"])
    assert [event["source"] for event in json.loads(events)["events"]] == ["hall"] * 3


def test_a_folder_that_can_not_be_built_or_started_says_why(service: Service, account: Account, tmp_path: Path) -> None:
    program = tmp_path / "deploy.py"
    program.write_text((DOCS / "lambdas" / "deploy.py").read_text().replace("127.0.0.1:50051", service.target))
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "lambda_main.py").write_text("import nothing_of_this_name\n\nasync def main(request):\n    pass\n")
    command = [sys.executable, program, account.login, account.password, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert "nothing_of_this_name" in done.stderr


def test_routes_and_the_context_of_the_page_work(service: Service, account: Account, tmp_path: Path) -> None:
    (tmp_path / "lambda_main.py").write_text(PYTHON[1])
    (created,) = shell(BASH[0], service, account, tmp_path)
    lambda_id = json.loads(created)["lambda_id"]
    until(service, account, lambda_id, "running")
    assert call(service, account, lambda_id).status_code == 202
    missing = call(service, account, lambda_id, "names/Ada", "GET")
    assert (missing.status_code, missing.json()["error_code"]) == (500, 42004)
    assert "KeyError" in missing.json()["detail"]
    docs = requests.get(
        f"{service.rest}/6/lambdas/{lambda_id}/docs/spec", headers={"Accept": "application/x-yaml"}, timeout=30
    )
    assert "/names/{name}" in docs.text


def test_the_limits_of_the_page_are_the_defaults() -> None:
    limits = Lambdas.model_validate({})
    for words in (
        f"| {limits.archive_max_bytes >> 20} MiB; {limits.archive_max_unpacked_bytes >> 20} MiB; ",
        f" MiB; {limits.archive_max_files} |",
        f"| {limits.build_seconds:.0f} s, {limits.build_max_bytes >> 30} GiB |",
        f"`onStart` | {limits.start_seconds:.0f} s |",
        f"| a call | {limits.call_seconds:.0f} s |",
        f"| {limits.calls}; {limits.waiting}, further",
        f"| {limits.request_max_bytes >> 20} MiB; {limits.response_max_bytes >> 20} MiB |",
        f"| {limits.memory_bytes >> 20} MiB, {limits.processes}, {limits.files} |",
        f"with the process | {limits.temporary_bytes >> 20} MiB |",
        f"| {limits.log_bytes >> 10} KiB |",
        f"| {limits.idle_seconds:.0f} s |",
        f"of an account | {limits.most} |",
    ):
        assert words in PAGE
