"""Runs the programs of one machine as child processes: starts, watches, restarts and stops them.

Knows nothing of what they do. `server.supervisor.embedded` alone knows which servers `storage.embedded` offers.
Linux only: it relies on pidfds and on the parent-death signal.
"""

from __future__ import annotations

from server.supervisor.embedded import Backing, backing
from server.supervisor.lock import AlreadyRunning
from server.supervisor.program import Event, Happening, Program, StartFailed
from server.supervisor.supervisor import Supervisor

__all__ = ["AlreadyRunning", "Backing", "Event", "Happening", "Program", "StartFailed", "Supervisor", "backing"]
