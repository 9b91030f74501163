"""The command line: `luna up`, `luna serve`, `luna worker`, `luna demo`, `luna bench`, `luna config`, `luna models`.

Thin: each command reads the settings, calls what does the work, and shows what came of it.
"""

from __future__ import annotations

from server.commands.application import application


def main() -> None:
    """Run the command line."""
    application()
