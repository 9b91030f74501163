"""The build and the start of a lambda in its pod: run as its containers are, against the route of a lambda host."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import os
import socket
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast
from uuid import UUID

import aiohttp
import pytest

from server.domain.lambdas import Deployment, WantedLambdas
from server.lambdas.host import Host
from server.lambdas.internal import Internal
from server.lambdas.kubernetes.archives import Archives
from server.lambdas.kubernetes.launch import variables
from server.lambdas.kubernetes.manifests import Manifests
from server.lambdas.kubernetes.outcomes import BAD, FAILED, REFUSED
from server.lambdas.kubernetes.prepare import Build, BuildFailed, Order
from server.lambdas.kubernetes.programs import Json, Program
from server.lambdas.kubernetes.records import MOST_DOCUMENTATION, Report
from server.lambdas.kubernetes.tickets import ticket
from server.lambdas.proxy import Proxy
from server.settings import Lambdas
from tests.kubernetes_play import SECRET, deployment

Settings = Callable[..., Lambdas]

MAIN = b'''"""Greetings."""
import greeting

async def main(request):
    """Greet.

    Says hello.
    """
    return {"hello": greeting.WORD}
'''


def archive(**files: bytes) -> bytes:
    """A ZIP archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in files.items():
            target.writestr(name, data)
    return out.getvalue()


def wheel(name: str, version: str = "1.0", requires: str = "", **files: bytes) -> tuple[str, bytes]:
    """The name and the bytes of a wheel (PEP 427)."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    contents = {
        **files,
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}\n"
        for path, data in contents.items()
    )
    contents[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    return f"{name}-{version}-py3-none-any.whl", archive(**contents)


@dataclass
class HostOfTests:
    """A lambda host with nothing but its route of archives."""

    lambdas: dict[UUID, Deployment] = field(default_factory=dict)
    reports: list[tuple[UUID, int, Report]] = field(default_factory=list)
    url: str = ""

    async def deployment(self, lambda_id: UUID) -> Deployment | None:
        return self.lambdas.get(lambda_id)


@pytest.fixture
async def host() -> AsyncIterator[HostOfTests]:
    one = HostOfTests()
    archives = Archives(cast("WantedLambdas", one), SECRET, lambda *report: one.reports.append(report))
    server = Host(cast("Proxy", None), cast("Internal", None), "", lambda *_: None, archives)
    async with server.served("127.0.0.1", 0) as port:
        one.url = f"http://127.0.0.1:{port}"
        yield one


@dataclass
class Pod:
    """The containers of a lambda's pod, run by this machine with what its manifests say."""

    settings: Lambdas
    wanted: Deployment
    folder: Path

    def container(self, kind: str, **other: str) -> tuple[list[str], dict[str, str]]:
        """Command and environment of a container, as kubelet makes them of the Deployment and the Secret."""
        program, made = Program.of(self.wanted), Manifests.of(self.settings)
        secret = made.secret(program, token=self.wanted.token, ticket=ticket(SECRET.encode(), self.wanted.lambda_id))
        pod: Json = made.deployment(program, 1)["spec"]["template"]["spec"]
        [container] = pod[kind]
        environment = {"PATH": "/usr/bin:/bin", "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
        for one in container["env"]:
            key = one["valueFrom"]["secretKeyRef"]["key"] if "valueFrom" in one else None
            environment[one["name"]] = base64.b64decode(secret["data"][key]).decode() if key else one["value"]
        python, *arguments = container["command"]
        assert python == "python"
        assert arguments[-1] == "/lambda"
        return [sys.executable, *arguments[:-1], str(self.folder)], environment | other

    async def build(self, **other: str) -> tuple[int, str]:
        """Run the init container: its exit status and its log."""
        command, environment = self.container("initContainers", **other)
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, cwd="/", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(100):
            output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def build_here(self) -> tuple[int, str]:
        """Build in this process: the exit status there would be, and why."""
        given = ticket(SECRET.encode(), self.wanted.lambda_id)
        program = Program.of(self.wanted)
        order = Order(str(program.lambda_id), str(program.version), program.digest, given)
        try:
            await asyncio.to_thread(Build(order, self.settings, self.folder).run)
        except BuildFailed as error:
            return error.outcome, str(error)
        return 0, "done"

    @contextlib.asynccontextmanager
    async def run(self, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run the main container for the length of the block."""
        # other tests' processes are of the same user here
        command, environment = self.container("containers", LUNA_LAMBDA_PORT=str(port), LUNA_LAMBDA_PROCESSES="100000")
        process = await asyncio.create_subprocess_exec(*command, env=environment, cwd="/")
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@pytest.fixture
def pod(host: HostOfTests, settings: Settings, tmp_path: Path) -> Callable[..., Pod]:
    """Makes the pod of a lambda with files, under settings."""

    def made(files: dict[str, bytes], **values: object) -> Pod:
        wanted = deployment(archive=archive(**files))
        host.lambdas[wanted.lambda_id] = wanted
        folder = tmp_path / "lambda"
        folder.mkdir()
        return Pod(settings(kubernetes={"archives": host.url}, **values), wanted, folder)

    return made


def _greeting(requires: str = "") -> tuple[str, bytes]:
    return wheel("greeting", requires=requires, **{"greeting.py": b'WORD = "from a wheel"\n'})


def _variables_of(pid: int) -> set[str]:
    """Names of the variables that a process was started with."""
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return {one.partition(b"=")[0].decode() for one in environment if one}


def _empty_index(folder: Path) -> str:
    """An index that has no package."""
    (folder / "index").mkdir(exist_ok=True)
    return (folder / "index").as_uri()


async def test_a_lambda_is_built_reported_started_and_answers(host: HostOfTests, pod: Callable[..., Pod]) -> None:
    name, data = _greeting()
    one = pod(
        {"lambda_main.py": MAIN, "requirements.txt": b"greeting>=1\n", f"wheels/{name}": data},
        requirements=(),
    )
    code, log = await one.build()
    assert (code, log.splitlines()[-1]) == (0, "done"), log
    assert one.wanted.token not in log
    assert ticket(SECRET.encode(), one.wanted.lambda_id) not in log
    [(lambda_id, version, report)] = host.reports
    assert (lambda_id, version) == (one.wanted.lambda_id, 1)
    assert report.python == sys.version.split()[0]
    assert report.base
    assert "title: Greetings." in report.documentation
    assert "Says hello." in report.documentation
    assert not (one.folder / "tmp").exists()

    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    async with one.run(port) as process, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:

        async def healthy() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get("/.luna/health") as answer:
                    return answer.status == 200
            return False

        async with asyncio.timeout(60):
            while not await healthy():
                assert process.returncode is None
                await asyncio.sleep(0.1)
        async with client.post("/main", json={}) as answer:
            assert await answer.json() == {"hello": "from a wheel"}
        names = _variables_of(process.pid)
        assert "KUBERNETES_SERVICE_HOST" not in names
        assert {name for name in names if name.startswith("LUNA_")} == {
            f"LUNA_LAMBDA_{name}"
            for name in ("CODE", "TYPE", "ID", "VERSION", "ACCOUNT", "PLATFORM", "TOKEN", "PORT", "REQUEST_BYTES")
        }


async def test_a_second_try_begins_anew(pod: Callable[..., Pod]) -> None:
    one = pod({"lambda_main.py": MAIN})
    (one.folder / "code").mkdir()
    (one.folder / "code" / "lambda_main.py").write_text("left by a build that was ended")
    code, log = await one.build_here()
    assert code == 0, log
    assert (one.folder / "code" / "lambda_main.py").read_bytes() == MAIN


async def test_a_package_that_is_not_allowed_ends_the_build_for_good(pod: Callable[..., Pod]) -> None:
    one = pod({"lambda_main.py": MAIN, "requirements.txt": b"evil\n"}, requirements=("numpy",))
    code, log = await one.build()
    assert code == BAD
    assert "package 'evil' is not allowed" in log


async def test_a_dependency_that_is_not_allowed_ends_the_build_for_good(
    pod: Callable[..., Pod], tmp_path: Path
) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, data in (_greeting(requires="evil"), wheel("evil", **{"evil.py": b""})):
        (folder / name).write_bytes(data)
    files = {"lambda_main.py": MAIN, "requirements.txt": b"greeting\n"}
    settings = {"wheels": folder, "index_url": _empty_index(tmp_path)}
    one = pod(files, requirements=("greeting",), **settings)
    code, log = await one.build_here()
    assert code == BAD, log
    assert "not among the packages that this service allows: evil" in log
    assert not list((one.folder / "packages").iterdir())
    one.settings = one.settings.model_copy(update={"requirements": ("greeting", "Evil")})
    code, log = await one.build_here()
    assert code == 0, log
    assert (one.folder / "packages" / "evil.py").exists()


async def test_what_cannot_be_had_may_be_had_by_another_try(pod: Callable[..., Pod], tmp_path: Path) -> None:
    one = pod({"lambda_main.py": MAIN, "requirements.txt": b"greeting\n"}, index_url=_empty_index(tmp_path))
    code, log = await one.build_here()
    assert code == FAILED
    assert "the requirements cannot be met" in log


async def test_an_archive_that_leads_out_of_its_folder_is_refused(pod: Callable[..., Pod]) -> None:
    one = pod({"lambda_main.py": MAIN, "../../evil.py": b""})
    code, log = await one.build_here()
    assert code == BAD
    assert "leads out of the archive" in log
    assert not list(one.folder.parent.rglob("evil.py"))


async def test_an_archive_of_too_many_bytes_is_refused(pod: Callable[..., Pod]) -> None:
    one = pod({"lambda_main.py": MAIN, "data.bin": os.urandom(20_000)}, archive_max_unpacked_bytes=10_000)
    code, log = await one.build_here()
    assert code == BAD
    assert "more than 10000 bytes together" in log


async def test_a_build_of_too_many_bytes_is_refused(pod: Callable[..., Pod]) -> None:
    one = pod({"lambda_main.py": MAIN, "data.bin": os.urandom(2 << 20)}, build_max_bytes=1 << 20)
    code, log = await one.build_here()
    assert code == BAD
    assert "the build has more than 1048576 bytes" in log


async def test_a_ticket_of_another_host_is_told_from_other_failures(pod: Callable[..., Pod]) -> None:
    one = pod({"lambda_main.py": MAIN})
    code, log = await one.build(LUNA_LAMBDA_TICKET="0" * 64)
    assert code == REFUSED
    assert "does not take the ticket" in log


async def test_another_lambdas_ticket_opens_nothing(host: HostOfTests, pod: Callable[..., Pod]) -> None:
    one = pod({"lambda_main.py": MAIN})
    other = deployment(archive=archive(**{"lambda_main.py": b"secret = 1"}))
    host.lambdas[other.lambda_id] = other
    code, _ = await one.build(LUNA_LAMBDA_ID=str(other.lambda_id))
    assert code == REFUSED


async def test_a_version_that_is_no_more_is_not_built(host: HostOfTests, pod: Callable[..., Pod]) -> None:
    one = pod({"lambda_main.py": MAIN})
    host.lambdas[one.wanted.lambda_id] = replace(one.wanted, version=2)
    code, log = await one.build_here()
    assert code == BAD
    assert "has a newer version" in log


async def test_an_archive_that_was_changed_on_its_way_is_not_built(host: HostOfTests, pod: Callable[..., Pod]) -> None:
    one = pod({"lambda_main.py": MAIN})
    host.lambdas[one.wanted.lambda_id] = replace(one.wanted, archive=archive(**{"lambda_main.py": b"evil = 1"}))
    code, log = await one.build_here()
    assert code == FAILED
    assert "not the one that was taken" in log
    assert not (one.folder / "code").exists()


def test_a_host_that_does_not_answer_is_asked_again_and_then_given_up(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.lambdas.kubernetes.prepare.FETCH_SECONDS", 0.3)
    monkeypatch.setattr("server.lambdas.kubernetes.prepare.AGAIN_SECONDS", 0.05)
    made = settings(kubernetes={"archives": "http://127.0.0.1:1"})
    with pytest.raises(BuildFailed) as failed:
        Build(Order("id", "1", "", ""), made, tmp_path).run()
    assert failed.value.outcome == FAILED


@pytest.mark.parametrize("path", ["", "x", "6b5f0c3a-2f57-4d0a-9d0e-3a3d6a3d0001"])
async def test_other_paths_are_not_found(host: HostOfTests, path: str) -> None:
    async with aiohttp.ClientSession(host.url) as client, client.get(f"/archives/{path}") as answer:
        assert answer.status == 404


async def test_reports_are_bounded_and_have_a_shape(host: HostOfTests) -> None:
    wanted = deployment()
    headers = {"Authorization": f"Bearer {ticket(SECRET.encode(), wanted.lambda_id)}"}
    path = f"/archives/{wanted.lambda_id}/1"
    good = {"base": "1", "python": "3.11", "documentation": "é" * (MOST_DOCUMENTATION // 2)}
    async with aiohttp.ClientSession(host.url, headers=headers) as client:
        for body, status in (
            (good, 204),
            ({**good, "documentation": "é" * (MOST_DOCUMENTATION // 2 + 1)}, 413),
            ({**good, "documentation": "x" * (5 * MOST_DOCUMENTATION)}, 413),
            ({"base": 1}, 400),
            ([], 400),
        ):
            async with client.put(path, data=io.BytesIO(json.dumps(body).encode())) as answer:
                assert answer.status == status
        async with client.put(path, data=b"{") as answer:
            assert answer.status == 400
        async with client.put(path, json=good, headers={"Authorization": "Bearer x"}) as answer:
            assert answer.status == 401
        async with client.post(path, json=good) as answer:
            assert answer.status == 404
    assert len(host.reports) == 1


async def test_the_host_gives_archives_to_tickets_alone(host: HostOfTests) -> None:
    wanted = deployment(archive=b"its bytes")
    host.lambdas[wanted.lambda_id] = wanted
    path = f"/archives/{wanted.lambda_id}/1"
    async with aiohttp.ClientSession(host.url) as client:
        for header in (None, "Bearer ", "Basic dTpw", f"Bearer {ticket(b'another', wanted.lambda_id)}"):
            async with client.get(path, headers={"Authorization": header} if header else {}) as answer:
                assert answer.status == 401
                assert b"its bytes" not in await answer.read()
        good = {"Authorization": f"Bearer {ticket(SECRET.encode(), wanted.lambda_id)}"}
        async with client.get(path, headers=good) as answer:
            assert await answer.read() == b"its bytes"


def test_the_environment_of_a_lambda_is_its_own_alone(tmp_path: Path) -> None:
    before = {"LUNA_LAMBDA_TOKEN": "jwt", "LUNA_LAMBDA_PROCESSES": "3", "PATH": "/evil", "KUBERNETES_PORT": "x"}
    after = variables(tmp_path, before)
    assert after["LUNA_LAMBDA_TOKEN"] == "jwt"
    assert after["PATH"] != "/evil"
    assert not {"LUNA_LAMBDA_PROCESSES", "KUBERNETES_PORT"} & after.keys()
    assert after["PYTHONPATH"].split(os.pathsep) == [str(tmp_path / name) for name in ("code", "packages", "base")]


async def test_a_started_lambda_is_held_to_limits() -> None:
    program = (
        "import resource as r; from server.lambdas.kubernetes.launch import limit; limit(7, 64);"
        "print([r.getrlimit(k) for k in (r.RLIMIT_NPROC, r.RLIMIT_NOFILE, r.RLIMIT_CORE)])"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert output.decode().strip() == "[(7, 7), (64, 64), (0, 0)]"
