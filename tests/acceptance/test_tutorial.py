"""The tutorial's program does what its page says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.service import Account, Service

PROGRAM = Path(__file__).resolve().parent.parent.parent / "docs" / "tutorial" / "first_match.py"


def test_the_tutorial_finds_the_person_it_enrolled(
    service: Service, account: Account, photos: Path, tmp_path: Path
) -> None:
    program = tmp_path / "first_match.py"
    program.write_text(PROGRAM.read_text().replace("127.0.0.1:50051", service.target))
    arguments = [account.login, account.password, str(photos / "obama.jpg"), str(photos / "obama2.jpg")]
    done = subprocess.run([sys.executable, str(program), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    similarity, _, told = done.stdout.splitlines()[0].split(maxsplit=2)
    assert float(similarity) > 0.73
    assert told == "enrolled now"
