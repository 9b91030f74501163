"""What `luna up` says where it cannot even begin, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.commands import administrator
from server.settings import Settings

LUNA = str(Path(sys.executable).with_name("luna"))


def up(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LUNA, "up"], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_data_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = up({"LUNA_DATA": str(tmp_path / "file" / "data")})
    assert ended.returncode == 1
    told = ended.stdout + ended.stderr
    assert f"{tmp_path}/file/data: Not a directory. LUNA_DATA names the data folder" in told
    assert "Traceback" not in told


def test_a_disk_that_is_full_leaves_no_administrator_without_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    settings = Settings(data=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            administrator.ensure(settings)
    assert list(tmp_path.iterdir()) == []
    login, password = administrator.ensure(settings)
    assert login
    assert password
    assert administrator.ensure(settings) == (login, password)
    assert (tmp_path / administrator.FILE).stat().st_mode & 0o777 == 0o600
