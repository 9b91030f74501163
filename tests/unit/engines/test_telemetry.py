"""ONNX Runtime's telemetry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_nothing_begins_to_tell_of_what_is_computed(tmp_path: Path) -> None:
    # the telemetry of ONNX Runtime, where it is on, writes its session into a file as soon as it is imported
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    ended = subprocess.run(
        [sys.executable, "-c", "import engines.runtime.onnx_runtime"],
        env={**environment, "TMPDIR": str(tmp_path)},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert list(tmp_path.iterdir()) == []
