"""Builds of the local runner: requirements from wheels, what is allowed of them, and archives that should not be."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.domain.lambdas import ImageStatus
from tests.local_lambdas import WAYS, Local, archive, local, need

pytestmark = pytest.mark.timeout(300)
USES = "import {name}\nasync def main(request): return {name}.VALUE"


def wheel(name: str, version: str, *needs: str, **files: bytes) -> bytes:
    """A wheel with one module, whose VALUE is its name and version."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    content = {
        f"{module}.py": f"VALUE = '{name} {version}'\n".encode(),
        **files,
        f"{info}/METADATA": (metadata + "".join(f"Requires-Dist: {need}\n" for need in needs)).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for path, data in content.items()
    )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as written:
        for path, data in {**content, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            written.writestr(path, data)
    return made.getvalue()


def named(name: str, version: str, folder: str = "wheels") -> str:
    return f"{folder}/{name.replace('-', '_')}-{version}-py3-none-any.whl"


@pytest.fixture(params=WAYS, scope="module")
async def way(request: pytest.FixtureRequest) -> str:
    await need(request.param)
    return str(request.param)


@pytest.fixture
def operators(tmp_path: Path) -> Path:
    """A folder of wheels as an operator has it: two packages, one of which needs the other."""
    folder = tmp_path / "operators"
    folder.mkdir()
    (folder / named("luna-outer", "1.2", ".")).write_bytes(wheel("luna-outer", "1.2", "luna-inner>=1", "numpy"))
    (folder / named("luna-inner", "1.0", ".")).write_bytes(wheel("luna-inner", "1.0"))
    return folder


@pytest.fixture
async def offline(way: str, tmp_path: Path) -> AsyncIterator[Local]:
    """A runner that installs nothing but what an archive brings along."""
    async with local(tmp_path / "lambdas", way, requirements="") as one:
        yield one


async def failed(here: Local, code: str | bytes, **files: Any) -> str:
    """The last line of a build that fails."""
    lambda_id = here.deploy(code, **files)
    state = await here.reaches(lambda_id, lambda state: state.image_status is ImageStatus.ERROR)
    left = [path.name for path in (here.folder / str(lambda_id)).iterdir()]
    assert not [name for name in left if name[0].isdigit()], left
    return state.image_logs[-1]


async def test_wheels_of_the_archive_are_installed_without_an_index(offline: Local) -> None:
    files = {named("luna-own", "3.1"): wheel("luna-own", "3.1"), "requirements.txt": "# mine\nluna-own >= 3\n"}
    lambda_id = await offline.started(USES.format(name="luna_own"), **files)
    assert (await offline.call(lambda_id)).json() == "luna-own 3.1"
    assert any("luna" in line and "own" in line for line in offline.state(lambda_id).image_logs)


async def test_what_the_archive_does_not_bring_is_not_found_without_an_index(offline: Local) -> None:
    assert await failed(offline, USES.format(name="x"), **{"requirements.txt": "luna-absent"}) == (
        "the requirements cannot be installed"
    )


async def test_what_the_service_has_is_not_installed_again(offline: Local) -> None:
    code = "import numpy\nasync def main(request): return numpy.__file__"
    lambda_id = await offline.started(code, **{"requirements.txt": "numpy\n"})
    assert "/lambda/packages" not in (await offline.call(lambda_id)).json()


async def test_an_operators_wheels_are_installed_with_what_they_need(way: str, tmp_path: Path, operators: Path) -> None:
    options = {"wheels": operators, "requirements": "luna-outer, Luna_Inner", "index_url": "http://127.0.0.1:9/simple"}
    async with local(tmp_path / "lambdas", way, **options) as one:
        code = "import luna_outer, luna_inner\nasync def main(request): return [luna_outer.VALUE, luna_inner.VALUE]"
        lambda_id = await one.started(code, **{"requirements.txt": "luna-outer"})
        assert (await one.call(lambda_id)).json() == ["luna-outer 1.2", "luna-inner 1.0"]


async def test_a_package_that_an_allowed_one_needs_is_judged_too(way: str, tmp_path: Path, operators: Path) -> None:
    options = {"wheels": operators, "requirements": "luna-outer", "index_url": "http://127.0.0.1:9/simple"}
    async with local(tmp_path / "lambdas", way, **options) as one:
        told = await failed(one, USES.format(name="luna_outer"), **{"requirements.txt": "luna-outer"})
        assert told == "not among the packages that this service allows: luna-inner"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--index-url http://127.0.0.1/", "options are not taken"),
        ("-e .", "options are not taken"),
        ("./wheels/x.whl", "it is no requirement"),
        ("x @ http://127.0.0.1/x.whl", "addresses are not taken: 'x'"),
        ("-r /etc/passwd", "options are not taken"),
        ("numpy --hash=sha256:00", "it is no requirement"),
    ],
)
async def test_requirements_are_names_and_versions_alone(offline: Local, line: str, told: str) -> None:
    assert told in await failed(offline, USES.format(name="x"), **{"requirements.txt": line})


def linked() -> bytes:
    """An archive one of whose entries is a symbolic link out of it."""
    data = io.BytesIO(archive("async def main(request): return open('/lambda/code/link').read()"))
    with zipfile.ZipFile(data, "a") as written:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        written.writestr(entry, "/etc/shadow")
    return data.getvalue()


@pytest.mark.parametrize("name", ["../out.py", "/tmp/out.py", "a/../../out.py", "a\\..\\out.py"])
async def test_names_that_lead_out_of_the_archive_are_refused(offline: Local, tmp_path: Path, name: str) -> None:
    assert "out.py" in await failed(offline, "async def main(request): pass", **{name: "x"})
    assert not [path for path in (tmp_path, tmp_path.parent, Path("/tmp")) if (path / "out.py").exists()]


async def test_links_in_archives_are_refused(offline: Local) -> None:
    assert "link" in await failed(offline, linked())


async def test_an_archive_that_unpacks_to_too_much_is_refused(way: str, tmp_path: Path) -> None:
    async with local(tmp_path, way, archive_max_unpacked_bytes=1 << 20, archive_max_files=10) as one:
        assert "more than 1048576 bytes" in await failed(
            one, "async def main(request): pass", **{"big": os.urandom(2 << 20)}
        )
        many = {f"f{number}": "" for number in range(20)}
        assert "files and folders" in await failed(one, "async def main(request): pass", **many)


async def test_a_build_that_becomes_too_large_is_ended(way: str, tmp_path: Path) -> None:
    big = {named("luna-big", "1"): wheel("luna-big", "1", **{"luna_big.bin": bytes(64 << 20)})}
    async with local(tmp_path, way, requirements="", build_max_bytes=8 << 20) as one:
        told = await failed(one, USES.format(name="luna_big"), **big, **{"requirements.txt": "luna-big"})
        assert told.startswith(("the build has more than", "the requirements cannot be installed"))


async def test_a_build_that_takes_too_long_is_ended(way: str, tmp_path: Path) -> None:
    async with local(tmp_path, way, build_seconds=0.05) as one:
        assert await failed(one, "async def main(request): pass") == "the build took longer than 0.05 s"


async def test_code_that_is_no_python_is_told_in_the_builds_log(offline: Local) -> None:
    lambda_id = offline.deploy("async def main(request:\n")
    state = await offline.reaches(lambda_id, lambda state: state.image_status is ImageStatus.ERROR)
    assert "lambda_main.py" in "\n".join(state.image_logs)
