"""How a server is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals


@dataclass(frozen=True, slots=True)
class Command:
    """One server process, as whoever runs it needs it.

    Attributes:
        argv: The program's absolute path and its arguments. Holds no secrets: everybody may read it.
        env: The whole environment; nothing is inherited, so that no secret of the parent reaches the server.
        cwd: The working folder.
        user: The system account to run as; None keeps the current one.
        stop_signal: Asks for an orderly stop.
        kill_signal: Ends the server with all its processes at once. Nothing acknowledged is lost by it.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    user: str | None
    stop_signal: Signals
    kill_signal: Signals
