"""The command line: `luna up`, `luna serve`, `luna worker`, `luna demo`, `luna bench`, `luna config`, `luna models`.

Thin: each command reads the settings, calls what does the work, and shows what came of it.
"""

from __future__ import annotations

import os

from server.commands.application import application


def main() -> None:
    """Run the command line."""
    # programs are started by exec, so that none goes on with the gRPC of its parent: its care for forks is only noise
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    # what ONNX Runtime's telemetry would tell is nobody's business; it begins with its import, by whichever command
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    application()
