"""Temporary files of a process: they go with it, and with the next one where it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.commands.scratch import own_folder

PROGRAM = """
import tempfile, time
from server.commands.scratch import own_folder

with own_folder() as folder:
    file = tempfile.NamedTemporaryFile(delete=False)
    print(file.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def another(base: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process, and a temporary file that it has made."""
    argv = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(base)}) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_temporary_files_are_made_in_a_folder_that_goes_with_the_process(base: Path) -> None:
    with own_folder() as folder:
        assert folder.parent == base
        with tempfile.NamedTemporaryFile(delete=False) as file:
            assert Path(file.name).parent == folder
    assert list(base.iterdir()) == []
    assert tempfile.gettempdir() == str(base)


def test_what_a_killed_process_has_left_goes_when_the_next_one_starts_and_what_a_living_one_has_stays(
    base: Path,
) -> None:
    with another(base) as (killed, lost), another(base) as (_, kept):
        assert lost.exists()
        killed.kill()
        killed.wait(20)
        with own_folder() as folder:
            assert not lost.parent.exists()
            assert kept.exists()
            assert set(base.iterdir()) == {folder, kept.parent}


def test_what_others_have_made_by_that_name_is_not_followed(base: Path) -> None:
    elsewhere = base / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("ours")
    (base / "luna-worker-link").symlink_to(elsewhere)
    (base / "luna-worker-file").write_text("no folder")
    with own_folder():
        pass
    assert (elsewhere / "file").exists()
    assert (base / "luna-worker-file").exists()
