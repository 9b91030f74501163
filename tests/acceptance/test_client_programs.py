"""The programs that the manual gives to those who write clients, run as it says, with stubs made as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from server.commands.demo_pictures import portraits
from tests.service import Account, Service

ROOT = Path(__file__).resolve().parent.parent.parent
REST = ROOT / "docs" / "tutorial" / "first_door.py"
GRPC = ROOT / "docs" / "how-to" / "grpc_client.py"
PAGE = ROOT / "docs" / "how-to" / "grpc-clients.md"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with a photo of each of two people, and another picture of the second one."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "people").mkdir()
    for portrait in portraits():
        cv2.imwrite(str(folder / "people" / f"{portrait.slug}.jpg"), portrait.picture)
    cv2.imwrite(str(folder / "visitor.jpg"), cv2.flip(portrait.picture, 1))
    return folder / "people", folder / "visitor.jpg"


def ran(argv: list[str], folder: Path, environment: dict[str, str] | None = None) -> list[str]:
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_door_over_rest_enrols_finds_follows_and_exports(
    service: Service, account: Account, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    people, visitor = pictures
    argv = [sys.executable, str(REST), service.rest, account.login, account.password, str(people), str(visitor)]
    lines = ran(argv, tmp_path)
    assert lines[0] == "enrolled 2"
    assert float(re.fullmatch(r"found grace-hopper (\S+)", lines[1])[1]) > 0.9  # type: ignore[index]
    assert lines[-2:] == ["event door ['staff']", "exported events.zip"]
    assert (tmp_path / "events.zip").read_bytes().startswith(b"PK")


def test_the_client_over_grpc_runs_with_stubs_that_are_made_as_its_page_says(
    service: Service, account: Account, pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    people, visitor = pictures
    command = re.search(r"-m (grpc_tools\.protoc .*?\.proto)\nPYTHONPATH", PAGE.read_text(), re.DOTALL)
    assert command
    script = f"""set -e
apis=$({sys.executable} -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
mkdir {tmp_path}/stubs
{sys.executable} -m {command[1].replace("=stubs", f"={tmp_path}/stubs")}"""
    ran(["bash", "-c", script], ROOT)
    program = tmp_path / "grpc_client.py"
    program.write_text(GRPC.read_text().replace("127.0.0.1:50051", service.target))
    lines = ran(
        [sys.executable, str(program), account.login, account.password, str(people), str(visitor)],
        tmp_path,
        {"PYTHONPATH": str(tmp_path / "stubs"), "PATH": "/usr/bin:/bin"},
    )
    assert [line.split()[:2] for line in lines[:2]] == [["enrolled", "eileen-collins"], ["enrolled", "grace-hopper"]]
    assert float(re.fullmatch(r"found grace-hopper (\S+)", lines[2])[1]) > 0.9  # type: ignore[index]
    assert re.fullmatch(r"event \S+ \['visitor'\]", lines[-1])
